"""A step that compiles itself where that pays."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaezoo.autograd import nodes
from vaezoo.bound import Bound
from vaezoo.compiler.choice import Choice
from vaezoo.training.step import Step, kind_of

if TYPE_CHECKING:
    from vaezoo.compiler.tracing import Backend

__all__ = ["TimedStep"]

KINDS = 16  # of batches, by their shapes, of which each has a choice; further ones share one


class TimedStep(Step):
    """A `Step` that is timed, and compiled where that pays: see `compiler.choice`.

    It chooses for each kind of batch by itself: a last batch that is smaller seldom pays. What
    cannot be compiled goes on eagerly, without a warning.

    Args:
        bound: the objective.
        optimizer: over its parameters.
        max_grad_norm: scale gradients down to this norm, over all parameters, where it is larger.

    Attributes:
        taken: the number of the last step.
        last: that of the last one that there will be; None where nobody knows.
        announce: called with a word when a compilation begins, and with its time when it is over.
        choices: by kind of batch; None once `compile` was called.
    """

    def __init__(
        self,
        bound: Bound,
        optimizer: torch.optim.Optimizer,
        *,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(bound, optimizer, max_grad_norm=max_grad_norm)
        self.taken = 0
        self.last: int | None = None
        self.announce: Callable[[str], object] | None = None
        self.choices: dict[str, Choice] | None = {}
        self._refused: list[str] = []

    def __call__(self, *batch: Tensor) -> dict[str, Tensor]:
        """Take the step; returns the bound's terms."""
        self.taken += 1
        if self.choices is None:
            return super().__call__(*batch)
        choice = self._choice(self.choices, batch)
        if choice.compiles and self.cache is None:
            self._begin()
        if self.cache is not None:
            self.cache.resting = not choice.compiles
        self._refused.clear()
        started = time.thread_time()
        terms = super().__call__(*batch)
        seconds, cache = time.thread_time() - started, self.cache
        compiled = cache is not None and cache.served
        choice.size = choice.size or len(nodes(terms["loss"]))
        choice.add(self.taken, seconds, self._left(choice), compiled=compiled)
        if self._refused:
            choice.refuse(self.taken, self._refused[-1].removeprefix("the bound runs eagerly: "))
        return terms

    def compile(
        self,
        backend: str | Backend = "inductor",
        *,
        announce: Callable[[str], object] | None = None,
    ) -> Step:
        """Compile all steps from now on, whether it pays or not; returns self."""
        self.choices = None
        return super().compile(backend, announce=announce)

    @property
    def ways(self) -> str:
        """How steps of the most frequent kind run: "eager", or "from step 40"."""
        if not self.choices:
            return super().ways
        return str(max(self.choices.values(), key=operator.attrgetter("steps")))

    def state_dict(self) -> dict[str, Any] | None:
        """What was chosen; None where there is nothing to choose."""
        if self.choices is None:
            return None
        chosen = {kind: choice.state_dict() for kind, choice in self.choices.items()}
        return {"taken": self.taken, "choices": chosen}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Keep to what was chosen; without a choice, run eagerly."""
        if state is None:
            self.choices = None
            return
        self.taken, self.choices = state["taken"], {}
        for kind, chosen in state["choices"].items():
            self.choices[kind] = Choice()
            self.choices[kind].load_state_dict(chosen)
        if any(choice.compiles for choice in self.choices.values()):
            self._begin()

    def _begin(self) -> None:
        Step.compile(self, announce=self.announce)

    def _compile(self, backend: str | Backend, announce: Callable[[str], object] | None) -> None:
        super()._compile(backend, announce)
        if self.choices is not None and self.cache is not None:
            self.cache.refused, self.cache.beside = self._refused.append, True

    def _choice(self, choices: dict[str, Choice], batch: tuple[Tensor, ...]) -> Choice:
        """That of the batch's kind."""
        kind = kind_of(batch)
        if kind not in choices and len(choices) >= KINDS:
            kind = "others"
        if kind not in choices:
            choices[kind] = Choice(about=self.about(kind))
        return choices[kind]

    def _left(self, choice: Choice) -> float | None:
        """How many steps of a kind are left, if all kinds come as often as before."""
        if self.last is None or self.choices is None:
            return None
        seen = sum(each.steps for each in self.choices.values())
        return (self.last - self.taken) * choice.steps / max(seen, 1)
