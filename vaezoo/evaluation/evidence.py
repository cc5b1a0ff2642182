"""The evidence log p(x) by importance sampling, and whether its weights can be trusted.

    log p(x) ≈ log 1/K Σ_k w_k,    w_k = Σ_y p(y) p(x, z_k|y) / q(z_k|x, y),    z_k ~ q

Any label that the model infers is summed out inside. The estimate is too low by about half the
square of its Monte Carlo error, as the logarithm of an unbiased one, and it is -NIWAE-K.

Where q misses a part of the posterior, few weights carry the sum and the error that they show is
too small as well. k̂ is the shape of the generalised Pareto distribution that fits the largest of
them: above 0.7 the mean converges too slowly for any practical K.

References:
    Vehtari, Simpson, Gelman, Yao, Gabry. Pareto Smoothed Importance Sampling. 2024. JMLR 25(72).
    arXiv:1507.02646.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

from torch import Tensor, nn

from vaezoo.chunks import Draws, weighed
from vaezoo.data.counts import as_count
from vaezoo.data.passes import Data
from vaezoo.estimates import Estimate
from vaezoo.evaluation.pareto import FEWEST, pareto_shape
from vaezoo.evaluation.visiting import visit, warn_of_factor

__all__ = ["evidence", "from_weights", "warn_of_tails"]


def evidence(
    model: nn.Module,
    data: Data,
    particles: int = 1000,
    *,
    seed: int = 0,
    batch_size: int = 100,
    max_decodes: int = 2000,
    progress: bool = True,
) -> dict[str, Estimate]:
    """log p(x) of each image by importance sampling from q, and how far it can be trusted.

    Where a mask leaves a latent out of q alone, weights are those of the bounds, no evidence.

    Args:
        model: a member of the zoo, or any module with programs `model` and `guide`.
        data: `Images`, binarised once by `seed`, or an iterable of batches.
        particles: draws K for each image, at least 25.
        seed: of binarisation and draws.
        batch_size: images at a time, where data are `Images`.
        max_decodes: images decoded at a time, which bounds memory, as in `evaluate`.
        progress: show a progress bar.

    Returns:
        Means over images, each with the value of every image in `.values`: "log_px" in nats,
        higher is better; "mc_error", the standard error of each log p(x) by its own weights, in
        nats; "ess", the effective sample size (Σw)² / Σw², between 1 and K; "k_hat", Pareto's.

    Warns:
        UserWarning: k̂ of some images is above min(1 - 1 / log10 K, 0.7), the threshold of Vehtari
            et al.: take more particles, a wider q, or `annealed`. Or the guide has a factor that
            is no Jacobian of an auxiliary draw.

    Raises:
        TypeError: the model is no pair, or data are no iterable.
        ValueError: fewer particles than 25, or fewer images than two.

    Example:
        >>> import torch
        >>> from vaezoo import data, models
        >>> test = data.digits("test")[:5]
        >>> _ = torch.manual_seed(0)
        >>> found = evidence(models.VAE(z_dim=2), test, particles=500, progress=False)
        >>> list(found), found["log_px"].n
        (['log_px', 'mc_error', 'ess', 'k_hat'], 5)
    """
    particles = as_count("particles", particles, least=FEWEST)
    draws, at_a_time = Draws(model), as_count("max_decodes", max_decodes)

    def look(batch: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
        for _, log_w in weighed(draws, batch, particles, at_a_time):
            warn_of_factor(draws)
            summed = log_w.double().logsumexp(0)
            yield from from_weights(summed)
            yield "k_hat", pareto_shape(summed, log_w.dtype)

    found = visit(model, data, look, seed=seed, batch_size=batch_size, progress=progress)
    warn_of_tails(found["k_hat"], particles)
    return found


def from_weights(log_w: Tensor) -> Iterator[tuple[str, Tensor]]:
    """log p(x), its Monte Carlo error and the effective sample size by weights (K, N): (N,) each.

    Example:
        >>> import torch
        >>> log_w = torch.tensor([3.0, 1.0]).log().repeat(20)[:, None]
        >>> {name: round(value.item(), 3) for name, value in from_weights(log_w)}
        {'log_px': 0.693, 'mc_error': 0.08, 'ess': 32.0}
    """
    k = len(log_w)
    shares = log_w.softmax(0).square().sum(0)
    yield "log_px", log_w.logsumexp(0) - math.log(k)
    # the relative standard error of the mean weight, which is the absolute one of its logarithm
    yield "mc_error", ((shares - 1 / k).clamp(min=0) * k / (k - 1)).sqrt()
    yield "ess", 1 / shares


def warn_of_tails(k_hat: Estimate, particles: int) -> None:
    """Say for how many images the weights are too few."""
    limit = min(1 - 1 / math.log10(particles), 0.7)
    assert k_hat.values is not None
    if n := int((~(k_hat.values <= limit)).sum()):  # NaN too
        warnings.warn(
            f"{n} of {k_hat.n} images have too few weights to trust: Pareto k_hat is above "
            f"{limit:.2f}, so that log_px may be too low by more than mc_error says; take more "
            f"particles, got {particles}, a wider posterior, or vaezoo.evaluation.annealed",
            stacklevel=3,
        )
