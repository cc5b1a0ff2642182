"""The sample sites of the traces of a pair: what each is, and whether its terms are per image.

A guide's site is a latent, or observed in one of two ways: a label that was given to both programs,
or a `pyro.factor`, whose logarithm belongs to log q as in Pyro's own objectives.
"""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
from pyro import poutine
from pyro.distributions.torch_distribution import MaskedDistribution
from torch import Tensor

from vaezoo.scopes import checks_data

__all__ = [
    "Site",
    "check_sites",
    "differing",
    "drawn_before",
    "is_factor",
    "is_label",
    "log_prob",
    "sample_sites",
    "unmasked",
]

Site = dict[str, Any]


def sample_sites(trace: poutine.Trace) -> dict[str, Site]:
    """Its sample sites by name, in the order they ran; what is `pyro.deterministic` is none.

    Example:
        >>> import torch
        >>> from vaezoo.models import SSVAE
        >>> list(sample_sites(poutine.trace(SSVAE().guide).get_trace(torch.zeros(7, 1, 28, 28))))
        ['y', 'z']
    """
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample"
        and not pyro.poutine.util.site_is_subsample(site)
        and not site["infer"].get("_deterministic")
    }


def is_label(site: Site) -> bool:
    """Whether a site is a label, by `infer={"enumerate": "parallel"}`: summed out unless given."""
    return site["infer"].get("enumerate") == "parallel"


def is_factor(site: Site) -> bool:
    """Whether it is a `pyro.factor`."""
    return isinstance(site["fn"], dist.Unit)


def drawn_before(name: str, sites: dict[str, Site]) -> set[str]:
    """The latents drawn before `name`."""
    names = list(sites)
    return {n for n in names[: names.index(name)] if not sites[n]["is_observed"]}


def log_prob(site: Site) -> Tensor:
    """The log-density of a site's value, 0 where it is masked."""
    density = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    masked: Tensor = dist.util.scale_and_mask(density, mask=site["mask"])
    return masked


def unmasked(site: Site) -> tuple[Any, Any]:
    """A site's distribution without the masks around it, and all of its masks in one."""
    distribution, mask = site["fn"], site["mask"]
    while isinstance(distribution, MaskedDistribution):
        mask = distribution._mask if mask is None else mask & distribution._mask
        distribution = distribution.base_dist
    return distribution, mask


def check_sites(model: dict[str, Site], guide: dict[str, Site], particles: int) -> None:
    """Raise ValueError unless the terms of a pair can be added up, image by image."""
    latents = {n: s for n, s in guide.items() if not s["is_observed"]}
    labels = [n for n, s in latents.items() if is_label(s)]
    _check_labels(labels, model, guide)
    classes = {1, *(len(guide[n]["value"]) for n in labels)}
    for name, site in [*model.items(), *guide.items()]:
        _check_shape(name, site, classes, particles)
    for name, site in model.items():
        if not site["is_observed"] and name not in guide:
            raise ValueError(f"the model samples {name!r} and the guide does not")
        if site["is_observed"] and name in latents:
            raise ValueError(
                f"the model is given {name!r} and the guide draws it, so that it would count "
                "twice: leave it out of the guide, or give it to both (a label, by "
                "poutine.condition)"
            )
    for name, site in guide.items():
        if site["is_observed"]:
            _check_observed(name, site, model)
        else:
            _check_latent(name, site, model, summed_out=name in labels)
    _check_scales([*model.values(), *guide.values()])


def _check_labels(labels: list[str], model: dict[str, Site], guide: dict[str, Site]) -> None:
    """At most one is summed out, and of all images: masked away, it counts for each class."""
    if len(labels) > 1:
        raise ValueError(f"at most one label can be summed out, got {labels}")
    if drawn := [name for name in labels if guide[name]["infer"].get("num_samples")]:
        raise ValueError(f"{drawn[0]!r} has num_samples, and is summed out: leave them out")
    for name in labels:
        masks = [sites[name]["mask"] for sites in (model, guide) if name in sites]
        if any(m is not None and (not m if isinstance(m, bool) else _has_gaps(m)) for m in masks):
            raise ValueError(
                f"{name!r} is summed out, and is masked for some images, which would count once "
                "for each class: leave the mask out there, and mask what depends on the label"
            )


def _has_gaps(mask: Tensor) -> bool:
    return checks_data() and not bool(mask.all())


def _check_observed(name: str, site: Site, model: dict[str, Site]) -> None:
    """What a guide observes is a factor, or a label that the model is given too."""
    if is_factor(site):
        if not site["fn"].has_rsample:
            raise ValueError(
                f"the factor {name!r} of the guide has has_rsample=False, which needs the gradient "
                "of a score function: give has_rsample=True, where it is made of reparametrised "
                "latents, or use pyro.infer.Trace_ELBO"
            )
    elif name not in model or not model[name]["is_observed"]:
        raise ValueError(
            f"the guide observes {name!r} and the model does not: condition both programs, or put "
            "a term of your own into pyro.factor(…, has_rsample=True)"
        )
    elif site["fn"].has_rsample:
        raise ValueError(
            f"the guide is given {name!r}, which is no label: condition the model alone, and leave "
            f"{name!r} out of the guide"
        )


def _check_latent(name: str, site: Site, model: dict[str, Site], *, summed_out: bool) -> None:
    # without p(y) the sum over y would be of log p(x) + log of how many there are
    if name not in model and (summed_out or not site["infer"].get("is_auxiliary")):
        raise ValueError(f"the guide samples {name!r} and the model does not")
    if not summed_out and not site["fn"].has_rsample:
        raise ValueError(
            f"{name!r} is neither reparametrised nor summed out: give it a distribution "
            "with rsample, or mark it infer={'enumerate': 'parallel'} in the guide"
        )


def _check_shape(name: str, site: Site, classes: set[int], particles: int) -> None:
    """A site has one value per class, particle and image, or it would be summed wrongly."""
    images = {f.size for f in site["cond_indep_stack"] if f.dim == -1}
    if not images:
        raise ValueError(
            f"{name!r} is sampled outside the plate over images: only what belongs to one image "
            "can be estimated per image"
        )
    *left, k, n = (1, *site["fn"].batch_shape) if site["fn"].batch_shape else (1, 1)
    if {n} != images or k not in (1, particles) or math.prod(left) not in classes:
        raise ValueError(
            f"{name!r} has batch shape {tuple(site['fn'].batch_shape)} for {images.pop()} images "
            f"and {particles} particles: labels have shape (N,), and the shape of one image or "
            "code belongs into the event, with to_event"
        )


def _check_scales(sites: list[Site]) -> None:
    scales = {float(s["scale"]) for s in sites}
    if len(scales) > 1:
        sizes: dict[str, set[int]] = {}
        for frame in (f for s in sites for f in s["cond_indep_stack"] if f.full_size):
            sizes.setdefault(frame.name, set()).add(frame.full_size)
        for name, both in sizes.items():
            if len(both) > 1:
                raise ValueError(
                    f"the plate {name!r} is of {min(both)} images in one program and of "
                    f"{max(both)} in the other: an AutoGuide keeps that of the batch it was first "
                    "called with; give it batches of that size, or a guide that reads the images"
                )
        raise ValueError(
            f"sites are scaled differently ({sorted(scales)}): a weight on the KL goes into "
            "the objective, ELBO(beta=…), where the reported bound stays the plain one"
        )


def differing(before: dict[str, Tensor], now: dict[str, Tensor]) -> str:
    """The name of data that are not the same in two runs; "" where all are.

    A plate that takes some of the images, and a model that binarises them as it runs, give other
    data to each, whose draws cannot be weighed against one another.

    Example:
        >>> import torch
        >>> differing({"x": torch.zeros(2)}, {"x": torch.ones(2)})
        'x'
    """
    for name, a in before.items():
        b = now[name]
        if a is not b and not (a.shape == b.shape and bool(((a == b) | (a != a)).all())):
            return name
    return ""
