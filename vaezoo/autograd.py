"""What a loss can be differentiated by."""

from __future__ import annotations

from torch import Tensor

__all__ = ["leaves"]


def leaves(loss: Tensor | None) -> list[Tensor]:
    """The tensors at the ends of a loss's autograd graph: all that it can be differentiated by.

    Example:
        >>> import torch
        >>> a, b = torch.zeros(2, requires_grad=True), torch.zeros(2)
        >>> leaves((a * b).sum())[0] is a
        True
    """
    found: list[Tensor] = []
    stack, seen = [None if loss is None else loss.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        stack += [following for following, _ in node.next_functions]
    return found
