"""Distributions and flows in torch: the numerics that priors, posteriors and likelihoods draw on.

They know no part and no program. Each is here because torch's or Pyro's own loses digits, takes
more memory, or does not exist; its docstring says which.

    DiagonalNormal, FullNormal, LowRankNormal    know the noise of their draws (see `noise`)
    NormalMixture                                densities by one matrix product
    AutoregressiveFlow                           of a posterior or a prior
    ContinuousBernoulli, GreyLevels              of grey pixels
    FloatCategorical, NegativeBinomial           of levels and counts
    as_pyro, pyro_class                          distributions of other libraries
    known_mean, known_moments, known_support     of a distribution of any kind
"""

from vaezoo.distributions.adapted import as_pyro, pyro_class
from vaezoo.distributions.autoregressive import AutoregressiveFlow
from vaezoo.distributions.continuous_bernoulli import ContinuousBernoulli
from vaezoo.distributions.diagonal_normal import DiagonalNormal
from vaezoo.distributions.float_categorical import FloatCategorical
from vaezoo.distributions.full_normal import FullNormal
from vaezoo.distributions.grey_levels import GreyLevels
from vaezoo.distributions.kl import kl_to_diagonal
from vaezoo.distributions.known import known_mean, known_moments, known_support
from vaezoo.distributions.low_rank_normal import LowRankNormal
from vaezoo.distributions.negative_binomial import NegativeBinomial
from vaezoo.distributions.normal_mixture import NormalMixture

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
    "as_pyro",
    "kl_to_diagonal",
    "known_mean",
    "known_moments",
    "known_support",
    "pyro_class",
]
