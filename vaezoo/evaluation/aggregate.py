"""The aggregated posterior of a data set, q(h) = 1/N Σ_n q(h|x_n), at a draw for each image.

It takes N² densities, some thousands at a time. The guide runs once for each image, and where it
draws a latent from another one, for each image and draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Normal,
)

from vaezoo.distributions.normals import diagonal_of, is_full
from vaezoo.programs.densities import Latents, log_q
from vaezoo.programs.run import run
from vaezoo.programs.terms import Terms
from vaezoo.scopes import unchecked

__all__ = ["log_aggregate", "log_marginals"]

NUMBERS = 2**22  # at a time


def log_aggregate(model: Any, batches: list[list[Tensor]], latents: Latents) -> Tensor:
    """log q(h) of draws h, one for each image: (N,), in nats.

    Args:
        model: a pair.
        batches: all images.
        latents: values by name, (N, *event).
    """
    n = sum(len(batch[0]) for batch in batches)
    total = next(iter(latents.values())).new_full((n,), -math.inf, dtype=torch.float64)
    for rows, given in _with_one_label(latents):
        for batch in batches:
            for part in rows.split(_at_a_time(latents, len(batch[0]))):
                values = {k: _beside(v, part) for k, v in given.items()}
                each = _of_each(model.guide, batch, values).double()
                each = each.expand(len(part), len(batch[0])).logsumexp(1)
                total[part] = total[part].logaddexp(each)
    return total - math.log(n)


def _of_each(guide: Any, batch: list[Tensor], values: Latents) -> Tensor:
    """log q of values (M, 1, *event) given each image of a batch: (M, N)."""
    try:
        return log_q(guide, batch, values)
    except (RuntimeError, ValueError):  # a guide may expand images to the shape of its latents
        wide = {
            k: v.expand(len(v), len(batch[0]), *v.shape[2:]) if v.is_floating_point() else v
            for k, v in values.items()
        }
        return log_q(guide, batch, wide)


def _with_one_label(latents: Latents) -> Iterator[tuple[Tensor, Latents]]:
    """Rows of draws that have a label in common, lest the encoder run for each draw's own."""
    labels = [name for name, v in latents.items() if not v.is_floating_point()]
    if not labels:
        first = next(iter(latents.values()))
        yield torch.arange(len(first), device=first.device), latents
    for name in labels[:1]:
        for label in latents[name].unique():
            rows = (latents[name] == label).nonzero().flatten()
            yield rows, {**latents, name: label.reshape(1)}


def _beside(values: Tensor, rows: Tensor) -> Tensor:
    """Values (M, 1, *event) of some rows; those of all are left as they are."""
    return values if len(values) == 1 else values[rows].unsqueeze(1)


def _at_a_time(latents: Latents, images: int) -> int:
    numbers = sum(v[0].numel() for v in latents.values())
    return max(1, NUMBERS // (images * numbers))


def log_marginals(model: Any, batches: list[list[Tensor]], latents: Latents) -> Tensor | None:
    """Σ_j log q(h_j) over the numbers of a draw, its label among them: (N,), in nats.

    None where they have no closed form: q(z|x) is no Normal, or there are several latents, be it
    one that the guide alone draws.
    """
    n, name = sum(len(batch[0]) for batch in batches), ""
    sums: Tensor | None = None
    for batch in batches:
        terms = _terms(model, batch)
        if not _is_one_normal(terms, latents):
            return None
        name = terms.latents[0]
        each = _of_batch(terms, latents[name])
        sums = each if sums is None else sums.logaddexp(each)
    assert sums is not None
    total: Tensor = (sums - math.log(n)).sum(1)
    for label in latents.keys() - {name}:
        shares = torch.cat([_terms(model, b).log_qy.flatten(0, 1).exp() for b in batches], 1)
        classes = latents[label].argmax(-1) if latents[label].dim() > 1 else latents[label].long()
        total = total + shares.double().mean(1).log()[classes]
    return total


def _terms(model: Any, batch: list[Tensor]) -> Terms:
    with unchecked():
        return run(model.model, model.guide, *batch)


def _is_one_normal(terms: Terms, latents: Latents) -> bool:
    """Whether the latents are one Normal, and labels that are summed out."""
    if len(terms.latents) != 1 or latents.keys() != {*terms.latents, *terms.summed_out}:
        return False
    return _is_normal(terms.distribution(terms.latents[0]))


def _is_normal(distribution: Distribution) -> bool:
    if len(distribution.event_shape) != 1:
        return False
    return diagonal_of(distribution) is not None or is_full(distribution)


def _of_batch(terms: Terms, z: Tensor) -> Tensor:
    """log Σ_n q(z_j|x_n) over the images of a batch, at codes z (M, D): (M, D)."""
    q, log_qy = terms.distribution(terms.latents[0]), terms.log_qy
    shape = torch.broadcast_shapes(log_qy.shape, q.batch_shape)
    loc, scale = (t.double().expand(*shape, -1).flatten(0, 1) for t in (q.mean, q.variance.sqrt()))
    labelled = log_qy.double().expand(shape).flatten(0, 1)[..., None]
    rows = []
    for part in z.double().split(max(1, NUMBERS // loc.numel())):
        each = Normal(loc, scale).log_prob(part[:, None, None]) + labelled
        rows.append(each.logsumexp((1, 2)))
    return torch.cat(rows)
