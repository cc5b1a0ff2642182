"""NELBO, KL, rec and NIWAE-k of the images of a batch, a bounded number of decodes at a time."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaezoo.bound import Bound
from vaezoo.objectives import Objective
from vaezoo.scopes import unchecked
from vaezoo.traces import Terms, run

__all__ = ["Drawing", "per_image"]


class _Draws(Objective):
    """What evaluation keeps of some draws: sums of rec and kl (N,), and log weights (L, K, N)."""

    def report(self, terms: Terms) -> dict[str, Tensor]:
        kl = terms.expect(terms.kl + terms.log_qy - terms.log_py)
        each = {"rec": terms.expect(terms.rec), "kl": kl}
        sums = {name: t.expand(terms.particles, -1).sum(0) for name, t in each.items()}
        return {**sums, "log_w": terms.log_w + terms.log_py}


class Drawing(dict[int, Bound]):
    """For each number of draws, a module that makes so many; compiled if there is `announce`."""

    def __init__(self, model: nn.Module, announce: Callable[[str], object] | None) -> None:
        self.model, self.announce = model, announce

    def __missing__(self, particles: int) -> Bound:
        self[particles] = bound = Bound(self.model, _Draws(particles))
        if self.announce is not None:
            bound.compile(announce=self.announce, gradients=False)
        return bound


def per_image(
    draws: Drawing, batch: list[Tensor], particles: list[int], max_decodes: int
) -> Iterator[tuple[str, Tensor]]:
    """Name and per-image values of every quantity, (N,).

    As many images at a time as all their draws are decoded at once: the encoder then runs once for
    each image, unless one image's draws are too many.
    """
    each = _decoded(draws.model, batch)
    size = max(1, max_decodes // (particles[-1] * each))
    for part in zip(*(t.split(size) for t in batch), strict=True):
        yield from _few(draws, list(part), particles, max(1, max_decodes // each))


def _few(
    draws: Drawing, batch: list[Tensor], particles: list[int], at_a_time: int
) -> Iterator[tuple[str, Tensor]]:
    """The same for a few images, with so many draws of each at a time."""
    total, means = particles[-1], defaultdict[str, Tensor](lambda: torch.zeros(()))
    log_w = []
    for k in _parts(total, at_a_time):
        # values were checked in full when the labels were counted
        with unchecked():
            found = draws[k](*batch)
        for name in ("rec", "kl"):
            means[name] = means[name] + found[name] / total
        log_w.append(found["log_w"])
    yield "nelbo", means["kl"] - means["rec"]
    yield from means.items()
    together = torch.cat(log_w, 1)
    for k in particles:
        yield f"niwae-{k}", _niwae(together, k)


def _parts(total: int, largest: int) -> list[int]:
    """Equal parts where that takes at most twice as many, so that all are of one shape."""
    size = next(n for n in range(min(largest, total), 0, -1) if total % n == 0)
    if 2 * size < largest < total:
        return [len(part) for part in torch.arange(total).split(largest)]
    return [size] * (total // size)


def _niwae(log_w: Tensor, k: int) -> Tensor:
    """From log weights (L, K, N) with log p(y) in them, the mean over groups of k draws, (N,)."""
    groups = log_w.shape[1] // k
    grouped = log_w[:, : groups * k].reshape(log_w.shape[0], groups, k, -1)
    return -(grouped.logsumexp((0, 2)) - math.log(k)).mean(0)


def _decoded(model: Any, batch: list[Tensor]) -> int:
    """What one draw of an image takes when it is decoded, in images; the batch is run to check it.

    It is decoded for each combination of labels that is summed out, and a categorical likelihood
    has as many outputs for each pixel as there are levels.
    """
    terms: Terms = run(model.model, model.guide, *batch)
    observed = [s for s in terms._model.values() if s["is_observed"]]
    outputs = [
        _largest(site["fn"]) / math.prod(site["fn"].batch_shape) / math.prod(site["fn"].event_shape)
        for site in observed
    ]
    return terms.log_qy.shape[0] * max(1, round(max(outputs, default=1)))


def _largest(distribution: Any) -> int:
    """The numbers in the largest tensor that a distribution holds."""
    values = [v for v in vars(distribution).values() if v is not distribution]
    sizes = [v.numel() for v in values if isinstance(v, Tensor)]
    return max([*sizes, *(_largest(v) for v in values if isinstance(v, Distribution))], default=0)
