"""Densities of a pair at latents of one's choice, rather than at those that the guide draws.

Latents are a dict from the names of sites to values (M, 1, *event), M for each image, or
(N, *event), one for each of N images.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from vaezoo.programs.pair import Program
from vaezoo.programs.sites import log_prob, sample_sites
from vaezoo.scopes import unchecked

__all__ = ["draw", "log_prior", "log_q"]

Latents = dict[str, Tensor]


def draw(guide: Program, *batch: Any) -> Latents:
    """One draw of all latents for each image (N, *event), a label that is not given too.

    Example:
        >>> from vaezoo.models import SSVAE
        >>> latents = draw(SSVAE().guide, torch.zeros(7, 1, 28, 28))
        >>> {name: value.shape for name, value in latents.items()}
        {'y': torch.Size([7]), 'z': torch.Size([7, 64])}
    """
    sites = sample_sites(poutine.trace(guide).get_trace(*batch))
    return {name: site["value"] for name, site in sites.items() if not site["is_observed"]}


def log_q(guide: Program, batch: list[Any], latents: Latents) -> Tensor:
    """log q(h|x) of latents, in nats: (M, N) for values (M, 1, *event), where M > 1.

    Example:
        >>> from vaezoo.models import VAE
        >>> vae, z = VAE(), torch.zeros(5, 1, 10)
        >>> log_q(vae.guide, [torch.zeros(7, 1, 28, 28)], {"z": z}).shape
        torch.Size([5, 7])
    """
    return _total(guide, batch, latents, None)


def log_prior(model: Program, batch: list[Any], latents: Latents) -> Tensor:
    """log p(h) of latents, without the images, in nats; labels are latents where they stand there.

    Example:
        >>> from vaezoo.models import VAE
        >>> vae, z = VAE(), torch.zeros(7, 10)
        >>> log_prior(vae.model, [torch.zeros(7, 1, 28, 28)], {"z": z})[0]
        tensor(-9.1894)
    """
    return _total(model, batch, latents, set(latents))


def _total(program: Program, batch: list[Any], latents: Latents, names: set[str] | None) -> Tensor:
    """The sum of the log-densities of some sites, or of all."""
    with unchecked():
        sites = sample_sites(
            poutine.trace(poutine.condition(program, data=latents)).get_trace(*batch)
        )
        terms = [log_prob(s) for name, s in sites.items() if names is None or name in names]
    return torch.stack(torch.broadcast_tensors(*terms)).sum(0)
