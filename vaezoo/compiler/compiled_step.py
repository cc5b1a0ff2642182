"""One compiled step: with gradients to hand out, or with the update of the weights behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vaezoo.autograd import KnownGradients
from vaezoo.compiler.adam import AdamUpdate
from vaezoo.compiler.guards import Guards
from vaezoo.compiler.tracing import Backend, TracedStep

__all__ = ["CompiledStep"]

Batch = tuple[Tensor, ...]


class CompiledStep:
    """A step of a bound in the hands of a compiler; without a traced step, one that runs eagerly.

    Args:
        guards: of what it was made from.
        key: of the batches that it serves (see `guards.batch_key`); None for all.
        traced: what is compiled.

    Attributes:
        call: what a compiler made of it; None where steps run eagerly.
        calls: how often it was looked for and found.
        finite: whether loss and gradients of the last step were, if it updates the weights.
        update: makes the optimizer's update inside the step; None where the optimizer does.
    """

    def __init__(self, guards: Guards, key: Any = None, traced: TracedStep | None = None) -> None:
        self.guards, self.key, self.traced, self.calls = guards, key, traced, 1
        self.finite = True
        self.call: Callable[..., Sequence[Tensor]] | None = None
        self.update: AdamUpdate | None = None
        self.updated: list[Tensor] = []
        self._shared: list[int] | None = None

    def compile(self, batch: Batch, backend: str | Backend, update: AdamUpdate | None) -> None:
        """Hand the traced step, with the update behind it, to a compiler."""
        from vaezoo.compiler.inductor import compile_graph

        assert self.traced is not None
        graph, inputs = self.traced.graph, self.traced.inputs(batch)
        if update is not None:
            self.update, (graph, self.updated) = update, update.extend(self.traced, inputs)
            inputs += update.inputs(self.updated)
        with torch.no_grad():
            self.call = compile_graph(graph, inputs, backend)

    def begin(self, batch: Batch) -> dict[str, Tensor]:
        """The first run; if it fails, all is as it was before."""
        assert self.traced is not None
        tensors = [*self.traced.held]
        if self.update is not None:
            tensors += self.update.inputs(self.updated)
        values = [t.detach().clone() for t in tensors]
        generators = torch.get_rng_state(), torch.cuda.get_rng_state_all()
        try:
            return self.run(batch)
        except Exception:
            with torch.no_grad():
                torch._foreach_copy_([t.detach() for t in tensors], values)
            torch.set_rng_state(generators[0])
            torch.cuda.set_rng_state_all(generators[1])
            raise

    def run(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of a batch; the loss can be differentiated, or the weights are updated."""
        assert self.call is not None
        assert self.traced is not None
        inputs = self.traced.inputs(batch)
        with torch.no_grad():
            if self.update is None:
                outputs = self._in_own_memory(inputs, [*self.call(*inputs)])
            else:
                *outputs, finite = self.call(*inputs, *self.update.inputs(self.updated))
                self.finite = bool(finite)
        terms = dict(zip(self.traced.names, outputs, strict=False))
        if gradients := outputs[len(terms) :]:
            terms["loss"] = KnownGradients.apply(terms["loss"], gradients, *self.traced.leaves)
        return terms

    def _in_own_memory(self, inputs: list[Tensor], outputs: list[Tensor]) -> list[Tensor]:
        """The outputs, of which none shares memory: an optimizer may change gradients in place."""
        if self._shared is None:  # decided when the graph was compiled: the same at every call
            self._shared = _sharing(outputs, inputs)
        for i in self._shared:
            outputs[i] = outputs[i].clone()
        return outputs


def _sharing(outputs: list[Tensor], inputs: list[Tensor]) -> list[int]:
    """The outputs that share memory with an input or with an output before them."""
    known, sharing = {t.untyped_storage().data_ptr() for t in inputs}, []
    for i, t in enumerate(outputs):
        pointer = t.untyped_storage().data_ptr()
        if pointer in known:
            sharing.append(i)
        known.add(pointer)
    return sharing
