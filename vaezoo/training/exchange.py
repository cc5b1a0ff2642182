"""What processes that train together tell one another at each step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from vaezoo.training.alone import EndOfShares
from vaezoo.training.interrupts import StopButton
from vaezoo.training.processes import LENGTH, Group

__all__ = ["Exchange"]


class Exchange:
    """Sums over all processes, the same in each, and whether somebody stops or has no batch left.

    Args:
        group: the processes.

    Attributes:
        stop: pressed, it stops all of them, behind the next sums.
        over: whether all are to stop.
        names: of the terms that some process has had, the same in all.
    """

    def __init__(self, group: Group) -> None:
        self.group, self.stop, self.over = group, StopButton(), False
        self.names = list[str]()

    def sums(self, numbers: Sequence[float] = (), *, ended: bool = False) -> list[float]:
        """The sums of numbers, of which all have as many, but for those who have ended.

        Raises:
            EndOfShares: another process has no more batches.
        """
        first, rest = numbers[: LENGTH - 3], numbers[LENGTH - 3 :]
        ends, stops, *sums = self.group.sum([ended, self.stop.pressed, *first])
        self.stop.pressed |= stops > 0  # a press during the exchange is told in the next one
        self.stop.lost |= 0 < ends < self.group.world.size  # the batches of the others
        self.over = ends > 0 or stops > 0
        if ends and not ended:
            raise EndOfShares
        while rest:
            sums += self.group.sum(rest[: LENGTH - 1])
            rest = rest[LENGTH - 1 :]
        return sums

    def means(self, terms: dict[str, float], rows: int) -> tuple[dict[str, float], float]:
        """The means of terms over the rows of all processes, and how many rows these are.

        A term that some have not is a mean over the rows of the others.

        Args:
            terms: means over the rows of this process, of which one at least is everybody's.
            rows: how many these are.

        Raises:
            EndOfShares: another process has no more batches.
        """
        new, *sums = self.sums([not terms.keys() <= {*self.names}, *self._numbers(terms, rows)])
        if new:
            names = itertools.chain(self.names, *self.group.gather(list(terms)))
            self.names = list(dict.fromkeys(names))
            sums = self.sums(self._numbers(terms, rows))
        counted = zip(self.names, sums[::2], sums[1::2], strict=True)
        return {name: total / n for name, n, total in counted if n}, max(sums[::2])

    def _numbers(self, terms: dict[str, float], rows: int) -> list[float]:
        """For each name of how many rows the process has it, and the sum over them."""
        each = ((rows, rows * terms[n]) if n in terms else (0, 0.0) for n in self.names)
        return list(itertools.chain.from_iterable(each))
