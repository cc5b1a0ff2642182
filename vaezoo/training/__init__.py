"""Training: a loop that returns its history, and the step that it takes."""

from vaezoo.training.loop import NonFiniteLoss, fit

__all__ = ["NonFiniteLoss", "fit"]
