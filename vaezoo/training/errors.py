"""The error of a step whose loss or gradient is not finite."""

from __future__ import annotations

from vaezoo.training.history import History

__all__ = ["NonFiniteLoss"]


class NonFiniteLoss(ArithmeticError):
    """The loss or its gradient became NaN or infinite; the model is as it was before that step.

    Attributes:
        step: the step, counted from 1.
        terms: name and value of every reported term at that step.
        history: what `fit` had recorded until then.
    """

    def __init__(self, step: int, terms: dict[str, float], history: History) -> None:
        self.step, self.terms, self.history = step, terms, history
        broken = [n for n, v in terms.items() if not abs(v) < float("inf")] or ["the gradient"]
        super().__init__(
            f"step {step}: {', '.join(broken)} not finite "
            f"({', '.join(f'{n}={v:.4g}' for n, v in terms.items())}); the weights from before "
            "this step are kept: lower the learning rate, or look at the batch"
        )
