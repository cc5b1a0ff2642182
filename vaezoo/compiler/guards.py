"""Whether what a step was traced from is still as it was."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from vaezoo.compiler.places import hook_tables
from vaezoo.compiler.state import State
from vaezoo.compiler.tracing import Traceable, TracedStep
from vaezoo.objectives.schedules import parts_in

__all__ = ["Guards", "batch_key", "modes_of"]

_OF_MODULES = vars(nn.Module()).keys()
_TRAINING = operator.attrgetter("training")
_LAYOUT = operator.attrgetter("shape", "dtype", "device")
_FACTS = operator.attrgetter("requires_grad", "dtype", "shape", "device")


class Guards:
    """What a step was made from: modules, objective, hooks, tensors, what the programs look up.

    Args:
        bound: whose modules and objective they are.
        traced: a step of it, if it could be traced.
        names: that the programs' own code looks up, as `trials.tried` found them.
        without: objects that may change.
    """

    def __init__(
        self,
        bound: Traceable,
        traced: TracedStep | None = None,
        names: frozenset[str] = frozenset(),
        without: Iterable[Any] = (),
    ) -> None:
        programs = [getattr(bound.model, name, None) for name in ("model", "guide")]
        hooks = [hook for table in hook_tables(bound.modules()) for hook in table.values()]
        roots = [*bound.modules(), *programs, *hooks, *parts_in(bound.objective)]
        self.state = State({str(i): o for i, o in enumerate(roots)}, without=without, only=names)
        self.modules = list(dict.fromkeys([*bound.modules(), *self.state.modules()]))
        self.modes = modes_of(self.modules)
        leaves, self.held = ([], []) if traced is None else (traced.leaves, traced.held)
        # what torch.jit has made has none
        self.watched = [
            d for d in _dictionaries(bound, self.modules, leaves) if isinstance(d, dict)
        ]
        self.lengths = list(map(len, self.watched))
        entries = [(d, name, value) for d in self.watched for name, value in _entries(d)]
        self.entries = list(zip(*entries, strict=True))
        self.facts = _facts(self.held)

    def modes_hold(self) -> bool:
        """Whether each module is in the mode, of training or of evaluation, that it was in."""
        return modes_of(self.modules) == self.modes

    def hold(self) -> bool:
        """Whether modules, objective and tensors are those that were traced."""
        # hundreds of comparisons before every step: `map` is several times faster than a loop
        if list(map(len, self.watched)) != self.lengths:
            return False
        dictionaries, names, values = self.entries
        now = [*map(dict.get, dictionaries, names)]
        if not all(map(operator.is_, now, values)) and not all(map(_are_same, now, values)):
            return False
        return _facts(self.held) == self.facts and self.state.is_current()


def batch_key(batch: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """What a compiled step depends on from outside the bound: the same for batches it serves."""
    return torch.get_default_dtype(), *map(_LAYOUT, batch)


def modes_of(modules: Iterable[nn.Module]) -> list[bool]:
    """Whether each is in training mode."""
    return [*map(_TRAINING, modules)]


def _dictionaries(
    bound: Traceable, modules: Iterable[nn.Module], leaves: list[Tensor]
) -> Iterator[dict[Any, Any]]:
    """Where modules and objectives keep what the programs read of them."""
    for m in modules:
        yield vars(m)
        yield from (m._parameters, m._buffers, m._modules)
    yield from hook_tables(modules)
    yield from (vars(part) for part in parts_in(bound.objective) if hasattr(part, "__dict__"))
    store = pyro.get_param_store()
    if {id(p) for p in store._params.values()} & {id(p) for p in leaves}:
        yield from (vars(store), store._params)


def _entries(dictionary: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Those to watch: what torch itself sets on a module is watched by other means."""
    return ((n, v) for n, v in dictionary.items() if n not in _OF_MODULES)


def _are_same(now: object, then: object) -> bool:
    """Whether they are one object, or equal numbers, of which a new one is set now and then."""
    kinds = type(now), type(then)
    return now is then or (kinds in ((int, int), (float, float)) and now == then)


def _facts(tensors: list[Tensor]) -> tuple[list[Any], list[Any]]:
    return list(map(_FACTS, tensors)), list(map(Tensor.stride, tensors))
