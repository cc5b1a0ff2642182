"""What Inductor makes of a graph, caught as it is made, to be kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch._guards import TracingContext

from vaezoo.compiler.kept import keep, load
from vaezoo.compiler.portable import portable

__all__ = ["Capture"]


class Capture:
    """The last stage of Inductor, to be handed to `compile_fx` as its `inner_compile`.

    Args:
        inputs: how many the graph has.

    Attributes:
        reason: why the graph cannot be kept; "" where it can.
    """

    def __init__(self, inputs: int) -> None:
        self.inputs, self.reason = inputs, "Inductor's last stage was passed over"
        self._made: Any = None

    def __call__(self, graph: Any, inputs: Sequence[Any], **options: Any) -> Any:
        """Compile a graph, and note whether nothing but the graph is done at a call."""
        from torch._inductor.compile_fx import compile_fx_inner  # warns where it is imported first

        made = compile_fx_inner(graph, inputs, **options)
        context = TracingContext.try_get()
        about = None if context is None else context.fw_metadata
        self.reason = self._reason(made, len(inputs), about)
        self._made = made
        return made

    def keep(self, key: str) -> Callable[..., Sequence[Tensor]] | None:
        """Keep it on disk, and return it as it is loaded from there; None where it cannot be."""
        if self.reason:
            return None
        from torch._inductor.select_algorithm import extern_kernels

        try:
            program, names = portable(self._made.source_code, extern_kernels)
            scope = self._made.current_callable.__globals__
            keep(key, program, {name: scope[name] for name in names})
        except Exception as error:  # whatever a later torch makes of it, and a disk that is full
            self.reason = f"{type(error).__name__}: {error}"
            return None
        return load(key)

    def _reason(self, made: Any, inputs: int, about: Any) -> str:
        if self._made is not None:
            return "it was made in parts"
        if about is None or inputs != self.inputs:
            return "its inputs are not the graph's"
        outputs = {each.output_type.name for each in about.output_info}
        if outputs - {"non_alias"} or about.mutated_inp_runtime_indices or about.tokens:
            return "something is done to its outputs"
        if made.constants or made.frozen_param_names or made.torchbind_constants:
            return "it has constants"
        return ""
