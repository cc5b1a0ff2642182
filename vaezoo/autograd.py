"""What a loss can be differentiated by, its gradients, and losses whose gradients are known."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["KnownGradients", "are_finite", "cut_off", "gradients", "leaves", "nodes"]


class KnownGradients(torch.autograd.Function):
    """A loss with gradients that were computed with it: a backward pass only hands them out.

    `KnownGradients.apply(loss, gradients, *leaves)` returns the loss, whose gradient by each of the
    leaves is the one at its place in `gradients`.

    Raises:
        RuntimeError: by the backward pass, if a gradient is to be differentiated again, or if there
            was a backward pass before it without `retain_graph=True`.

    Example:
        >>> weight = torch.ones(2, requires_grad=True)
        >>> loss = KnownGradients.apply(torch.tensor(3.0), [torch.tensor([5.0, 7.0])], weight)
        >>> (2 * loss).backward()
        >>> weight.grad
        tensor([10., 14.])
    """

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor], *_: Tensor) -> Tensor:
        """Keep the gradients for the backward pass."""
        ctx.gradients = gradients
        ctx.set_materialize_grads(False)
        return loss.detach()

    @staticmethod
    def backward(ctx: Any, outer: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients, times that by the loss."""
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the gradients of this loss were computed with it, and cannot be differentiated "
                "again (create_graph=True): use bound.eager of a compiled bound, an objective with "
                "differentiable_loss in place of one of Pyro's without, and chunk=None"
            )
        if ctx.gradients is None:
            raise RuntimeError(
                "this loss was differentiated before: use backward(retain_graph=True), or compute "
                "it again"
            )
        gradients = tuple(ctx.gradients)
        keep = torch._C._autograd._get_current_graph_task_keep_graph()
        if not keep:
            ctx.gradients = None
        if outer is None:
            return None, None, *(None for _ in gradients)
        # on an accelerator, to ask whether it is 1 would wait for the loss
        if keep or outer.device.type != "cpu" or outer.item() != 1:
            gradients = torch._foreach_mul(gradients, outer)
        return None, None, *gradients


def leaves(loss: Tensor | None, before: Sequence[Tensor] = ()) -> list[Tensor]:
    """The tensors at the ends of a loss's autograd graph: all that it can be differentiated by.

    Those that it depends on through tensors of `before` alone are left out.

    Example:
        >>> a, b = torch.zeros(2, requires_grad=True), torch.zeros(2)
        >>> leaves((a * b).sum())[0] is a
        True
    """
    if loss is not None and loss.requires_grad and loss.is_leaf:
        return [loss]
    return [node.variable for node in nodes(loss, before) if hasattr(node, "variable")]


def nodes(loss: Tensor | None, before: Sequence[Tensor] = ()) -> list[Any]:
    """The nodes of a loss's autograd graph: operations, and the leaves at their ends.

    Example:
        >>> a = torch.zeros(2, requires_grad=True)
        >>> [node.name() for node in nodes((a * 2).sum())]
        ['SumBackward0', 'MulBackward0', 'torch::autograd::AccumulateGrad']
    """
    stack, seen = [None if loss is None else loss.grad_fn], dict[Any, None]()
    ends = {t.grad_fn for t in before}
    while stack:
        node = stack.pop()
        if node is None or node in ends or node in seen:
            continue
        seen[node] = None
        stack += [following for following, _ in node.next_functions]
    return list(seen)


def gradients(loss: Tensor | None, *, retain_graph: bool = False) -> list[tuple[Tensor, Tensor]]:
    """The leaves that a loss depends on, each with its gradient; no hook of theirs runs.

    Example:
        >>> a = torch.tensor(3.0, requires_grad=True)
        >>> [(leaf is a, g.item()) for leaf, g in gradients(a * a)]
        [(True, 6.0)]
    """
    ends = leaves(loss)
    if loss is None or not ends:
        return []
    with _unhooked(ends):
        each = torch.autograd.grad(loss, ends, allow_unused=True, retain_graph=retain_graph)
    return [(leaf, g) for leaf, g in zip(ends, each, strict=True) if g is not None]


def cut_off(args: Sequence[Any]) -> tuple[list[Any], dict[Tensor, Tensor]]:
    """The arguments, with a leaf for each tensor that was computed from others that require grad.

    Returns:
        The arguments, and by leaf the tensor that it stands for.

    Example:
        >>> a = torch.tensor(3.0, requires_grad=True)
        >>> (leaf, same, _), behind = cut_off([b := 2 * a, a, "no tensor"])
        >>> leaf.is_leaf, behind[leaf] is b, same is a
        (True, True, True)
    """
    computed = [isinstance(arg, Tensor) and arg.grad_fn is not None for arg in args]
    cut = [a.detach().requires_grad_() if c else a for a, c in zip(args, computed, strict=True)]
    return cut, {leaf: a for leaf, a, c in zip(cut, args, computed, strict=True) if c}


@contextlib.contextmanager
def _unhooked(ends: list[Tensor]) -> Iterator[None]:
    """Without the hooks of leaves, which run when the gradients are handed out."""
    hooks = [p._backward_hooks for p in ends]
    for p in ends:
        p._backward_hooks = None
    try:
        yield
    finally:
        for p, own in zip(ends, hooks, strict=True):
            p._backward_hooks = own


@torch.no_grad()
def are_finite(gradients: Sequence[Tensor]) -> bool:
    """Whether all are: by their sums, and one by one if sums of large numbers are not finite.

    Example:
        >>> are_finite([torch.full((2,), 3e38)]), are_finite([torch.tensor(torch.nan)])
        (True, False)
    """
    numbers = [g._values() if g.is_sparse else g for g in gradients]
    sums = [n.sum() for n in numbers]
    if len({s.device for s in sums}) == 1 and math.isfinite(abs(torch.stack(sums).sum().item())):
        return True
    return all(bool(n.isfinite().all()) for n in numbers)
