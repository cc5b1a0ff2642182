"""The checks of the contract: one for each kind of part, and one for a part of any kind."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from vaezoo.components import Component, outside_param_store
from vaezoo.contract.case import COPY, Case, ContractError, converted, refuse
from vaezoo.contract.clauses import BASIC, FURTHER, labels, outcomes, rsample
from vaezoo.contract.differences import differences
from vaezoo.contract.draws import samples
from vaezoo.contract.independence import independent
from vaezoo.contract.integrals import normalises
from vaezoo.contract.means import means
from vaezoo.contract.pathwise import pathwise
from vaezoo.data.batches import as_tensor
from vaezoo.data.counts import as_seed
from vaezoo.likelihoods import Likelihood
from vaezoo.posteriors import Classifier, Posterior
from vaezoo.priors import Prior
from vaezoo.scopes import one_thread, own_generator, validation

__all__ = [
    "check_classifier",
    "check_likelihood",
    "check_part",
    "check_posterior",
    "check_prior",
]


def check_prior(prior: Prior, *, seed: int = 0) -> None:
    """Hold a prior to the contract; one that follows a posterior must have been given it.

    Example:
        >>> from vaezoo.priors import StandardNormal
        >>> check_prior(StandardNormal(2))
    """
    _check(prior, (), (prior.z_dim,), seed)


def check_posterior(
    posterior: Posterior, x: Tensor, y: Tensor | None = None, *, seed: int = 0
) -> None:
    """Hold a posterior to the contract at images x (N, *x_shape), and labels y (N,) if it has any.

    Distributions are judged at the first of them: hold it once for each label that matters.

    Example:
        >>> from vaezoo.posteriors import DiagonalNormal
        >>> check_posterior(DiagonalNormal((12,), 2, hidden=(8,)), torch.zeros(3, 12) + 0.5)
    """
    _check(posterior, _given(x, y), (posterior.z_dim,), seed, rsample)


def check_likelihood(
    likelihood: Likelihood, z: Tensor, y: Tensor | None = None, *, seed: int = 0
) -> None:
    """Hold a likelihood to the contract at codes z (N, z_dim), and labels y (N,) if it has any.

    Distributions are judged at the first of them: hold it once for each label that matters.

    Example:
        >>> from vaezoo.likelihoods import Poisson
        >>> check_likelihood(Poisson(2, (3,), hidden=(8,)), torch.ones(4, 2))
    """
    _check(likelihood, _given(z, y), tuple(likelihood.x_shape), seed, outcomes, means)


def check_classifier(classifier: Classifier, x: Tensor, *, seed: int = 0) -> None:
    """Hold a classifier to the contract at images x (N, *x_shape).

    Example:
        >>> from vaezoo.posteriors import Classifier
        >>> check_classifier(Classifier((12,), 3, hidden=(8,)), torch.rand(4, 12))
    """
    _check(classifier, (x,), (), seed, labels)


def check_part(part: Component, *inputs: Tensor, seed: int = 0) -> None:
    """Hold a part of any kind to the contract, by the check of its kind.

    Raises:
        TypeError: it is none of them, or is not given what it maps: images, or codes of a
            likelihood.
    """
    if not inputs and isinstance(part, Posterior | Likelihood | Classifier):
        of = "codes, such as torch.randn(5, z_dim)" if isinstance(part, Likelihood) else "images"
        raise TypeError(f"check_part(part, …) of a {type(part).__name__} takes {of}, and labels")
    if isinstance(part, Prior):
        check_prior(part, *inputs, seed=seed)
    elif isinstance(part, Posterior):
        check_posterior(part, *inputs, seed=seed)
    elif isinstance(part, Likelihood):
        check_likelihood(part, *inputs, seed=seed)
    elif isinstance(part, Classifier):
        check_classifier(part, *inputs, seed=seed)
    else:
        raise TypeError(
            f"expected a Prior, Posterior, Likelihood or Classifier, got a {type(part).__name__}"
        )


def _check(
    part: Component,
    inputs: tuple[Tensor, ...],
    event: tuple[int, ...],
    seed: int,
    *own: Callable[[Case], None],
) -> None:
    with _undisturbed(seed):
        try:
            twin = converted(copy.deepcopy(part)).eval()
        except Exception as error:
            refuse("copies", "a part that deepcopy can copy", error, COPY)
        case = Case(twin, tuple(map(_to_double, inputs)), tuple(event))
        last = [pathwise] if isinstance(part, Posterior) else []
        every = (*BASIC, *own, *FURTHER, differences, normalises, samples, independent, *last)
        for clause in every:
            try:
                clause(case)
            except ContractError:
                raise
            except Exception as error:
                name = clause.__name__.replace("_", " ")
                refuse(name, "no error", error, "see the error above it")


@contextlib.contextmanager
def _undisturbed(seed: int) -> Iterator[None]:
    """Within it there are gradients, checks and numbers drawn apart; Pyro's store is left alone."""
    with (
        torch.inference_mode(False),
        one_thread(),
        own_generator(as_seed(seed)),
        torch.enable_grad(),
        validation(True),
        outside_param_store(),
    ):
        yield


def _given(x: Tensor, y: Tensor | None) -> tuple[Tensor, ...]:
    return (x,) if y is None else (x, y)


def _to_double(given: Any) -> Tensor:
    t = as_tensor(given)
    t = t.clone() if t.is_inference() else t
    return t.double() if t.is_floating_point() else t
