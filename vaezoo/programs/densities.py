"""Densities of a pair at latents of one's choice, rather than at those that the guide draws.

Latents are a dict from the names of sites to values (K, N, *event), K for each of N images; or one
for each, (N, *event), or M for all of them, (M, 1, *event).
"""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from vaezoo.programs.pair import Program
from vaezoo.programs.sites import Site, is_factor, log_prob, sample_sites, unmasked
from vaezoo.scopes import unchecked

__all__ = ["draw", "log_joint", "log_marginal_q", "log_prior", "log_q", "marked", "simulated"]

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


def log_joint(model: Program, batch: list[Any], latents: Latents) -> tuple[Tensor, Tensor]:
    """log p(h) and log p(x, h) of continuous latents, a label that is not given summed out: (K, N).

    Example:
        >>> from vaezoo.models import SSVAE
        >>> ssvae, z = SSVAE(), torch.zeros(5, 7, 64)
        >>> log_p, log_px = log_joint(ssvae.model, [torch.zeros(7, 1, 28, 28)], {"z": z})
        >>> log_p.shape, log_px.shape
        (torch.Size([5, 7]), torch.Size([5, 7]))
    """
    with unchecked():
        sites = _at(poutine.enum(model, first_available_dim=-3), batch, latents)
        given = {name for name, s in sites.items() if s["is_observed"] and name not in latents}
        prior = _sum([log_prob(s) for name, s in sites.items() if name not in given])
        rec = _sum([log_prob(s) for name, s in sites.items() if name in given])
    return _sum_out(prior), _sum_out(prior + rec)


def log_marginal_q(guide: Program, batch: list[Any], latents: Latents) -> Tensor:
    """log q(h|x) of continuous latents, a label that is not given summed out: (K, N).

    It is that of draws, which follow no factor.

    Example:
        >>> from vaezoo.models import SSVAE
        >>> ssvae, z = SSVAE(), torch.zeros(5, 7, 64)
        >>> log_marginal_q(ssvae.guide, [torch.zeros(7, 1, 28, 28)], {"z": z}).shape
        torch.Size([5, 7])
    """
    with unchecked():
        sites = _at(poutine.enum(guide, first_available_dim=-3), batch, latents)
        return _sum_out(_sum([log_prob(s) for s in sites.values() if not is_factor(s)]))


def marked(model: Program, labels: list[str]) -> Program:
    """The model with these labels marked as in the guide, where Pyro's users often mark them alone.

    Example:
        >>> from vaezoo.models import SSVAE
        >>> ssvae, x = SSVAE(), torch.zeros(7, 1, 28, 28)
        >>> poutine.trace(marked(ssvae.model, ["y"])).get_trace(x).nodes["y"]["infer"]
        {'enumerate': 'parallel'}
    """
    infer = {"enumerate": "parallel"}
    return poutine.infer_config(model, lambda site: infer if site["name"] in labels else {})


def simulated(model: Program, batch: list[Any]) -> tuple[Latents, list[Any]]:
    """A draw of all that the model draws, and the batch with what it observes of it in its place.

    Labels that it observes by a site are drawn too.

    Raises:
        ValueError: the model observes the images by no site, or something besides the batch; or it
            has a factor, or a mask on what it draws, which draws do not follow.

    Example:
        >>> from vaezoo.models import VAE
        >>> latents, (x,) = simulated(VAE().model, [torch.zeros(7, 1, 28, 28)])
        >>> latents["z"].shape, x.shape, bool(x.any())
        (torch.Size([7, 10]), torch.Size([7, 1, 28, 28]), True)
    """
    with unchecked():
        sites = sample_sites(poutine.trace(model).get_trace(*batch))
        _check_followed(sites)
        places = _places(sites, batch)
        sites = sample_sites(poutine.trace(poutine.uncondition(model)).get_trace(*batch))
    drawn = [*batch]
    for name, i in places.items():
        drawn[i] = sites.pop(name)["value"]
    return {name: site["value"] for name, site in sites.items()}, drawn


def _check_followed(sites: dict[str, Site]) -> None:
    """Draws of the model must be draws of the density that it has."""
    for name, site in sites.items():
        mask = None if site["is_observed"] else unmasked(site)[1]
        if is_factor(site) or not (mask is None or bool(torch.as_tensor(mask).all())):
            what = "a factor" if is_factor(site) else "a mask on the latent"
            raise ValueError(
                f"the model has {what} {name!r}, which draws of it do not follow: images can be "
                "simulated from a model without"
            )


def _places(sites: dict[str, Site], batch: list[Any]) -> dict[str, int]:
    """For each site that is observed, where in the batch its value is."""
    observed = {n: s["value"] for n, s in sites.items() if s["is_observed"]}
    at = {name: [i for i, t in enumerate(batch) if t is value] for name, value in observed.items()}
    places = {name: found[0] for name, found in at.items() if found}
    if 0 not in places.values():
        raise ValueError("the model observes its images by no site: pyro.sample(…, obs=x)")
    if others := observed.keys() - places.keys():
        raise ValueError(
            f"the model observes {sorted(others)}, whose values are none of the batch as it is, so "
            "that a draw of them cannot be put in their place: hand them over as they are observed"
        )
    return places


def _total(program: Program, batch: list[Any], latents: Latents, names: set[str] | None) -> Tensor:
    """The sum of the log-densities of some sites, or of all."""
    with unchecked():
        sites = _at(program, batch, latents)
        return _sum([log_prob(s) for name, s in sites.items() if names is None or name in names])


def _at(program: Program, batch: list[Any], latents: Latents) -> dict[str, Site]:
    trace = poutine.trace(poutine.condition(program, data=latents)).get_trace(*batch)
    return sample_sites(trace)


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*terms)).sum(0)


def _sum_out(terms: Tensor) -> Tensor:
    """log Σ exp over the labels of terms (L, K, N); those of (K, N) are left as they are."""
    return terms.logsumexp(0) if terms.dim() > 2 else terms
