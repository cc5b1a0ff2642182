"""One compiled step: with gradients to hand out, or with the update of the weights behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vaezoo.compiler.adam import AdamUpdate
from vaezoo.compiler.guards import Guards
from vaezoo.compiler.tracing import Backend, Trace

__all__ = ["CompiledStep"]

Batch = tuple[Tensor, ...]


class CompiledStep:
    """One compiled step and what it was made from; without a trace, one that runs eagerly.

    Attributes:
        kind: of batches that it is for; None for all.
        calls: how often it was looked for and found.
        finite: whether loss and gradients of the last step were, if it updates the weights.
    """

    def __init__(self, guards: Guards, kind: Any = None, trace: Trace | None = None) -> None:
        self.guards, self.kind, self.trace, self.calls = guards, kind, trace, 1
        self.finite = True
        self.call: Callable[..., Sequence[Tensor]] | None = None
        self.shared: list[int] | None = None
        self.update: AdamUpdate | None = None
        self.updated: list[Tensor] = []

    def compile(self, batch: Batch, backend: str | Backend, update: AdamUpdate | None) -> None:
        """Hand the traced step, with the update behind it, to a compiler."""
        from vaezoo.compiler.inductor import compiled

        assert self.trace is not None
        graph, inputs = self.trace.graph, self.trace.inputs(batch)
        if update is not None:
            self.update, (graph, self.updated) = update, update.extend(self.trace, inputs)
            inputs += update.inputs(self.updated)
        with torch.no_grad():
            self.call = compiled(graph, inputs, backend)

    def begin(self, batch: Batch) -> dict[str, Tensor]:
        """The first run; if it fails, all is as it was before."""
        assert self.trace is not None
        tensors = [*self.trace.held]
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

    def run(self, batch: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The terms of a batch; the loss can be differentiated, or the weights are updated."""
        assert self.trace is not None
        inputs = self.trace.inputs(batch)
        if self.update is None:
            terms = _Differentiable.apply(self, inputs, *self.trace.leaves)
        else:
            assert self.call is not None
            with torch.no_grad():
                *terms, finite = self.call(*inputs, *self.update.inputs(self.updated))
            self.finite = bool(finite)
        return dict(zip(self.trace.names, terms, strict=True))

    def compute(self, inputs: list[Tensor]) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """The terms, and the gradients, each in memory of its own as optimizers expect."""
        assert self.call is not None
        assert self.trace is not None
        found, terms = list(self.call(*inputs)), len(self.trace.names)
        if self.shared is None:  # decided when the graph was compiled: the same at every call
            self.shared = _shared(found, inputs)
        for i in self.shared:
            found[i] = found[i].clone()
        return tuple(found[:terms]), found[terms:]


def _shared(outputs: list[Tensor], inputs: list[Tensor]) -> list[int]:
    """The outputs that share memory with an input or with an output before them."""
    known, found = {t.untyped_storage().data_ptr() for t in inputs}, []
    for i, t in enumerate(outputs):
        pointer = t.untyped_storage().data_ptr()
        if pointer in known:
            found.append(i)
        known.add(pointer)
    return found


class _Differentiable(torch.autograd.Function):
    """The terms of a step, the first of them with gradients that are known already."""

    @staticmethod
    def forward(
        ctx: Any, graph: CompiledStep, inputs: list[Tensor], *_: Tensor
    ) -> tuple[Tensor, ...]:
        terms, ctx.gradients = graph.compute(inputs)
        ctx.mark_non_differentiable(*terms[1:])
        ctx.set_materialize_grads(False)
        return terms

    @staticmethod
    def backward(ctx: Any, outer: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "gradients of a compiled bound cannot be differentiated again (create_graph=True): "
                "use bound.eager"
            )
        if ctx.gradients is None:
            raise RuntimeError(
                "the loss of a compiled bound was differentiated before: use "
                "backward(retain_graph=True), or compute it again"
            )
        gradients: tuple[Tensor, ...] = tuple(ctx.gradients)
        keep = torch._C._autograd._get_current_graph_task_keep_graph()
        if not keep:
            ctx.gradients = None
        if outer is None:
            return None, None, *(None for _ in gradients)
        # on an accelerator, to ask whether it is 1 would wait for the loss
        if keep or outer.device.type != "cpu" or outer.item() != 1:
            gradients = torch._foreach_mul(gradients, outer)
        return None, None, *gradients
