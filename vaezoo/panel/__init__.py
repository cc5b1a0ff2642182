"""A model under exploration: trained, swapped, decoded and drawn at while a kernel stays awake.

    explore                                              the function that shows a panel
    app                                                  a page of its own: python -m vaezoo explore
    session (stepper, swaps, paired, viewer, latents,    what it does, without any widget: whether a
      images, trial, turns, standing)                    swap trains, whose turn, what objective
    places, menus, source, layers                        what there is to choose, as code
    panel (toolbar, swapping, looking, drawing, view,    how it is shown, and asked
      inbox)

It is called panel because `vaezoo.explore` is the function.
"""

from vaezoo.panel.explore import explore
from vaezoo.panel.session import Session

__all__ = ["Session", "explore"]
