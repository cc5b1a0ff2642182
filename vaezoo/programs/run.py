"""One run of a pair: the guide, then the model replayed against what the guide drew.

Every objective of vaezoo's starts here. The guide runs under `poutine.enum`, both programs inside
one plate of particles; what their traces say of each image is in `Terms`.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pyro
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions.constraints import Constraint

from vaezoo.autograd import leaves
from vaezoo.distributions.known import known_support
from vaezoo.programs.held import hold
from vaezoo.programs.pair import Program
from vaezoo.programs.sites import PARTICLES, Site, is_factor, is_label, log_prob, sample_sites
from vaezoo.programs.terms import Terms
from vaezoo.scopes import checks_data

__all__ = ["run"]


def run(
    model: Program,
    guide: Program,
    *batch: Any,
    particles: int = 1,
    hold_guide: bool = False,
) -> Terms:
    """Run the pair once on a batch and return its `Terms`.

    Args:
        model, guide: Pyro programs of the same arguments, with one plate over images at dim -1.
        batch: the arguments of both.
        particles: draws K of the latents per image.
        hold_guide: stop gradients of log q in the guide's parameters, for continuous latents; only
            the path through the latents remains (see `vaezoo.programs.held`).

    Raises:
        ValueError: the pair cannot be estimated: a latent that the guide does not sample or that
            the model is given, a discrete latent that is not enumerated, scales that differ between
            sites, a guide that cannot be held.

    Example:
        >>> import torch
        >>> from vaezoo.models import SSVAE
        >>> ssvae, x = SSVAE(), torch.zeros(7, 1, 28, 28)
        >>> terms = run(ssvae.model, ssvae.guide, x, particles=3)
        >>> terms.rec.shape, terms.log_qy.shape
        (torch.Size([10, 3, 7]), torch.Size([10, 1, 7]))
    """
    with contextlib.ExitStack() as stack:
        if particles > 1:
            stack.enter_context(pyro.plate(PARTICLES, particles, dim=-2))
        enumerated = poutine.enum(guide, first_available_dim=-3)
        guide_trace = poutine.trace(enumerated).get_trace(*batch)
        held: dict[str, Site] = {}
        if hold_guide:
            drawn, guide_trace = sample_sites(guide_trace), _branched(guide_trace)
            held = _held(drawn, sample_sites(guide_trace))
        replayed = poutine.replay(model, trace=guide_trace)
        model_trace = poutine.trace(replayed).get_trace(*batch)
    return Terms(sample_sites(model_trace), sample_sites(guide_trace) | held, particles)


def _branched(trace: poutine.Trace) -> poutine.Trace:
    """The same trace, the value of each continuous latent a tensor of its own, its branch.

    What is computed from branches can have its gradient scaled on the way to the guide, while
    latents that the guide drew from one another stay connected as they were.
    """
    branched = trace.copy()
    for name, site in sample_sites(trace).items():
        if not site["is_observed"] and not is_label(site):
            if hasattr(site["value"], "_unquantize"):
                raise ValueError(
                    f"the guide draws {name!r} straight through, of which this estimator would "
                    "lose the relaxed values: use IWELBO(estimator='iwae')"
                )
            branched.nodes[name] = {**site, "value": site["value"].view_as(site["value"])}
    return branched


def _held(drawn: dict[str, Site], branched: dict[str, Site]) -> dict[str, Site]:
    """The guide's continuous sites with their distributions held, each at its branch.

    Args:
        drawn: the guide's sites, with the values that its distributions were computed from.
        branched: the same with branches, which the gradients of log q are to go to.
    """
    held: dict[str, Site] = {}
    earlier: list[tuple[Tensor, Tensor]] = []
    for name, site in branched.items():
        if is_factor(site) and log_prob(site).requires_grad:
            raise ValueError(
                f"the factor {name!r} of the guide depends on its parameters, which this estimator "
                "cannot hold: use IWELBO(estimator='iwae')"
            )
        if site["is_observed"] or is_label(site):
            continue
        if checks_data():
            _check_held(name, site)
            _check_support(name, site["fn"])
            _check_point(name, site["fn"], [value for value, _ in earlier])
        held[name] = {**site, "fn": hold(site["fn"], earlier)}
        earlier.append((drawn[name]["value"], site["value"]))
    return held


def _check_point(name: str, distribution: Any, latents: list[Tensor]) -> None:
    """A density at a point that is one of parameters, held, would leave out their gradient."""
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    if isinstance(distribution, Delta) and leaves(distribution.log_density, before=latents):
        raise ValueError(
            f"the guide draws {name!r} from a Delta whose log_density is computed from parameters, "
            "which this estimator would leave out: draw it from a distribution with rsample, such "
            "as a TransformedDistribution, or use IWELBO(estimator='iwae')"
        )


def _check_support(name: str, distribution: Any) -> None:
    """Where the support moves with parameters, so does the integral of a density: its score is not
    0 on average, and cannot be left out.
    """
    inside = distribution
    while hasattr(inside, "base_dist"):
        inside = inside.base_dist
    bounds = [v for fn in (distribution, inside) for v in _numbers(known_support(fn))]
    if any(isinstance(bound, Tensor) and bound.requires_grad for bound in bounds):
        raise ValueError(
            f"the guide draws {name!r} from a {type(inside).__name__} whose support depends on "
            "parameters, which biases this estimator: use IWELBO(estimator='iwae')"
        )


def _numbers(constraint: Any) -> list[Any]:
    """What a constraint is made of, and those that it is made of; nothing of an unknown one."""
    values = list(vars(constraint).values()) if isinstance(constraint, Constraint) else []
    inside = [v for v in values if isinstance(v, Constraint)]
    return values + [number for each in inside for number in _numbers(each)]


def _check_held(name: str, site: Site) -> None:
    if hold(site["fn"]).log_prob(site["value"].detach()).requires_grad:
        raise ValueError(
            f"the guide draws {name!r} from a {type(site['fn']).__name__} that computes with "
            "parameters where they cannot be seen, such as in a closure, so that this estimator "
            "cannot hold them: keep them in attributes, or use IWELBO(estimator='iwae')"
        )
