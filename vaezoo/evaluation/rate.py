"""Rate and distortion, and what the rate is made of.

With q(h) = 1/N Σ_n q(h|x_n), the aggregated posterior of N images,

    rate               E_n KL(q(h|x_n) ‖ p(h))        nats about h that an image costs
                       = mutual_information + marginal_kl
    distortion         -E_n E_q log p(x_n|h)          nats that are left to say of the image
    mutual_information E_n KL(q(h|x_n) ‖ q(h))        how well h tells which image it is of
    marginal_kl        KL(q(h) ‖ p(h))                how far codes of data are from those drawn
                       = total_correlation + dimension_kl
    total_correlation  KL(q(h) ‖ Π_j q(h_j))          how far the numbers of h depend on each other
    dimension_kl       the rest: Σ_j KL(q(h_j) ‖ p(h_j)) where the prior's numbers are independent

h are all latents, a label that is inferred among them; log p(y) of one that is given counts as
distortion. The mutual information is that of these N images, at most log N, however much the codes
of more images would tell.

References:
    Hoffman, Johnson. ELBO surgery: yet another way to carve up the variational evidence lower
    bound. 2016. NIPS workshop on Advances in Approximate Bayesian Inference.
    Chen, Li, Grosse, Duvenaud. Isolating Sources of Disentanglement in Variational Autoencoders.
    2018. arXiv:1802.04942, equation 2.
    Alemi et al. Fixing a Broken ELBO. 2018. arXiv:1711.00464.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vaezoo.chunks import AT_A_TIME, Draws, few
from vaezoo.cpu import tuned
from vaezoo.data.bars import bar
from vaezoo.data.batches import as_tensor
from vaezoo.data.counts import as_count, as_seed
from vaezoo.data.passes import Data
from vaezoo.estimates import Estimate, Values
from vaezoo.evaluation.aggregate import log_aggregate, log_marginals
from vaezoo.evaluation.visiting import batches_of, evaluating
from vaezoo.programs.densities import check_drawn, draw, log_given, log_prior
from vaezoo.programs.run import run
from vaezoo.scopes import OwnGenerator
from vaezoo.training.alone import Alone
from vaezoo.training.loaders import key_of
from vaezoo.training.together import together

__all__ = ["rate"]


def rate(
    model: nn.Module,
    data: Data,
    *,
    images: int = 2000,
    seed: int = 0,
    batch_size: int = 100,
    progress: bool = True,
) -> dict[str, Estimate]:
    """Rate, distortion and the parts of the rate, in nats per image.

    Args:
        model: a member of the zoo, or any module with programs `model` and `guide`.
        data: `Images`, binarised once by `seed`, or an iterable of batches.
        images: N, how many to take, the first of the data; time grows with its square.
        seed: of binarisation and draws.
        batch_size: images at a time, where data are `Images`.
        progress: show a progress bar.

    Returns:
        Means over the images by the names above; `rate` and `distortion` are as `kl` and `-rec` of
        `evaluate`, but for log p(y) of given labels, which `kl` has, and the sums hold for each
        image. `total_correlation` and `dimension_kl` are missing where the numbers of q(h) have no
        density in closed form: with several continuous latents, one that the guide alone draws
        among them, and where q(z|x) is no Normal vector. Where p(h) depends on the image, as an
        ADGM's p(a|x, y, z) does, marginal_kl is E log q(h) / p(h|x), which is no divergence.

    Raises:
        TypeError: the model is no pair, or data are no iterable.
        ValueError: fewer images than two; the pair has no latents, a mask on one, or a factor in
            the guide.

    Example:
        >>> from vaezoo import data, models
        >>> found = rate(models.VAE(), data.digits("test"), images=50, progress=False)
        >>> parts = found["mutual_information"].mean + found["marginal_kl"].mean
        >>> abs(parts - found["rate"].mean) < 1e-9, found["rate"].n
        (True, 50)
    """
    images, noise = as_count("images", images), OwnGenerator(as_seed(seed))
    drawn = defaultdict[str, list[Tensor]](list)
    with together() as here, tuned():
        own = _first(batches_of(model, data, seed=seed, batch_size=batch_size), images)
        batches = _in_parts(model, [*_first(_of_all(here, model, [*own]), images)])
        if (n := sum(len(batch[0]) for batch in batches)) < 2:
            raise ValueError(f"the aggregated posterior needs at least 2 images, got {n}")
        with bar(n, "image", shown=progress and here.world.rank == 0) as shown:
            for batch in batches:
                with evaluating(model, noise):
                    for name, each in _looked_at(model, batch):
                        drawn[name].append(each)
                shown.update(len(batch[0]))
        with evaluating(model, noise):
            return _parts(model, batches, {name: torch.cat(v) for name, v in drawn.items()})


def _first(batches: Iterable[list[Tensor]], images: int) -> Iterator[list[Tensor]]:
    for batch in batches:
        yield [t[:images] for t in batch]
        images -= len(batch[0])
        if images <= 0:
            return


def _of_all(here: Alone, model: nn.Module, batches: list[list[Tensor]]) -> list[list[Tensor]]:
    """The batches of all processes, in turn, where each has a share of the images; its own if not.

    The aggregated posterior is that of all images, and every process asks it for all of them.
    """
    if here.world.size == 1:
        return batches
    first, *others = here.gather([[key_of(t) for t in batch] for batch in batches])
    if all(other == first for other in others):
        return batches
    like = next(model.parameters(), None)
    in_turn = itertools.zip_longest(*here.gather([[t.cpu() for t in b] for b in batches]))
    each = itertools.chain.from_iterable(in_turn)
    return [[as_tensor(t, like) for t in batch] for batch in each if batch is not None]


def _in_parts(model: nn.Module, batches: list[list[Tensor]]) -> list[list[Tensor]]:
    """Batches of no more images than are decoded at once; whole, where programs take no others."""
    draws = Draws(model)
    try:
        with evaluating(model, OwnGenerator(0)):
            return [part for batch in batches for part in few(draws, batch, 1, AT_A_TIME)]
    except (RuntimeError, ValueError):  # what is wrong with a batch is said where it is looked at
        return batches


def _looked_at(model: Any, batch: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The terms of a batch, and a draw of its latents with their prior's density."""
    terms = run(model.model, model.guide, *batch)
    check_drawn(terms)
    given = log_given(terms)
    kl = terms.expect(terms.kl + terms.log_qy - (terms.log_py - given))[0]
    yield "rate", kl.expand(len(batch[0]))
    yield "distortion", -terms.expect(terms.rec + given)[0]
    latents = draw(model.guide, *batch)
    if not latents:
        raise ValueError("a rate is that of latents, and this pair has none: evaluate has the rest")
    if straight := [name for name, value in latents.items() if hasattr(value, "_unquantize")]:
        raise ValueError(
            f"the guide draws {straight[0]!r} straight through, and of its values the density is "
            "known where they were drawn alone: give the relaxed distribution, without "
            "StraightThrough"
        )
    yield "log p", log_prior(model.model, batch, latents)
    yield from latents.items()


def _parts(
    model: Any, batches: list[list[Tensor]], drawn: dict[str, Tensor]
) -> dict[str, Estimate]:
    """All terms of each image, those of the aggregated posterior at its draw."""
    values = Values()
    for batch in batches:
        values.see(batch[0])
    rates, distortion, log_p = (drawn.pop(n).double() for n in ("rate", "distortion", "log p"))
    log_q = log_aggregate(model, batches, drawn)
    found = {"rate": rates, "distortion": distortion, "mutual_information": rates - log_q + log_p}
    found["marginal_kl"] = log_q - log_p
    if (marginals := log_marginals(model, batches, drawn)) is not None:
        found["total_correlation"] = log_q - marginals
        found["dimension_kl"] = marginals - log_p
    for name, each in found.items():
        values.add(name, each)
    return values.estimates()
