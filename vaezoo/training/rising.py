"""Whether a loss, as a history has it, rises or has jumped."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["Curve", "curves", "rises"]

LONGEST = 5  # records in a row, each worse than the one before
SUSTAINED = 2  # records in a row after a jump
NOISE = 5.0  # times the median change from one record to the next
LEAST = 0.01  # of the best loss
RECORDS = 200  # that are looked at, so that a look takes no longer in a long training


class Curve:
    """A term of a history as a loss, from some record on.

    Args:
        begun: records before that.
        sign: -1 of a term that is to grow.

    Example:
        >>> curve, column = Curve(0), []
        >>> for i in range(300):
        ...     column.append(float(abs(i - 50)))
        ...     losses = curve.losses(column)
        >>> losses[:3], len(losses)
        ([50.0, 0.0, 50.0], 202)
    """

    def __init__(self, begun: int, sign: float = 1.0) -> None:
        self.begun, self.sign, self.best = begun, sign, math.inf

    def losses(self, values: Sequence[float]) -> list[float]:
        """All of them, or of many the first, the best and the last; to be asked at each record."""
        if len(values) > self.begun:
            self.best = min(self.best, self.sign * values[-1])
        if len(values) - self.begun <= RECORDS:
            return [self.sign * v for v in values[self.begun :]]
        last = (self.sign * v for v in values[-RECORDS:])
        return [self.sign * values[self.begun], self.best, *last]


def curves(begun: int) -> dict[str, Curve]:
    """Those of the terms that are watched."""
    return {"loss": Curve(begun), "bound": Curve(begun, -1.0)}


def rises(losses: Sequence[float]) -> bool:
    """Whether a loss has jumped, or rises and rises.

    It has jumped where the last two are both worse than the best by more than the best was better
    than the first. It rises where five in a row are each worse than the one before. Either way the
    last must be worse than the best by more than five times the median change from one record to
    the next, and by more than a hundredth of the best.

    Example:
        >>> rises([9.0, 5.0, 4.0, 3.9]), rises([9.0, 5.0, 4.0, 3.9, 3.9, 3.8, 12.0, 15.0])
        (False, True)
        >>> rises([4.0, 4.01, 4.0, 3.98, 4.0, 4.1, 4.2, 4.4, 4.8])
        True
    """
    if len(losses) < SUSTAINED + 2:
        return False
    best = min(losses)
    above = [loss - best for loss in losses]
    changes = [abs(b - a) for a, b in pairwise(losses)]
    least = max(LEAST * abs(best), NOISE * statistics.median(changes), 1e-12)
    last = losses[-LONGEST - 1 :]
    climbs = len(last) > LONGEST and all(a < b for a, b in pairwise(last))
    jumped = min(above[-SUSTAINED:]) > max(least, above[0])
    return jumped or (climbs and above[-1] > least)
