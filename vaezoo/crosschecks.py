"""Each Pyro estimate of a model beside its closed form.

Rows without a z-score use the same noise on both sides: they should agree to rounding. Rows with
one compare two independent estimates of the same expectation, in units of the standard error of
their difference: beyond ±4 (once in 16,000 by chance) something is wrong.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from pyro import infer
from torch import Tensor

from vaezoo.bound import arguments
from vaezoo.components import outside_param_store
from vaezoo.data.counts import as_count, as_seed
from vaezoo.models import SSVAE, LatentVariableModel
from vaezoo.models.by_hand import ByHand
from vaezoo.objectives import ELBO, IWELBO, Objective
from vaezoo.objectives.pyro_adapter import adapted_loss
from vaezoo.programs.refusing import check_member
from vaezoo.programs.run import run
from vaezoo.scopes import in_mode, one_thread, own_generator, unchecked
from vaezoo.tables import table

__all__ = ["Crosscheck", "Row", "crosscheck"]

Draw = Callable[[], float]


class Row(NamedTuple):
    """A quantity in nats per image: Pyro's estimate, the closed form's, their difference.

    z is the difference in standard errors. On the same noise it is None, and `difference` is the
    largest over images.
    """

    name: str
    pyro: float
    closed_form: float
    difference: float
    z: float | None


class Crosscheck(list[Row]):
    """The rows, shown as a table."""

    def __repr__(self) -> str:
        header, *rows = self._cells()
        width = max(len(name) for name, *_ in rows) if rows else 0
        sizes = (12, 12, 10, 7)
        lines = [
            "  ".join([f"{name:{width}}", *map(str.rjust, numbers, sizes)]).rstrip()
            for name, *numbers in (header, *rows)
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        (_, *header), *rows = self._cells()
        return table("nats per image", ["", *header], rows)

    def _cells(self) -> list[list[str]]:
        header = ["nats per image", "pyro", "closed form", "difference", "z"]
        rows = [
            [name, f"{a:.5f}", f"{b:.5f}", f"{difference:.1e}", "" if z is None else f"{z:.2f}"]
            for name, a, b, difference, z in self
        ]
        return [header, *rows]

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
        model: any member whose posteriors (and p(z1|…), p(a|…)) are diagonal Normals, whose prior
            is N(0, I) or, with one latent and no labels, a mixture of diagonal Gaussians, and
            whose likelihood is Bernoulli or Normal. It is copied, not changed; a program of your
            own that refers to another model should refer to one in float64.
        x: images (N, *x_shape).
        y: labels (N,); required by FSVAE, and for SSVAE, M1M2 and ADGM the choice of the labelled
            bound.
        particles: of the importance-weighted rows.
        repeats: independent estimates behind each z-score.
        seed: of all draws; the global generator is left alone.

    Raises:
        ValueError: a part of the model has no hand-written path, repeats are fewer than 2, or x or
            y are no such batch.

    Example:
        >>> from vaezoo.models import VAE
        >>> crosscheck(VAE(), torch.zeros(5, 1, 28, 28), repeats=20).agrees()
        True
    """
    check_member(model, "crosscheck", alike=False)
    repeats, particles = as_count("repeats", repeats), as_count("particles", particles)
    if repeats < 2:
        raise ValueError(f"a z-score needs at least 2 repeats, got {repeats}")
    judged = copy.deepcopy(model).double()
    batch = arguments(judged, [x] if y is None else [x, y])
    batch[0] = batch[0].double()
    judged.check(*batch)
    with _judging(model, judged), own_generator(as_seed(seed)):
        hand = ByHand(judged, batch)
        rows = Crosscheck(_same_noise(judged, batch, hand))
        for name, estimate, closed in _in_expectation(judged, batch, hand, particles):
            rows.append(_compare(name, estimate, closed, repeats))
    return rows


@contextlib.contextmanager
def _judging(*models: LatentVariableModel) -> Iterator[None]:
    """Evaluation mode, also of the model that a program of its own refers to; no gradients."""
    with one_thread(), torch.no_grad(), outside_param_store(), contextlib.ExitStack() as stack:
        for model in models:
            stack.enter_context(in_mode(model, training=False))
        yield


def _same_noise(model: LatentVariableModel, batch: list[Tensor], hand: ByHand) -> list[Row]:
    terms = run(model.model, model.guide, *batch)
    closed = hand.member(*batch, noise=hand.noise(terms))
    rec = terms.expect(terms.rec)[0]
    kl = terms.expect(terms.kl + terms.log_qy - terms.log_py)[0] + hand.log_py
    log_w = terms.log_wy.logsumexp((0, 1)) - hand.log_py
    pairs = {
        "rec, same noise": (rec, -closed.rec),  # in closed_form rec is -log p(x|z)
        "KL, same noise": (kl, closed.kl),
        "NELBO, same noise": (kl - rec, closed.nelbo),
        "log weight, same noise": (log_w, closed.log_w),
    }
    return [
        Row(name, a.mean().item(), b.mean().item(), (a - b).abs().max().item(), None)
        for name, (a, b) in pairs.items()
    ]


def _in_expectation(
    model: LatentVariableModel, batch: list[Tensor], hand: ByHand, particles: int
) -> list[tuple[str, Draw, Draw]]:
    """Name, Pyro's estimate and the closed form's, of each row with a z-score."""
    weighted = functools.partial(hand.importance_weighted, particles)
    pyros = infer.TraceEnum_ELBO(max_plate_nesting=1) if hand.sums_out else infer.Trace_ELBO()
    rows: list[tuple[str, infer.elbo.ELBO, Draw]] = [
        ("ELBO", ELBO(), hand.elbo),
        (f"{type(pyros).__name__} (Pyro's)", pyros, hand.elbo),
    ]
    if not hand.sums_out or isinstance(model, SSVAE):  # else draws do not share a q(y|…)
        rows.append((f"IWELBO({particles})", IWELBO(particles), weighted))
    if not hand.sums_out:
        # α = 0 is the importance-weighted bound; an enumerated y would be sampled here
        renyi = infer.RenyiELBO(
            alpha=0, num_particles=particles, vectorize_particles=True, max_plate_nesting=1
        )
        rows.append((f"RenyiELBO(0, {particles}) (Pyro's)", renyi, weighted))
    pairs: list[tuple[str, Draw, Draw]] = [
        (name, functools.partial(_bound, o, model, batch), by) for name, o, by in rows
    ]
    if hand.sums_out:
        ours = functools.partial(_evidence, model, batch, particles)
        evidence = functools.partial(hand.evidence, particles)
        pairs.append((f"log p(x), {particles} draws", ours, evidence))
    return pairs


def _bound(objective: infer.elbo.ELBO, model: LatentVariableModel, batch: list[Tensor]) -> float:
    """Minus the loss of one of vaezoo's objectives, or of Pyro's, per image."""
    if isinstance(objective, Objective):
        return -objective.loss(model.model, model.guide, *batch)
    return -adapted_loss(objective, model, *batch).item()


def _evidence(model: LatentVariableModel, batch: list[Tensor], particles: int) -> float:
    """log 1/m Σ_i Σ_y p(y) w(y, z_i), a mean over the batch."""
    terms = run(model.model, model.guide, *batch, particles=particles)
    total = terms.log_wy.logsumexp((0, 1)) - math.log(particles)
    return total.mean().item()


def _drawn(draw: Draw, repeats: int) -> Tensor:
    return torch.tensor([draw() for _ in range(repeats)], dtype=torch.float64, device="cpu")


def _compare(name: str, estimate: Draw, closed: Draw, repeats: int) -> Row:
    with unchecked():
        a, b = (_drawn(f, repeats) for f in (estimate, closed))
    difference = (a.mean() - b.mean()).item()
    error = ((a.var() + b.var()) / repeats).sqrt().item()
    z = difference / error if error > 0 else 0.0 if difference == 0 else math.inf
    return Row(name, a.mean().item(), b.mean().item(), difference, z)
