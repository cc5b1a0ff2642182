"""Whether a loss, as a history has it, rises or has jumped."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["rises"]

LONGEST = 5  # records in a row, each worse than the one before
SUSTAINED = 2  # records in a row after a jump
NOISE = 5.0  # times the median change from one record to the next
LEAST = 0.01  # of the best loss


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
