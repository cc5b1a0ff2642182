"""What every part of the zoo keeps to, as a test in one line for parts of your own.

    check_prior(MyPrior(2))
    check_posterior(MyPosterior((12,), 2), x)
    check_likelihood(MyLikelihood(2, (12,), classes=3), z, y)
    check_classifier(MyClassifier((12,), 3), x)

Each raises `ContractError`, an AssertionError that says which clause is broken, what was expected,
what came and how to mend it. All is done to copies, and with a seed of its own: the part, the
generator and every setting are as before. The clauses:

    copies       deepcopy works, before and after a draw, and gives the same densities
    one line     repr is one line and names the class
    dtypes       a part in float64 gives draws and densities in float64, one in float32 in that
    shapes       event and batch shapes, of draws and densities too
    rsample      a posterior is reparametrised, and its draws have the density they claim
    outcomes     a likelihood's `check` takes its own draws, and the distribution has a mean
    labels       a classifier's probabilities are of 0, 1, …, as `log_prob` has them
    leading      plates, particles and every label on the left; no input changes another's density
    rebuilds     from the constructor arguments, kept as attributes, and the state in a safetensors
                 file, as by `vaezoo.save`
    gradients    reach every parameter: of the density, and of a posterior's draw
    differences  the gradient of the density is the derivative of its value, by parameters, inputs,
                 and the code
    normalises   the density integrates (or sums) to 1
    samples      draws are distributed as the density says
    pathwise     the gradient of a posterior's draws is that of the density they have

The last three judge the first input only. Integrals over each scalar of an `Independent`, and over
one or two dimensions, are by quadrature to 1e-3, others by 20,000 importance samples; draws are
20,000, tested against the density with a p-value. Together they refuse a part that is right less
often than once in 10,000 seeds, and the seed is fixed. Let sizes be small: two or three latent
dimensions show what ten do, and sooner.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator

import pyro
import torch
from torch import Tensor

from vaezoo.components import Component, outside_param_store
from vaezoo.contract import clauses
from vaezoo.contract.case import COPY, Case, ContractError, double, refuse
from vaezoo.contract.differences import differences
from vaezoo.contract.draws import samples
from vaezoo.contract.integrals import normalises
from vaezoo.contract.pathwise import pathwise
from vaezoo.likelihoods import Likelihood
from vaezoo.posteriors import Classifier, Posterior
from vaezoo.priors import Prior
from vaezoo.scopes import one_thread, own_generator

__all__ = [
    "ContractError",
    "check_classifier",
    "check_likelihood",
    "check_part",
    "check_posterior",
    "check_prior",
]


def check_prior(prior: Prior, *, seed: int = 0) -> None:
    """Hold a prior to the contract; one that follows a posterior has been given one by `follow`.

    Example:
        >>> from vaezoo.priors import StandardNormal
        >>> check_prior(StandardNormal(2))
    """
    _check(prior, (), (prior.z_dim,), seed)


def check_posterior(
    posterior: Posterior, x: Tensor, y: Tensor | None = None, *, seed: int = 0
) -> None:
    """Hold a posterior to the contract at images x (N, *x_shape), and labels y (N,) if it has any.

    Example:
        >>> from vaezoo.posteriors import DiagonalNormal
        >>> check_posterior(DiagonalNormal((12,), 2, hidden=(8,)), torch.zeros(3, 12) + 0.5)
    """
    _check(posterior, _given(x, y), (posterior.z_dim,), seed, clauses.rsample)


def check_likelihood(
    likelihood: Likelihood, z: Tensor, y: Tensor | None = None, *, seed: int = 0
) -> None:
    """Hold a likelihood to the contract at codes z (N, z_dim), and labels y (N,) if it has any.

    Example:
        >>> from vaezoo.likelihoods import Poisson
        >>> check_likelihood(Poisson(2, (3,), hidden=(8,)), torch.ones(4, 2))
    """
    _check(likelihood, _given(z, y), tuple(likelihood.x_shape), seed, clauses.outcomes)


def check_classifier(classifier: Classifier, x: Tensor, *, seed: int = 0) -> None:
    """Hold a classifier to the contract at images x (N, *x_shape).

    Example:
        >>> from vaezoo.posteriors import Classifier
        >>> check_classifier(Classifier((12,), 3, hidden=(8,)), torch.rand(4, 12))
    """
    _check(classifier, (x,), (), seed, clauses.labels)


def check_part(part: Component, *inputs: Tensor, seed: int = 0) -> None:
    """Whichever of the four checks a part is for.

    Raises:
        TypeError: it is none of them.
    """
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
            twin = double(copy.deepcopy(part)).eval()
        except Exception as error:
            refuse("copies", "a part that deepcopy can copy", error, COPY)
        case = Case(twin, tuple(map(_to_double, inputs)), tuple(event))
        last = [pathwise] if isinstance(part, Posterior) else []
        every = (*clauses.BASIC, *own, *clauses.FURTHER, differences, normalises, samples, *last)
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
    """A generator of our own, gradients and validation on, and no word to Pyro's store."""
    with (
        one_thread(),
        own_generator(seed),
        torch.enable_grad(),
        pyro.validation_enabled(),
        outside_param_store(),
    ):
        yield


def _given(x: Tensor, y: Tensor | None) -> tuple[Tensor, ...]:
    return (x,) if y is None else (x, y)


def _to_double(t: Tensor) -> Tensor:
    return t.double() if t.is_floating_point() else t
