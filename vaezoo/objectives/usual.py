"""The objective of a pair, or of a member that has none of its own, where none is named."""

from __future__ import annotations

from typing import Any

from vaezoo.data.semi_streamed import SemiSupervisedStream
from vaezoo.data.semi_supervised import SemiSupervisedBatches
from vaezoo.objectives.base import Objective
from vaezoo.objectives.elbo import ELBO
from vaezoo.objectives.schedules import Schedule
from vaezoo.objectives.semi_supervised import SemiSupervised

__all__ = ["usual_objective"]


def usual_objective(pair: Any, data: Any = None, *, beta: float | Schedule = 1.0) -> Objective:
    """`SemiSupervised` for a pair that classifies, `ELBO` for any other.

    `bound.default_objective` asks a member first, and a member may ask this.

    Args:
        pair: a module with programs `model` and `guide`.
        data: what it is trained on; where these are semi-supervised batches, the labelled
            fraction is theirs.
        beta: weight of the KL in the ELBO.

    Example:
        >>> from vaezoo.models import SSVAE, VAE
        >>> usual_objective(VAE(), beta=4), usual_objective(SSVAE()).objective
        (ELBO(beta=4, particles=1), ELBO(beta=1, particles=1))
    """
    if not hasattr(pair, "classify"):
        return ELBO(beta)
    if isinstance(data, SemiSupervisedBatches | SemiSupervisedStream):
        return SemiSupervised(labelled_fraction=data.labelled_fraction)
    return SemiSupervised()
