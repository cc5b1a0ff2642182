"""How far the bound is below log p(x), and why: amortisation, or the family of q.

    log p(x) - ELBO(q_φ(x)) = [ELBO(q*) - ELBO(q_φ(x))] + [log p(x) - ELBO(q*)]
                                  amortisation_gap            family_gap

q* is the best q of the same family for this one image, found by raising its own bound: the first
gap is what one network for all images costs, which a larger encoder or more data can close; the
second takes a richer posterior. q* is also what log p(x) is estimated with.

References:
    Cremer, Li, Duvenaud. Inference Suboptimality in Variational Autoencoders. 2018.
    arXiv:1801.03558.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.chunks import Draws, check, few
from vaezoo.data.counts import as_count
from vaezoo.data.passes import Data
from vaezoo.estimates import Estimate
from vaezoo.evaluation.evidence import from_weights, warn_of_tails
from vaezoo.evaluation.pareto import FEWEST, pareto_shape
from vaezoo.evaluation.refining import Refined
from vaezoo.evaluation.visiting import visit

__all__ = ["gaps"]


def gaps(
    model: nn.Module,
    data: Data,
    *,
    steps: int = 300,
    lr: float = 0.05,
    particles: int = 1000,
    seed: int = 0,
    batch_size: int = 100,
    max_decodes: int = 2000,
    progress: bool = True,
) -> dict[str, Estimate]:
    """The gap between bound and evidence of each image, in two parts.

    Args:
        model: a member of the zoo, or any module with programs `model` and `guide` whose guide runs
            networks: what these put out for an image is what is refined for it.
        data: `Images`, binarised once by `seed`, or an iterable of batches.
        steps: of Adam, one draw each.
        lr: its rate at the first step, which falls to 0.
        particles: draws of each bound, and of log p(x); at least 25.
        seed: of binarisation and draws.
        batch_size: images at a time, where data are `Images`.
        max_decodes: images decoded at a time, which bounds memory, as in `evaluate`.
        progress: show a progress bar.

    Returns:
        "bound", the ELBO; "refined", that of q*; "log_px" by importance sampling from q*;
        "amortisation_gap" and "family_gap", their differences, in nats per image; and "k_hat" of
        the weights.

    Warns:
        UserWarning: the weights of some images are too few to trust, as of `evidence`.

    Raises:
        TypeError: the model is no pair, or data are no iterable.
        ValueError: a number below its least; or the guide runs no network, or one that puts several
            tensors out, or uses all outputs without gradients.

    Example:
        >>> from vaezoo import data, models
        >>> _ = torch.manual_seed(0)
        >>> vae, test = models.VAE(hidden=(20,), z_dim=2), data.digits("test")[:3]
        >>> found = gaps(vae, test, steps=20, particles=200, progress=False)
        >>> found["refined"].mean > found["bound"].mean
        True
    """
    steps, particles = as_count("steps", steps), as_count("particles", particles, least=FEWEST)
    draws, at_a_time = Draws(model), as_count("max_decodes", max_decodes)
    lr = arguments.number("lr", lr, least=0)

    def look(batch: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
        for part in few(draws, batch, 1, at_a_time):
            check(model, part)
            yield from _of(Refined(model, part), steps, lr, particles)

    found = visit(model, data, look, seed=seed, batch_size=batch_size, progress=progress)
    warn_of_tails(found["k_hat"], particles)
    return found


def _of(q: Refined, steps: int, lr: float, particles: int) -> Iterator[tuple[str, Tensor]]:
    bound, _, _ = _bound_and_weights(q, particles)
    q.improve(steps, lr)
    refined, log_w, dtype = _bound_and_weights(q, particles)
    log_px = dict(from_weights(log_w))["log_px"]
    yield from (("bound", bound), ("refined", refined), ("log_px", log_px))
    yield from (("amortisation_gap", refined - bound), ("family_gap", log_px - refined))
    yield "k_hat", pareto_shape(log_w, dtype)


def _bound_and_weights(q: Refined, particles: int) -> tuple[Tensor, Tensor, torch.dtype]:
    """The bound of each image (N,), and log weights (K, N), labels summed out.

    Both are of the same log w, whose noise vanishes where q is the posterior, unlike that of a KL
    in closed form; its type comes with them.
    """
    bounds, weights, dtype = [], [], torch.get_default_dtype()
    for _ in range(particles):
        terms = q.terms()
        log_w, dtype = terms.log_wy.double(), terms.log_wy.dtype
        bounds.append(terms.expect(log_w - terms.log_qy)[0])
        weights.append(log_w.logsumexp((0, 1)))
    return torch.stack(bounds).mean(0), torch.stack(weights), dtype
