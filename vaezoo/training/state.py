"""All that the steps to come depend on, gathered and put back."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vaezoo.bound import Bound
from vaezoo.programs.outside import besides, outside
from vaezoo.training.averaging import Averages
from vaezoo.training.by_name import names_of, names_of_each, reordered
from vaezoo.training.errors import ResumeError
from vaezoo.training.flags import Modes, flags_of, restore_flags
from vaezoo.training.opened import Opened
from vaezoo.training.rates import Rates
from vaezoo.training.recorder import Recorder
from vaezoo.training.settings import differences, lasting, numbers_of, restore_numbers
from vaezoo.training.step import Step
from vaezoo.training.timed_step import TimedStep
from vaezoo.training.weights import copied, held, parameters_of, put_back

__all__ = ["joined", "load_state_of", "own_part", "state_of"]


class Running(Protocol):
    """Training between two steps."""

    step: Step
    rates: Rates
    recorder: Recorder
    settings: dict[str, Any]
    averages: Averages | None
    modes: Modes

    @property
    def bound(self) -> Bound:
        """What is trained."""


def state_of(training: Running) -> dict[str, Any]:
    """Weights, buffers, optimizer, rates, schedules, history, and what has been compiled."""
    step, scheduler = training.step, training.rates.scheduler
    return {
        "settings": training.settings,
        "weights": held(training.bound.model),
        "flags": flags_of(training.bound.model, training.modes),
        "others": [p.detach() for p in _others(training, sort=True)],
        "optimizer": step.optimizer.state_dict(),
        "trained": _names(training),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "objective": numbers_of(training.bound.objective),
        "records": training.recorder.state_dict(),
        "averages": None if training.averages is None else training.averages.state_dict(),
        "averaged": _averaged(training),
        "compiled": None if step.cache is None else step.cache.state_dict(),
        "timed": step.state_dict() if isinstance(step, TimedStep) else None,
    }


def own_part(state: dict[str, Any]) -> dict[str, Any]:
    """What of a training's state differs between processes that train together."""
    own = {name: state[name] for name in ("settings", "batches", "compiled")}
    return own | {"weights": {"buffers": state["weights"]["buffers"]}}


def joined(state: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The state of rank 0 with the own part of another process.

    Example:
        >>> joined({"weights": {"state": 1, "buffers": 2}}, {"weights": {"buffers": 3}})
        {'weights': {'state': 1, 'buffers': 3}}
    """
    return state | own | {"weights": state["weights"] | own.get("weights", {})}


def load_state_of(training: Running, batches: Opened, state: dict[str, Any]) -> None:
    """Put all of it back, and the data where they were; if one of them fails, nothing.

    Raises:
        ResumeError: it is of a training that was started with other arguments, or that was not the
            one that comes after the history at hand.
    """
    before = copy.deepcopy(state_of(training) | {"batches": batches.state_dict()})
    try:
        _load(training, state)
        batches.load_state_dict(state["batches"])
    except BaseException:
        _load(training, before)
        batches.load_state_dict(before["batches"])
        raise


def _load(training: Running, state: dict[str, Any]) -> None:
    _check(state["settings"], training.settings)
    _check_history(training.recorder, state["records"])
    step, scheduler, now = training.step, training.rates.scheduler, _names(training)
    optimizer = reordered(state["optimizer"], state.get("trained", now), now)
    _put_back(training.bound.model, state["weights"])
    training.modes = restore_flags(training.bound.model, state.get("flags"))
    with torch.no_grad():
        # older files have them in the optimizer's order
        others = _others(training, sort="trained" in state)
        for p, value in zip(others, state["others"], strict=True):
            p.copy_(value)
    step.optimizer.load_state_dict(optimizer)
    if scheduler is not None:
        scheduler.load_state_dict(state["scheduler"])
    restore_numbers(training.bound.objective, state["objective"])
    device = next((p.device for p in training.bound.parameters()), torch.device("cpu"))
    training.recorder.load_state_dict(state["records"], device)
    if training.averages is not None:
        training.averages.load_state_dict(_averages_of(state, _averaged(training)))
    if isinstance(step, TimedStep):
        step.load_state_dict(state.get("timed"))
    if step.cache is not None and state["compiled"] is not None:
        step.cache.load_state_dict(state["compiled"])
    training.recorder.history.compiled = step.ways


def _put_back(model: nn.Module, weights: dict[str, dict[str, Any]]) -> None:
    """Put weights back; where they do not fit, because some came on the way, leave what is."""
    before = copied(model)
    try:
        put_back(model, weights)
    except (RuntimeError, KeyError) as error:
        put_back(model, before)
        strange = weights["state"].keys() ^ model.state_dict().keys()
        by = f", by {', '.join(sorted(strange)[:5])}" if strange else f" ({error})"
        raise ResumeError(
            f"the model of this run was changed on the way{by}: it cannot go on from a "
            "checkpoint; make such changes between two calls of fit, each with a folder of its own"
        ) from error


def _averaged(training: Running) -> list[str]:
    averages = training.averages
    return [] if averages is None else names_of_each(averages.weights, training.bound.model)


def _averages_of(state: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The averages of a state in the order of these names; older ones have them in theirs."""
    averages: dict[str, Any] = state["averages"]
    if "averaged" not in state:
        return averages
    by_name = dict(zip(state["averaged"], averages["averages"], strict=True))
    return averages | {"averages": [by_name[name] for name in names]}


def _check(before: dict[str, Any], now: dict[str, Any]) -> None:
    if before.get("compile") is False and now.get("compile") is None:
        before = before | {"compile": None}  # as it was by default before it could be chosen
    if changed := differences(lasting(before), lasting(now)):
        more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
        raise ResumeError(
            f"this is a run with {'; '.join(changed[:5])}{more}: to go on with it give the "
            "arguments of its start (steps and epochs may change); for another run give another "
            "folder"
        )


def _check_history(recorder: Recorder, records: dict[str, Any]) -> None:
    """A history that a run was given is the one that it began with."""
    given, begun = recorder.history, records["step"] - records["steps"]
    if recorder.steps or not given:
        return
    last, steps = int(given["step"][-1]), records["history"].get("step", torch.empty(0)).tolist()
    if last != begun or steps[: len(given["step"])] != given["step"]:
        raise ResumeError(
            f"history= ends at step {last}, and is not what this run began with, at step {begun}: "
            "to go on with the run leave history= out; to train on after it give another folder"
        )


def _names(training: Running) -> list[list[str]]:
    return names_of(training.step.optimizer, training.bound.model)


def _others(training: Running, *, sort: bool) -> list[Tensor]:
    """What the optimizer trains besides the model's own parameters, sorted as it was noted."""
    trained = parameters_of(training.step.optimizer)
    return list((outside if sort else besides)(training.bound.model, trained).values())
