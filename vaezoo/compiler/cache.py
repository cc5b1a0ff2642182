"""The compiled steps of a bound: which of them serves a batch, and when one is made.

`torch.compile` around a Pyro loss breaks at every one of Pyro's messages. Here the loss and its
gradients are traced to one graph (see `tracing`), the compiler fuses forward and backward
passes, and one autograd function in front hands the gradients out when the loss is differentiated.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from vaezoo.compiler.adam import AdamUpdate
from vaezoo.compiler.compiled_step import CompiledStep
from vaezoo.compiler.guards import Guards, batch_key, modes_of
from vaezoo.compiler.libraries import users_level
from vaezoo.compiler.reasons import reason_of
from vaezoo.compiler.tracing import Backend, Traceable
from vaezoo.compiler.trials import altered, tried
from vaezoo.compiler.wrappers import is_wrapped
from vaezoo.cpu import give_back

__all__ = ["Backend", "StepCache"]

SHAPES = 4  # steps kept at a time
COMPILES = 16  # in the life of one bound, lest it compile at every step
BRIEF = 3  # calls: a step that served fewer was hardly worth making
BRIEF_IN_A_ROW = 5  # such steps, after which no more are made

Batch = tuple[Tensor, ...]


class StepCache:
    """The compiled steps of one bound, by shapes of batches and what they were traced from.

    The first batch of a kind runs eagerly, with its checks; the second is traced.

    Args:
        backend: the name of one in `torch.compiler.list_backends(())`, or a function.
        announce: called with a word when a compilation begins, and with its time when it is over.
        update: of the weights, as a part of the compiled steps; none by default.
        gradients: whether it is calls with gradients that are compiled, or those under `no_grad`.
        before: called before each eager run.

    Attributes:
        steps: in use; those that could not be compiled, and so run eagerly, are among them.
        made: how many compilations have begun.
        updated: whether the last call has taken the step, weights included.
        finite: whether loss and gradients of that step were finite; where not, it changed nothing.
        beside: whether steps are compiled in another process, while this one goes on eagerly.
        served: whether the last call ran a compiled step.
        resting: whether calls run eagerly, for the time being.
        refused: told why a bound runs eagerly, in place of a warning, if there is one to tell.
    """

    def __init__(
        self,
        backend: str | Backend = "inductor",
        announce: Callable[[str], object] | None = None,
        update: AdamUpdate | None = None,
        *,
        gradients: bool = True,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        self.backend, self.announce, self.update, self.before = backend, announce, update, before
        self.gradients, self.updated, self.finite = gradients, False, True
        self.steps: list[CompiledStep] = []
        self.made = 0
        self.served = self.resting = self.beside = False
        self.refused: Callable[[str], object] | None = None
        self._seen: set[Any] = set()
        self._first: tuple[Any, Batch] | None = None
        self._resumed: tuple[set[str], set[str]] = set(), set()
        self._brief, self._has_warned = 0, False

    def __reduce__(self) -> Any:
        return functools.partial(StepCache, self.backend, gradients=self.gradients), ()

    def __call__(self, bound: Traceable, batch: tuple[Any, ...]) -> dict[str, Tensor]:
        """The terms of a batch."""
        self.updated = self.served = False
        if self.resting:
            return self._eager(bound, batch)
        are_data = all(isinstance(t, Tensor) and not t.requires_grad for t in batch)
        if not are_data or torch.is_grad_enabled() is not self.gradients or is_wrapped(batch):
            return self._eager(bound, batch)
        shapes = batch_key(batch)
        step = self._find(shapes)
        if step is not None and step.awaited is not None:
            return self._awaited(step, bound, batch)
        if step is not None and step.call is not None:
            terms = step.run(batch)
            self._note(step)
            return terms
        key = (shapes, *modes_of(bound.modules()))
        if step is None and (key in self._seen or repr(key) in self._resumed[0]):
            return self._begin(bound, tuple(t.contiguous() for t in batch), key)
        terms = self._eager(bound, batch)
        if step is None:
            self._seen.add(key)  # now that it raised no error
            self._first = (key, tuple(t.clone() for t in batch))
        return terms

    def _eager(self, bound: Traceable, batch: Batch) -> dict[str, Tensor]:
        self.before()
        return bound.eager(*batch)

    @property
    def serves(self) -> bool:
        """Whether there is a compiled step, or will be at the first batch of a resumed training."""
        return bool(self._resumed[1]) or any(step.call is not None for step in self.steps)

    def follow(self) -> bool:
        """Re-read the optimizer's state; False if compiled steps can no longer make its update."""
        return self.update is None or self.update.follow()

    def state_dict(self) -> dict[str, Any]:
        """Which kinds of batches have been seen, and which of them have a compiled step."""
        seen, awaited = self._resumed
        compiled = {repr(step.key) for step in self.steps if step.call is not None}
        return {
            "seen": sorted(seen.union(map(repr, self._seen))),
            "compiled": sorted(compiled | awaited),
            "made": self.made + len(awaited),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Compile the steps of these kinds when their first batch comes, and not at the second.

        What ran compiled, and so with other roundings than eagerly, does so again at once.
        """
        self._resumed = set(state["seen"]), set(state["compiled"])
        self.made = state["made"] - len(state["compiled"])

    def _find(self, shapes: Any) -> CompiledStep | None:
        """The step for batches of these shapes; those of another program are forgotten."""
        fitting = (s for s in self.steps if s.key in (shapes, None) and s.guards.modes_hold())
        if (step := next(fitting, None)) is None:
            return None
        if step.guards.hold():
            step.calls += 1
            return step
        self._brief = self._brief + 1 if step.calls < BRIEF else 0
        self.steps, self._seen = [s for s in self.steps if s.guards.hold()], set()
        return None

    def _begin(self, bound: Traceable, batch: Batch, key: Any) -> dict[str, Tensor]:
        """The terms of the first batch that is to have a compiled step."""
        self.steps = [s for s in self.steps if s.guards.hold()]
        again = repr(batch_key(batch)) in self._resumed[1]
        if not self._may_make(batch_key(batch)):
            return self._eager(bound, batch)
        self._say("compiling")
        self.made += 1
        started, others = time.perf_counter(), [altered(batch), *self._others(batch, key)]
        self.steps.append(self._make(bound, batch, others, beside=self.beside and not again))
        self.steps[-1].started = started
        return self._first_run(self.steps[-1], bound, batch)

    def _awaited(self, step: CompiledStep, bound: Traceable, batch: Batch) -> dict[str, Tensor]:
        """The terms of a batch whose compiled step is on its way, or there now."""
        try:
            if not step.arrive():
                return self._eager(bound, batch)
        except Exception as error:
            self._give_up(error)
        return self._first_run(step, bound, batch)

    def _first_run(self, step: CompiledStep, bound: Traceable, batch: Batch) -> dict[str, Tensor]:
        """The terms of a batch by a new step, or where there is none."""
        terms = None
        try:
            terms = None if step.call is None else step.begin(batch)
        except Exception as error:  # whatever goes wrong in what a compiler made
            self._give_up(error)
            step.call = None
        give_back()  # steps before it and the traced one need more memory than those to come
        self._note(step)
        if step.awaited is None:
            taken = f"compiled in {time.perf_counter() - step.started:.1f} s"
            self._say("" if terms is None else taken)
        return self._eager(bound, batch) if terms is None else terms

    def _note(self, step: CompiledStep) -> None:
        """What a call with this step has done."""
        self.served, self.finite = step.call is not None, step.finite
        self.updated = self.served and step.update is not None

    def _may_make(self, shapes: Any) -> bool:
        if repr(shapes) in self._resumed[1]:
            self._resumed[1].discard(repr(shapes))
            return True
        awaited = len(self._resumed[1])  # their places are taken
        if self._brief >= BRIEF_IN_A_ROW:
            self._warn("what the programs read changes between steps: the bound runs eagerly")
        elif len(self.steps) + awaited >= SHAPES or self.made + awaited >= COMPILES:
            self._warn(
                f"{self.made} steps have been compiled, and {len(self.steps)} are in use for "
                "other kinds of batches: this kind runs eagerly"
            )
        else:
            return True
        return False

    def _others(self, batch: Batch, key: Any) -> Iterator[Batch]:
        """The batch of this kind that came before, unless it is the same."""
        if self._first is not None and self._first[0] == key:
            first = self._first[1]
            if not all(map(torch.equal, first, batch)):
                yield first
        self._first = None

    def _make(
        self, bound: Traceable, batch: Batch, others: list[Batch], *, beside: bool
    ) -> CompiledStep:
        """A compiled step, or one that is on its way or stands for eager runs."""
        without = [self, bound.compiled]
        try:
            if not __debug__:
                # of torch 2.13's, one aligns loops that are to be one: without it some weights
                # were not updated
                raise RuntimeError("torch's compiler relies on assertions, which python -O removes")
            traced, names = tried(bound, batch, others, without=without)
            step = CompiledStep(Guards(bound, traced, names, without), batch_key(batch), traced)
            step.compile(batch, self.backend, self.update, beside=beside)
        except Exception as error:  # whatever goes wrong in a program or a compiler
            self._give_up(error)
            return CompiledStep(Guards(bound, without=without))
        return step

    def _give_up(self, error: Exception) -> None:
        self._warn(f"the bound runs eagerly: {reason_of(error)}")

    def _say(self, word: str) -> None:
        if self.announce is not None:
            self.announce(word)

    def _warn(self, text: str) -> None:
        if self.refused is not None:
            self.refused(text)
        elif not self._has_warned:
            warnings.warn(f"bound.compile(): {text}", stacklevel=users_level())
        self._has_warned = True
