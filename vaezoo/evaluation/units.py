"""Which numbers of a code carry something: their KL, and how far their means move with the image.

A unit of a latent is active where the variance over images of its posterior mean is above 0.01;
one that is not says the same of every image, and the decoder has learned to ignore it. A latent
none of whose units is active has collapsed.

References:
    Burda, Grosse, Salakhutdinov. Importance Weighted Autoencoders. 2016. arXiv:1509.00519, section
    5.2.
    Bowman et al. Generating Sentences from a Continuous Space. 2016. arXiv:1511.06349, on collapse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from vaezoo.chunks import AT_A_TIME, Draws, few
from vaezoo.data.counts import as_count
from vaezoo.data.passes import Data
from vaezoo.distributions.normals import diagonal_of
from vaezoo.estimates import Estimate
from vaezoo.evaluation.visiting import visit
from vaezoo.programs.run import run
from vaezoo.programs.terms import Terms
from vaezoo.tables import table

__all__ = ["Units", "units"]


@dataclasses.dataclass(frozen=True)
class Units:
    """The units of one latent.

    Attributes:
        name: of the latent.
        variance: over images, of each unit's posterior mean, shape (D,).
        kl: of each unit, in nats per image, shape (D,); None where the KL is no sum over units.
        threshold: the variance above which a unit is active.

    Example:
        >>> Units("z", torch.tensor([0.9, 0.001]), torch.tensor([2.5, 0.0]))
        z: 1 of 2 units active
        >>> Units("z", torch.zeros(2), None)
        z: collapsed, none of 2 units active
    """

    name: str
    variance: Tensor
    kl: Tensor | None
    threshold: float = 0.01

    @property
    def active(self) -> Tensor:
        """Which units are active, shape (D,)."""
        return self.variance > self.threshold

    @property
    def collapsed(self) -> bool:
        """Whether none is; of a mean that does not exist, such as a Cauchy's, it is not known."""
        return bool((self.variance <= self.threshold).all())

    def __repr__(self) -> str:
        n, of = int(self.active.sum()), f"of {len(self.variance)} units active"
        return f"{self.name}: {f'collapsed, none {of}' if self.collapsed else f'{n} {of}'}"

    def _repr_html_(self) -> str:
        kls = [""] * len(self.variance) if self.kl is None else [f"{v:.3f}" for v in self.kl]
        rows = [
            [i, "active" if self.active[i] else "", f"{self.variance[i]:.4f}", kls[i]]
            for i in self.variance.argsort(descending=True).tolist()
        ]
        return table(repr(self), ["unit", "", "variance of its mean", "KL, nats"], rows, texts=2)


def units(
    model: nn.Module,
    data: Data,
    *,
    draws: int = 10,
    threshold: float = 0.01,
    seed: int = 0,
    batch_size: int = 100,
    progress: bool = True,
) -> dict[str, Units]:
    """Variance of the posterior mean and KL of each unit, by latent.

    Args:
        model: a member of the zoo, or any module with programs `model` and `guide`.
        data: `Images`, binarised once by `seed`, or an iterable of batches.
        draws: for each image, of what has no closed form: means of a flow, and of what depends on
            another latent. Their noise is taken off the variance.
        threshold: the variance above which a unit is active.
        seed: of binarisation and draws.
        batch_size: images at a time, where data are `Images`.
        progress: show a progress bar.

    Returns:
        `Units` by the names of continuous latents. KLs are there where both q and the prior are
        diagonal Normals; labels are summed out.

    Raises:
        TypeError: the model is no pair, or data are no iterable.
        ValueError: fewer draws or images than two.

    Example:
        >>> from vaezoo import data, models
        >>> units(models.VAE(), data.digits("test")[:50], progress=False)
        {'z': z: collapsed, none of 10 units active}
    """
    draws, parts = as_count("draws", draws, least=2), Draws(model)

    def look(batch: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
        for part in few(parts, batch, draws, AT_A_TIME):
            terms = run(parts.pair.model, parts.pair.guide, *part, particles=draws)
            for name in terms.latents:
                for kind, each in _of_latent(terms, name):
                    yield from ((f"{kind} {name} {i}", v) for i, v in enumerate(each.unbind(-1)))

    found = visit(model, data, look, seed=seed, batch_size=batch_size, progress=progress)
    names = dict.fromkeys(name.partition(" ")[2].rpartition(" ")[0] for name in found)
    return {name: _units(found, name, threshold) for name in names}


def _of_latent(terms: Terms, name: str) -> Iterator[tuple[str, Tensor]]:
    """Mean, noise of the mean, and KL of each unit: (N, D), of a latent of any shape."""
    q, p = terms.distribution(name), terms.distribution(name, of="model")
    means = _expect(terms, _flat(_mean(q, terms.value(name)), q.event_dim))
    yield "mean", means.mean(0)
    yield "noise", means.var(0) / len(means)
    if diagonal_of(q) is not None and diagonal_of(p) is not None:
        yield "kl", _expect(terms, _kl(terms, name, q, p)).mean(0)


def _mean(q: Any, value: Tensor) -> Tensor:
    try:
        mean: Tensor = q.mean
    except NotImplementedError:
        mean = value
    return mean


def _flat(values: Tensor, event_dim: int) -> Tensor:
    """The numbers of a latent in one dimension, the last."""
    return values.flatten(-event_dim) if event_dim else values.unsqueeze(-1)


def _kl(terms: Terms, name: str, q: Any, p: Any) -> Tensor:
    """Of each unit, as `Terms` has it of all: in closed form where the site counts in both."""
    value, dims = terms.value(name), q.event_dim
    on_q, on_p = (_of_units(mask, value) for mask in terms.masks(name))
    q, p = diagonal_of(q), diagonal_of(p)
    log_q, log_p = (_flat(each.log_prob(value), dims) for each in (q, p))
    sampled = torch.where(on_q, log_q, 0) - torch.where(on_p, log_p, 0)
    if not terms.closed_form_holds(name):
        return sampled
    return torch.where(on_q & on_p, _flat(kl_divergence(q, p), dims), sampled)


def _of_units(mask: Any, like: Tensor) -> Tensor:
    """A mask of images, for each unit; of all, where there is none."""
    return torch.as_tensor(True if mask is None else mask, device=like.device)[..., None]


def _expect(terms: Terms, values: Tensor) -> Tensor:
    """Σ_y q(y|x) of values (…, D), shape (K, N, D)."""
    shares = terms.log_qy.exp()[..., None]
    shares = shares.expand(-1, terms.particles, -1, -1)
    return (shares * values).sum(0)


def _units(found: dict[str, Estimate], name: str, threshold: float) -> Units:
    def of(kind: str) -> list[Tensor]:
        each = [e.values for key, e in found.items() if key.rpartition(" ")[0] == f"{kind} {name}"]
        return [v for v in each if v is not None]

    variance = torch.stack([v.var() for v in of("mean")])
    noise = torch.stack([v.mean() for v in of("noise")])
    kls = of("kl")
    return Units(
        name,
        (variance - noise).clamp(min=0),
        torch.stack([v.mean() for v in kls]) if kls else None,
        threshold,
    )
