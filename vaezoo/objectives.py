"""Objectives: what is maximised, as Pyro ELBOs that also work in a torch loop.

An objective runs the pair once (`traces.run`), and says in `bound` how the terms of an image
combine. With w(y, k) = p(x|y, z_k) p(z_k) / q(z_k|x, y), and sums over y only where the guide marks
y with infer={"enumerate": "parallel"}:

    ELBO(β)   = mean_k Σ_y q(y|x) [ rec - β kl + log p(y) - log q(y|x) ]
    IWELBO(K) =        Σ_y q(y|x) [ log mean_k w(y, k) + log p(y) - log q(y|x) ]

Everything reported is in nats per image (a sum over pixels, a mean over images): neither β, nor
the batch size, nor the number of particles changes the unit. In `pyro.infer.SVI` an objective's
loss is therefore 1/N of the stock one, which sums over images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro import infer, poutine
from torch import Tensor

from vaezoo.traces import Terms, run

__all__ = ["ELBO", "IWELBO", "Objective", "SemiSupervised"]

Program = Callable[..., Any]


class Objective(infer.elbo.ELBO):
    """A Pyro ELBO with `differentiable_loss` and per-image terms; a new one writes `bound`.

    Args:
        particles: draws K of the latents per image.
    """

    def __init__(self, particles: int = 1) -> None:
        if particles < 1:
            raise ValueError(f"particles must be at least 1, got {particles}")
        super().__init__(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)

    def bound(self, terms: Terms) -> Tensor:
        """The plain bound of each image, shape (N,): what is reported."""
        raise NotImplementedError

    def loss_of(self, terms: Terms) -> Tensor:
        """What is minimised for each image, shape (N,); minus the bound unless overridden."""
        return -self.bound(terms)

    def run(self, model: Program, guide: Program, *batch: Any) -> Terms:
        """The terms of one run of the pair."""
        return run(model, guide, *batch, particles=self.num_particles)

    def estimate(self, model: Program, guide: Program, *batch: Any) -> dict[str, Tensor]:
        """Scalars in nats per image: `loss` to differentiate, and `bound`, `rec` and `kl`.

        `kl` includes the labels' share, log q(y|x) - log p(y), so that rec - kl is the ELBO.
        """
        terms = self.run(model, guide, *batch)
        report = _report(terms)
        report["bound"] = self.bound(terms).detach().mean()
        return {"loss": self.loss_of(terms).mean(), **report}

    def differentiable_loss(self, model: Program, guide: Program, *batch: Any) -> Tensor:
        """The loss in nats per image, for autograd."""
        return self.estimate(model, guide, *batch)["loss"]

    def loss(self, model: Program, guide: Program, *batch: Any) -> float:
        """The loss in nats per image, a number."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *batch).item()

    def loss_and_grads(self, model: Program, guide: Program, *batch: Any) -> float:
        """The loss, after a backward pass: what `SVI.step` calls."""
        loss = self.differentiable_loss(model, guide, *batch)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return loss.item()

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Any:
        raise NotImplementedError("vaezoo's objectives read traces through vaezoo.traces.run")


class ELBO(Objective):
    """The evidence lower bound, with closed-form KLs and labels summed out exactly.

    Args:
        beta: weight of the KL in the loss (Higgins et al. 2017, equation 4); the bound reported
            is the plain one, β = 1.
        particles: draws of the latents per image.

    References:
        Kingma, Welling 2014. arXiv:1312.6114, equation 7.

    Example:
        >>> from vaezoo.models import VAE
        >>> vae, x = VAE(), torch.zeros(7, 1, 28, 28)
        >>> terms = ELBO(beta=4.0).estimate(vae.model, vae.guide, x)
        >>> torch.allclose(terms["loss"], 4 * terms["kl"] - terms["rec"])
        True
    """

    def __init__(self, beta: float = 1.0, *, particles: int = 1) -> None:
        super().__init__(particles)
        if not 0 <= beta < math.inf:
            raise ValueError(f"beta must be a number of at least 0, got {beta}")
        self.beta = beta

    def bound(self, terms: Terms) -> Tensor:
        """The ELBO of each image."""
        return _elbo(terms, 1.0)

    def loss_of(self, terms: Terms) -> Tensor:
        """Minus the ELBO with β on the KL of the latents (not on that of the labels)."""
        return -_elbo(terms, self.beta)

    def __repr__(self) -> str:
        return f"ELBO(beta={self.beta:g}, particles={self.num_particles})"


class IWELBO(Objective):
    """The importance-weighted bound, weights in the log domain, labels summed out exactly.

    Args:
        particles: K; at 1 it is the ELBO with a sampled KL.

    References:
        Burda, Grosse, Salakhutdinov 2016. arXiv:1509.00519, equation 8.

    Example:
        >>> from vaezoo.models import VAE
        >>> vae, x = VAE(), torch.zeros(7, 1, 28, 28)
        >>> terms = IWELBO(50).estimate(vae.model, vae.guide, x)
        >>> bool(terms["bound"] > terms["rec"] - terms["kl"])
        True
    """

    def __init__(self, particles: int = 10) -> None:
        super().__init__(particles)

    def bound(self, terms: Terms) -> Tensor:
        """The importance-weighted bound of each image.

        Raises:
            ValueError: a label that is summed out depends on a latent drawn before it, so that
                particles do not share q(y|x).
        """
        if not terms.labels_come_first:
            raise ValueError("IWELBO sums a label out only where the guide draws it first")
        log_w = torch.logsumexp(terms.log_w, 1, keepdim=True) - math.log(terms.particles)
        return terms.expect(log_w + terms.log_py - terms.log_qy)[0]

    def __repr__(self) -> str:
        return f"IWELBO(particles={self.num_particles})"


class SemiSupervised(Objective):
    """A bound on unlabelled and labelled images, and α log q(y|x) on the labelled ones.

    A batch is (x, x_labelled, y_labelled): see `data.semi_supervised`. With f the fraction of
    labelled images in the data set,

        loss = -w [ (1 - f) bound(x) + f bound(x, y) ] - α log q(y|x)

    each term a mean over its images. The bounds are weighted as in the sum over all images; α
    multiplies the mean over the labelled ones, so it is f times the α of a sum.

    Args:
        objective: the bound; `ELBO()` by default.
        alpha: weight of the classification term.
        generative_weight: w; 0 trains the classifier alone.
        labelled_fraction: f; 100 labels of 60,000 images by default.

    References:
        Kingma, Rezende, Mohamed, Welling 2014. arXiv:1406.5298, equations 8 and 9.

    Example:
        >>> from vaezoo.models import SSVAE
        >>> ssvae, x, y = SSVAE(), torch.zeros(7, 1, 28, 28), torch.arange(7)
        >>> terms = SemiSupervised(alpha=2.0).estimate(ssvae.model, ssvae.guide, x, x, y)
        >>> torch.allclose(terms["loss"], -terms["bound"] - 2 * terms["log_qy"])
        True
    """

    def __init__(
        self,
        objective: Objective | None = None,
        *,
        alpha: float = 100.0,
        generative_weight: float = 1.0,
        labelled_fraction: float = 100 / 60_000,
    ) -> None:
        self.objective = objective or ELBO()
        super().__init__(self.objective.num_particles)
        if min(alpha, generative_weight) < 0:
            raise ValueError(
                "alpha and generative_weight must be at least 0, got "
                f"{alpha} and {generative_weight}"
            )
        if not 0 <= labelled_fraction <= 1:
            raise ValueError(f"labelled_fraction must lie in [0, 1], got {labelled_fraction}")
        self.alpha, self.generative_weight = alpha, generative_weight
        self.labelled_fraction = labelled_fraction

    def estimate(self, model: Program, guide: Program, *batch: Any) -> dict[str, Tensor]:
        """Scalars in nats per image: loss, bound, rec, kl, and log_qy, the mean log q(y|x).

        Raises:
            ValueError: the batch is not (x, x_labelled, y_labelled).
        """
        x, x_labelled, y = _three(batch)
        # conditioned on y, the guide still says log q(y|x): one run gives both labelled terms
        given = [poutine.condition(program, data={"y": y}) for program in (model, guide)]
        labelled = self.objective.run(*given, x_labelled)
        if not labelled.has_given_labels:
            raise ValueError("SemiSupervised needs a guide that infers 'y', such as an SSVAE's")
        log_qy = labelled.log_q_given.mean()
        terms = {"loss": -self.alpha * log_qy, "log_qy": log_qy.detach()}
        if self.generative_weight == 0:
            return terms
        unlabelled = self.objective.estimate(model, guide, x)
        labelled_terms = _report(labelled)
        labelled_terms["bound"] = self.objective.bound(labelled).detach().mean()
        labelled_terms["loss"] = self.objective.loss_of(labelled).mean()
        f = self.labelled_fraction
        mixed = {k: (1 - f) * unlabelled[k] + f * labelled_terms[k] for k in labelled_terms}
        loss = self.generative_weight * mixed.pop("loss") + terms["loss"]
        return {"loss": loss, **mixed, "log_qy": log_qy.detach()}

    def __repr__(self) -> str:
        return (
            f"SemiSupervised({self.objective!r}, alpha={self.alpha:g}, "
            f"generative_weight={self.generative_weight:g}, "
            f"labelled_fraction={self.labelled_fraction:g})"
        )


def _elbo(terms: Terms, beta: float) -> Tensor:
    return terms.expect(terms.rec - beta * terms.kl + terms.log_py - terms.log_qy).mean(0)


def _report(terms: Terms) -> dict[str, Tensor]:
    """rec and kl, means over the batch."""
    kl = terms.expect(terms.kl + terms.log_qy - terms.log_py)
    return {"rec": terms.expect(terms.rec).detach().mean(), "kl": kl.detach().mean()}


def _three(batch: tuple[Any, ...]) -> tuple[Tensor, Tensor, Tensor]:
    if len(batch) != 3:
        raise ValueError(
            f"SemiSupervised needs batches (x, x_labelled, y_labelled), got {len(batch)} tensors: "
            "make them with data.semi_supervised(unlabelled, labelled)"
        )
    return batch
