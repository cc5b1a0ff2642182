"""The closed-form path of a member: its parts, read as the functions that `closed_form` takes.

Parts are called as the member calls them, and their distributions read through public attributes:
mean and variance of a Normal, logits of a Bernoulli or a Categorical. Any other distribution has no
hand-written path, and is refused wherever it turns up.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, MixtureSameFamily, Normal

from vaezoo import closed_form
from vaezoo.closed_form import Terms
from vaezoo.distributions.normals import is_a
from vaezoo.models import ADGM, M1M2, SSVAE, HierarchicalVAE, LatentVariableModel
from vaezoo.programs.terms import Terms as ProgramTerms
from vaezoo.scopes import own_generator

__all__ = ["ByHand"]

Function = Callable[..., Any]


class ByHand:
    """A model's path through `vaezoo.closed_form`, on one batch.

    Args:
        model: a member in float64 and in evaluation mode.
        batch: x, or x and y.

    Attributes:
        member: the function of closed_form with the model's networks filled in.
        latents: the names of the latents whose noise it takes, in the order they are drawn.
        sums_out: whether a label is summed out.
        log_py: log p(y) of labels that the program observes; closed_form conditions on them.

    Raises:
        ValueError: a part has no hand-written path, or labels are missing.
    """

    def __init__(self, model: LatentVariableModel, batch: list[Tensor]) -> None:
        self.model, self.batch = model, batch
        infers = isinstance(model, SSVAE | M1M2 | ADGM)
        if len(batch) == 1 and model.classes and not infers:
            raise ValueError(f"{type(model).__name__} is given labels, and got none: pass y")
        self.sums_out = infers and len(batch) == 1
        self.log_py = -math.log(model.classes) if infers and not self.sums_out else 0.0
        self.latents, path = _path(model)
        self.member: Callable[..., Terms] = path(model, sums_out=self.sums_out)
        with own_generator():  # a part without a path is found here
            self.member(*batch)

    def noise(self, run: ProgramTerms) -> Any:
        """ε of the latents that a guide drew, as `member` takes it."""
        each = [_standardised(name, run) for name in self.latents]
        return each[0] if len(each) == 1 else tuple(each)

    def elbo(self) -> float:
        """An estimate of the batch's mean ELBO, log p(y) of given labels included."""
        return -self.member(*self.batch).nelbo.mean().item() + self.log_py

    def importance_weighted(self, particles: int) -> float:
        """An estimate of its importance-weighted bound, a label summed out around the weights."""
        if self.sums_out:
            parts = self.member.keywords  # type: ignore[attr-defined]
            bound = closed_form.ssvae_importance_weighted(
                self.batch[0], **parts, particles=particles
            )
        else:
            bound = closed_form.importance_weighted(self.member, *self.batch, particles=particles)
        return bound.mean().item() + self.log_py

    def evidence(self, particles: int) -> float:
        """An estimate of log p(x), a label summed out inside the weights."""
        bound = closed_form.importance_weighted(self.member, *self.batch, particles=particles)
        return bound.mean().item() + self.log_py


def _path(model: LatentVariableModel) -> tuple[tuple[str, ...], Function]:
    """The latents of a member in the order of its guide, and the function that makes its path."""
    paths: dict[type[LatentVariableModel], tuple[tuple[str, ...], Function]] = {
        HierarchicalVAE: (("z1", "z2"), _hierarchical_vae),
        M1M2: (("z1", "z2"), _m1m2),
        ADGM: (("a", "z"), _adgm),
        LatentVariableModel: (("z",), _one_latent),
    }
    kind = next(k for k in paths if isinstance(model, k))
    if dict(model.parts) != dict(kind.parts):
        raise ValueError(f"no closed form for {type(model).__name__}, which has parts of its own")
    return paths[kind]


def _one_latent(model: Any, *, sums_out: bool) -> functools.partial[Terms]:
    parts: dict[str, Any] = {"encode": _moments(model.posterior), **_likelihood(model)}
    prior = model.prior()
    if isinstance(prior, MixtureSameFamily) and not model.classes:
        return functools.partial(closed_form.gmvae, **_mixture(model, prior), **parts)
    _check_standard(model)
    if sums_out:
        return functools.partial(closed_form.ssvae, classify=_logits(model.classifier), **parts)
    return functools.partial(
        closed_form.ssvae_labelled if model.classes else closed_form.vae, **parts
    )


def _hierarchical_vae(model: Any, *, sums_out: bool = False) -> functools.partial[Terms]:
    _check_standard(model)
    return functools.partial(
        closed_form.hierarchical_vae,
        encode=_moments(model.posterior),
        encode_upper=_moments(model.upper_posterior),
        conditional_prior=_moments(model.conditional_prior),
        **_likelihood(model),
    )


def _m1m2(model: Any, *, sums_out: bool) -> functools.partial[Terms]:
    parts = _hierarchical_vae(model).keywords
    if sums_out:
        return functools.partial(closed_form.m1m2, classify=_logits(model.classifier), **parts)
    return functools.partial(closed_form.m1m2_labelled, **parts)


def _adgm(model: Any, *, sums_out: bool) -> functools.partial[Terms]:
    _check_standard(model)
    parts: dict[str, Any] = {
        "encode_auxiliary": _moments(model.auxiliary_posterior),
        "encode": _of_pair(_moments(model.posterior)),
        "auxiliary": _of_pair(_moments(model.auxiliary)),
        **_likelihood(model),
    }
    if sums_out:
        classify = _of_pair(_logits(model.classifier))
        return functools.partial(closed_form.adgm, classify=classify, **parts)
    return functools.partial(closed_form.adgm_labelled, **parts)


def _of_pair(function: Function) -> Function:
    """A function of a pair, made one of two arguments."""
    return lambda x, v, *y: function((x, v), *y)


def _moments(part: Any) -> Function:
    """Mean and variance of the Normal that a part returns."""

    def read(*given: Any) -> tuple[Tensor, Tensor]:
        normal = part(*given)
        if not _is(normal, Normal):
            raise ValueError(f"no closed form for {part!r}: it needs Normals, diagonal ones")
        return normal.mean, normal.variance

    return read


def _logits(classifier: Any) -> Function:
    return lambda *given: classifier(*given).logits


def _likelihood(model: Any) -> dict[str, Any]:
    """The decoder, and log p(x|…) of what it puts out."""
    part, of = model.likelihood, model.parts["likelihood"].given
    like = next(model.parameters())
    z = like.new_zeros(1, getattr(model, f"{of[0]}_dim"), dtype=torch.double)
    distribution = part(z, *[z.new_zeros(1).long()] * ("y" in of and model.classes > 0))
    if _is(distribution, Bernoulli):
        return {"decode": lambda *given: part(*given).base_dist.logits}
    if _is(distribution, Normal):
        return {"decode": _mean_and_variance(part), "log_likelihood": _log_normal}
    raise ValueError(f"no closed form for {part!r}: it needs a Bernoulli or Normal likelihood")


def _mean_and_variance(part: Any) -> Function:
    def decode(*given: Tensor) -> Tensor:
        normal = part(*given)
        return torch.stack([normal.mean, normal.variance], 1)

    return decode


def _log_normal(x: Tensor, mean_and_variance: Tensor) -> Tensor:
    return closed_form.log_normal(x, *mean_and_variance.chunk(2, -1))


def _mixture(model: Any, prior: MixtureSameFamily) -> dict[str, Any]:
    each = prior.component_distribution
    if not _is(each, Normal):
        raise ValueError(f"no closed form for {model.prior!r}: its components are not diagonal")
    weights = prior.mixture_distribution.logits
    return {"means": each.mean, "variances": each.variance, "log_weights": weights}


def _check_standard(model: Any) -> None:
    prior = model.prior()
    if not _is(prior, Normal) or (prior.mean != 0).any() or (prior.variance != 1).any():
        where = "a mixture only without labels and with one latent"
        raise ValueError(f"no closed form for {model.prior!r}: it needs StandardNormal, or {where}")


def _is(distribution: Any, kind: type) -> bool:
    """Whether a distribution is of independent numbers of a kind."""
    return isinstance(distribution, Independent) and is_a(distribution.base_dist, kind)


def _standardised(name: str, run: ProgramTerms) -> Tensor:
    """ε of what was drawn at a site, shape (copies · N, size)."""
    normal = run.distribution(name)
    if not _is(normal, Normal):
        raise ValueError(f"no closed form for a guide that draws {name!r} from {normal}")
    noise: Tensor = (run.value(name) - normal.mean) / normal.stddev
    return noise.reshape(-1, noise.shape[-1])
