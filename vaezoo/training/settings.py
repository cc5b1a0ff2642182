"""What a run was started with, in values that a later start can be compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pyro import infer
from torch import Tensor, nn
from torch.optim import Optimizer

from vaezoo.arguments import without_addresses
from vaezoo.data import Images, Moved, Moves
from vaezoo.data.semi_streamed import SemiSupervisedStream
from vaezoo.data.semi_supervised import SemiSupervisedBatches
from vaezoo.objectives import Consistency, Schedule

__all__ = ["check_same", "differences", "lasting", "numbers_of", "restore_numbers", "settings_of"]

Plain = bool | int | float | str | None

LAYER = "layer"

# what torch's schedulers change as they go, beside the rates
_MOVING = {"last_epoch", "_step_count", "_last_lr", "_is_initial", "_get_lr_called_within_step"}
_MOVING |= {"best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i"}


def settings_of(
    model: nn.Module, objective: Any, optimizer: Optimizer, scheduler: Any, **others: Any
) -> dict[str, Plain]:
    """What a run is, by name: its model's parts and shapes, objective, optimizer and the rest.

    Args:
        model, objective, optimizer, scheduler: as they are before the first step.
        others: arguments, with data among them.

    Example:
        >>> from torch.optim import SGD
        >>> linear = nn.Linear(2, 1)
        >>> found = settings_of(linear, infer.Trace_ELBO(), SGD(linear.parameters(), 0.1), None)
        >>> found["model.weight"], found["optimizer"], found["optimizer.lr"]
        ('1×2 float32, trained', 'SGD', 0.1)
    """
    settings: dict[str, Plain] = {"model": without_addresses(f"{type(model).__name__}: {model!r}")}
    settings |= {f"model.{n}": _layout(t) for n, t in model.state_dict(keep_vars=True).items()}
    settings |= {f"{LAYER} {n}": _layer(m) for n, m in model.named_modules() if n}
    settings["objective"] = type(objective).__name__
    settings |= numbers_of(objective)
    settings["optimizer"] = type(optimizer).__name__
    groups = optimizer.param_groups
    for i, group in enumerate(groups):
        place = "optimizer" if len(groups) == 1 else f"optimizer.{i}"
        settings |= _plain(place, {n: v for n, v in group.items() if n != "params"})
        settings[f"{place}.params"] = len(group["params"])
    settings["scheduler"] = None if scheduler is None else type(scheduler).__name__
    settings |= _plain("scheduler", {} if scheduler is None else vars(scheduler))
    return settings | {n: _described(v) for n, v in others.items()}


def lasting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those that training leaves as they are, of objects that it may have used before.

    Rates are those from before a scheduler, where it has noted them.

    Example:
        >>> lasting({"objective.beta.taken": 6, "optimizer.lr": 0.1, "optimizer.initial_lr": 0.3})
        {'optimizer.lr': 0.3}
    """
    lasting = {}
    for path, value in settings.items():
        owner, _, name = path.rpartition(".")
        kind = path.partition(".")[0]
        moves = kind == "objective" and name == "taken"
        moves |= kind == "scheduler" and name in _MOVING
        if kind == "optimizer":
            value = settings.get(f"{owner}.initial_lr", value) if name == "lr" else value
            moves = name in _moved_by_scheduler(settings, owner)
        if not moves:
            lasting[path] = value
    return lasting


def _moved_by_scheduler(settings: Mapping[str, Any], group: str) -> set[str]:
    """What a scheduler changes in a group of the optimizer, and what it notes of the start."""
    moved = {"initial_lr"}
    if settings.get("scheduler.cycle_momentum"):
        moved |= {"momentum", "betas"}
    if "scheduler.num_bad_epochs" in settings and f"{group}.initial_lr" not in settings:
        moved.add("lr")  # ReduceLROnPlateau does not note where it began
    return moved


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where two starts differ, in words.

    Example:
        >>> differences({"batch_size": 100}, {"batch_size": 50})
        ['batch_size=100, got 50']
    """
    names = [*before, *(n for n in now if n not in before)]
    if not any(n.startswith(LAYER) for n in before):  # an older checkpoint knows of none
        names = [n for n in names if not n.startswith(LAYER)]
    changed = [n for n in names if before.get(n, "none") != now.get(n, "none")]
    return [f"{n}={before.get(n, 'none')}, got {now.get(n, 'none')}" for n in changed]


def check_same(by_rank: Sequence[Mapping[str, Any]]) -> None:
    """Refuse arguments that processes which train together were given otherwise.

    Raises:
        ValueError: they differ; the message says which.

    Example:
        >>> check_same([{"lr": 0.1}, {"lr": 0.2}])
        Traceback (most recent call last):
        ...
        ValueError: all processes must be given the same arguments: on rank 0 lr=0.1, got 0.2 on \
rank 1
    """
    for rank, arguments in enumerate(by_rank):
        if changed := differences(by_rank[0], arguments):
            raise ValueError(
                f"all processes must be given the same arguments: on rank 0 {'; '.join(changed)} "
                f"on rank {rank}"
            )


def numbers_of(objective: Any) -> dict[str, Plain]:
    """The numbers and texts of an objective, and of what it holds: objectives, schedules, moves.

    Example:
        >>> from vaezoo.objectives import ELBO, WarmUp
        >>> numbers_of(ELBO(WarmUp(10)))["objective.beta.taken"]
        0
    """
    found = _numbers(objective, "objective")
    return {path: getattr(owner, name) for path, owner, name in found}


def restore_numbers(objective: Any, numbers: Mapping[str, Plain]) -> None:
    """Set them again, where they differ."""
    for path, owner, name in list(_numbers(objective, "objective")):
        if path in numbers and getattr(owner, name) != numbers[path]:
            setattr(owner, name, numbers[path])


def _numbers(owner: Any, where: str) -> Iterator[tuple[str, Any, str]]:
    for name, value in vars(owner).items():
        path = f"{where}.{name}"
        if isinstance(value, Plain):
            yield path, owner, name
        elif isinstance(value, infer.elbo.ELBO | Schedule | Consistency | Moves):
            yield from _numbers(value, path)


def _described(value: Any) -> Plain:
    """What an argument is, as far as a later start can tell: of data their kind and length."""
    if isinstance(value, Plain):
        return value
    if isinstance(value, Images | SemiSupervisedBatches | SemiSupervisedStream):
        return " ".join(map(repr, (value, *_moves(value))))
    kind = type(value).__name__
    try:
        return f"a {kind} of {len(value)}"
    except TypeError:  # also of a loader that has a length only where its data have one
        return f"a {kind}"


def _moves(value: Images | SemiSupervisedBatches | SemiSupervisedStream) -> list[Moves]:
    """How far images are moved, which their text does not say."""
    parts = [value] if isinstance(value, Images) else [value.unlabelled, value.labelled]
    found = []
    while parts:
        part = parts.pop(0)
        found += [part.moves] if isinstance(part, Moved) else []
        if isinstance(inside := getattr(part, "images", None), Images):  # moved twice, or a share
            parts.insert(0, inside)
    return found


def _layer(module: nn.Module) -> str:
    """A class and what torch prints of its options, such as the probability of a dropout."""
    return f"{type(module).__name__}({without_addresses(module.extra_repr())})"


def _layout(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    trained = ", trained" if value.requires_grad else ""
    shape = "×".join(map(str, value.shape)) or "one"
    return f"{shape} {str(value.dtype).removeprefix('torch.')}{trained}"


def _plain(where: str, values: Mapping[str, Any]) -> dict[str, Plain]:
    """Those that are numbers or texts, in lists and tuples too."""
    found: dict[str, Plain] = {}
    for name, value in values.items():
        value = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
        if isinstance(value, tuple | list) and all(isinstance(v, Plain) for v in value):
            value = str(list(value))
        if isinstance(value, Plain):
            found[f"{where}.{name}"] = value
    return found
