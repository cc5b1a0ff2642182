"""The way from r(h) to p(x, h) that annealing takes, there and back."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor
from torch.distributions import constraints

from vaezoo.data.counts import as_count
from vaezoo.distributions.known import known_support
from vaezoo.evaluation.hmc import evaluated, transition
from vaezoo.programs.densities import Latents, log_joint, log_marginal_q, marked
from vaezoo.programs.run import run
from vaezoo.programs.sites import PARTICLES, Site, leaves_out, sample_sites
from vaezoo.programs.terms import Terms
from vaezoo.scopes import unchecked

__all__ = ["Path", "Settings"]

STARTS = ("prior", "guide")
AS_REAL = "draw one that is not bound, and transform it in the model"
TARGET, FASTER, SLOWER = 0.65, 1.05, 0.95  # acceptance, and factors of the size of steps


@dataclasses.dataclass(frozen=True)
class Settings:
    """How annealing goes: the arguments of `annealed` of these names."""

    chains: int
    temperatures: int
    steps: int
    start: str

    def __post_init__(self) -> None:
        for name, least in (("chains", 2), ("temperatures", 1), ("steps", 1)):
            object.__setattr__(self, name, as_count(name, getattr(self, name), least=least))
        if self.start not in STARTS:
            raise ValueError(f"start must be one of {STARTS}, got {self.start!r}")

    @functools.cached_property
    def betas(self) -> list[float]:
        """β_0 … β_T, close together at both ends: a sigmoid of -4 … 4, from 0 to 1."""
        each = torch.linspace(
            -4, 4, self.temperatures + 1, dtype=torch.float64, device="cpu"
        ).sigmoid()
        betas: list[float] = ((each - each[0]) / (each[-1] - each[0])).tolist()
        return betas


class Path:
    """Chains (K, N, D) of some images, all latents of a draw in one vector.

    Args:
        pair: a model and its guide.
        batch: what both programs take.
        settings: how to go.
    """

    def __init__(self, pair: Any, batch: list[Tensor], settings: Settings) -> None:
        self.pair, self.batch, self.settings = pair, batch, settings
        one = [t[:1] for t in batch]
        terms = run(pair.model, pair.guide, *one)
        self.model = marked(pair.model, terms.summed_out)
        if not terms.latents:
            raise ValueError("annealing moves latents that are numbers, and this pair has none")
        self.shapes = {n: _event_shape(terms, n) for n in terms.latents}
        for name in self.shapes:
            _check_followed(name, *terms.masks(name), settings.start)
            _check_unbounded(name, terms.distribution(name, of="model"), AS_REAL)
        if settings.start == "guide":
            _check_start(terms, sample_sites(poutine.trace(pair.guide).get_trace(*one)))

    def densities(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """log r(h) and log p(x, h), (K, N)."""
        latents = self._unpacked(h)
        log_p, log_px = log_joint(self.model, self.batch, latents)
        if self.settings.start == "guide":
            log_p = log_marginal_q(self.pair.guide, self.batch, latents)
        return log_p, log_px

    def drawn(self) -> Tensor:
        """Chains drawn from r(h)."""
        program = self.pair.model if self.settings.start == "prior" else self.pair.guide
        with unchecked(), pyro.plate(PARTICLES, self.settings.chains, dim=-2):
            sites = sample_sites(poutine.trace(program).get_trace(*self.batch))
        return self.packed({name: sites[name]["value"] for name in self.shapes})

    def packed(self, latents: Latents) -> Tensor:
        """Values (K, N, *event), or one for each image (N, *event), as K chains."""
        sizes = self.settings.chains, len(self.batch[0])
        each = [latents[n].expand(*sizes, *s).reshape(*sizes, -1) for n, s in self.shapes.items()]
        return torch.cat(each, -1)

    def _unpacked(self, h: Tensor) -> Latents:
        sizes = [shape.numel() for shape in self.shapes.values()]
        parts = zip(self.shapes.items(), h.split(sizes, -1), strict=True)
        return {name: part.reshape(*h.shape[:-1], *shape) for (name, shape), part in parts}

    def tuned(self) -> list[Tensor]:
        """A size of steps (N,) for each β_1 … β_T, by which two moves of three are taken."""
        state = evaluated(self.densities, self.drawn())
        size, sizes = torch.full_like(state.log_end[0], 0.3), []
        for beta in self.settings.betas[1:]:
            sizes.append(size)
            state, taken = transition(self.densities, state, beta, size, self.settings.steps)
            size = torch.where(taken.mean(0) > TARGET, FASTER * size, SLOWER * size)
        return sizes

    def forward(self, sizes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Log weights (K, N), unbiased for p(x) without their logarithm, and acceptance (N,)."""
        state = evaluated(self.densities, self.drawn())
        log_w = acceptance = torch.zeros_like(state.log_end)
        for t, size in enumerate(sizes, start=1):
            before, beta = self.settings.betas[t - 1 : t + 1]
            log_w = log_w + state.change(before, beta)
            state, taken = transition(self.densities, state, beta, size, self.settings.steps)
            acceptance = acceptance + taken / len(sizes)
        return log_w, acceptance.mean(0)

    def back(self, sizes: list[Tensor], h: Tensor) -> Tensor:
        """Log weights (K, N), unbiased for 1 / p(x), from chains that are draws of p(h|x)."""
        state = evaluated(self.densities, h)
        log_w = torch.zeros_like(state.log_end)
        for t in range(len(sizes), 0, -1):
            before, beta = self.settings.betas[t - 1 : t + 1]
            state, _ = transition(self.densities, state, beta, sizes[t - 1], self.settings.steps)
            log_w = log_w + state.change(beta, before)
        return log_w


def _check_followed(name: str, on_q: Any, on_p: Any, start: str) -> None:
    """r(h) is the density of what chains are drawn from, but for what one program masks alone."""
    masks, other = {"prior": on_p, "guide": on_q}, {"prior": "guide", "guide": "prior"}[start]
    if leaves_out(masks[start]) and not _are_same(masks[start], masks[other]):
        program = "model" if start == "prior" else "guide"
        raise ValueError(
            f"{name!r} is masked in the {program} alone, whose draws do not follow what is left of "
            f"its density: anneal from start={other!r}"
        )


def _are_same(a: Any, b: Any) -> bool:
    both = [torch.as_tensor(mask, device="cpu") for mask in (a, b) if mask is not None]
    return len(both) == 2 and torch.equal(*torch.broadcast_tensors(*both))


def _event_shape(terms: Terms, name: str) -> torch.Size:
    shape = terms.value(name).shape
    return shape[len(shape) - terms.distribution(name).event_dim :]


def _check_start(terms: Terms, guide: dict[str, Site]) -> None:
    """Chains move the latents of the model, so that r(h) must be a density of these."""
    known = {*terms.latents, *terms.summed_out}
    for name, site in guide.items():
        if name not in known and not site["is_observed"]:
            raise ValueError(
                f"the guide draws {name!r}, which the model does not: anneal from start='prior'"
            )
        if isinstance(getattr(site["fn"], "base_dist", site["fn"]), Delta):
            raise ValueError(f"the guide's {name!r} is a point: anneal from start='prior'")
    for name in terms.latents:
        _check_unbounded(name, terms.distribution(name), "anneal from start='prior'")


def _check_unbounded(name: str, distribution: Any, cure: str) -> None:
    support = known_support(distribution)
    if support is None:
        return
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    if support not in (constraints.real, constraints.real_vector):
        raise ValueError(
            f"annealing moves latents anywhere, and {name!r} is bound to {support}: {cure}"
        )
