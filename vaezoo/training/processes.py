"""Several processes: which of them this is, and how they speak to one another.

Each step of a training in several processes has one small exchange of numbers beside the gradients:
terms, whether all have a batch, and whether one was told to stop or has failed. It goes over a
group of its own, on the CPU, so that whoever fails knows where the others are and can tell them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

__all__ = [
    "LENGTH",
    "Group",
    "RankFailed",
    "World",
    "alone",
    "forgotten",
    "is_alone",
    "launched",
    "world",
]

LENGTH = 32  # numbers of an exchange, the first of which says that a process has failed

PAUSE = 0.1  # seconds before a group is left

# what gloo and NCCL say where a connection has ended
_GONE = ("by peer", "Broken pipe", "remote process exited")

_alone: ContextVar[bool] = ContextVar("alone", default=False)


class World(NamedTuple):
    """The rank of a process, from 0, and how many there are."""

    rank: int = 0
    size: int = 1


class RankFailed(RuntimeError):
    """Another process failed; the message is its rank and reason."""


def world() -> World:
    """The place of this process in torch's process group; rank 0 of 1 where there is none.

    Example:
        >>> world()
        World(rank=0, size=1)
    """
    if dist.is_available() and dist.is_initialized():
        return World(dist.get_rank(), dist.get_world_size())
    return World()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within it `fit` and `evaluate` work by themselves, whatever processes are beside this one.

    Example:
        >>> with alone():
        ...     is_alone()
        True
    """
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def is_alone() -> bool:
    """Whether there is no other process, or none to work with."""
    return _alone.get() or world().size == 1


def forgotten() -> int:
    """How many processes `torchrun` started, if nobody has made a group of them; otherwise 0."""
    if _alone.get() or not dist.is_available() or dist.is_initialized():
        return 0
    size = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    return size if size > 1 else 0


@contextlib.contextmanager
def launched() -> Iterator[World]:
    """Within it, processes that `torchrun` started are a group; any other process is alone.

    The group is made with gloo, and with nccl for tensors on GPUs, of which each process takes the
    one of its local rank.

    Example:
        >>> with launched() as here:
        ...     here.rank
        0
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or dist.is_initialized():
        yield world()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield world()
    finally:
        dist.destroy_process_group()


class Group:
    """All processes, for the time of one training or evaluation.

    Attributes:
        world: this process's place.
        busy: whether it is inside an exchange: then nobody waits for it where it would fail.
    """

    def __init__(self) -> None:
        self.world, self.busy = world(), False
        self.control: Any = dist.new_group(backend="gloo")
        self.gradients: Any = self.control
        self._store = self.control.get_group_store()

    def use_for_gradients(self, device: torch.device) -> None:
        """Make another group for gradients that are not on the CPU."""
        if device.type != "cpu":
            with self.exchanging():
                self.gradients = dist.new_group()

    def sum(self, numbers: Sequence[float] = (), *, failed: bool = False) -> list[float]:
        """The sums over all processes, exactly the same in each.

        Raises:
            RankFailed: a process has failed.
        """
        if len(numbers) >= LENGTH:
            raise ValueError(f"at most {LENGTH - 1} numbers are exchanged, got {len(numbers)}")
        padding = [0.0] * (LENGTH - 1 - len(numbers))
        vector = torch.tensor(
            [float(failed), *numbers, *padding], dtype=torch.float64, device="cpu"
        )
        with self.exchanging():
            dist.all_reduce(vector, group=self.control)
        failures, *sums = vector.tolist()
        if failures:
            raise RankFailed(self._reason() or "a process failed")
        return sums[: len(numbers)]

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        self.sum()  # all have come as far as this
        values: list[Any] = [None] * self.world.size
        with self.exchanging():
            dist.all_gather_object(values, value, group=self.control)
        return values

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0."""
        self.sum()
        values = [value]
        with self.exchanging():
            dist.broadcast_object_list(values, group=self.control)
        return values[0]

    @contextlib.contextmanager
    def exchanging(self) -> Iterator[None]:
        """Around an exchange; where it ends because a process has, its reason is told."""
        self.busy = True
        try:
            yield
        except RuntimeError as error:
            reason = self._reason()
            if reason is None and any(words in str(error) for words in _GONE):
                reason = "a process ended without a word, as one does that is killed"
            if reason is not None:
                raise RankFailed(reason) from error
            raise
        self.busy = False

    def fail(self, error: BaseException) -> None:
        """Tell the others why this process fails, so that they do not wait for it."""
        if isinstance(error, RankFailed):
            return
        with contextlib.suppress(Exception):
            reason = f"rank {self.world.rank}: {type(error).__name__}: {error}"
            self._store.set(f"failed {self.world.rank}", reason)
            if not self.busy:
                self.sum(failed=True)

    def close(self) -> None:
        """Leave the group; whoever still waits for this process sees that it is gone."""
        groups = {id(g): g for g in (self.control, self.gradients)}
        self.control = self.gradients = None
        # a group's own thread lets go of what was exchanged last, and needs the interpreter for it:
        # DistributedDataParallel, where it ends the group, waits for that thread and lets nobody in
        time.sleep(PAUSE)
        for group in groups.values():
            with contextlib.suppress(Exception):
                dist.destroy_process_group(group)

    def _reason(self) -> str | None:
        """Why the first process failed that said so."""
        with contextlib.suppress(Exception):  # whoever keeps the store may be gone
            for rank in range(self.world.size):
                if self._store.check([f"failed {rank}"]):
                    return str(self._store.get(f"failed {rank}").decode())
        return None
