"""The evidence log p(x) by annealing, which needs no good q, and from both sides on simulated data.

Annealed importance sampling goes from r(h), which can be drawn from, to p(x, h) by

    f_t = r(h)^(1 - β_t) p(x, h)^β_t,    0 = β_0 < … < β_T = 1
    w = Π_t f_t(h_{t-1}) / f_{t-1}(h_{t-1})

with a Hamiltonian transition that keeps f_t at every t; w is unbiased for p(x), so that its log
mean is a lower bound of log p(x) in expectation. Where x was simulated from the model, the h that
it was made from is an exact draw of p(h|x). Going back from there gives a w unbiased for 1 / p(x),
and an upper bound (bidirectional Monte Carlo): the truth lies between them.

Sizes of steps are tuned in a run of their own, lest chains that adapt make weights that are biased.
Any label that the model infers is summed out at every step.

References:
    Neal. Annealed importance sampling. 2001. Statistics and Computing 11. arXiv:physics/9803008.
    Grosse, Ghahramani, Adams. Sandwiching the marginal likelihood using bidirectional Monte Carlo.
    2015. arXiv:1511.02543.
    Wu, Burda, Salakhutdinov, Grosse. On the Quantitative Analysis of Decoder-Based Generative
    Models. 2017. arXiv:1611.04273.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from vaezoo.chunks import Draws, check, few
from vaezoo.data.counts import as_count
from vaezoo.data.passes import Data
from vaezoo.estimates import Estimate
from vaezoo.evaluation.evidence import from_weights
from vaezoo.evaluation.paths import Path, Settings
from vaezoo.evaluation.visiting import visit
from vaezoo.programs.densities import simulated

__all__ = ["annealed", "sandwiched"]


def annealed(
    model: nn.Module,
    data: Data,
    *,
    chains: int = 16,
    temperatures: int = 500,
    steps: int = 10,
    start: str = "prior",
    seed: int = 0,
    batch_size: int = 100,
    max_decodes: int = 2000,
    progress: bool = True,
) -> dict[str, Estimate]:
    """log p(x) of each image by annealed importance sampling.

    An image costs about 2 · chains · temperatures · steps decodes with their gradients.

    Args:
        model: a member of the zoo, or any module with programs `model` and `guide`, its continuous
            latents unbounded.
        data: `Images`, binarised once by `seed`, or an iterable of batches.
        chains: K, at least 2.
        temperatures: T.
        steps: leapfrog steps of a transition.
        start: "prior", r(h) = p(h), as in Wu et al.; or "guide", r(h) = q(h|x), a shorter way that
            is worth it where q is wide enough.
        seed: of binarisation and draws.
        batch_size: images at a time, where data are `Images`.
        max_decodes: images decoded at a time, which bounds memory; all chains of one at least.
        progress: show a progress bar.

    Returns:
        "log_px", "mc_error" and "ess" as of `evidence`, and "acceptance", the share of moves that
        were accepted: it should be near 0.65.

    Raises:
        TypeError: the model is no pair, or data are no iterable.
        ValueError: a number below its least, an unknown start, or a latent that is bounded.

    Example:
        >>> from vaezoo import data, models
        >>> vae, test = models.VAE(hidden=(20,), z_dim=2), data.digits("test")[:3]
        >>> list(annealed(vae, test, chains=4, temperatures=5, progress=False))
        ['log_px', 'mc_error', 'ess', 'acceptance']
    """
    settings = Settings(chains, temperatures, steps, start)
    draws, at_a_time = Draws(model), as_count("max_decodes", max_decodes)

    def look(batch: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
        for part in few(draws, batch, settings.chains, at_a_time):
            check(model, part)
            path = Path(model, part, settings)
            log_w, acceptance = path.forward(path.tuned())
            yield from from_weights(log_w.double())
            yield "acceptance", acceptance

    return visit(model, data, look, seed=seed, batch_size=batch_size, progress=progress)


def sandwiched(
    model: nn.Module,
    data: Data,
    *,
    chains: int = 16,
    temperatures: int = 500,
    steps: int = 10,
    start: str = "prior",
    seed: int = 0,
    batch_size: int = 100,
    max_decodes: int = 2000,
    progress: bool = True,
) -> dict[str, Estimate]:
    """log p(x) from below and from above, of images that are drawn from the model.

    Where the gap is small, annealing (and, where it agrees, importance sampling) is right for
    images like those of the model.

    Args:
        data: says how many images there are to be, and with which labels, if those are given to
            a model that has no p(y); its images are checked, and not used. Labels that the model
            observes are drawn with images. The rest as of `annealed`.

    Returns:
        "lower" and "upper", bounds of log p(x) in expectation, and "gap", their difference, in nats
        per image.

    Raises:
        TypeError, ValueError: as `annealed`; or the model observes x by no site, or something that
            is not in the batch.

    Example:
        >>> from vaezoo import data, models
        >>> vae, test = models.VAE(hidden=(20,), z_dim=2), data.digits("test")[:3]
        >>> list(sandwiched(vae, test, chains=4, temperatures=5, progress=False))
        ['lower', 'upper', 'gap']
    """
    settings = Settings(chains, temperatures, steps, start)
    draws, at_a_time = Draws(model), as_count("max_decodes", max_decodes)

    def look(batch: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
        for part in few(draws, batch, settings.chains, at_a_time):
            check(model, part)
            lower, upper = _both(model, part, settings)
            yield from (("lower", lower), ("upper", upper), ("gap", upper - lower))

    return visit(model, data, look, seed=seed, batch_size=batch_size, progress=progress)


def _both(model: Any, batch: list[Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds of log p(x) of images drawn in place of a batch: (N,)."""
    latents, images = simulated(model.model, batch)
    path = Path(model, images, settings)
    sizes = path.tuned()
    return _log_mean(path.forward(sizes)[0]), -_log_mean(path.back(sizes, path.packed(latents)))


def _log_mean(log_w: Tensor) -> Tensor:
    return log_w.double().logsumexp(0) - math.log(len(log_w))
