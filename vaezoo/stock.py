"""Pyro's own objectives as differentiable losses per image.

`Trace_ELBO`, `TraceMeanField_ELBO` and `TraceEnum_ELBO` have `differentiable_loss`. `RenyiELBO`
and `TraceGraph_ELBO` only have `loss_and_grads`, which runs its own backward pass: the gradients
it leaves are collected, and handed on when the loss is differentiated.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro import infer
from torch import Tensor, nn

__all__ = ["stock_loss"]


def stock_loss(objective: infer.elbo.ELBO, pair: nn.Module, *batch: Any) -> Tensor:
    """The loss of one of Pyro's objectives, in nats per image.

    Args:
        objective: any `pyro.infer.ELBO`; its loss is a sum over the images of the batch.
        pair: a module with programs `model` and `guide`.
        batch: the arguments of both; the first holds the images.

    Example:
        >>> from vaezoo.models import VAE
        >>> loss = stock_loss(infer.RenyiELBO(num_particles=2), VAE(), torch.zeros(7, 1, 28, 28))
        >>> loss.shape, loss.requires_grad
        (torch.Size([]), True)
    """
    x, programs = batch[0], (pair.model, pair.guide)
    if not torch.is_grad_enabled():
        return x.new_tensor(objective.loss(*programs, *batch)) / len(x)
    if hasattr(objective, "differentiable_loss"):
        loss: Tensor = objective.differentiable_loss(*programs, *batch)
        return loss / len(x)
    parameters = [p for p in pair.parameters() if p.requires_grad]
    kept = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    value = objective.loss_and_grads(*programs, *batch)
    gradients = [p.grad for p in parameters]
    if parameters and all(g is None for g in gradients):
        raise ValueError(
            f"{type(objective).__name__} trains parameters that Pyro knows, and this pair names "
            "none: call pyro.module in its model, or use an objective of vaezoo's"
        )
    for p, grad in zip(parameters, kept, strict=True):
        p.grad = grad
    return _WithGradients.apply(x.new_tensor(value), gradients, *parameters) / len(x)


class _WithGradients(torch.autograd.Function):
    """A loss whose gradients are known already."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor | None], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(None if g is None else outer * g for g in ctx.gradients)
