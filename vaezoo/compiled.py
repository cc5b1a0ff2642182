"""The compiled bound: the traced step of each shape of batch, handed to a compiler.

`torch.compile` around a Pyro loss breaks at every one of Pyro's messages. Here the loss and its
gradients are traced to one graph (see `vaezoo.tracing`), the compiler fuses forward and backward
passes, and one autograd function in front hands the gradients out when the loss is differentiated.

Constants of a graph are watched: attributes of modules and of the objective, modes, hooks, what is
frozen, dtypes. A change makes a new graph. A number in a closure or in a global is not seen.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from vaezoo.cpu import give_back
from vaezoo.tracing import Backend, Trace, objectives
from vaezoo.updates import AdamUpdate

__all__ = ["Backend", "Graphs"]

SHAPES = 4  # graphs kept at a time
COMPILES = 16  # in the life of one bound, lest it compile at every step

_OF_MODULES = vars(nn.Module()).keys()
_TRAINING = operator.attrgetter("training")
_FACTS = operator.attrgetter("requires_grad", "dtype", "shape", "device")


class Graphs:
    """The compiled steps of one bound, found by batch shape and by what they were traced from.

    The first batch of a kind runs eagerly, with its checks; the second is traced.

    Args:
        backend: the name of one in `torch.compiler.list_backends(())`, or a function from a graph
            and example inputs to a callable.
        announce: called with a word when a compilation begins, and with its time when it is over.
        update: what the graphs do to the weights, if they are to do it.
        gradients: whether it is calls with gradients that are compiled, or those under `no_grad`.

    Attributes:
        updated: whether the last call has taken the step, weights included.
    """

    def __init__(
        self,
        backend: str | Backend = "inductor",
        announce: Callable[[str], object] = str,
        update: AdamUpdate | None = None,
        *,
        gradients: bool = True,
    ) -> None:
        self.backend, self.announce, self.update = backend, announce, update
        self.gradients, self.updated = gradients, False
        self.graphs: list[_Graph] = []
        self.seen: set[Any] = set()
        self.made, self.warned = 0, False

    def __deepcopy__(self, memo: Any) -> Graphs:
        return Graphs(self.backend, gradients=self.gradients)

    def __reduce__(self) -> Any:
        return functools.partial(Graphs, self.backend, gradients=self.gradients), ()

    def __call__(self, bound: nn.Module, batch: tuple[Any, ...]) -> dict[str, Tensor]:
        """The terms of a batch."""
        eager: Callable[..., dict[str, Tensor]] = bound.eager  # type: ignore[assignment]
        self.updated = False
        if torch.is_grad_enabled() is not self.gradients or not all(_is_data(t) for t in batch):
            return eager(*batch)
        if batch and torch.is_autocast_enabled(batch[0].device.type):
            return eager(*batch)  # a graph would cast what regions without it do not
        kind = _kind(batch)
        graph = self._find(kind)
        if graph is None and (kind, *_modes(bound)) in self.seen:
            graph = self._make(bound, tuple(t.contiguous() for t in batch))
        if graph is not None and graph.call is not None:
            self.updated = graph.update is not None
            return graph.run(batch)
        found = eager(*batch)
        if graph is None:
            self.seen.add((kind, *_modes(bound)))  # now that it raised no error
        return found

    def follow(self) -> bool:
        """Whether the graphs do what the optimizer would, after what was done to it since."""
        return self.update is None or self.update.follow()

    def _find(self, kind: Any) -> _Graph | None:
        """The graph for a kind of batch; those of another program are forgotten."""
        fitting = (g for g in self.graphs if g.kind in (kind, None) and g.is_in_mode())
        graph = next(fitting, None)
        if graph is None or graph.is_current():
            return graph
        self.graphs, self.seen = [g for g in self.graphs if g.is_current()], set()
        return None

    def _make(self, bound: nn.Module, batch: tuple[Tensor, ...]) -> _Graph | None:
        self.graphs = [g for g in self.graphs if g.is_current()]
        if len(self.graphs) >= SHAPES or self.made >= COMPILES:
            self._warn(
                f"{self.made} graphs have been compiled, and {len(self.graphs)} are in use for "
                "other kinds of batches: this kind runs eagerly"
            )
            return None
        self.made += 1
        self.announce("compiling")
        started = time.perf_counter()
        try:
            graph = _Graph(bound, batch, self.backend, self.update)
        except Exception as error:  # whatever goes wrong in a program or a compiler
            reason = str(error).strip().partition("\n")[0]
            self._warn(f"the bound runs eagerly: {type(error).__name__}: {reason}")
            graph = _Graph(bound, None, self.backend)
        give_back()  # steps before it and the traced one need more memory than those to come
        self.announce(f"compiled in {time.perf_counter() - started:.1f} s" if graph.call else "")
        self.graphs.append(graph)
        return graph

    def _warn(self, text: str) -> None:
        if not self.warned:
            warnings.warn(f"bound.compile(): {text}", stacklevel=5)
        self.warned = True


class _Graph:
    """One compiled step and all that it was traced from; without a batch, one that cannot be."""

    def __init__(
        self,
        bound: nn.Module,
        batch: tuple[Tensor, ...] | None,
        backend: str | Backend,
        update: AdamUpdate | None = None,
    ) -> None:
        self.kind = None if batch is None else _kind(batch)
        self.modules, self.modes = list(bound.modules()), _modes(bound)
        self.trace = None
        if batch is not None:
            with _unchanged(bound):
                self.trace = Trace(bound, batch)
        self.call: Callable[..., Sequence[Tensor]] | None = None
        self.shared: list[int] | None = None
        self.update: AdamUpdate | None = None
        self.updated: list[Tensor] = []
        if self.trace is not None and batch is not None:
            graph, inputs = self.trace.graph, self.trace.inputs(batch)
            if update is not None:
                self.update, (graph, self.updated) = update, update.extend(self.trace, inputs)
                inputs += update.inputs(self.updated)
            from vaezoo.inductor import compiled  # slow to import

            with torch.no_grad():
                self.call = compiled(graph, inputs, backend)
        leaves, held = ([], []) if self.trace is None else (self.trace.leaves, self.trace.held)
        self.watched = list(_dictionaries(bound, leaves))
        self.lengths = list(map(len, self.watched))
        entries = [(d, name, value) for d in self.watched for name, value in _plain(d)]
        self.entries = list(zip(*entries, strict=True))
        self.held, self.facts = held, _facts(held)

    def is_in_mode(self) -> bool:
        """Whether all modules are in training or evaluation mode as they were."""
        return [*map(_TRAINING, self.modules)] == self.modes

    def is_current(self) -> bool:
        """Whether modules, objective and tensors are those that were traced."""
        # hundreds of looks before every step: maps, because loops take several times as long
        if list(map(len, self.watched)) != self.lengths:
            return False
        dictionaries, names, values = self.entries
        if not all(map(operator.is_, map(dict.get, dictionaries, names), values)):
            return False
        return _facts(self.held) == self.facts

    def run(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The terms of a batch; the loss can be differentiated, or the weights are updated."""
        assert self.trace is not None
        inputs = self.trace.inputs(batch)
        if self.update is None:
            terms = _Step.apply(self, inputs, *self.trace.leaves)
        else:
            assert self.call is not None
            with torch.no_grad():
                terms = self.call(*inputs, *self.update.inputs(self.updated))
        return dict(zip(self.trace.names, terms, strict=True))

    def compute(self, inputs: list[Tensor]) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """The terms, and the gradients, each in memory of its own as optimisers expect."""
        assert self.call is not None
        assert self.trace is not None
        found, terms = list(self.call(*inputs)), len(self.trace.names)
        if self.shared is None:  # decided when the graph was compiled: the same at every call
            self.shared = _shared(found, inputs)
        for i in self.shared:
            found[i] = found[i].clone()
        return tuple(found[:terms]), found[terms:]


def _shared(outputs: list[Tensor], inputs: list[Tensor]) -> list[int]:
    """The outputs that share memory with an input or with an output before them."""
    known, found = {t.untyped_storage().data_ptr() for t in inputs}, []
    for i, t in enumerate(outputs):
        pointer = t.untyped_storage().data_ptr()
        if pointer in known:
            found.append(i)
        known.add(pointer)
    return found


class _Step(torch.autograd.Function):
    """The terms of a step, the first of them with gradients that are known already."""

    @staticmethod
    def forward(ctx: Any, graph: _Graph, inputs: list[Tensor], *_: Tensor) -> tuple[Tensor, ...]:
        terms, ctx.gradients = graph.compute(inputs)
        ctx.mark_non_differentiable(*terms[1:])
        ctx.set_materialize_grads(False)
        return terms

    @staticmethod
    def backward(ctx: Any, outer: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "gradients of a compiled bound cannot be differentiated again (create_graph=True): "
                "use bound.eager"
            )
        if ctx.gradients is None:
            raise RuntimeError(
                "the loss of a compiled bound was differentiated before: use "
                "backward(retain_graph=True), or compute it again"
            )
        gradients: tuple[Tensor, ...] = tuple(ctx.gradients)
        keep = torch._C._autograd._get_current_graph_task_keep_graph()
        if not keep:
            ctx.gradients = None
        if outer is None:
            return None, None, *(None for _ in gradients)
        # on an accelerator, to ask whether it is 1 would wait for the loss
        if keep or outer.device.type != "cpu" or outer.item() != 1:
            gradients = torch._foreach_mul(gradients, outer)
        return None, None, *gradients


@contextlib.contextmanager
def _unchanged(bound: nn.Module) -> Iterator[None]:
    """Refuse a program that sets attributes, which a graph would not, and put them back."""
    watched = list(_dictionaries(bound, []))
    before = [dict(d) for d in watched]
    names: list[str] = []
    try:
        yield
    finally:
        for d, values in zip(watched, before, strict=True):
            changed = {n: v for n, v in values.items() if _differs(v, d.get(n))}
            d.update(changed)
            names += changed
    if names:
        raise RuntimeError(f"the program sets {', '.join(names)}, which a graph would not")


def _differs(before: Any, after: Any) -> bool:
    """Of numbers and tensors; other objects may be made anew to say the same."""
    if isinstance(before, Tensor) or isinstance(after, Tensor):
        return before is not after
    return isinstance(before, int | float | str) and before != after


def _dictionaries(bound: nn.Module, found: list[Tensor]) -> Iterator[dict[Any, Any]]:
    """Where modules and objectives keep what the programs read of them."""
    for m in bound.modules():
        yield vars(m)
        inside: list[Any] = [m._parameters, m._buffers, m._modules]
        hooks = [m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks]
        yield from [*inside, *hooks]
    yield from map(vars, objectives(bound.objective))
    store = pyro.get_param_store()
    if {id(p) for p in store._params.values()} & {id(p) for p in found}:
        yield from (vars(store), store._params)


def _plain(dictionary: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    return ((n, v) for n, v in dictionary.items() if n not in _OF_MODULES)


def _facts(tensors: list[Tensor]) -> tuple[list[Any], list[Any]]:
    return list(map(_FACTS, tensors)), list(map(Tensor.stride, tensors))


def _kind(batch: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """What a graph depends on from outside the bound."""
    return torch.get_default_dtype(), *((t.shape, t.dtype, t.device) for t in batch)


def _modes(bound: nn.Module) -> list[bool]:
    return [*map(_TRAINING, bound.modules())]


def _is_data(t: Any) -> bool:
    return isinstance(t, Tensor) and not t.requires_grad
