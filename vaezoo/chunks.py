"""Draws for the images of a batch, and what follows from them, a bounded number at a time."""

from __future__ import annotations

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vaezoo.bound import Bound
from vaezoo.compiler import kept
from vaezoo.compiler.choice import Choice, can_choose, described
from vaezoo.objectives import Objective
from vaezoo.programs.densities import free_factor
from vaezoo.programs.pair import Pair
from vaezoo.programs.portions import decoded, portions
from vaezoo.programs.run import run
from vaezoo.programs.sites import differing
from vaezoo.programs.terms import Terms
from vaezoo.scopes import checks_data, own_generator, unchecked

__all__ = ["AT_A_TIME", "Draws", "check", "few", "per_image", "weighed"]

AT_A_TIME = 2000  # images that are decoded, which bounds memory
# what is said of a plate whose size is not that of the images it is given
OF_ITS_OWN_SIZE = (
    "images in one program and of",
    "does not match len(subsample)",
    "Shape mismatch inside plate",
)


class _SumsAndWeights(Objective):
    """What evaluation keeps of some draws: sums of rec and kl (N,), and log weights (L, K, N)."""

    def report(self, terms: Terms) -> dict[str, Tensor]:
        kl = terms.expect(terms.kl + terms.log_qy - terms.log_py)
        each = {"rec": terms.expect(terms.rec), "kl": kl}
        sums = {name: t.expand(terms.particles, -1).sum(0) for name, t in each.items()}
        return {**sums, "log_w": terms.log_wy}


class Draws(dict[int, Bound]):
    """For each number of draws, a module that makes so many.

    Args:
        model: a pair.
        bar: told when a compilation begins, and its time when it is over.
        compile: compile the modules; None where that pays, which is found by timing batches.
        left: how many batches there are, where that is known.
    """

    def __init__(
        self,
        model: nn.Module,
        bar: tqdm[None] | None = None,
        *,
        compile: bool | None = False,  # noqa: A002
        left: int | None = None,
    ) -> None:
        self.pair: Any = model  # nn.Module's own annotations hide the programs
        self.announce, self.left = None if bar is None else bar.set_postfix_str, left
        self.compiles, self.timed = compile is True, compile is None and can_choose(model)
        self.about = described(model) if self.compiles or self.timed else ""
        self.choice, self.noted = Choice(warm=0, about=self.about if self.timed else ""), False
        self.size: tuple[int, int] | None = None
        self.redrawn = ""  # data that are others in each run
        self.factor = ""  # of the guide, which makes weights that are none of log p(x)
        self.whole = False  # whether programs run on whole batches alone

    def size_of(self, batch: list[Tensor]) -> tuple[int, int]:
        """Labels and outputs of one decoded image (see `decoded`), found on the first batch."""
        if self.size is None:
            if checks_data():
                Bound(self.pair).check(batch)  # all of it, before a part is run
            try:
                self._probe([t[:2] for t in batch], [t[:8] for t in batch])
            except ValueError as error:
                if not any(words in str(error) for words in OF_ITS_OWN_SIZE):
                    raise
                self._probe(batch, batch)
                self.whole = True
        assert self.size is not None
        return self.size

    def _probe(self, two: list[Tensor], eight: list[Tensor]) -> None:
        with own_generator():
            self.size = decoded(self.pair, two)
            one, other = (run(self.pair.model, self.pair.guide, *eight) for _ in range(2))
            self.redrawn, self.factor = differing(one.data, other.data), free_factor(one)

    def at_once(self, batch: list[Tensor], images: int) -> Iterator[list[Tensor]]:
        """At most so many images of a batch after the others; all where programs take no fewer."""
        return portions(batch, len(batch[0]) if self.whole else max(1, images))

    def __missing__(self, particles: int) -> Bound:
        self[particles] = bound = Bound(self.pair, _SumsAndWeights(particles))
        self._compile(bound)
        return bound

    def _compile(self, bound: Bound) -> None:
        if bound.compiled is not None and (self.compiles or not self.choice.settled):
            bound.compiled.resting = not self.compiles
            return
        _let_go(bound)
        if not self.compiles:
            return
        bound.compile(announce=self.announce, gradients=False)
        if self.timed and bound.compiled is not None:
            bound.compiled.refused, bound.compiled.beside = self._refuse, True

    def close(self) -> None:
        """Let go of compiled steps, which hold what they are steps of."""
        for bound in self.values():
            _let_go(bound)

    def _refuse(self, reason: str) -> None:
        self.choice.refuse(0, reason)

    @contextlib.contextmanager
    def on_a_batch(self) -> Iterator[None]:
        """Within it they are used on a batch, and timed if there is something to choose."""
        started, before = time.thread_time(), self.compiles
        yield
        served = any(b.compiled is not None and b.compiled.served for b in self.values())
        if served and not self.noted:
            self.noted = True
            kept.note(self.about)
        if not self.timed:
            return
        self.left = None if self.left is None else self.left - 1
        self.choice.add(0, time.thread_time() - started, self.left, compiled=served)
        self.compiles = self.choice.compiles
        if self.compiles is not before:
            for bound in self.values():
                self._compile(bound)


def _let_go(bound: Bound) -> None:
    if bound.compiled is not None:
        bound.compiled.steps, bound.compiled.refused = [], None
    bound.compiled = None


def per_image(
    draws: Draws, batch: list[Tensor], particles: list[int], max_decodes: int
) -> Iterator[tuple[str, Tensor]]:
    """Name and per-image values of NELBO, rec, KL and NIWAE-k, (N,)."""
    for means, log_w in weighed(draws, batch, particles[-1], max_decodes):
        means["kl"] = means["kl"].expand_as(means["rec"])  # without latents it is one 0
        yield "nelbo", means["kl"] - means["rec"]
        yield from means.items()
        for k in particles:
            yield f"niwae-{k}", _niwae(log_w, k)


def weighed(
    draws: Draws, batch: list[Tensor], particles: int, max_decodes: int
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """For some of the images after the others, the means of rec and kl (n,), and log weights.

    These have shape (L, K, n), log p(y) of the L labels that are summed out in them. As many images
    at a time as all their draws are decoded at once: the encoder then runs once for each image,
    unless one image's draws are too many; of programs that run on whole batches alone, all of them.
    """
    labels, outputs = draws.size_of(batch)
    images = len(batch[0]) if draws.whole else 1
    at_a_time = max(1, max_decodes // (labels * outputs * images))
    if draws.redrawn and at_a_time < particles:
        raise ValueError(
            f"the model observes other values at {draws.redrawn!r} in each run, and "
            f"max_decodes={max_decodes} allows {at_a_time} of {particles} draws in one: draw or "
            "choose the data before, or allow more"
        )
    for part in draws.at_once(batch, at_a_time):
        _look(draws.pair, part)
    for part in few(draws, batch, particles, max_decodes):
        yield _few_images(draws, part, particles, at_a_time)


def few(
    draws: Draws, batch: list[Tensor], particles: int, max_decodes: int
) -> Iterator[list[Tensor]]:
    """As many images at a time as all their draws are decoded at once; at least one."""
    labels, outputs = draws.size_of(batch)
    return draws.at_once(batch, max_decodes // (particles * labels * outputs))


def check(model: Any, batch: list[Tensor]) -> None:
    """Look at all values where Pyro checks them; no noise of the evaluation is used up.

    Raises:
        ValueError: a value is outside the support of its distribution.
    """
    with own_generator():
        _look(model, batch)


def _look(pair: Pair, batch: list[Tensor]) -> None:
    """Run both programs once in full, with all densities."""
    _ = run(pair.model, pair.guide, *batch).log_wy


def _few_images(
    draws: Draws, batch: list[Tensor], total: int, at_a_time: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Means and log weights of a few images, with at most `at_a_time` draws of each at once."""
    means, log_w = defaultdict[str, Any](float), []
    for k in _equal_shares(total, at_a_time):
        # values were checked in full when the labels were counted
        with unchecked():
            sums = draws[k](*batch)
        for name in ("rec", "kl"):
            means[name] = means[name] + sums[name] / total
        log_w.append(sums["log_w"])
    if (n := log_w[0].shape[-1]) != (given := len(batch[0])):
        raise ValueError(
            f"the programs take {n} of {given} images, and every image is to be evaluated: let the "
            'plate take those of the batch, pyro.plate("images", N, subsample=x)'
        )
    return means, torch.cat(log_w, 1)


def _equal_shares(total: int, largest: int) -> list[int]:
    """Equal shares where that takes at most twice as many, so that all are of one shape."""
    size = next(n for n in range(min(largest, total), 0, -1) if total % n == 0)
    if 2 * size < largest < total:
        return [len(part) for part in torch.arange(total, device="cpu").split(largest)]
    return [size] * (total // size)


def _niwae(log_w: Tensor, k: int) -> Tensor:
    """From log weights (L, K, N) with log p(y) in them, the mean over groups of k draws, (N,)."""
    groups = log_w.shape[1] // k
    grouped = log_w[:, : groups * k].reshape(log_w.shape[0], groups, k, -1)
    return -(grouped.logsumexp((0, 2)) - math.log(k)).mean(0)
