"""How a graph is handed to Inductor, and what is rewritten in it on the way.

Inductor fuses what is done to each number; which products are made, which routine makes them, and
with which formula a logarithm is taken, it leaves as it finds it. On a CPU the passes of
`vaezoo.compiler.passes` choose those.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import GraphModule

from vaezoo.compiler import onednn
from vaezoo.compiler.noise import NoiseInOrder
from vaezoo.compiler.passes import biases, log1p, merging, routines
from vaezoo.compiler.tracing import Backend

__all__ = ["Rewrites", "compiled"]

aten = torch.ops.aten


class Rewrites(CustomGraphPass):
    """All passes over a graph, in place.

    Args:
        onednn_leads: whether oneDNN multiplies much faster than MKL; found by trial if not given.
    """

    def __init__(self, *, onednn_leads: bool | None = None) -> None:
        self.onednn_leads = onednn.onednn_leads() if onednn_leads is None else onednn_leads

    def __call__(self, graph: fx.Graph) -> None:
        """Rewrite the graph."""
        log1p.shorten_logarithms(graph)
        biases.part_biases(graph)
        merging.merge_products(graph)
        routines.choose_routines(graph, leads=self.onednn_leads)

    def uuid(self) -> bytes | None:
        """What Inductor's cache on disk knows these passes by."""
        passes = (log1p, biases, merging, routines, onednn)
        files = (__file__, *(module.__file__ for module in passes))
        return get_hash_for_files(files, extra=str(self.onednn_leads))


def compiled(
    graph: GraphModule, inputs: list[Tensor], backend: str | Backend
) -> Callable[..., Sequence[Tensor]]:
    """The graph by a backend, with torch's own generators: a seed gives the same noise as eagerly.

    Args:
        graph: of flat arguments.
        inputs: examples of them.
        backend: the name of one in `torch.compiler.list_backends(())`, or a function.
    """
    import torch._dynamo
    import torch._inductor.config

    _part_multiples(graph)
    with warnings.catch_warnings():
        # of no concern to users: torch's compiler uses what torch deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        found = torch._dynamo.lookup_backend(backend) if isinstance(backend, str) else backend
        with torch._inductor.config.patch(_settings(torch._inductor.config)), _shapes():
            # all sizes are constants
            static = {"ignore_shape_env": True} if backend == "inductor" else {}
            return found(graph, inputs, **static)


def _part_multiples(graph: GraphModule) -> None:
    """a + α b as a sum and a product: Inductor in torch 2.13 forgets α where a is x W."""
    for node in graph.graph.find_nodes(op="call_function", target=aten.add.Tensor):
        alpha = node.kwargs.get("alpha", 1)
        if alpha != 1:
            with graph.graph.inserting_before(node):
                scaled = graph.graph.call_function(aten.mul.Tensor, (node.args[1], alpha))
            node.args, node.kwargs = (node.args[0], scaled), {}
    graph.recompile()


def _shapes() -> contextlib.AbstractContextManager[Any]:
    """All sizes are constants; Inductor keeps on disk only what it made with a record of that."""
    from torch._guards import TracingContext, tracing
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    shapes = ShapeEnv(assume_static_by_default=True)
    return tracing(TracingContext(FakeTensorMode(shape_env=shapes)))


def _settings(config: Any) -> dict[str, Any]:
    found = {
        "size_asserts": False,  # inputs are known to be like those traced
        "alignment_asserts": False,
        # torch 2.13 may give the memory of a joined tensor away while a part of it, changed in
        # place, is in use: an ADGM with more products merged had wrong gradients
        "inplace_buffers": False,
        "fallback_random": True,
        "post_grad_custom_post_pass": Rewrites(),
        "_pre_fusion_custom_pass": NoiseInOrder(),
        "reorder_for_locality": _leaves_draws_in_order(),
    }
    if config.cpp.vec_isa_ok is None:
        # otherwise each process compiles and loads three programs to try what the CPU says it has
        found["cpp.vec_isa_ok"] = True
    return found


def _leaves_draws_in_order() -> bool:
    """Whether the pass of this name does: in torch 2.9 it moves a draw to where it is used."""
    from torch._inductor.fx_passes import post_grad

    code = post_grad.reorder_for_locality.__code__
    return "consumes_rng_state" in (*code.co_varnames, *code.co_cellvars)
