"""Whether a traced step does what the program does: both are run on another batch.

A graph repeats what was recorded on one batch. A number that the program took out of a tensor, or
from a counter, a clock or a generator that is not torch's, is a constant of it, whatever the next
batch brings. So before a graph is trusted, it and the program are run on batches that it has not
seen, from the same weights and with the same noise. Terms, gradients, and what is written into
tensors must agree, and the program must leave Python's objects as it found them. Nothing of these
runs stays: weights, random numbers and objects come back.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor

from vaezoo.autograd import gradients
from vaezoo.compiler.libraries import is_in_a_library
from vaezoo.compiler.names import asked_by, names_in
from vaezoo.compiler.places import hook_tables
from vaezoo.compiler.state import State
from vaezoo.compiler.tracing import Traceable, TracedStep
from vaezoo.cpu import give_back
from vaezoo.objectives.schedules import Schedule
from vaezoo.programs.writes import Writes
from vaezoo.scopes import own_generator, validation

__all__ = ["altered", "tried"]

SEED = 1_812_433  # of the noise of a trial: not one that a program is likely to set itself
SMALL = 1e-3  # of the largest gradient: how large smaller ones are taken to be when compared
Batch = tuple[Tensor, ...]


class _Outcome(NamedTuple):
    terms: list[Tensor]
    gradients: list[Tensor]
    written: dict[Any, Tensor]
    generators: list[Tensor]


def tried(
    bound: Traceable, batch: Batch, others: Iterable[Batch], *, without: Iterable[Any] = ()
) -> tuple[TracedStep, frozenset[str]]:
    """A bound's step, traced on a batch and compared with the program on others.

    Args:
        bound: what is traced.
        batch: to trace with.
        others: batches of the same shapes; one that the program refuses is passed over.
        without: objects that may change.

    Returns:
        The step, and the names of attributes and globals in the code that is not a library's.

    Raises:
        RuntimeError: the graph does not do what the program does; the message says why.
    """
    with _effects_refused(bound):
        state = State({"bound": bound, "params": pyro.get_param_store()}, without=without)
        if state.of_kind(torch.jit.ScriptModule):
            raise RuntimeError("what a module of torch.jit holds cannot be watched")
        try:
            give_back()  # each run of a step would need more memory if that of the last were kept
            traced = TracedStep(bound, batch, state.of_kind(Schedule))
            _check(state)
            names = [_try(traced, bound, other, state) for other in others]
            if not any(n is not None for n in names):
                names.append(_try(traced, bound, batch, state))
        finally:
            state.restore()
    asked = asked_by(state.of_kind(operator.attrgetter))
    return traced, asked.union(*(n for n in names if n is not None))


def _try(traced: TracedStep, bound: Traceable, batch: Batch, state: State) -> frozenset[str] | None:
    """The names in the code that has run; None if the program does not take the batch."""

    @traced.scheduled.given(traced.scheduled.values())  # which are read anew at each step
    def program() -> tuple[Iterable[Tensor], Iterable[Tensor]]:
        terms = bound.eager(*batch)
        by_leaf = gradients(terms.get("loss"), retain_graph=True)
        return [terms[name] for name in traced.names], [g for _, g in by_leaf]

    def graph() -> tuple[Iterable[Tensor], Iterable[Tensor]]:
        with torch.no_grad():
            outputs = traced.graph(*traced.inputs(batch))
        return outputs[: len(traced.names)], outputs[len(traced.names) :]

    with _own_code() as codes:
        try:
            expected = _outcome(program)
        except Exception:  # an altered batch need not be one that the program takes
            return None
        finally:
            _check(state)
    where = _disagreement(traced.names, expected, _outcome(graph))
    if where:
        raise RuntimeError(f"on another batch the graph and the program differ in {where}")
    # and of the code itself: `forward` and `__call__` are looked up by no name in it
    return frozenset(code.co_name for code in codes).union(*map(names_in, codes))


def _check(state: State) -> None:
    changed = state.changes()
    state.restore()
    if changed:
        raise RuntimeError(
            f"the program changes {', '.join(changed[:5])} as it runs, which a graph would not"
        )


def _outcome(step: Callable[[], tuple[Iterable[Tensor], Iterable[Tensor]]]) -> _Outcome:
    give_back()
    with own_generator(SEED), validation(False), Writes() as writes:
        terms, each = ([t.detach().clone() for t in tensors] for tensors in step())
        generators = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
        return _Outcome(terms, each, writes.now(), generators)


def _disagreement(names: list[str], a: _Outcome, b: _Outcome) -> str:
    """What differs by more than rounding does; "" if all agrees."""
    for name, s, t in zip(names, a.terms, b.terms, strict=True):
        if not _are_close(s, t, 1.0):
            return f"{name} ({t.item():.5g} for {s.item():.5g})"
    if [g.shape for g in a.gradients] != [g.shape for g in b.gradients]:
        return "what the loss depends on"
    largest = max((_size(g) for g in a.gradients), default=0.0)
    if not all(
        _are_close(s, t, SMALL * largest) for s, t in zip(a.gradients, b.gradients, strict=True)
    ):
        return "its gradients"
    if a.written.keys() != b.written.keys() or not all(
        _are_close(t, b.written[place], 1.0) for place, t in a.written.items()
    ):
        return "what is written into tensors"
    if not all(map(torch.equal, a.generators, b.generators)):
        return "which random numbers come next"
    return ""


def _size(t: Tensor) -> float:
    finite = t[t.isfinite()]
    return finite.abs().max().item() if finite.numel() else 0.0


def _are_close(a: Tensor, b: Tensor, unit: float) -> bool:
    """Whether they agree to half the digits of a's largest number, or of `unit` if larger."""
    if not a.dtype.is_floating_point:
        return torch.equal(a, b)
    digits = torch.finfo(a.dtype).eps ** 0.5
    tolerance = digits * max(_size(a), unit)
    return torch.allclose(a, b, rtol=0.0, atol=tolerance, equal_nan=True)


def altered(batch: Batch) -> Batch:
    """Another batch of the same shapes, of numbers like those of a batch.

    Example:
        >>> altered((torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([2, 0, 1])))
        (tensor([[0., 1.],
                [1., 0.]]), tensor([2, 2, 1]))
    """
    return tuple(map(_altered, batch))


def _altered(t: Tensor) -> Tensor:
    """The larger of each number and the one before it; another constant in place of one."""
    if not t.numel() or t.dtype == torch.bool or t.is_complex():
        return t.clone()
    larger = torch.maximum(t.flatten(), t.flatten().roll(1)).reshape(t.shape)
    if t.is_floating_point() and torch.equal(larger, t):
        return 1 - t if ((t >= 0) & (t <= 1)).all() else t + 1
    return larger


@contextlib.contextmanager
def _own_code() -> Iterator[set[types.CodeType]]:
    """The code that runs within it, but for that of libraries."""
    codes: set[types.CodeType] = set()

    def note(frame: types.FrameType, event: str, _: Any) -> None:
        if event == "call":
            codes.add(frame.f_code)

    # a profiler that is at work would be turned off, and so would a debugger
    free = [
        s for g, s in ((sys.getprofile, sys.setprofile), (sys.gettrace, sys.settrace)) if not g()
    ]
    if not free:
        raise RuntimeError("a profiler and a debugger hide what the program looks up")
    free[0](note)
    try:
        yield codes
    finally:
        free[0](None)
        codes -= set(filter(is_in_a_library, codes))


@contextlib.contextmanager
def _effects_refused(bound: Traceable) -> Iterator[None]:
    """Within it a hook that returns nothing raises: it is there for what else it does."""
    before = [(table, dict(table)) for table in hook_tables(bound.modules()) if table]
    for table, entries in before:
        table.update({key: functools.partial(_call, hook) for key, hook in entries.items()})
    try:
        yield
    finally:
        for table, entries in before:
            table.update(entries)


def _call(hook: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    result = hook(*args, **kwargs)
    if result is None:
        name = getattr(hook, "__qualname__", type(hook).__name__)
        raise RuntimeError(f"the hook {name} returns nothing, and a graph would not run it")
    return result
