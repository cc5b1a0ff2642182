"""How a graph is handed to Inductor, and what is rewritten in it on the way.

Inductor fuses element-wise work; it does not choose which products are made, or by which library,
or with which formula a logarithm is taken. The passes of `vaezoo.compiler.passes` choose those.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch._functorch import config as functorch
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files
from torch.fx import GraphModule
from torch.utils._pytree import tree_leaves

from vaezoo.compiler import kept, onednn, passes
from vaezoo.compiler.capture import Capture
from vaezoo.compiler.noise import COINS, NoiseInOrder, coins_in_rows
from vaezoo.compiler.one_file import several_kernels_in_a_file
from vaezoo.compiler.rows import SUMS

__all__ = [
    "Rewrites",
    "compile_graph",
    "decompositions",
    "flags_are_known",
    "instructions_of_the_cpu",
]

aten = torch.ops.aten

# small kernels that do not wait for one another, such as Adam's of each weight, are made one
ON_GPU = {"combo_kernels": True, "combo_kernel_allow_mixed_sizes": 2}


# to have torch's C++ header compiled takes as long as it saves in so many graphs
GRAPHS = 5


class Rewrites(CustomGraphPass):
    """The passes for a graph's device, in order; a graph of several devices is left as it is."""

    def __init__(self) -> None:
        self.onednn_leads = onednn.onednn_leads()  # tried here: Inductor has fake tensors only

    def __call__(self, graph: fx.Graph) -> None:
        """Rewrite the graph."""
        for rewrite in passes.PASSES.get(_device_of(graph), ()):
            rewrite(graph)

    def uuid(self) -> bytes | None:
        """What Inductor's cache on disk knows these passes by: the text of every file of theirs."""
        folder = Path(passes.__file__).parent
        files = (__file__, onednn.__file__, *map(str, sorted(folder.glob("*.py"))))
        # "asserted": earlier graphs may come from `python -O`, which lacked the ends of loops
        return get_hash_for_files(files, extra=f"asserted {self.onednn_leads}")


def _device_of(graph: fx.Graph) -> str:
    """The device of a graph's tensors, apart from single numbers; "" if they are on several."""
    values = tree_leaves([node.meta.get("val") for node in graph.nodes])
    devices = {v.device.type for v in values if isinstance(v, Tensor) and v.dim()}
    return devices.pop() if len(devices) == 1 else ""


def compile_graph(
    graph: GraphModule, inputs: list[Tensor], key: str | None = None
) -> Callable[..., Sequence[Tensor]]:
    """A graph, compiled; under the same seed it draws the same noise as eagerly.

    Args:
        graph: of flat arguments.
        inputs: examples of them.
        key: to keep it on disk by, where it can be kept (see `kept`).
    """
    import torch._dynamo
    import torch._inductor.config

    _prepare(graph)
    capture: Any = Capture(len(inputs))
    with contextlib.ExitStack() as settings, warnings.catch_warnings():
        # of no concern to users: torch's compiler uses what torch deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", r"\s*Online softmax is disabled", UserWarning)
        config: Any = torch._inductor.config
        more = ON_GPU if any(t.is_cuda for t in inputs) else {}
        settings.enter_context(config.patch({**_settings(config), **more}))
        settings.enter_context(_shapes())
        settings.enter_context(_no_collections())
        settings.enter_context(several_kernels_in_a_file())
        settings.enter_context(instructions_of_the_cpu())
        if key is not None:  # a cache of what comes before the last stage would pass over it
            settings.enter_context(functorch.patch(enable_autograd_cache=False))
        options: Any = {"decompositions": decompositions(), "ignore_shape_env": True}
        compile_: Any = torch._dynamo.lookup_backend("inductor")
        call = compile_(graph, inputs, inner_compile=capture, **options)
    return (None if key is None else capture.keep(key)) or call


def decompositions() -> dict[Any, Callable[..., Any]]:
    """What Inductor makes of operators: as torch says, but for coins and sums of rows."""
    from torch._inductor.decomposition import select_decomp_table

    # one thread adds in order by itself, among what else it does to the rows
    sums = SUMS if torch.get_num_threads() > 1 else {}
    return {**select_decomp_table(), **COINS, **sums}


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Have the garbage collector rest: a tenth of the time went into what it looked through."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _prepare(graph: GraphModule) -> None:
    """Write what Inductor would make something else of in other words.

    Inductor before torch 2.15 forgets α in a + α b where a is x W.
    """
    coins_in_rows(graph.graph)
    for node in graph.graph.find_nodes(op="call_function", target=aten.add.Tensor):
        alpha = node.kwargs.get("alpha", 1)
        if alpha != 1:
            with graph.graph.inserting_before(node):
                scaled = graph.graph.call_function(aten.mul.Tensor, (node.args[1], alpha))
            node.args, node.kwargs = (node.args[0], scaled), {}
    _copy_given_outputs(graph.graph)
    graph.recompile()


def _copy_given_outputs(graph: fx.Graph) -> None:
    """Put out copies of inputs, such as a scheduled β: a graph that hands them on is not kept."""
    (output,) = graph.find_nodes(op="output")
    with graph.inserting_before(output):
        for node in output.all_input_nodes:
            if _is_given(node):
                output.replace_input_with(node, graph.call_function(aten.clone.default, (node,)))


def _is_given(node: fx.Node) -> bool:
    """Whether it is an input, or a view of one."""
    while node.op == "call_function" and getattr(node.target, "is_view", False):
        node = node.all_input_nodes[0]
    return node.op == "placeholder"


def _shapes() -> contextlib.AbstractContextManager[Any]:
    """All sizes are constants; Inductor keeps on disk only what it made with a record of that."""
    from torch._guards import TracingContext, tracing
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    shapes = ShapeEnv(assume_static_by_default=True)
    return tracing(TracingContext(FakeTensorMode(shape_env=shapes)))


def _settings(config: Any) -> dict[str, Any]:
    settings = {
        "size_asserts": False,  # inputs are known to be like those traced
        "alignment_asserts": False,
        # torch may give the memory of a joined tensor away while a part of it, changed in place,
        # is in use (benchmarks/upstream): an ADGM with more products merged had wrong gradients
        "inplace_buffers": False,
        "fallback_random": True,
        "post_grad_custom_post_pass": Rewrites(),
        "_pre_fusion_custom_pass": NoiseInOrder(),
        "reorder_for_locality": _leaves_draws_in_order(),
    }
    if not kept.are_many(GRAPHS):
        settings["cpp_cache_precompile_headers"] = False
    if config.cpp.vec_isa_ok is None:
        # otherwise each process compiles and loads three programs to try what the CPU says it has
        settings["cpp.vec_isa_ok"] = True
    return settings


@contextlib.contextmanager
def instructions_of_the_cpu() -> Iterator[None]:
    """Vector instructions that the CPU says it has are taken where the compiler knows their flags.

    Inductor compiles and loads a program for each kind of them, a second in all.
    """
    from torch._inductor.cpu_vec_isa import VecISA

    isa: Any = VecISA
    tried = isa.check_build
    isa.check_build = flags_are_known
    try:
        yield
    finally:
        isa.check_build = tried


def flags_are_known(isa: Any, code: str) -> bool:
    """Whether the C++ compiler takes the flags of a kind of instructions.

    Args:
        isa: a ``VecISA`` of Inductor.
        code: what Inductor would compile with them.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler

    flags = isa.build_arch_flags().split()
    command = (get_cpp_compiler(), *flags, "-x", "c++", "-E", os.devnull)
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _leaves_draws_in_order() -> bool:
    """Whether `reorder_for_locality` does: in torch 2.9 it moves a draw to where it is used."""
    from torch._inductor.fx_passes import post_grad

    code = post_grad.reorder_for_locality.__code__
    return "consumes_rng_state" in (*code.co_varnames, *code.co_cellvars)
