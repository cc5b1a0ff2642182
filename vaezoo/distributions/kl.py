"""The KL from a Normal of any covariance to a diagonal one, which torch does not know."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import kl

from vaezoo.distributions.full_normal import FullNormal
from vaezoo.distributions.low_rank_normal import LowRankNormal
from vaezoo.distributions.noise import LOG_2_PI

__all__ = ["kl_to_diagonal"]


def kl_to_diagonal(q: dist.TorchDistribution, p: dist.Independent) -> Tensor:
    """KL(q ‖ p) = -H(q) - E_q[log p]."""
    if not isinstance(p.base_dist, dist.Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    loc, scale = p.base_dist.loc, p.base_dist.scale
    cross = (q.variance + (q.mean - loc).square()) / scale.square() + 2 * scale.log()
    return 0.5 * (cross.sum(-1) + q.event_shape[0] * LOG_2_PI) - q.entropy()


# of types of our own, so that the KL is not registered for all of torch
for _kind in (FullNormal, LowRankNormal):
    kl.register_kl(_kind, dist.Independent)(kl_to_diagonal)
