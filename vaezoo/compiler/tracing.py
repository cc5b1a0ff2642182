"""A step of a bound as a graph of tensor operations, loss and gradients together.

A Pyro program is ordinary torch once its handlers have run. The objective is run once under
`make_fx`, which records only the tensor operations, and `torch.autograd.grad` runs inside the
recording:

    (batch, schedules, weights, buffers)  ->  (loss, bound, rec, kl, …, d loss / d weights)

Whatever changes gradients on the way (tensor hooks of doubly reparametrised gradients, parameters
held still) is then part of the graph. Every tensor that the programs read and did not make is an
input of it, so that weights, buffers and what a program holds in a closure are read anew at each
step. Everything else that was read is a constant of the graph.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from vaezoo.autograd import gradients
from vaezoo.compiler.reads import NoNumbers, NoReads
from vaezoo.compiler.scheduled import Scheduled
from vaezoo.objectives.schedules import Schedule, objectives_in, schedules_in
from vaezoo.programs.writes import Writes, memory
from vaezoo.scopes import own_generator, unchecked

__all__ = ["Backend", "Traceable", "TracedStep", "flat_graph"]

Backend = Callable[[GraphModule, list[Tensor]], Callable[..., Sequence[Tensor]]]


class Traceable(Protocol):
    """What the compiler asks of the bound whose steps it compiles.

    Attributes:
        model: with the programs `model` and `guide`.
        objective: whose schedules and numbers the loss depends on.
    """

    model: Any
    objective: Any

    @property
    def compiled(self) -> object:
        """What keeps compiled steps of the bound; a change of it is no change of the bound."""

    def eager(self, *batch: Tensor) -> dict[str, Tensor]:
        """The terms of a batch, the loss among them if there is one to differentiate."""

    def modules(self) -> Iterator[nn.Module]:
        """The bound, the model and all modules in it."""


class TracedStep:
    """One step of a bound, recorded on one batch.

    Args:
        bound: whose step it is.
        batch: to record with.
        schedules: that its programs may hold, besides those of its objective.

    Attributes:
        graph: from `inputs` to the terms, the loss first, and then its gradients, if there are any.
        names: of the terms.
        leaves: what the gradients belong to; a tensor that the loss does not depend on is not one.
        schedules: whose values the programs and the objective read.
        held: the tensors that the programs read and neither made nor were given.
        written: which of the graph's inputs it writes into.
    """

    def __init__(
        self, bound: Traceable, batch: tuple[Tensor, ...], schedules: Iterable[Schedule] = ()
    ) -> None:
        from torch.fx.experimental.proxy_tensor import make_fx  # slow to import

        _check_passes(bound.objective)
        self.names: list[str] = []
        self.leaves: list[Tensor] = []
        own = [getattr(owner, name) for owner, name in schedules_in(bound.objective)]
        self.scheduled = Scheduled([*own, *schedules])
        self._eager, self._reads = bound.eager, NoReads()
        # tracing runs the step: draws and writes are undone, as the step itself comes after it
        with own_generator(), Writes() as writes, unchecked(), _one_record_of_shapes():
            # a lambda, because make_fx counts the arguments of a method wrongly
            step = make_fx(lambda batch, values: self._step(batch, values))
            self.graph = step(_apart(batch), _tensors(self.scheduled.values(), batch))
        self.schedules = self.scheduled.read
        self._leave_out_unread(len(batch))
        self.held = _lift_constants(self.graph)
        if any(t.numel() and memory(t) in self._reads.unrecorded() for t in self.held):
            raise RuntimeError("the program hands a tensor on in a way that is not recorded")
        given = enumerate(map(memory, self.inputs(batch)))
        self.written = [i for i, where in given if where in writes.memory]

    def inputs(self, batch: tuple[Tensor, ...]) -> list[Tensor]:
        """The graph's arguments for a batch, with schedules and weights as they are now."""
        return [*map(Tensor.contiguous, batch), *self._values(batch), *self.held]

    def _step(self, batch: list[Tensor], values: list[Tensor]) -> list[Tensor]:
        with self.scheduled.given(values), self._reads, NoNumbers(self._reads):
            terms = self._eager(*batch)
        self.names = sorted(terms, key="loss".__ne__)
        # what was made before the step may be differentiated after it
        by_leaf = gradients(terms.get("loss"), retain_graph=True)
        self.leaves = [leaf for leaf, _ in by_leaf]
        return [*(terms[name] for name in self.names), *(g for _, g in by_leaf)]

    def _values(self, batch: tuple[Tensor, ...]) -> list[Tensor]:
        """The values that the schedules have now."""
        return _tensors([s.value for s in self.schedules], batch) if self.schedules else []

    def _leave_out_unread(self, n: int) -> None:
        """Have the graph take no value of a schedule that was not read; n tensors come before."""
        places = self.graph.graph.find_nodes(op="placeholder")[n:]
        for node, was_read in zip(places, self.scheduled.were_read(), strict=True):
            if not was_read:
                self.graph.graph.erase_node(node)


def _apart(batch: tuple[Tensor, ...]) -> list[Tensor]:
    """The tensors of a batch, as many objects: one that is given twice would be one input."""
    return [t.detach() if any(t is s for s in batch[:i]) else t for i, t in enumerate(batch)]


def _tensors(values: list[Any], batch: tuple[Tensor, ...]) -> list[Tensor]:
    if not values:
        return []
    like = next((t for t in batch if t.is_floating_point()), torch.empty(0))
    return [like.new_tensor(value) for value in values]


def flat_graph(
    function: Callable[[list[Tensor]], Sequence[Tensor]], inputs: list[Tensor]
) -> GraphModule:
    """A function of a list of tensors as a graph of as many arguments.

    It is traced on fake tensors, which leaves the true ones as they are.
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # slow to import

    graph: GraphModule = make_fx(function, tracing_mode="fake")([t.detach() for t in inputs])
    graph.graph.set_codegen(torch.fx.graph.CodeGen())  # flat arguments, no tree of them
    graph.recompile()
    return graph


def _one_record_of_shapes() -> contextlib.AbstractContextManager[Any]:
    """Within it every operation is noted in one fake mode; otherwise torch makes one for each."""
    from torch._guards import TracingContext, tracing
    from torch._subclasses import FakeTensorMode

    return tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True)))


def _check_passes(objective: Any) -> None:
    for each in objectives_in(objective):
        if getattr(each, "in_chunks", False):
            raise RuntimeError(f"{each!r} makes its draws twice, which a graph would not")


def _lift_constants(graph: GraphModule) -> list[Tensor]:
    """Make inputs of all tensors that a graph holds, and return them in order."""
    nodes = graph.graph.find_nodes(op="get_attr")
    names = sorted({node.target for node in nodes})
    last = graph.graph.find_nodes(op="placeholder")[-1]
    inputs = {}
    for name in names:
        with graph.graph.inserting_after(last):
            inputs[name] = last = graph.graph.placeholder(name.strip("_"))
    for node in nodes:
        node.replace_all_uses_with(inputs[node.target])
        graph.graph.erase_node(node)
    tensors = [getattr(graph, name) for name in names]
    for name in names:
        delattr(graph, name)
    graph.graph.set_codegen(torch.fx.graph.CodeGen())  # flat arguments, no tree of them
    graph.recompile()
    return tensors
