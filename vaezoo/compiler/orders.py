"""What is to be compiled: the graph of a step, with the update behind it if there is one."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule

from vaezoo.compiler import kept
from vaezoo.compiler.adam import Trained
from vaezoo.compiler.tracing import Backend
from vaezoo.compiler.whole_step import whole_step

__all__ = ["Order"]

aten = torch.ops.aten


class Order(NamedTuple):
    """A graph to be compiled, here or in another process.

    Attributes:
        graph: of a step, of flat arguments.
        trained: what is updated behind it; None where nothing is.
        backend: the name of one in `torch.compiler.list_backends(())`, or a function from a graph
            and example inputs to a callable.
    """

    graph: GraphModule
    trained: Trained | None
    backend: str | Backend

    def key(self, inputs: list[Tensor]) -> str | None:
        """What the compiled graph is known by on disk; None where it is not kept there."""
        by_inductor = self.backend == "inductor"
        return kept.key_of(self.graph, inputs, self.trained) if by_inductor else None

    def compile(self, inputs: list[Tensor], key: str | None) -> Callable[..., Sequence[Tensor]]:
        """Have the backend compile it.

        Args:
            inputs: examples of its arguments.
            key: to keep it on disk by.
        """
        graph = self.graph
        with torch.no_grad():
            if self.trained is not None:
                graph = whole_step(graph, self.trained, inputs)
            if any(t.is_cuda for t in inputs) and _convolves(graph):
                return graph
            if self.backend == "inductor":
                from vaezoo.compiler.inductor import compile_graph  # slow to import

                return compile_graph(graph, inputs, key)
            return _by_another(self.backend, graph, inputs)


def _convolves(graph: GraphModule) -> bool:
    """Whether it has convolutions, with which on a GPU Inductor in torch 2.11 made NaN in bf16.

    A classifier with batch norm had some after 9 to 1,077 steps. The same graph, left as it is and
    recorded, had none, and is there at once.
    """
    return bool(graph.graph.find_nodes(op="call_function", target=aten.convolution.default))


def _by_another(
    backend: str | Backend, graph: GraphModule, inputs: list[Tensor]
) -> Callable[..., Sequence[Tensor]]:
    with warnings.catch_warnings():
        # of no concern to users: torch's compiler uses what torch deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        if not isinstance(backend, str):
            return backend(graph, inputs)
        import torch._dynamo  # slow to import

        compile_: Backend = torch._dynamo.lookup_backend(backend)
        return compile_(graph, inputs)
