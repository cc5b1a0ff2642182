"""A bound on unlabelled and labelled images, and a loss of the classifier."""

from __future__ import annotations

import copy
from typing import Any

from pyro import poutine
from torch import Tensor

from vaezoo import arguments
from vaezoo.distributions.noise import parameters_alone
from vaezoo.objectives.base import Objective, Program
from vaezoo.objectives.consistency import Consistency
from vaezoo.objectives.elbo import ELBO
from vaezoo.programs.refusing import described

__all__ = ["SemiSupervised"]


class SemiSupervised(Objective):
    """A bound on unlabelled and labelled images, and α log q(y|x) on the labelled ones.

    A batch is (x, x_labelled, y_labelled): see `data.semi_supervised`. With f the fraction of
    labelled images in the data set,

        loss = -w [ (1 - f) bound(x) + f bound(x, y) ] - α log q(y|x)

    each term a mean over its images. The bounds are weighted as in the sum over all images; α
    multiplies the mean over the labelled ones, so it is f times the α of a sum. With a
    `Consistency` its term of the unlabelled images is added.

    Args:
        objective: the bound; `ELBO()` by default.
        alpha: weight of the classification term.
        generative_weight: w; 0 trains the classifier alone.
        labelled_fraction: f; 100 labels of 60,000 images by default, whatever the data are. Theirs
            is `data.semi_supervised(…).labelled_fraction`, which `fit` takes where it is given no
            objective.
        consistency: what else the unlabelled images teach the classifier, if anything.

    Attributes:
        unlabelled_weight: of bound(x), beside f; usually 1. Processes that share a batch out set
            it, as they may have another share of its unlabelled images than of its labelled ones.
        takes_labelled: whether the labelled images count: in one of the two of `apart` they do not.

    References:
        Kingma, Rezende, Mohamed, Welling. Semi-Supervised Learning with Deep Generative Models.
        2014. arXiv:1406.5298, equations 8 and 9.

    Example:
        >>> import torch
        >>> from vaezoo.models import SSVAE
        >>> ssvae, x, y = SSVAE(), torch.zeros(7, 1, 28, 28), torch.arange(7)
        >>> terms = SemiSupervised(alpha=2.0).estimate(ssvae.model, ssvae.guide, x, x, y)
        >>> torch.allclose(terms["loss"], -terms["bound"] - 2 * terms["log_qy"])
        True
    """

    # of the class: what an instance has is what a run is known by when it goes on
    unlabelled_weight: Tensor | float = 1.0
    takes_labelled: bool = True
    consistency: Consistency | None = None

    def __init__(
        self,
        objective: Objective | None = None,
        *,
        alpha: float = 100.0,
        generative_weight: float = 1.0,
        labelled_fraction: float = 100 / 60_000,
        consistency: Consistency | None = None,
    ) -> None:
        self.objective = ELBO() if objective is None else objective
        super().__init__(self.objective.num_particles)
        self.labelled_fraction = labelled_fraction
        self.alpha, self.generative_weight = alpha, generative_weight
        if consistency is not None:
            self.consistency = consistency

    def _checked(self, name: str, value: Any) -> Any:
        if name == "objective":
            return _combined(value)
        if name in ("alpha", "generative_weight"):
            return arguments.number(name, value, least=0)
        if name == "labelled_fraction":
            return _share(name, value)
        if name == "consistency" and not isinstance(value, Consistency | None):
            raise TypeError(
                f"consistency must be an objectives.Consistency(move), got {described(value)}"
            )
        if name == "num_particles":  # which the bound inside draws
            self.objective.num_particles = value
        return super()._checked(name, value)

    def estimate(self, model: Program, guide: Program, *batch: Any) -> dict[str, Tensor]:
        """Scalars in nats per image: loss, bound, rec, kl, and log_qy, the mean log q(y|x).

        And consistency, without its weight, where there is one.

        Raises:
            ValueError: the batch is not (x, x_labelled, y_labelled).
        """
        x, x_labelled, y = _three(batch)
        labelled, log_qy = dict[str, Tensor](), None
        if self.takes_labelled:
            labelled, log_qy = self._of_labelled(model, guide, x_labelled, y)
        scalars = self._of_unlabelled(model, guide, x) if self._takes_unlabelled else {}
        for name, term in labelled.items():
            scalars[name] = scalars[name] + term if name in scalars else term
        loss = self.generative_weight * scalars["loss"] if scalars else x.new_zeros(())
        if log_qy is not None:
            loss, scalars["log_qy"] = loss - self.alpha * log_qy, log_qy.detach()
        scalars["loss"] = loss
        return self._with_consistency(scalars, guide, x) if self._takes_unlabelled else scalars

    def apart(self) -> tuple[SemiSupervised, SemiSupervised]:
        """What it asks of labelled and of unlabelled images alone: their terms add up to its own.

        Each is a mean over its own images, of which batches may hold other shares.
        """
        labelled, unlabelled = copy.copy(self), copy.copy(self)
        labelled.unlabelled_weight, unlabelled.unlabelled_weight = 0.0, 1.0
        unlabelled.takes_labelled = False
        return labelled, unlabelled

    @property
    def _takes_unlabelled(self) -> bool:
        return isinstance(self.unlabelled_weight, Tensor) or self.unlabelled_weight != 0

    def _of_labelled(
        self, model: Program, guide: Program, x: Tensor, y: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Their share of the bound, if it counts, and log q(y|x)."""
        # conditioned on y, the guide still says log q(y|x): one run gives both labelled terms
        given = [poutine.condition(program, data={"y": y}) for program in (model, guide)]
        with parameters_alone(self.objective.is_of_the_zoo):
            terms = self.objective.run(*given, x)
            if not terms.has_given_labels:
                raise ValueError("SemiSupervised needs a guide that infers 'y', such as an SSVAE's")
            log_qy = terms.log_q_given.mean()
            if self.generative_weight == 0:
                (log_qy,) = terms.settled(log_qy)
                return {}, log_qy
            scalars = self.objective.report(terms)
            scalars["loss"], log_qy = terms.settled(scalars["loss"], log_qy)
        return {k: self.labelled_fraction * v for k, v in scalars.items()}, log_qy

    def _of_unlabelled(self, model: Program, guide: Program, x: Tensor) -> dict[str, Tensor]:
        """Their share of the bound, if it counts."""
        if self.generative_weight == 0:
            return {}
        share = (1 - self.labelled_fraction) * self.unlabelled_weight
        return {k: share * v for k, v in self.objective.estimate(model, guide, x).items()}

    def _with_consistency(
        self, scalars: dict[str, Tensor], guide: Program, x: Tensor
    ) -> dict[str, Tensor]:
        if self.consistency is None:
            return scalars
        alike = self.unlabelled_weight * self.consistency.of(guide, x)
        loss = scalars["loss"] + self.consistency.weight * alike
        return scalars | {"loss": loss, "consistency": alike.detach()}

    def step(self) -> None:
        """Advance the schedules of the bound inside."""
        self.objective.step()

    def __repr__(self) -> str:
        alike = f", consistency={self.consistency!r}" if self.consistency else ""
        return (
            f"SemiSupervised({self.objective!r}, alpha={self.alpha:g}, "
            f"generative_weight={self.generative_weight:g}, "
            f"labelled_fraction={self.labelled_fraction:g}{alike})"
        )


def _share(name: str, value: Any) -> float:
    share = arguments.number(name, value)
    if not 0 <= share <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")
    return share


def _combined(objective: Any) -> Objective:
    """An objective that can be that of both kinds of images."""
    if not isinstance(objective, Objective) or isinstance(objective, SemiSupervised):
        raise TypeError(
            "objective must be one of vaezoo's that SemiSupervised combines, such as ELBO(), "
            f"IWELBO(10) or Renyi(0.5), got {described(objective)}"
        )
    return objective


def _three(batch: tuple[Any, ...]) -> tuple[Tensor, Tensor, Tensor]:
    if len(batch) != 3:
        got = "1 tensor" if len(batch) == 1 else f"{len(batch)} tensors"
        raise ValueError(
            f"SemiSupervised needs batches (x, x_labelled, y_labelled), got {got}: "
            "make them with data.semi_supervised(unlabelled, labelled)"
        )
    return batch
