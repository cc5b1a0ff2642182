"""Products by the same matrix made at once.

A semi-supervised step runs the same networks on unlabelled images, on these with every label, and
on labelled ones. Each run multiplies by the same weights, and a product of a hundred rows is slower
per row than one of a thousand. Rows are put one below the other:

    x₁ W, x₂ W              [x₁; x₂] W, in slices
    g₁ᵀ x₁ + g₂ᵀ x₂         [g₁; g₂]ᵀ [x₁; x₂]

The pass re-sorts the graph so that every node follows its inputs; random numbers are drawn in the
order they were.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import Any

import torch
from torch import fx

__all__ = ["merge_products"]

FEW = 256  # rows; a product of more gains nothing

aten = torch.ops.aten
CONVERT = torch.ops.prims.convert_element_type.default


def merge_products(graph: fx.Graph) -> None:
    """Merge pairs of products of which one has few rows.

    A graph that writes into tensors before its end is left as it is.
    """
    writes = filter(_writes, graph.nodes)
    if any(node.target is not aten.copy_.default or node.users for node in writes):
        return
    work = _Merging(graph)
    groups = defaultdict(list)
    for node in graph.find_nodes(op="call_function", target=aten.mm.default):
        source = _source(node.args[1])
        if source[0].op == "placeholder":  # weights, rather than what one run has computed
            groups[node.meta["val"].dtype, *source].append(node)
    for a, b in itertools.chain.from_iterable(map(itertools.pairwise, groups.values())):
        if a.users and _are_few(a, b) and not work.depends(b, a) and not work.depends(a, b):
            work.merge(a, b)
    for total in graph.find_nodes(op="call_function", target=aten.add.Tensor):
        a, b = map(_unconverted, total.args)
        both = _is_gradient(a) and _is_gradient(b) and a is not b and not total.kwargs
        if both and _are_alike(total, a, b) and _are_few(a.args[1], b.args[1]):
            work.merge_gradients(total, a, b)
    work.sort()


class _Merging:
    """A graph, with the order that its random numbers must keep, and what has been stacked."""

    def __init__(self, graph: fx.Graph) -> None:
        self.graph, self.output = graph, graph.output_node()
        self.stacks: dict[Any, fx.Node] = {}
        random = [node for node in graph.nodes if _has_tag(node, torch.Tag.nondeterministic_seeded)]
        self.before = dict(itertools.pairwise(reversed(random)))

    def inputs(self, node: fx.Node) -> list[fx.Node]:
        """What must come before a node."""
        return [*node.all_input_nodes, *([self.before[node]] if node in self.before else [])]

    def depends(self, node: fx.Node, on: fx.Node) -> bool:
        """Whether one node must come after another."""
        seen, stack = set(), [node]
        while stack:
            one = stack.pop()
            if one is on:
                return True
            if one not in seen:
                seen.add(one)
                stack += self.inputs(one)
        return False

    def call(self, target: Any, *arguments: Any) -> fx.Node:
        """A new node, for `sort` to put where it belongs."""
        with self.graph.inserting_before(self.output):
            node = self.graph.call_function(target, arguments)
        values = fx.map_arg(arguments, lambda n: n.meta["val"])
        node.meta["val"] = target(*values)
        return node

    def stack(self, a: Any, b: Any) -> fx.Node:
        """The rows of one below those of the other; one node for each pair."""
        if (a, b) not in self.stacks:
            self.stacks[a, b] = self.call(aten.cat.default, [a, b], 0)
        return self.stacks[a, b]

    def merge(self, a: Any, b: Any) -> None:
        """[x₁; x₂] W in slices, in the place of x₁ W and x₂ W."""
        total = self.call(aten.mm.default, self.stack(a.args[0], b.args[0]), a.args[1])
        rows, start = [len(node.meta["val"]) for node in (a, b)], 0
        for node, n in zip((a, b), rows, strict=True):
            node.replace_all_uses_with(self.call(aten.slice.Tensor, total, 0, start, start + n))
            start += n

    def merge_gradients(self, total: Any, a: Any, b: Any) -> None:
        """[g₁; g₂]ᵀ [x₁; x₂] in the place of g₁ᵀ x₁ + g₂ᵀ x₂."""
        g = self.stack(a.args[0].args[0], b.args[0].args[0])
        transposed = self.call(aten.permute.default, g, [1, 0])
        merged = self.call(aten.mm.default, transposed, self.stack(a.args[1], b.args[1]))
        if merged.meta["val"].dtype != total.meta["val"].dtype:
            merged = self.call(CONVERT, merged, total.meta["val"].dtype)
        total.replace_all_uses_with(merged)

    def sort(self) -> None:
        """Put every node behind its inputs, and what writes into inputs of the graph at the end."""
        nodes = [node for node in self.graph.nodes if node is not self.output]
        done: dict[fx.Node, None] = {}
        for node in sorted(nodes, key=_writes):
            self._place(node, done)
        for node in done:
            self.output.prepend(node)
        self.graph.eliminate_dead_code()

    def _place(self, node: fx.Node, done: dict[fx.Node, None]) -> None:
        stack = [node]
        while stack:
            waiting = [one for one in self.inputs(stack[-1]) if one not in done]
            if waiting:
                stack += waiting
            else:
                done.setdefault(stack.pop())


def _source(matrix: Any) -> tuple[Any, bool, tuple[torch.dtype, ...]]:
    """The identity of a matrix: its input, whether it is transposed, its casts."""
    transposed, dtypes = False, []
    while matrix.target is CONVERT or _is_transpose(matrix):
        if matrix.target is CONVERT:
            dtypes.append(matrix.args[1])
        else:
            transposed = not transposed
        matrix = matrix.args[0]
    return matrix, transposed, tuple(dtypes)


def _is_transpose(matrix: Any) -> bool:
    return matrix.target is aten.permute.default and list(matrix.args[1]) == [1, 0]


def _are_few(a: Any, b: Any) -> bool:
    return min(len(a.meta["val"]), len(b.meta["val"])) <= FEW


def _are_alike(total: Any, a: Any, b: Any) -> bool:
    """Whether neither is spread over the sum, or of another dtype than the other."""
    shapes = {node.meta["val"].shape for node in (total, a, b)}
    return len(shapes) == 1 and a.meta["val"].dtype == b.meta["val"].dtype


def _has_tag(node: Any, tag: torch.Tag) -> bool:
    return tag in getattr(node.target, "tags", ())


def _writes(node: Any) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _unconverted(part: Any) -> Any:
    """What was converted to another dtype, if that was the only use of it."""
    return (
        part.args[0] if getattr(part, "target", None) is CONVERT and len(part.users) == 1 else part
    )


def _is_gradient(part: Any) -> bool:
    """Whether it is gᵀ x, and needed once."""
    is_product = getattr(part, "target", None) is aten.mm.default
    return is_product and len(part.users) == 1 and _is_transpose(part.args[0])
