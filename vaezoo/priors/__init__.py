"""Priors p(z): what a latent code looks like before any image is seen."""

from vaezoo.priors.base import Prior
from vaezoo.priors.flow import Flow
from vaezoo.priors.mixture_of_gaussians import MixtureOfGaussians
from vaezoo.priors.standard_normal import StandardNormal
from vaezoo.priors.vamp_prior import VampPrior

__all__ = ["Flow", "MixtureOfGaussians", "Prior", "StandardNormal", "VampPrior"]
