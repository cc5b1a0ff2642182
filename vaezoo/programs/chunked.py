"""The terms of any number of draws, in the memory of some of them at a time.

    terms = ChunkedTerms(run, particles, chunk)
    (loss,) = terms.settled(loss_of(terms))

A loss L of importance weights has the gradient Σ_k (∂L/∂log w_k) d log w_k. The pair is run chunk
by chunk without a graph, of which the log-weights remain; L is differentiated by these; then the
same draws are made again, each chunk with its graph, that ends in its share of the sum.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from vaezoo.autograd import KnownGradients, gradients
from vaezoo.programs.sites import differing
from vaezoo.programs.terms import Terms
from vaezoo.programs.writes import Writes
from vaezoo.scopes import Generators, own_generator, unchecked

__all__ = ["BesidesWeights", "ChunkedTerms"]

EACH, MEANS, SHARED = ("log_w", "log_py", "log_q_given"), ("rec", "kl"), ("log_qy",)
# of a log-weight and of 1: above any rounding, below what noise changes in all draws at once
ROUNDING = 1e-5
Gradients = list[tuple[Tensor, Tensor]]
T = TypeVar("T")


class ChunkedTerms(Terms):
    """The terms of K draws that are made a chunk at a time, as far as importance weights need them.

    `log_w`, `log_py` and `log_q_given` are of every draw (L, K, N), `rec` and `kl` are means over
    the draws (L, 1, N), and `log_qy`, which all draws share, is that of the first chunk.

    What the programs write into tensors that they did not make, such as the statistics of a batch
    norm, is written once, in the last run of the last chunk.

    Args:
        run: makes so many draws, which it is told by the name of `particles`.
        particles: K.
        chunk: how many are made at a time.
        behind: of leaves that `cut_off` made, the tensors whose gradients theirs are.
    """

    def __init__(
        self,
        run: Callable[..., Terms],
        particles: int,
        chunk: int,
        behind: dict[Tensor, Tensor] | None = None,
    ) -> None:
        self._run, self.particles, self._behind = run, particles, behind or {}
        starts = range(0, particles, chunk)
        self._chunks = [slice(i, min(i + chunk, particles)) for i in starts]
        self._start, self._again = Generators(), torch.is_grad_enabled()
        self._factor: Tensor | None = None
        self._data: dict[str, Tensor] = {}
        with torch.no_grad():
            first, *rest = self._visit(self._read, writes=not self._again)
        for name in EACH:
            first[name] = torch.cat([first[name], *(each.pop(name) for each in rest)], 1)
        for name in MEANS:
            first[name] = sum((each[name] for each in rest), first[name])
        for name, t in first.items():  # in place of what `Terms` computes from sites
            vars(self)[name] = t.requires_grad_(self._again and t.is_floating_point())

    def _visit(self, look: Callable[[Terms, slice], T], *, writes: bool) -> Iterator[T]:
        """What `look` finds in each chunk; without checks, which are for the caller to make."""
        for part in self._chunks:
            kept = writes and part.stop == self.particles
            with unchecked(), contextlib.nullcontext() if kept else BesidesWeights():
                found = look(self._run(particles=part.stop - part.start), part)
            yield found

    def _read(self, terms: Terms, part: slice) -> dict[str, Tensor]:
        """What a chunk adds to each term."""
        self._check_data(terms)
        self._latent, self.summed_out = terms._latent, terms.summed_out
        self._has_given = terms.has_given_labels
        n = part.stop - part.start
        each = {name: getattr(terms, name).expand(-1, n, -1) for name in EACH}
        share = n / self.particles
        means = {name: getattr(terms, name).mean(1, keepdim=True) * share for name in MEANS}
        shared = {name: getattr(terms, name).clone() for name in SHARED}  # a program may keep it
        return each | means | shared

    def _check_data(self, terms: Terms) -> None:
        self._data = self._data or terms.data
        if name := differing(self._data, terms.data):
            raise ValueError(
                f"the model observes other values at {name!r} in each chunk, so that draws of "
                "different data would be weighed against one another: draw or choose the data "
                "before the call, or leave chunk out"
            )

    def settled(self, *scalars: Tensor) -> tuple[Tensor, ...]:
        """The same numbers, whose gradients are known, after another run of every chunk.

        Raises:
            RuntimeError: the programs draw other numbers than before.
        """
        if not self._again:
            return scalars
        own = {getattr(self, name): name for name in (*EACH, *MEANS, *SHARED)}
        totals = [dict(gradients(scalar, retain_graph=True)) for scalar in scalars]
        weights = [{own[t]: total.pop(t) for t in own if t in total} for total in totals]
        with own_generator():
            self._start.restore()
            for chunk in self._visit(functools.partial(self._differentiate, weights), writes=True):
                for total, by_leaf in zip(totals, chunk, strict=True):
                    for leaf, gradient in by_leaf:
                        total[leaf] = total[leaf] + gradient if leaf in total else gradient
        ends = [[self._behind.get(leaf, leaf) for leaf in total] for total in totals]
        known = zip(scalars, totals, ends, strict=True)
        return tuple(KnownGradients.apply(s.detach(), [*t.values()], *e) for s, t, e in known)

    def _differentiate(
        self, weights: list[dict[str, Tensor]], terms: Terms, part: slice
    ) -> list[Gradients]:
        """A chunk's share of the gradients of each scalar, of which the `weights` are by terms."""
        chunk = self._read(terms, part)
        if not self._repeats(chunk["log_w"], part):
            raise RuntimeError(
                "the programs drew other numbers from the same random state, and with chunk=… "
                "each is run twice: draw from the global generators of torch, NumPy or Python, "
                "keep no count of runs, or leave chunk out"
            )
        if self._factor is not None:
            terms.scale_gradients(self._factor[:, part])
        found: list[Gradients] = []
        for i, by_name in enumerate(weights, 1):
            shares = [(self._of(part, n, w) * chunk[n]).sum() for n, w in by_name.items()]
            found.append(gradients(sum(shares[1:], shares[0]), retain_graph=i < len(weights)))
        return found

    def _of(self, part: slice, name: str, weight: Tensor) -> Tensor:
        """The weight of what a chunk adds to a term: to shared ones, only the first one does."""
        if name in EACH:
            return weight[:, part]
        return weight if name in MEANS or part.start == 0 else torch.zeros_like(weight)

    def _repeats(self, log_w: Tensor, part: slice) -> bool:
        before, now = self.log_w.detach()[:, part], log_w.detach()
        return torch.allclose(now, before, rtol=ROUNDING, atol=ROUNDING, equal_nan=True)

    def scale_gradients(self, factor: Tensor) -> None:
        """Multiply gradients on their way from the terms to the guide's draws by (L, K, N)."""
        self._factor = factor

    @property
    def has_given_labels(self) -> bool:
        """Whether the guide was conditioned on labels."""
        return self._has_given

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"of draws made in chunks no sites are kept, and so no {name}")


class BesidesWeights(Writes):
    """Writes, but for those into weights: Pyro's store puts what it was loaded with into them."""

    def _keep(self, t: Tensor) -> None:
        if not t.requires_grad:
            super()._keep(t)
