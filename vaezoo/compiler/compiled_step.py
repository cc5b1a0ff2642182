"""One compiled step: with gradients to hand out, or with the update of the weights behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vaezoo.autograd import KnownGradients, gradients
from vaezoo.compiler import kept
from vaezoo.compiler.adam import AdamUpdate, Trained
from vaezoo.compiler.beside import Beside
from vaezoo.compiler.first_run import check_gradients, check_noise, check_terms, norm
from vaezoo.compiler.first_update import fault_of_update
from vaezoo.compiler.guards import Guards
from vaezoo.compiler.orders import Order
from vaezoo.compiler.replay import Replay, are_on_gpu
from vaezoo.compiler.tracing import Backend, TracedStep
from vaezoo.cpu import give_back
from vaezoo.programs.writes import Writes
from vaezoo.scopes import Generators, own_generator

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
        calls: how many batches it has served.
        started: when its making began, by `time.perf_counter`.
        finite: whether loss and gradients of the last run were finite, if it updates the weights.
        update: makes the optimizer's update inside the step; None where the optimizer makes it.
        awaited: the process that compiles it, if another one does.
    """

    def __init__(self, guards: Guards, key: Any = None, traced: TracedStep | None = None) -> None:
        self.guards, self.key, self.traced, self.calls = guards, key, traced, 1
        self.started, self.finite = 0.0, True
        self.call: Callable[..., Sequence[Tensor]] | None = None
        self.update: AdamUpdate | None = None
        self.awaited: Beside | None = None
        self._leaves, self._rows = list[Tensor](), torch.empty(0)
        self._gradients: list[int] = []
        self._shared: list[int] | None = None

    def compile(
        self,
        batch: Batch,
        backend: str | Backend,
        update: AdamUpdate | None,
        *,
        beside: bool = False,
    ) -> None:
        """Hand the traced step, with the update behind it, to a compiler, unless it is on disk.

        Args:
            batch: an example.
            backend: which compiler.
            update: of the optimizer; None where the optimizer makes it.
            beside: whether another process compiles it: then there is no `call` until `arrive`.

        Raises:
            Exception: it cannot be compiled, or not beside.
        """
        assert self.traced is not None
        inputs, trained = self.traced.inputs(batch), None
        moving = len(inputs) - len(self.traced.held)
        if update is not None:
            trained = update.trained(self.traced, inputs)
            self._update(update, trained)
            inputs += self.for_update()
        order = Order(self.traced.graph, trained, backend)
        key = order.key(inputs)
        self.call = None if key is None else kept.load(key)
        if self.call is None and beside and backend == "inductor":  # others take no time
            self.awaited = Beside(order, inputs, key)
        elif self.call is None:
            self.call = order.compile(inputs, key)
            if are_on_gpu(inputs):
                self.call = Replay(self.call, moving)

    def arrive(self) -> bool:
        """Whether it is compiled.

        Raises:
            RuntimeError: the process that was to compile it left none; to do that here would take
                as long, without a step meanwhile.
        """
        if self.awaited is None or (left := self.awaited.left) is None:
            return False
        awaited, self.awaited = self.awaited, None
        awaited.close()
        self.call = kept.load(awaited.key)
        if self.call is None:
            raise RuntimeError(
                f"the process that was to compile it left no graph (status {left}); under "
                "compile=True this one does, which knows operators of yours too"
            )
        return True

    def close(self) -> None:
        """End the process that compiles it, if one does."""
        if self.awaited is not None:
            self.awaited.close()

    def begin(self, batch: Batch) -> dict[str, Tensor]:
        """The first run, held against its graph; if it fails, all is as it was before.

        Raises:
            RuntimeError: what the compiler made computes something else.
        """
        assert self.traced is not None
        expected, drawn = self._by_graph(batch)
        fault = self._fault_of_update(batch, expected)  # of gradients more is said below
        tensors = [t.detach() for t in (*self.traced.held, *self.for_update())]
        values, generators = [t.clone() for t in tensors], Generators()
        give_back()  # what came before it needed more memory
        try:
            terms, n = self.run(batch), len(self.traced.names)
            check_noise(self.traced.graph.graph, torch.get_rng_state(), drawn)
            check_terms(terms, expected[:n])
            if self.update is None or self.finite:
                known = [expected[i] for i in self._gradients] or expected[n:]
                found, rounding = self._found(terms, values)
                check_gradients(found, known, rounding)
            if fault:
                raise RuntimeError(f"a fault of torch's compiler: {fault}")
        except Exception:
            for t, value in zip(tensors, values, strict=True):
                t.copy_(value)
            generators.restore()
            raise
        return terms

    def _fault_of_update(self, batch: Batch, expected: list[Tensor]) -> str:
        """What an update leaves out, found in a run of which nothing stays."""
        assert self.traced is not None
        if self.update is None or isinstance(self.call, Replay):  # which is to be recorded later
            return ""
        inputs, update = self.traced.inputs(batch), self.for_update()
        weights = [p.detach() for p in self._leaves]
        written = [*(inputs[i].detach() for i in self.traced.written), *weights, *update]
        values, generators = [t.clone() for t in written], Generators()
        known = [expected[i] for i in self._gradients]

        def take() -> bool:
            self.run(batch)
            return self.finite

        try:
            return fault_of_update(take, update, weights, known)
        finally:
            for t, value in zip(written, values, strict=True):
                t.copy_(value)
            generators.restore()

    def _by_graph(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """What the graph says the next run has, and where it leaves the generator."""
        assert self.traced is not None
        with torch.no_grad(), own_generator(), Writes():
            outputs = self.traced.graph(*self.traced.inputs(batch))
            return [t.clone() for t in outputs], torch.get_rng_state()

    @torch.no_grad()
    def _found(self, terms: dict[str, Tensor], before: list[Tensor]) -> tuple[list[Tensor], float]:
        """The gradients of a run, as first moments have them if they are not handed out.

        Args:
            terms: of the run.
            before: what was held before it, the moments last.

        Returns:
            The gradients, and what rounding moments may have done to all of them.
        """
        assert self.traced is not None
        if self.update is None:
            by_leaf = dict(gradients(terms.get("loss"), retain_graph=True))
            return [by_leaf[leaf] for leaf in self.traced.leaves], 0.0
        (_, beta, *_), _, _, *moments = self.for_update()
        averages = [*zip(moments[::2], before[-len(moments) :: 2], strict=True)]
        size = norm([old for _, old in averages]) / (1 - beta)
        rounding = 4 * torch.finfo(moments[0].dtype).eps * size.item()
        return [(now - beta * old) / (1 - beta) for now, old in averages], rounding

    def run(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of a batch; the loss can be differentiated, or the weights are updated."""
        assert self.call is not None
        assert self.traced is not None
        inputs = self.traced.inputs(batch)
        with torch.no_grad():
            more = []
            if self.update is None:
                outputs = self._in_own_memory(inputs, [*self.call(*inputs)])
            else:
                more = self.for_update()
                *outputs, finite = self.call(*inputs, *more)
                self.finite = bool(finite)
        self._tell([inputs[i] for i in self.traced.written] + more[3:])
        terms = dict(zip(self.traced.names, outputs, strict=False))
        if gradients := outputs[len(terms) :]:
            terms["loss"] = KnownGradients.apply(terms["loss"], gradients, *self.traced.leaves)
        return terms

    def _tell(self, written: list[Tensor]) -> None:
        """Have torch count that these were written into: compiled code need not say so."""
        if self.update is not None:
            written = [*written, *self._leaves]
        torch.autograd.graph.increment_version([t for t in written if not t.is_inference()])

    def _update(self, update: AdamUpdate, trained: Trained) -> None:
        """Have the update made inside the step."""
        assert self.traced is not None
        self._gradients = trained.gradients
        self._leaves = [self.traced.leaves[i - trained.terms] for i in trained.gradients]
        self.update, self._rows = update, torch.tensor(trained.rows, device=update.device)

    def for_update(self) -> list[Tensor]:
        """The arguments that the update needs, behind those of the step."""
        return [] if self.update is None else self.update.inputs(self._leaves, self._rows)

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
