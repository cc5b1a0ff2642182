"""A model under exploration: trained, swapped, decoded and drawn at while a kernel stays awake.

    explore                                                      the function that shows a panel
    session (stepper, swaps, paired, viewer, latents, images)    what it does, without any widget
    places, menus, source                                        what there is to choose, as code
    panel (toolbar, swapping, looking, drawing, view, inbox)     how it is shown, and asked

It is called panel because `vaezoo.explore` is the function.
"""

from vaezoo.panel.explore import explore
from vaezoo.panel.session import Session

__all__ = ["Session", "explore"]
