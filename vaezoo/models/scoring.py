"""What a member says of each image: the bound on its log-density, and its cluster.

They are methods of every member (`vae.score(x)`), with no gradients and in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaezoo.components import outside_param_store
from vaezoo.data.batches import as_tensor
from vaezoo.distributions.responsibilities import as_mixture, responsibilities
from vaezoo.models.batches import as_batch, tensor_like
from vaezoo.models.parts import lone_prior
from vaezoo.programs.pair import required_arguments
from vaezoo.programs.portions import decoded, portions
from vaezoo.programs.run import run
from vaezoo.scopes import in_mode, one_thread, own_generator, unchecked

if TYPE_CHECKING:
    from vaezoo.models.base import LatentVariableModel

__all__ = ["cluster", "score"]

BATCH, DECODED = 100, 2000  # images at a time, and those that are decoded, as in `evaluate`


@torch.no_grad()
def cluster(model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Tensor:
    """The responsibilities p(component | z) of a mixture prior's components for images.

    They are taken at the posterior mean, z = `encode(x, y)` of the latent that the prior is of;
    `cluster(x).argmax(-1)` is the number of a component for each image. Components that are spare
    or overlap are found by `diagnostics.mixture_diagnostics`.

    Args:
        x: images (N, *x_shape).
        y: labels (N,), as in `encode`.

    Returns:
        Shape (N, k); each row sums to 1.

    Raises:
        TypeError: the prior is no mixture, as `GMVAE`'s and `priors.VampPrior` are.
        ValueError: x or y are no such images or labels.

    Example:
        >>> from vaezoo.models import GMVAE
        >>> GMVAE(k=20).cluster(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 20])
    """
    with one_thread(), in_mode(model, False):
        prior = as_mixture(lone_prior(model))
        return responsibilities(prior, model.encode(x, y, latent=model.parts["prior"].of))


@torch.no_grad()
def score(
    model: LatentVariableModel,
    x: Tensor,
    y: Tensor | Sequence[int] | None = None,
    *,
    seed: int = 0,
) -> Tensor:
    """The ELBO of each image in nats, from one draw of the latents: higher is more probable.

    It is minus `evaluate(model, …, particles=1, seed=seed)["nelbo"].values`, draw for draw, where
    images come a hundred at a time, as those of `data.Images` do. At most 2,000 are decoded at
    once, as there; one counts for each label that is summed out. For a tighter bound take
    `evaluate(…, particles=100)["niwae-100"].values`, which is one on -log p(x).

    Args:
        x: images (N, *x_shape).
        y: labels (N,): needed by a member that is given them (FSVAE), whose bound is on
            log p(x|y). One that infers them sums them out, or, given them, bounds log p(x, y).
        seed: of the draws, by a generator of their own.

    Returns:
        Shape (N,).

    Raises:
        ValueError: x or y are no such images or labels, or a value is outside the support of its
            distribution.

    Example:
        >>> from vaezoo.models import VAE
        >>> VAE().score(torch.zeros(7, 1, 28, 28)).shape
        torch.Size([7])
    """
    batch = _given(model, x, y)
    model.check(*batch)
    with one_thread(), own_generator(seed), in_mode(model, False), outside_param_store():
        with own_generator():
            labels, outputs = decoded(model, [t[:2] for t in batch])
        at_a_time = max(1, DECODED // (labels * outputs))
        return torch.cat([e for b in portions(batch, BATCH) for e in _elbos(model, b, at_a_time)])


def _given(model: LatentVariableModel, x: Any, y: Any) -> list[Tensor]:
    """Images, and labels where they are given: one that is missing is summed out, or refused."""
    if y is None and required_arguments(model.model) < 2:
        return [as_tensor(x, tensor_like(model))]
    images, labels = as_batch(model, x, y)
    return [images] if labels is None else [images, labels]


def _elbos(model: LatentVariableModel, batch: list[Tensor], at_a_time: int) -> Iterator[Tensor]:
    """The ELBO of some images of a batch after the others, (n,)."""
    # as evaluation does, for the sake of the same draws: all values are looked at before
    for part in portions(batch, at_a_time):
        _ = run(model.model, model.guide, *part).log_wy
    for part in portions(batch, at_a_time):
        with unchecked():
            terms = run(model.model, model.guide, *part)
        kl = terms.expect(terms.kl + terms.log_qy - terms.log_py)
        yield (terms.expect(terms.rec) - kl).squeeze(0)
