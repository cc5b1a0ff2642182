"""Distributions in plain torch: the numerics that priors, posteriors and likelihoods draw on.

They know no part and no program. Each is made from parameters of any leading shape.
"""

from vaezoo.distributions.autoregressive import AutoregressiveFlow
from vaezoo.distributions.continuous_bernoulli import ContinuousBernoulli
from vaezoo.distributions.float_categorical import FloatCategorical
from vaezoo.distributions.grey_levels import GreyLevels
from vaezoo.distributions.low_rank_normal import LowRankNormal
from vaezoo.distributions.negative_binomial import NegativeBinomial
from vaezoo.distributions.noise import full_precision
from vaezoo.distributions.normal_mixture import NormalMixture
from vaezoo.distributions.normals import DiagonalNormal, FullNormal

__all__ = [
    "AutoregressiveFlow",
    "ContinuousBernoulli",
    "DiagonalNormal",
    "FloatCategorical",
    "FullNormal",
    "GreyLevels",
    "LowRankNormal",
    "NegativeBinomial",
    "NormalMixture",
    "full_precision",
]
