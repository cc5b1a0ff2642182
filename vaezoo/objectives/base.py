"""The base of all objectives: one run of the pair, scalars to report, Pyro's methods."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from pyro import infer
from torch import Tensor

from vaezoo.autograd import cut_off
from vaezoo.data.counts import as_count
from vaezoo.distributions.noise import parameters_alone
from vaezoo.programs.chunked import BesidesWeights, ChunkedTerms
from vaezoo.programs.run import run
from vaezoo.programs.terms import Terms
from vaezoo.scopes import own_generator

__all__ = ["Objective", "Program", "sum_out_labels"]

Program = Callable[..., Any]


class Objective(infer.elbo.ELBO):
    """A Pyro ELBO with `differentiable_loss` and per-image terms; a new one writes `bound`.

    `estimate` runs the pair (`run`), and reports (`report`) the mean of `loss_of` and of `bound`.

    Args:
        particles: draws K of the latents per image.
        chunk: how many of them are made at a time, where the objective is one of log-weights alone
            (see `programs.chunked`); None for all.
    """

    # of the class: what an instance has is what a run is known by when it goes on
    chunk: int | None = None

    def __init__(self, particles: int = 1, *, chunk: int | None = None) -> None:
        particles = as_count("particles", particles)
        super().__init__(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
        if chunk is not None:
            self.chunk = chunk

    def __setattr__(self, name: str, value: Any) -> None:
        name = "num_particles" if name == "particles" else name
        super().__setattr__(name, self._checked(name, value))

    @property
    def particles(self) -> int:
        """K."""
        return int(self.num_particles)

    def _checked(self, name: str, value: Any) -> Any:
        """What an attribute takes, whether it comes with the others or later."""
        if name == "num_particles":
            return as_count("particles", value)
        return as_count("chunk", value) if name == "chunk" and value is not None else value

    @property
    def in_chunks(self) -> bool:
        """Whether a step takes more than one run of the pair."""
        return self.chunk is not None and self.chunk < self.num_particles

    def estimate(self, model: Program, guide: Program, *batch: Any) -> dict[str, Tensor]:
        """Scalars in nats per image: `loss` to differentiate, and `bound`, `rec` and `kl`.

        `kl` includes the labels' share, log q(y|x) - log p(y), so that rec - kl is the ELBO.
        """
        with parameters_alone(self.is_of_the_zoo):
            terms = self.run(model, guide, *batch)
            scalars = self.report(terms)
            if "loss" in scalars:
                (scalars["loss"],) = terms.settled(scalars["loss"])
        return scalars

    @property
    def is_of_the_zoo(self) -> bool:
        """Whether it asks for no gradient by a latent, as one of your own may."""
        return type(self).__module__.startswith("vaezoo.")

    def run(self, model: Program, guide: Program, *batch: Any) -> Terms:
        """The terms of one run of the pair, or of one for each chunk."""
        return self._run(model, guide, *batch)

    def _run(self, *pair_and_batch: Any, hold_guide: bool = False) -> Terms:
        if self.chunk is None or not self.in_chunks:
            return run(*pair_and_batch, particles=self.num_particles, hold_guide=hold_guide)
        cut, behind = cut_off(pair_and_batch)
        draw = functools.partial(run, *cut, hold_guide=hold_guide)
        with own_generator(), BesidesWeights():  # with all checks, which chunks go without
            self.loss_of(draw(particles=min(2, self.chunk)))
        return ChunkedTerms(draw, self.num_particles, self.chunk, behind)

    def report(self, terms: Terms) -> dict[str, Tensor]:
        """What `estimate` returns, from the terms of a run that is over."""
        loss = self.loss_of(terms).mean()
        with torch.no_grad():
            return {
                "loss": loss,
                "rec": terms.expect(terms.rec).mean(),
                "kl": terms.expect(terms.kl + terms.log_qy - terms.log_py).mean(),
                "bound": self.bound(terms).mean(),
            }

    def loss_of(self, terms: Terms) -> Tensor:
        """What is minimised for each image, shape (N,); minus the bound unless overridden."""
        return -self.bound(terms)

    def bound(self, terms: Terms) -> Tensor:
        """The bound of each image, shape (N,), as it is reported: β and free bits do not count."""
        raise NotImplementedError

    def step(self) -> None:
        """Tell schedules that a training step is over; `fit` calls it, other loops should."""

    def differentiable_loss(self, model: Program, guide: Program, *batch: Any) -> Tensor:
        """The loss in nats per image, for autograd."""
        return self.estimate(model, guide, *batch)["loss"]

    def loss(self, model: Program, guide: Program, *batch: Any) -> float:
        """The loss in nats per image, a number."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *batch).item()

    def loss_and_grads(self, model: Program, guide: Program, *batch: Any) -> float:
        """The loss in nats per image, a number, after a backward pass: what `SVI.step` calls."""
        loss = self.differentiable_loss(model, guide, *batch)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return loss.item()

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Any:
        raise NotImplementedError("vaezoo's objectives read traces through vaezoo.programs.run.run")


def sum_out_labels(terms: Terms, log_w: Tensor) -> Tensor:
    """Σ_y q(y|x) [ log_w - log q(y|x) ], shape (N,).

    Args:
        terms: of one run of a pair.
        log_w: a bound on log p(x, y) for each label and image, shape (L, 1, N), from the weights
            log_wy of the terms, combined over the particles: p(y) may be that of y given a
            latent, which is another for each of them.

    Raises:
        ValueError: a label that is summed out depends on a latent drawn before it, so that
            particles do not share q(y|x).
    """
    if not terms.labels_come_first:
        raise ValueError(
            "importance weights sum a label out only where the guide draws it before every other "
            "latent; use ELBO, or give the labels"
        )
    return terms.expect(log_w - terms.log_qy)[0]
