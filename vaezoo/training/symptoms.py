"""What one run of a pair shows of its health: units, components and scales, as numbers.

Each is of a distribution and of what was drawn from it, with no word of what is too much; the
thresholds are those of `guards`.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.torch_distribution import MaskedDistribution
from torch import Tensor
from torch.distributions import (
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
)

from vaezoo.bound import Bound
from vaezoo.data import Images, SemiSupervisedBatches, SemiSupervisedStream
from vaezoo.distributions import NormalMixture, known_moments, known_support
from vaezoo.objectives import SemiSupervised
from vaezoo.programs import Terms, required_arguments

__all__ = ["component_usage", "information", "scales_of", "without_labels"]


def information(terms: Terms, name: str) -> Tensor:
    """How much each unit of a latent says of the image, in nats, shape (units,).

    It is that of a Normal channel, ½ log(1 + Var[E[z|x]] / E[Var[z|x]]) over the images of a batch:
    0 where q(z|x) is the same for every image, be it the prior or not, and then the KL of that unit
    is of no use. Where q has no known mean and variance, as a flow, it is what
    the KL is at least, shared out.

    Example:
        >>> from vaezoo.models import VAE
        >>> from vaezoo.programs import run
        >>> vae, x = VAE(z_dim=3, hidden=(8, 8)), torch.zeros(7, 1, 28, 28)
        >>> information(run(vae.model, vae.guide, x), "z").round(decimals=6).tolist()
        [0.0, 0.0, 0.0]
    """
    q = terms.distribution(name)
    n = terms.value(name).shape[-1 - q.event_dim]
    moments = known_moments(q)
    if moments is None:
        kl, units = terms.kls[name].flatten(), q.event_shape.numel()
        sure = kl.mean() - 2 * kl.std() / len(kl) ** 0.5  # as the KL is that of draws
        return (sure.clamp_min(0.0) / units).expand(units)
    mean, variance = (t.reshape(-1, n, q.event_shape.numel()) for t in moments)
    signal = mean.var(1, unbiased=False) / variance.mean(1).clamp_min(1e-30)
    return (0.5 * torch.log1p(signal)).mean(0)


def component_usage(terms: Terms, name: str) -> Tensor | None:
    """The sum over codes of p(component | z), shape (k,); None where p(z) is no mixture.

    Example:
        >>> from vaezoo.models import GMVAE
        >>> from vaezoo.programs import run
        >>> gmvae, x = GMVAE(k=5, hidden=(8, 8)), torch.zeros(7, 1, 28, 28)
        >>> round(component_usage(run(gmvae.model, gmvae.guide, x), "z").sum().item(), 3)
        7.0
    """
    p = terms.distribution(name, of="model")
    if not isinstance(p, MixtureSameFamily):
        return None
    z = terms.value(name)
    if isinstance(p, NormalMixture):
        each = p.component_log_prob(z)
    else:
        weights = p.mixture_distribution.logits
        each = p.component_distribution.log_prob(z.unsqueeze(-1 - len(p.event_shape))) + weights
    return each.softmax(-1).flatten(0, -2).sum(0)


def scales_of(distribution: Any) -> Tensor | None:
    """The scales of continuous noise; None where there is none that can vanish.

    Example:
        >>> import pyro.distributions as dist
        >>> scales_of(dist.Normal(0.0, torch.ones(3)).to_event(1)).tolist()
        [1.0, 1.0, 1.0]
        >>> scales_of(dist.Bernoulli(torch.ones(3))) is None
        True
    """
    inner = distribution
    while isinstance(inner, Independent | MaskedDistribution):
        inner = inner.base_dist
    if isinstance(inner, MultivariateNormal | LowRankMultivariateNormal):
        return inner.stddev
    scale = getattr(inner, "scale", None)
    discrete = getattr(known_support(inner), "is_discrete", False)
    return scale if isinstance(scale, Tensor) and not discrete else None


def without_labels(bound: Bound, data: Any) -> str:
    """What to say of classes that no labelled image is of; nothing of loaders of one's own.

    Example:
        >>> from vaezoo.data import digits
        >>> from vaezoo.models import FSVAE
        >>> images = digits("test")
        >>> without_labels(Bound(FSVAE((1, 28, 28))), images[images.labels < 8])[:37]
        'no labelled image is of class 8, 9: n'
    """
    if not (missing := _missing_labels(bound, data)):
        return ""
    return (
        f"no labelled image is of class {', '.join(map(str, missing))}: nothing can be learned of "
        "it. Causes: a labelled subset that left it out, or more classes than there are. Cures: "
        "images.labelled(n), which takes as many of each, or classes=…"
    )


def _missing_labels(bound: Bound, data: Any) -> list[int]:
    learned = isinstance(bound.objective, SemiSupervised)
    images = data
    if isinstance(data, SemiSupervisedBatches | SemiSupervisedStream):
        images = data.labelled
    if not isinstance(images, Images) or images.labels is None:
        return []
    if not learned and required_arguments(bound.model.model) < 2:
        return []
    classes = range(getattr(bound.model, "classes", 0))
    return sorted(set(classes) - set(images.labels.unique().tolist()))
