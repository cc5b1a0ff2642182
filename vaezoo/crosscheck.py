"""Each Pyro estimate of a model beside its closed form.

Rows without a z-score use the same noise on both sides: they should agree to rounding. Rows with
one compare two independent estimates of the same expectation, in units of the standard error of
their difference: beyond ±4 (once in 16,000 by chance) something is wrong.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from pyro import infer
from torch import Tensor

from vaezoo import closed_form
from vaezoo.bound import arguments
from vaezoo.components import outside_param_store
from vaezoo.models import SSVAE, LatentVariableModel
from vaezoo.objectives import ELBO, IWELBO
from vaezoo.scopes import one_thread, own_generator, unchecked
from vaezoo.stock import stock_loss
from vaezoo.traces import run

__all__ = ["Crosscheck", "Row", "crosscheck"]


class Row(NamedTuple):
    """One estimate in nats per image: Pyro's, the closed form's, their difference, its z-score.

    For rows on the same noise `difference` is the largest over images, and z is None.
    """

    name: str
    pyro: float
    closed_form: float
    difference: float
    z: float | None


class Crosscheck(list[Row]):
    """The rows, printed as a table."""

    def __repr__(self) -> str:
        width = max(len(row.name) for row in self)
        lines = [
            f"{'nats per image':{width}}  {'pyro':>12}  {'closed form':>12}  difference       z"
        ]
        for name, a, b, difference, z in self:
            score = "       " if z is None else f"{z:7.2f}"
            lines.append(f"{name:{width}}  {a:12.5f}  {b:12.5f}  {difference:10.1e} {score}")
        return "\n".join(lines)

    def agrees(self, *, tolerance: float = 1e-6, z: float = 4.0) -> bool:
        """Whether every row is within `tolerance` (same noise) or `z` standard errors."""
        return all(abs(r.difference) <= tolerance if r.z is None else abs(r.z) <= z for r in self)


def crosscheck(
    model: LatentVariableModel,
    x: Tensor,
    y: Tensor | None = None,
    *,
    particles: int = 10,
    repeats: int = 100,
    seed: int = 0,
) -> Crosscheck:
    """Compare a model's Pyro estimates with `vaezoo.closed_form`, in float64.

    Args:
        model: any member whose posterior is a diagonal Normal, whose prior is N(0, I) or a
            mixture of diagonal Gaussians, and whose likelihood is Bernoulli or Normal. It is
            copied, not changed; a program of your own that refers to another model should refer
            to one in float64.
        x: images (N, *x_shape).
        y: labels (N,); required by FSVAE, and for SSVAE the choice of the labelled bound.
        particles: of the importance-weighted rows.
        repeats: independent estimates behind each z-score.
        seed: of all draws; the global generator is left alone.

    Raises:
        ValueError: a part of the model has no hand-written path, or x or y are no such batch.

    Example:
        >>> from vaezoo.models import VAE
        >>> crosscheck(VAE(), torch.zeros(5, 1, 28, 28), repeats=20).agrees()
        True
    """
    if repeats < 2:
        raise ValueError(f"a z-score needs at least 2 repeats, got {repeats}")
    if model.parts is not LatentVariableModel.parts:
        raise ValueError(f"no closed form for {type(model).__name__}, which has parts of its own")
    model = copy.deepcopy(model).double().eval()
    batch = arguments(model, [x] if y is None else [x, y])
    batch[0] = batch[0].double()
    model.check(*batch)
    with one_thread(), torch.no_grad(), own_generator(seed), outside_param_store():
        hand = _ByHand(model, batch)
        rows = Crosscheck(_same_noise(model, batch, hand))
        for name, estimate, closed in _in_expectation(model, batch, hand, particles):
            rows.append(_compare(name, estimate, closed, repeats))
    return rows


class _ByHand:
    """The closed-form path of a model: its networks, read off its parts, in plain tensors."""

    def __init__(self, model: LatentVariableModel, batch: list[Tensor]) -> None:
        self.model: Any = model
        self.batch = batch
        self.unlabelled = isinstance(model, SSVAE) and len(batch) == 1
        # an SSVAE's program observes y: log p(y) is in its bound, and not in the seed's
        observes_y = isinstance(model, SSVAE) and len(batch) == 2
        self.log_py = -float(torch.tensor(model.classes).double().log()) if observes_y else 0.0
        q = model.posterior(*batch) if not self.unlabelled else None
        if q is not None and not _is_normal(q):
            raise ValueError(f"no closed form for the posterior {model.posterior!r}")
        self.member = self._member()

    def _member(self) -> functools.partial[closed_form.Terms]:
        parts = {"encode": self.encode, "decode": self.decode, **self._likelihood()}
        prior = self.model.prior()
        if isinstance(prior, dist.MixtureSameFamily):
            each = prior.component_distribution
            parts |= {"means": each.mean, "variances": each.variance}
            parts |= {"log_weights": prior.mixture_distribution.logits}
            if self.model.classes:
                raise ValueError(f"no closed form for {self.model.prior!r} with labels")
            return functools.partial(closed_form.gmvae, **parts)
        if not _is_normal(prior) or (prior.mean != 0).any() or (prior.variance != 1).any():
            raise ValueError(f"no closed form for the prior {self.model.prior!r}")
        if self.unlabelled:
            return functools.partial(closed_form.ssvae, classify=self.classify, **parts)
        if self.model.classes:
            return functools.partial(closed_form.ssvae_labelled, **parts)
        return functools.partial(closed_form.vae, **parts)

    def _likelihood(self) -> dict[str, Any]:
        z = self.batch[0].new_zeros(len(self.batch[0]), self.model.z_dim)
        y = self.batch[1:] or [torch.zeros(len(z), dtype=torch.long)] * bool(self.model.classes)
        found = self.model.likelihood(z, *y).base_dist
        if isinstance(found, dist.Bernoulli):
            return {}
        if not isinstance(found, dist.Normal):
            raise ValueError(f"no closed form for the likelihood {self.model.likelihood!r}")
        variance = found.variance.flatten(1)[:1]
        return {"log_likelihood": functools.partial(_log_normal, variance=variance)}

    def encode(self, x: Tensor, *y: Tensor) -> tuple[Tensor, Tensor]:
        q = self.model.posterior(x, *y)
        return q.mean, q.variance

    def decode(self, z: Tensor, *y: Tensor) -> Tensor:
        base = self.model.likelihood(z, *y).base_dist
        out: Tensor = base.logits if isinstance(base, dist.Bernoulli) else base.loc
        return out

    def classify(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model.classifier(x).logits
        return logits

    def elbo(self, noise: Tensor | None = None) -> float:
        return -self.member(*self.batch, noise=noise).nelbo.mean().item() + self.log_py

    def importance_weighted(self, particles: int) -> float:
        if self.unlabelled:
            bound = closed_form.ssvae_importance_weighted(
                self.batch[0], **self.member.keywords, particles=particles
            )
        else:
            bound = closed_form.importance_weighted(self.member, *self.batch, particles=particles)
        return bound.mean().item() + self.log_py


def _same_noise(model: LatentVariableModel, batch: list[Tensor], hand: _ByHand) -> list[Row]:
    traced = run(model.model, model.guide, *batch)
    site = traced._guide["z"]
    noise = (site["value"] - site["fn"].mean) / site["fn"].stddev
    closed = hand.member(*batch, noise=noise.reshape(-1, model.z_dim))
    rec = traced.expect(traced.rec)[0]
    kl = traced.expect(traced.kl + traced.log_qy - traced.log_py)[0] + hand.log_py
    pairs = {
        "rec, same noise": (rec, -closed.rec),  # E_q[log p(x|z)], as everywhere but there
        "KL, same noise": (kl, closed.kl),
        "NELBO, same noise": (kl - rec, closed.nelbo),
    }
    return [
        Row(name, a.mean().item(), b.mean().item(), (a - b).abs().max().item(), None)
        for name, (a, b) in pairs.items()
    ]


def _in_expectation(
    model: LatentVariableModel, batch: list[Tensor], hand: _ByHand, particles: int
) -> list[tuple[str, Callable[[], float], Callable[[], float]]]:
    """Name, Pyro's estimate and the closed form's, of each row with a z-score."""
    programs = (model.model, model.guide)

    def ours(objective: ELBO | IWELBO) -> Callable[[], float]:
        return lambda: -objective.loss(*programs, *batch)

    def stock(objective: infer.elbo.ELBO) -> Callable[[], float]:
        return lambda: -stock_loss(objective, model, *batch).item()

    def weighted() -> float:
        return hand.importance_weighted(particles)

    sums_y_out = hand.unlabelled
    trace_elbo = infer.TraceEnum_ELBO(max_plate_nesting=1) if sums_y_out else infer.Trace_ELBO()
    rows = [
        ("ELBO", ours(ELBO()), hand.elbo),
        (f"{type(trace_elbo).__name__} (Pyro's)", stock(trace_elbo), hand.elbo),
        (f"IWELBO({particles})", ours(IWELBO(particles)), weighted),
    ]
    if not sums_y_out:
        # α = 0 is the importance-weighted bound; an enumerated y would be sampled here
        renyi = infer.RenyiELBO(
            alpha=0, num_particles=particles, vectorize_particles=True, max_plate_nesting=1
        )
        rows.append((f"RenyiELBO(0, {particles}) (Pyro's)", stock(renyi), weighted))
    return rows


def _compare(
    name: str, estimate: Callable[[], float], closed: Callable[[], float], repeats: int
) -> Row:
    with unchecked():
        a, b = (torch.tensor([f() for _ in range(repeats)]).double() for f in (estimate, closed))
    difference = (a.mean() - b.mean()).item()
    error = ((a.var() + b.var()) / repeats).sqrt().item()
    z = difference / error if error > 0 else 0.0 if difference == 0 else math.inf
    return Row(name, a.mean().item(), b.mean().item(), difference, z)


def _is_normal(found: Any) -> bool:
    return isinstance(getattr(found, "base_dist", None), dist.Normal)


def _log_normal(x: Tensor, mean: Tensor, *, variance: Tensor) -> Tensor:
    return closed_form.log_normal(x, mean, variance)
