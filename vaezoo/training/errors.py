"""The errors of a step that is not finite and of a run that cannot go on, and its warning."""

from __future__ import annotations

from collections.abc import Sequence

from vaezoo.training.history import History

__all__ = ["NonFiniteLoss", "ResumeError", "TrainingWarning"]

FEW = 5  # of each kind that are named


class NonFiniteLoss(ArithmeticError):
    """The loss, its gradient, a parameter or a buffer became NaN or infinite.

    The model is as it was before that step.

    Args:
        step: the step, counted from 1.
        terms: name and value of every reported term at that step; none where what is not finite
            was found between steps.
        history: what was recorded until then.
        sites: what log-densities are not finite, in words.
        gradients: names of parameters whose gradient is not finite.
        state: names of parameters and buffers that are not finite themselves.

    Attributes:
        step, terms, history, sites, gradients, state: as above.

    Example:
        >>> print(NonFiniteLoss(3, {}, History(), state=["parameter prior.loc"]))
        step 3: parameter prior.loc not finite; begin again from a checkpoint or with a new model
    """

    def __init__(
        self,
        step: int,
        terms: dict[str, float],
        history: History,
        *,
        sites: Sequence[str] = (),
        gradients: Sequence[str] = (),
        state: Sequence[str] = (),
    ) -> None:
        self.step, self.terms, self.history = step, terms, history
        self.sites, self.gradients, self.state = list(sites), list(gradients), list(state)
        super().__init__(f"step {step}: {self._what()}; {self._cure()}")

    def _what(self) -> str:
        if not self.terms:
            return f"{_few(self.state)} not finite"
        broken = [n for n, v in self.terms.items() if not abs(v) < float("inf")]
        numbers = ", ".join(f"{n}={v:.4g}" for n, v in self.terms.items())
        text = f"{', '.join(broken or ['the gradient'])} not finite ({numbers})"
        if self.state:
            text += f"; not finite before the step: {_few(self.state)}"
        if self.sites:
            text += f"; not finite: {_few(self.sites)}"
        if self.gradients:
            text += f"; the gradient of {_few(self.gradients)} not finite"
        return text

    def _cure(self) -> str:
        if self.state:
            return "begin again from a checkpoint or with a new model"
        kept = "the weights from before this step are kept"
        return f"{kept}: lower the learning rate, or look at the batch"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


class ResumeError(ValueError):
    """A checkpoint of another run, or none at all."""


class TrainingWarning(UserWarning):
    """Something that `fit` has seen is likely to spoil the training, with its cause and cure.

    Example:
        >>> import warnings
        >>> warnings.filterwarnings("ignore", category=TrainingWarning)  # doctest: +SKIP
    """
