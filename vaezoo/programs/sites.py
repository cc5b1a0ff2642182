"""The sample sites of the traces of a pair: what each is, and whether its terms are per image.

A guide's site is a latent, or observed in one of two ways: a label that was given to both programs,
or a `pyro.factor`, whose logarithm belongs to log q as in Pyro's own objectives.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
from pyro import poutine
from pyro.distributions.torch_distribution import MaskedDistribution
from torch import Tensor

__all__ = [
    "PARTICLES",
    "Site",
    "differing",
    "drawn_before",
    "is_factor",
    "is_label",
    "leaves_out",
    "log_prob",
    "sample_sites",
    "unmasked",
]

PARTICLES = "vaezoo: particles"  # the plate of draws, in a run

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


def leaves_out(mask: Any) -> bool:
    """Whether a mask, a tensor or one bool, leaves anything out.

    Example:
        >>> leaves_out(None), leaves_out(True), leaves_out(False)
        (False, False, True)
    """
    if mask is None or isinstance(mask, bool):
        return mask is False
    return not bool(mask.all())


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
