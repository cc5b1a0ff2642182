"""Likelihoods p(x|z) and p(x|z, y): how an observation is drawn from a latent code.

    pixels that are 0 or 1            Bernoulli
    grey pixels in [0, 1]             ContinuousBernoulli
    the 256 levels of a grey pixel    DiscretizedLogistic
    any real numbers                  Normal
    one of K levels or categories     Categorical
    counts                            Poisson, NegativeBinomial

x is a floating-point tensor of the model's dtype in every one of them, levels and counts too.
"""

from vaezoo.likelihoods.base import Likelihood
from vaezoo.likelihoods.bernoulli import Bernoulli
from vaezoo.likelihoods.categorical import Categorical
from vaezoo.likelihoods.continuous_bernoulli import ContinuousBernoulli
from vaezoo.likelihoods.counts import NegativeBinomial, Poisson
from vaezoo.likelihoods.discretized_logistic import DiscretizedLogistic
from vaezoo.likelihoods.normal import Normal

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Likelihood",
    "NegativeBinomial",
    "Normal",
    "Poisson",
]
