"""Whether the terms of a pair can be added up, image by image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaezoo.programs.sites import PARTICLES, Site, is_factor, is_label, leaves_out, unmasked
from vaezoo.scopes import checks_data

__all__ = ["check_sites"]


def check_sites(model: dict[str, Site], guide: dict[str, Site], particles: int) -> None:
    """Raise ValueError unless the terms of a pair can be added up, image by image."""
    latents = {n: s for n, s in guide.items() if not s["is_observed"]}
    labels = [n for n, s in latents.items() if is_label(s)]
    _check_labels(labels, model, guide)
    classes = {1, *(len(guide[n]["value"]) for n in labels)}
    every = [*model.items(), *guide.items()]
    sites = [site for _, site in every]
    _check_sizes(sites)
    for name, site in every:
        _check_shape(name, site, classes, particles)
    _check_plates(sites)
    for name, site in model.items():
        _check_of_model(name, site, guide)
    for name, site in guide.items():
        if site["is_observed"]:
            _check_observed(name, site, model)
        else:
            _check_latent(name, site, model, summed_out=name in labels)
    _check_scales(sites)


def _check_of_model(name: str, site: Site, guide: dict[str, Site]) -> None:
    if not site["is_observed"] and name not in guide:
        raise ValueError(f"the model samples {name!r} and the guide does not")
    if site["is_observed"] and name in guide and not guide[name]["is_observed"]:
        raise ValueError(
            f"the model is given {name!r} and the guide draws it, so that it would count twice: "
            "leave it out of the guide, or give it to both (a label, by poutine.condition)"
        )


def _check_labels(labels: list[str], model: dict[str, Site], guide: dict[str, Site]) -> None:
    """At most one is summed out, and of all images: masked away, it counts for each class."""
    if len(labels) > 1:
        raise ValueError(f"at most one label can be summed out, got {labels}")
    if drawn := [name for name in labels if guide[name]["infer"].get("num_samples")]:
        raise ValueError(f"{drawn[0]!r} has num_samples, and is summed out: leave them out")
    for name in labels:
        masks = [unmasked(sites[name])[1] for sites in (model, guide) if name in sites]
        if any(leaves_out(m) for m in masks if isinstance(m, bool) or checks_data()):
            raise ValueError(
                f"{name!r} is summed out, and is masked for some images, which would count once "
                "for each class: leave the mask out there, and mask what depends on the label"
            )


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
    shape = _shape_of_density(name, site)
    *left, k, n = (1, *shape) if shape else (1, 1)
    if {n} != images or k not in (1, particles) or math.prod(left) not in classes:
        beside = "" if shape == site["fn"].batch_shape else ", by its value or mask,"
        raise ValueError(
            f"{name!r} has batch shape {tuple(shape)}{beside} for {images.pop()} images "
            f"and {particles} particles: labels have shape (N,), and the shape of one image or "
            "code belongs into the event, with to_event"
        )
    for frame in site["cond_indep_stack"]:
        if frame.vectorized and frame.dim != -1 and frame.name != PARTICLES:
            raise ValueError(
                f"{name!r} is in the plate {frame.name!r} besides that over images: what belongs "
                "to one image belongs into the event, with to_event"
            )


def _shape_of_density(name: str, site: Site) -> tuple[int, ...]:
    """What a value or a mask that is wider than the distribution makes its density."""
    masks = [mask.shape] if isinstance(mask := unmasked(site)[1], Tensor) else []
    shapes = [site["fn"].batch_shape, _batch_shape(site), *masks]
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError as error:
        raise ValueError(
            f"{name!r} has a distribution of batch shape {tuple(shapes[0])}, and a value or a mask "
            f"of {' and '.join(str(tuple(s)) for s in shapes[1:])}: images belong into the last "
            "dimension, and the shape of one of them into the event, with to_event"
        ) from error


def _batch_shape(site: Site) -> torch.Size:
    value: Tensor = site["value"]
    return value.shape[: max(0, value.dim() - site["fn"].event_dim)]


def _check_plates(sites: list[Site]) -> None:
    """All are of the same images: what belongs to no image would count once for each."""
    plates = {f.size: f.name for s in sites for f in s["cond_indep_stack"] if f.dim == -1}
    if len(plates) > 1:
        said = " and ".join(f"{name!r} of {size}" for size, name in plates.items())
        raise ValueError(
            f"there are plates {said}, and only one over images can be: what they share, such as "
            "a latent of all of them, is no term of one image; make it a parameter, or train by "
            "pyro.infer.Trace_ELBO"
        )


def _check_sizes(sites: list[Site]) -> None:
    sizes: dict[str, set[int]] = {}
    for frame in (f for s in sites for f in s["cond_indep_stack"] if f.full_size):
        sizes.setdefault(frame.name, set()).add(frame.full_size)
    for name, both in sizes.items():
        if len(both) > 1:
            raise ValueError(
                f"the plate {name!r} is of {min(both)} images in one program and of {max(both)} in "
                "the other: an AutoGuide keeps that of the batch it was first called with; give it "
                "batches of that size, or a guide that reads the images"
            )


def _check_scales(sites: list[Site]) -> None:
    scales = {_scale(s) for s in sites}
    if len(scales) > 1:
        raise ValueError(
            f"sites are scaled differently ({sorted(scales)}): a weight on the KL goes into "
            "the objective, ELBO(beta=…), where the reported bound stays the plain one"
        )


def _scale(site: Site) -> float:
    scale = site["scale"]
    if isinstance(scale, Tensor) and scale.numel() != 1:
        raise ValueError(
            f"a site is scaled by a tensor of shape {tuple(scale.shape)}, and bounds are of images "
            "that count alike: leave poutine.scale out, and weigh what evaluate(…) has of each"
        )
    return float(scale)
