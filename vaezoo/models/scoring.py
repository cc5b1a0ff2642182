"""What a member says of each image: the bound on its log-density, and its cluster.

They are methods of every member (`vae.score(x)`), with no gradients and in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaezoo.components import outside_param_store
from vaezoo.data.batches import as_tensor
from vaezoo.distributions.responsibilities import as_mixture, responsibilities
from vaezoo.models.batches import as_batch, tensor_like
from vaezoo.programs.pair import required_arguments
from vaezoo.programs.run import run
from vaezoo.scopes import in_mode, one_thread, own_generator, unchecked

if TYPE_CHECKING:
    from vaezoo.models.base import LatentVariableModel

__all__ = ["cluster", "score"]

BATCH = 100  # images at a time, as `evaluate` takes them


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
        prior = as_mixture(model.prior())
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
    images come a hundred at a time, as those of `data.Images` do. For a tighter bound take
    `evaluate(…, particles=100)["niwae-100"].values`, which is one on -log p(x).

    Args:
        x: images (N, *x_shape).
        y: labels (N,): needed by a member that is given them (FSVAE), whose bound is on
            log p(x|y). One that infers them sums them out, or, given them, bounds log p(x, y).
        seed: of the draws, by a generator of their own.

    Returns:
        Shape (N,).

    Raises:
        ValueError: x or y are no such images or labels.

    Example:
        >>> from vaezoo.models import VAE
        >>> VAE().score(torch.zeros(7, 1, 28, 28)).shape
        torch.Size([7])
    """
    batch = _given(model, x, y)
    model.check(*batch)
    parts = zip(*(tensor.split(BATCH) for tensor in batch), strict=True)
    with one_thread(), own_generator(seed), in_mode(model, False), outside_param_store():
        return torch.cat([_elbo(model, *part) for part in parts])


def _given(model: LatentVariableModel, x: Any, y: Any) -> list[Tensor]:
    """Images, and labels where they are given: one that is missing is summed out, or refused."""
    if y is None and required_arguments(model.model) < 2:
        return [as_tensor(x, tensor_like(model))]
    images, labels = as_batch(model, x, y)
    return [images] if labels is None else [images, labels]


def _elbo(model: LatentVariableModel, *batch: Tensor) -> Tensor:
    # evaluation runs a batch once to check it, and once for what it reports: so does this, for the
    # sake of the same draws
    run(model.model, model.guide, *batch)
    with unchecked():
        terms = run(model.model, model.guide, *batch)
    kl = terms.expect(terms.kl + terms.log_qy - terms.log_py)
    return (terms.expect(terms.rec) - kl).squeeze(0)
