"""Noise in a compiled graph, drawn in the order in which the program draws it.

Inductor sorts the kernels of a graph by what they read, and those that read nothing of one another
by their names, in which "buf10" comes before "buf9". Draws read nothing but the generator, which it
does not see: a seed would then give the same noise to other latents than it does eagerly. Each draw
is therefore made to wait for the one before.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._inductor import custom_graph_pass
from torch._inductor.dependencies import WeakDep
from torch._inductor.virtualized import V
from torch.fx import Graph

__all__ = ["COINS", "NoiseInOrder", "coins_in_rows"]

aten = torch.ops.aten

# torch 2.9 knows one kind of pass, and later ones another for the scheduler
_Pass: Any = getattr(custom_graph_pass, "CustomSchedulerPass", custom_graph_pass.CustomGraphPass)


class NoiseInOrder(_Pass):
    """A pass over the scheduler's nodes, before any are fused."""

    def __call__(self, nodes: list[Any]) -> list[Any]:
        """The nodes, in an order that keeps that of the draws."""
        places = {op.get_operation_name(): i for i, op in enumerate(V.graph.operations)}
        draws = sorted(filter(_draws, nodes), key=lambda node: places[node.get_name()])
        if len(draws) < 2:
            return nodes
        for before, after in itertools.pairwise(draws):
            read = next(iter(before.get_buffer_names()))
            written = next(iter(after.get_buffer_names()))
            after.add_fake_dep(WeakDep(read, mutating_buf=written, is_fake=True))
        scheduler = draws[0].scheduler
        scheduler.nodes = scheduler.topological_sort_schedule(nodes)
        scheduler.compute_ancestors()  # or kernels between two draws would be fused into a circle
        return scheduler.nodes

    def uuid(self) -> bytes | None:
        """What Inductor's cache on disk knows this pass by."""
        return custom_graph_pass.get_hash_for_files((__file__,))


def _draws(node: Any) -> bool:
    """Whether a node takes numbers from a generator."""
    operator = getattr(node.node, "op_overload", None)
    return torch.Tag.nondeterministic_seeded in getattr(operator, "tags", ())


def _thrown_into(p: Tensor, **kwargs: Any) -> Any:
    """Coins of a chance each, row by row; torch's decomposition draws them in float32.

    Without any Inductor refuses them wherever the environment says `CI`.
    """
    rows = torch.empty_like(p, memory_format=torch.contiguous_format)
    return aten.bernoulli.Tensor(rows, p, **kwargs)


def coins_in_rows(graph: Graph) -> None:
    """Have coins that are no tensor's own thrown row by row, as eagerly.

    Inductor has one operator for these and for those that `bernoulli_` throws into a tensor.
    """
    for node in graph.find_nodes(op="call_function", target=aten.bernoulli.p):
        with graph.inserting_before(node):
            rows: dict[str, Any] = {"memory_format": torch.contiguous_format}
            given = graph.call_function(aten.empty_like.default, node.args[:1], rows)
        node.args = (given, *node.args[1:])


def _as_it_lies(t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Coins of one chance; Inductor throws them row by row, whatever the strides."""
    strides = t.stride()
    order = sorted(range(t.dim()), key=strides.__getitem__, reverse=True)
    if order == [*range(t.dim())]:
        return NotImplemented
    thrown = aten.bernoulli.p(t.permute(order), *args, **kwargs)
    return thrown.permute([order.index(i) for i in range(t.dim())])


# coins thrown as eagerly: in a tensor's own dtype, and order in memory
COINS: dict[Any, Callable[..., Any]] = {
    aten.bernoulli.default: _thrown_into,
    aten.bernoulli.p: _as_it_lies,
}
