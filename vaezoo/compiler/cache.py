"""The compiled bound: the traced step of each shape of batch, handed to a compiler.

`torch.compile` around a Pyro loss breaks at every one of Pyro's messages. Here the loss and its
gradients are traced to one graph (see `tracing`), the compiler fuses forward and backward
passes, and one autograd function in front hands the gradients out when the loss is differentiated.

Before a graph is trusted, it is held against the program on another batch (see `trials`).
What it was made from is watched (see `guards`), and a change makes a new graph.
"""

from __future__ import annotations

import functools
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vaezoo.compiler.adam import AdamUpdate
from vaezoo.compiler.compiled_step import CompiledStep
from vaezoo.compiler.guards import Guards, kind_of, modes_of
from vaezoo.compiler.state import is_in_a_library
from vaezoo.compiler.tracing import Backend
from vaezoo.compiler.trials import altered, tried
from vaezoo.cpu import give_back

__all__ = ["Backend", "Graphs"]

SHAPES = 4  # graphs kept at a time
COMPILES = 16  # in the life of one bound, lest it compile at every step
BRIEF = 3  # calls: a graph that served fewer was hardly worth making
BRIEF_IN_A_ROW = 5  # and no more are made after so many of them

Batch = tuple[Tensor, ...]


class Graphs:
    """The compiled steps of one bound, found by batch shape and by what they were traced from.

    The first batch of a kind runs eagerly, with its checks; the second is traced.

    Args:
        backend: the name of one in `torch.compiler.list_backends(())`, or a function from a graph
            and example inputs to a callable.
        announce: called with a word when a compilation begins, and with its time when it is over.
        update: what the graphs do to the weights, if they are to do it.
        gradients: whether it is calls with gradients that are compiled, or those under `no_grad`.
        before: called before each eager run.

    Attributes:
        updated: whether the last call has taken the step, weights included.
        finite: whether loss and gradients of that step were, without which nothing was updated.
    """

    def __init__(
        self,
        backend: str | Backend = "inductor",
        announce: Callable[[str], object] = str,
        update: AdamUpdate | None = None,
        *,
        gradients: bool = True,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        self.backend, self.announce, self.update, self.before = backend, announce, update, before
        self.gradients, self.updated, self.finite = gradients, False, True
        self.graphs: list[CompiledStep] = []
        self.seen: set[Any] = set()
        self.first: tuple[Any, Batch] | None = None
        self.made, self.brief, self.warned = 0, 0, False

    def __deepcopy__(self, memo: Any) -> Graphs:
        return Graphs(self.backend, gradients=self.gradients)

    def __reduce__(self) -> Any:
        return functools.partial(Graphs, self.backend, gradients=self.gradients), ()

    def __call__(self, bound: nn.Module, batch: tuple[Any, ...]) -> dict[str, Tensor]:
        """The terms of a batch."""
        self.updated = False
        if torch.is_grad_enabled() is not self.gradients or not all(_is_data(t) for t in batch):
            return self._eager(bound, batch)
        if batch and torch.is_autocast_enabled(batch[0].device.type):
            return self._eager(bound, batch)  # a graph would cast what regions without it do not
        kind = kind_of(batch)
        graph = self._find(kind)
        if graph is not None and graph.call is not None:
            terms = graph.run(batch)
            self.updated, self.finite = graph.update is not None, graph.finite
            return terms
        key = (kind, *modes_of(bound.modules()))
        if graph is None and key in self.seen:
            return self._begin(bound, tuple(t.contiguous() for t in batch), key)
        found = self._eager(bound, batch)
        if graph is None:
            self.seen.add(key)  # now that it raised no error
            self.first = (key, tuple(t.clone() for t in batch))
        return found

    def _eager(self, bound: Any, batch: Batch) -> dict[str, Tensor]:
        self.before()
        return bound.eager(*batch)

    def follow(self) -> bool:
        """Whether the graphs do what the optimizer would, after what was done to it since."""
        return self.update is None or self.update.follow()

    def _find(self, kind: Any) -> CompiledStep | None:
        """The graph for a kind of batch; those of another program are forgotten."""
        fitting = (g for g in self.graphs if g.kind in (kind, None) and g.guards.is_in_mode())
        graph = next(fitting, None)
        if graph is None:
            return None
        if graph.guards.is_current():
            graph.calls += 1
            return graph
        self.brief = self.brief + 1 if graph.calls < BRIEF else 0
        self.graphs, self.seen = [g for g in self.graphs if g.guards.is_current()], set()
        return None

    def _begin(self, bound: nn.Module, batch: Batch, key: Any) -> dict[str, Tensor]:
        """The terms of the first batch that is to have a graph."""
        terms: dict[str, Tensor] | None = None
        self.graphs = [g for g in self.graphs if g.guards.is_current()]
        if self._may_make():
            self.made += 1
            self.announce("compiling")
            started = time.perf_counter()
            graph, terms = self._make(bound, batch, [altered(batch), *self._others(batch, key)])
            give_back()  # steps before it and the traced one need more memory than those to come
            taken = f"compiled in {time.perf_counter() - started:.1f} s"
            self.announce("" if terms is None else taken)
            self.graphs.append(graph)
            self.updated, self.finite = graph.update is not None, graph.finite
        return self._eager(bound, batch) if terms is None else terms

    def _may_make(self) -> bool:
        if self.brief >= BRIEF_IN_A_ROW:
            self._warn("what the programs read changes between steps: the bound runs eagerly")
        elif len(self.graphs) >= SHAPES or self.made >= COMPILES:
            self._warn(
                f"{self.made} graphs have been compiled, and {len(self.graphs)} are in use for "
                "other kinds of batches: this kind runs eagerly"
            )
        else:
            return True
        return False

    def _others(self, batch: Batch, key: Any) -> Iterator[Batch]:
        """The batch of this kind that came before, unless it is the same."""
        if self.first is not None and self.first[0] == key:
            first = self.first[1]
            if not all(map(torch.equal, first, batch)):
                yield first
        self.first = None

    def _make(
        self, bound: nn.Module, batch: Batch, others: list[Batch]
    ) -> tuple[CompiledStep, dict[str, Tensor] | None]:
        """A graph with the terms of its first run, or one that stands for eager runs."""
        without = [self, getattr(bound, "_graphs", None)]
        try:
            trace, names = tried(bound, batch, others, without=without)
            graph = CompiledStep(Guards(bound, trace, names, without), kind_of(batch), trace)
            graph.compile(batch, self.backend, self.update)
            return graph, graph.begin(batch)
        except Exception as error:  # whatever goes wrong in a program or a compiler
            reason = str(error).strip().partition("\n")[0]
            self._warn(f"the bound runs eagerly: {type(error).__name__}: {reason}")
            return CompiledStep(Guards(bound, without=without)), None

    def _warn(self, text: str) -> None:
        if not self.warned:
            warnings.warn(f"bound.compile(): {text}", stacklevel=_level_of_the_user())
        self.warned = True


def _level_of_the_user() -> int:
    """How many calls above the one that asks user code is."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and is_in_a_library(frame.f_code):
        frame, level = frame.f_back, level + 1
    return level


def _is_data(t: Any) -> bool:
    return isinstance(t, Tensor) and not t.requires_grad
