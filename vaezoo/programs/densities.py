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
from vaezoo.programs.sites import Site, is_factor, is_label, log_prob, sample_sites, unmasked
from vaezoo.programs.terms import Terms
from vaezoo.scopes import unchecked

__all__ = [
    "check_drawn",
    "draw",
    "free_factor",
    "log_given",
    "log_joint",
    "log_marginal_q",
    "log_prior",
    "log_q",
    "marked",
    "simulated",
]

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
    return _total(guide, batch, latents)


def log_prior(model: Program, batch: list[Any], latents: Latents) -> Tensor:
    """log p(h) of latents, without the images, in nats; labels are latents where they stand there.

    Example:
        >>> from vaezoo.models import VAE
        >>> vae, z = VAE(), torch.zeros(7, 10)
        >>> log_prior(vae.model, [torch.zeros(7, 1, 28, 28)], {"z": z})[0]
        tensor(-9.1894)
    """
    return _total(model, batch, latents)


def log_given(terms: Terms) -> Tensor:
    """log p(y) of the labels that the model is given, (L, K, N), in nats; 0 where it draws them.

    Example:
        >>> from vaezoo.models import SSVAE
        >>> from vaezoo.programs import run
        >>> ssvae, x, y = SSVAE(), torch.zeros(7, 1, 28, 28), torch.zeros(7, dtype=torch.long)
        >>> [log_given(run(ssvae.model, ssvae.guide, *b))[0, 0, 0].item() for b in ((x,), (x, y))]
        [0.0, -2.3025851249694824]
    """
    labels = [s for s in terms._model.values() if is_label(s) and s["is_observed"]]
    return terms._sum(map(log_prob, labels))


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

    It is that of draws, which follow no factor, and no label that the guide is given.

    Example:
        >>> from vaezoo.models import SSVAE
        >>> ssvae, z = SSVAE(), torch.zeros(5, 7, 64)
        >>> log_marginal_q(ssvae.guide, [torch.zeros(7, 1, 28, 28)], {"z": z}).shape
        torch.Size([5, 7])
    """
    with unchecked():
        sites = _at(poutine.enum(guide, first_available_dim=-3), batch, latents)
        drawn = [s for name, s in sites.items() if name in latents or not s["is_observed"]]
        return _sum_out(_sum([log_prob(site) for site in drawn]))


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
        drawn[i] = sites.pop(name)["value"].to(batch[i].dtype)
    return {name: site["value"] for name, site in sites.items()}, drawn


def check_drawn(terms: Terms) -> None:
    """Refuse latents that are not drawn by the densities that they have.

    Raises:
        ValueError: the guide has a factor, or one of the programs a mask on a latent.
    """
    latents = {name: s for name, s in terms._model.items() if not s["is_observed"]}
    for program, sites in (("guide", terms._guide), ("model", latents)):
        if found := _unfollowed(sites):
            raise ValueError(
                f"the {program} has {found}, which draws of latents do not follow, and a rate is "
                "measured at these: leave it out, as well as images that a mask hides"
            )


def free_factor(terms: Terms) -> str:
    """A factor of the guide that is no Jacobian of an auxiliary draw, by name; "" if none is."""
    sites = terms._guide
    if any(s["infer"].get("is_auxiliary") for s in sites.values() if not is_factor(s)):
        return ""
    return next((name for name, site in sites.items() if is_factor(site)), "")


def _check_followed(sites: dict[str, Site]) -> None:
    """Draws of the model must be draws of the density that it has."""
    if found := _unfollowed(sites):
        raise ValueError(
            f"the model has {found}, which draws of it do not follow: images can be simulated from "
            "a model without"
        )


def _unfollowed(sites: dict[str, Site]) -> str:
    """What changes densities and not draws, a factor or a mask on a latent; "" if nothing does."""
    for name, site in sites.items():
        if is_factor(site):
            return f"a factor {name!r}"
        mask = None if site["is_observed"] else unmasked(site)[1]
        if not (mask is None or bool(torch.as_tensor(mask).all())):
            return f"a mask on the latent {name!r}"
    return ""


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


def _total(program: Program, batch: list[Any], latents: Latents) -> Tensor:
    """The sum of the log-densities of the latents: of nothing that the program is given."""
    with unchecked():
        sites = _at(program, batch, latents)
        return _sum([log_prob(site) for name, site in sites.items() if name in latents])


def _at(program: Program, batch: list[Any], latents: Latents) -> dict[str, Site]:
    trace = poutine.trace(poutine.condition(program, data=latents)).get_trace(*batch)
    return sample_sites(trace)


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*terms)).sum(0)


def _sum_out(terms: Tensor) -> Tensor:
    """log Σ exp over the labels of terms (L, K, N); those of (K, N) are left as they are."""
    return terms.logsumexp(0) if terms.dim() > 2 else terms
