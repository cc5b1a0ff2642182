"""Approximate posteriors q(z|x) and q(z|x, y), and the classifier q(y|x)."""

from vaezoo.posteriors.base import Posterior
from vaezoo.posteriors.classifier import Classifier
from vaezoo.posteriors.diagonal_normal import DiagonalNormal
from vaezoo.posteriors.flow import Flow
from vaezoo.posteriors.full_normal import FullNormal
from vaezoo.posteriors.low_rank_normal import LowRankNormal

__all__ = ["Classifier", "DiagonalNormal", "Flow", "FullNormal", "LowRankNormal", "Posterior"]
