"""A model under exploration: trained, swapped, decoded and drawn at while a kernel stays awake.

session (stepper, swaps, paired, latents, images)    what it does, without any widget
places, menus, source                                what can be chosen, and code of what was

It is called panel because `vaezoo.explore` is the function that shows it.
"""

from vaezoo.panel.session import Session

__all__ = ["Session"]
