"""The first run of a compiled step, held against the graph that it was made from.

It has happened that a compiler made NaN of a term, and gradients that were wrong. What is far from
what rounding makes of it is refused: of networks in bf16, gradients were seen off by a tenth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, fx

__all__ = ["check_gradients", "check_noise", "check_terms", "norm"]

FAR = 0.1  # of a term, and in nats: bf16 rounds by less than a hundredth
FAR_OFF = 0.5  # of the size of all gradients together


def check_terms(found: Mapping[str, Tensor], expected: Sequence[Tensor]) -> None:
    """Refuse a term that is far from the graph's.

    Args:
        found: by name.
        expected: in the same order.

    Raises:
        RuntimeError: one is; the message names it.

    Example:
        >>> check_terms({"loss": torch.tensor(1.0)}, [torch.tensor(2.0)])
        Traceback (most recent call last):
        ...
        RuntimeError: a fault of torch's compiler: loss=1, where the graph that was compiled says 2
    """
    for (name, t), value in zip(found.items(), expected, strict=True):
        if not torch.allclose(t.detach(), value, rtol=FAR, atol=FAR, equal_nan=True):
            raise RuntimeError(
                f"a fault of torch's compiler: {name}={t.item():.4g}, where the graph that was "
                f"compiled says {value.item():.4g}"
            )


def check_gradients(
    found: Sequence[Tensor], expected: Sequence[Tensor], rounding: float = 0.0
) -> None:
    """Refuse gradients that are far from the graph's, all of them together.

    Args:
        found, expected: in the same order; not finite ones of a graph are not compared.
        rounding: how far off they may be besides, all of them together.

    Raises:
        RuntimeError: they are.

    Example:
        >>> check_gradients([torch.ones(2)], [torch.tensor([1.0, 1.1])])
        >>> check_gradients([torch.zeros(2)], [torch.ones(2)])
        Traceback (most recent call last):
        ...
        RuntimeError: a fault of torch's compiler: gradients are off by 1 of their size
    """
    size = norm(expected)
    off = norm([a - b for a, b in zip(found, expected, strict=True)])
    if size.isfinite() and not off <= FAR_OFF * size + rounding:
        raise RuntimeError(
            f"a fault of torch's compiler: gradients are off by {off / size:.4g} of their size"
        )


def check_noise(graph: fx.Graph, found: Tensor, expected: Tensor) -> None:
    """Refuse a step that leaves the generator elsewhere than its graph does.

    A graph with draws that are not used is not refused: a compiler leaves those out.

    Args:
        graph: of the step.
        found, expected: states of the generator after the step, and after the graph.

    Raises:
        RuntimeError: they differ.

    Example:
        >>> traced = fx.symbolic_trace(torch.nn.Identity())
        >>> check_noise(traced.graph, torch.tensor(0), torch.tensor(0))
    """
    if not torch.equal(found, expected) and _all_are_used(graph):
        raise RuntimeError(
            "a fault of torch's compiler: it draws other noise than the graph that was compiled"
        )


def _all_are_used(graph: fx.Graph) -> bool:
    """Whether the graph returns something of all that it draws."""
    live, draws = set[fx.Node](), list[fx.Node]()
    for node in reversed(graph.nodes):
        schema = getattr(node.target, "_schema", None)
        in_place = schema is not None and schema.is_mutable
        if node.op == "output" or node in live or (in_place and live & set(node.all_input_nodes)):
            live |= {node, *node.all_input_nodes}
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            draws.append(node)
    return live.issuperset(draws)


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """The length of all of them as one vector, in float64.

    Example:
        >>> norm([torch.tensor([3.0]), torch.tensor(4.0)]).item()
        5.0
    """
    each = [t.abs().double().square().sum() for t in tensors]
    return torch.stack(each).sum().sqrt() if each else torch.zeros(())
