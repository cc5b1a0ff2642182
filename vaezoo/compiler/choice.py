"""Whether compiling pays: chosen while eager steps are timed.

Compiled, a step takes about half the time; compiling takes as long as some thousand steps. So steps
run eagerly until it is known how long they take, and then another process compiles if that saves
more, in the steps that are left when it is done, than it takes from those beside it. A graph that
is on disk costs little but tracing. Where nobody knows how many steps are left, compiling begins
when it would have paid for those so far: whatever is to come, all of it then takes less than twice
what the better of both would have taken ("ski rental").

Times are the processor's for this thread, and the cost of compiling is in units of small operations
that are timed here: a machine that is slow, or busy with something else, is so for all three.

References:
    Karlin, Manasse, Rudolph, Sleator. Competitive Snoopy Caching. 1988. Algorithmica 3.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from typing import Any

import torch
from torch import nn

from vaezoo.arguments import without_addresses
from vaezoo.compiler import kept

__all__ = ["Choice", "can_choose", "cost", "described", "has_compiler", "pays", "share"]

SAVED = 0.3  # of the time of an eager step, with caution
# of the time of a compilation, what it costs the steps beside it, with a processor to spare or
# without, and what it costs to load a graph from disk
SPARE, SHARED, KEPT = 0.1, 0.5, 0.06
# on one number, that take as long as compiling: at least, and more for each node of the loss
OPERATIONS = 2.2e6, 2.5e4
WARM, STEPS, SECONDS = 1, 20, 1.0  # steps that are not timed, and how many are, or for how long


def pays(step: float, left: float | None, spent: float, cost: float, wait: float = 0.0) -> bool:
    """Whether compiling saves more than it costs.

    Args:
        step: seconds of an eager step.
        left: how many steps there are to come; None where nobody knows.
        spent: seconds of all eager steps so far.
        cost: seconds that compiling costs.
        wait: seconds until compiled steps are there.

    Example:
        >>> pays(0.003, 10_000, 0.1, cost=6.0), pays(0.003, 1_000, 0.1, cost=6.0)
        (True, False)
        >>> pays(0.003, 10_000, 0.1, cost=6.0, wait=20.0)
        False
        >>> pays(0.003, None, 21.0, cost=6.0), pays(0.003, None, 19.0, cost=6.0)
        (True, False)
    """
    return SAVED * (spent if left is None else step * left - wait) > cost


def cost(size: int) -> float:
    """Seconds that compiling takes on this machine, about.

    Args:
        size: nodes of the loss's autograd graph; 0 where there are no gradients.
    """
    number, times = torch.zeros(1, device="cpu"), []
    for _ in range(10):
        started = time.perf_counter()
        for _ in range(300):
            number = number + 1
        times.append(time.perf_counter() - started)
    least, for_a_node = OPERATIONS
    return (least + for_a_node * size) / 300 * min(times)


def share() -> float:
    """What a compilation costs the steps beside it, as a share of its time."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return SPARE if (cores or 1) > torch.get_num_threads() else SHARED


def has_compiler() -> bool:
    """Whether there is a C++ compiler where torch looks for one; it finds out late itself."""
    import torch._inductor.config

    return any(map(shutil.which, filter(None, torch._inductor.config.cpp.cxx)))


def can_choose(model: nn.Module) -> bool:
    """Whether a model is on a CPU, where it was measured what compiling saves.

    Under `python -O` nothing is compiled.
    """
    return __debug__ and all(p.device.type == "cpu" for p in model.parameters())


def described(module: nn.Module, *more: object) -> str:
    """A text that is the same for modules of the same sizes, as far as they can be seen."""
    sizes = [(name, tuple(t.shape), t.dtype) for name, t in module.state_dict().items()]
    return without_addresses(repr((module, sizes, more)))


class Choice:
    """Whether steps of one kind run compiled.

    Args:
        warm: steps that are not timed, eager ones first and then compiled ones.
        about: what they are steps of, by which it is noted that graphs of it are on disk.

    Attributes:
        compiles: whether the next step is to be a compiled one.
        settled: whether that is so for good.
        reason: why steps run eagerly though compiling would have paid.
        eager: seconds of an eager step, once it is to be beaten.
        compiled: those of a compiled step that has not, while eager ones are timed once more.
        steps: how many there were.
        size: nodes of the loss's autograd graph.
        span: the first compiled step, and the one after which they were given up; 0 for none.

    Example:
        >>> choice = Choice()
        >>> for step in range(22):
        ...     choice.add(step, 1.0, left=10**9)
        >>> choice.compiles, choice.settled
        (True, False)
    """

    def __init__(self, warm: int = WARM, about: str = "") -> None:
        self.compiles = self.settled = False
        self.reason, self.span = "", (0, 0)
        self.eager, self.compiled, self.steps, self.size = 0.0, 0.0, 0, 0
        self._warm, self._times, self._spent, self._cost = warm, list[float](), 0.0, 0.0
        self._kept = bool(about) and kept.is_noted(about)

    def __str__(self) -> str:
        """How steps run, in a few words."""
        first, last = self.span
        why = f": {self.reason}" if self.reason else ""
        return (f"from step {first}" + (f" to {last}" if last else "") if first else "eager") + why

    def add(self, step: int, seconds: float, left: float | None, *, compiled: bool = False) -> None:
        """Note what a step took, and choose where enough is known.

        Args:
            step: its number.
            seconds: that it took.
            left: how many steps of the kind there are to come; None where nobody knows.
            compiled: whether it was a compiled one.
        """
        self.steps += 1
        if compiled and not self.span[0]:
            self.span = step, 0
        if self.settled or compiled is not self.compiles:
            return
        self._spent += seconds
        if self._warm:
            self._warm -= 1
            return
        self._times = [*self._times[-STEPS + 1 :], seconds]
        if len(self._times) == STEPS or sum(self._times) >= SECONDS:
            self._choose(step, statistics.median(self._times), left)

    def _choose(self, step: int, seconds: float, left: float | None) -> None:
        if self.compiles or self.compiled:
            self._compare(step, seconds)
            return
        self._cost = self._cost or cost(self.size)
        costs, wait = (KEPT, 0.0) if self._kept else (share(), 1.0)
        if not pays(seconds, left, self._spent, costs * self._cost, wait * self._cost):
            self.settled = left is not None
        elif not has_compiler():
            self.refuse(step, "no C++ compiler was found")
        else:
            self.eager = seconds
            self._turn(compiles=True)

    def _compare(self, step: int, seconds: float) -> None:
        """Compiled steps that took as long are held against eager ones of the same time.

        Those before them may have found the machine quieter.
        """
        if self.compiles and seconds >= self.eager:
            self.compiled, self.span = seconds, (self.span[0], step)
            self._turn(compiles=False)
        elif self.compiled and seconds <= self.compiled:
            self.refuse(step, "compiled steps took as long")
        else:
            self.compiles, self.settled, self.span = True, True, (self.span[0], 0)

    def _turn(self, *, compiles: bool) -> None:
        self.compiles, self._warm, self._times = compiles, WARM, []

    def refuse(self, step: int, reason: str) -> None:
        """Run eagerly from here on."""
        self.compiles, self.settled, self.reason = False, True, reason
        if self.span[0] and not self.span[1]:
            self.span = self.span[0], step

    def state_dict(self) -> dict[str, Any]:
        """What was chosen; times are not, as they belong to a machine."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        vars(self).update(state)
