"""A step on a batch that several processes share out: each has its rows, all have one gradient."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vaezoo.bound import Bound
from vaezoo.objectives import SemiSupervised
from vaezoo.programs.outside import outside
from vaezoo.training.step import Step
from vaezoo.training.weights import parameters_of

if TYPE_CHECKING:
    from vaezoo.compiler.adam import AdamUpdate
    from vaezoo.training.together import Together

__all__ = ["SharedStep"]

# they are shared behind each step: in front of it, who fails to make a batch would not be there
_OPTIONS = inspect.signature(DistributedDataParallel).parameters
_SYNC_BUFFERS = next(n for n in ("forward_sync_buffers", "broadcast_buffers") if n in _OPTIONS)


class SharedStep(Step):
    """A `Step` whose gradient is that of the whole batch, by torch's `DistributedDataParallel`.

    At the start all processes take the weights and buffers of rank 0; the gradients, and so the
    weights, are then bitwise the same in all. Buffers that are saved with a model (a batch norm's)
    are those of rank 0. Compiled, the loss and its gradients are one graph, and the optimizer makes
    its update behind it: inside the graph it would not see the gradients of the others.

    Args:
        bound: the objective.
        optimizer: over its parameters.
        together: the processes.
        max_grad_norm: scale gradients down to this norm, over all parameters, where it is larger.
    """

    def __init__(
        self,
        bound: Bound,
        optimizer: torch.optim.Optimizer,
        together: Together,
        *,
        max_grad_norm: float | None = None,
    ) -> None:
        super().__init__(bound, optimizer, max_grad_norm=max_grad_norm)
        self.together, self.group = together, together.group
        self._trained = trained = parameters_of(optimizer)
        kept, buffers = bound.state_dict(), dict(bound.named_buffers())
        self.buffers = [_memory_of(name, b) for name, b in buffers.items() if name in kept]
        self.group.use_for_gradients(trained[0].device)
        self.group.sum()  # all have come as far as this
        options: dict[str, Any] = {"find_unused_parameters": True, _SYNC_BUFFERS: False}
        whole, group = _Whole(bound, trained), self.group.gradients
        # it sends them dtype by dtype, of which gloo knows a few
        ignored = [f"bound.{name}" for name in buffers]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(whole, ignored)
        with self.group.exchanging(), _thawed(trained):
            self.averaged: Any = DistributedDataParallel(whole, process_group=group, **options)
        once = [b for name, b in buffers.items() if name not in kept and _is_dense(b)]
        self._share([*self.buffers, *(_memory_of("", b) for b in once)])
        self._weight = _weight_of_unlabelled(bound, trained[0])

    def __call__(self, *batch: Tensor) -> dict[str, Tensor]:
        """Take the step; returns the bound's terms on the whole batch."""
        self._follow()
        self._check_trained()
        self._untrained.keep()
        if self._weight is not None:
            self._weight.fill_(self.together.weight_of_unlabelled(batch))
        here = self.averaged(*batch)
        column = 0 if self._weight is None else -1  # labelled images, the last, may be other ones
        terms, weight = self.together.average(here, len(batch[column]), column)
        finite = math.isfinite(terms["loss"].item())
        loss = here["loss"] if weight == 1 else here["loss"] * weight
        updated = finite and self._update(loss)
        if not updated:
            self._untrained.put_back()
        self._share(self.buffers)
        self.broken = "" if updated else "gradient" if finite else "loss"
        return terms

    def of_all(self, names: list[str]) -> list[str]:
        """What was found by all processes, with their ranks."""
        found = enumerate(self.group.gather(names))
        return [f"{name} (on rank {rank})" for rank, each in found for name in each]

    def _check_trained(self) -> None:
        """Refuse parameters that came on the way, whose gradients nobody would average."""
        known = {id(p) for p in self._trained}
        if all(id(p) in known for p in parameters_of(self.optimizer)):
            return
        named = self.bound.model.named_parameters()
        names = [name for name, p in named if id(p) not in known] or ["a parameter"]
        raise ValueError(
            f"the optimizer was given {', '.join(names)} on the way: several processes train what "
            "it has at the start; make such changes between two calls of fit"
        )

    def _update_inside(self) -> type[AdamUpdate] | None:
        return None

    def _update(self, loss: Tensor) -> bool:
        with self.group.exchanging():
            return super()._update(loss)

    @torch.no_grad()
    def _share(self, buffers: list[Tensor]) -> None:
        """Take those of rank 0, in one message, of bytes."""
        if not buffers:
            return
        dense = torch.contiguous_format  # of one number, too, of which flatten keeps the stride
        each = [b.flatten().clone(memory_format=dense).view(torch.uint8) for b in buffers]
        message = torch.cat(each)
        with self.group.exchanging():
            dist.broadcast(message, 0, group=self.group.gradients)
        for b, values in zip(buffers, message.split([len(e) for e in each]), strict=True):
            b.copy_(values.clone().view(b.dtype).view_as(b))

    def close(self) -> None:
        """Leave the bound as it was found."""
        self.averaged = self.bound
        if self._weight is not None:
            del self.bound.objective.unlabelled_weight


class _Whole(nn.Module):
    """A bound, and what it trains that is no parameter of its model (`pyro.param`)."""

    def __init__(self, bound: Bound, trained: list[Tensor]) -> None:
        super().__init__()
        self.bound = bound
        # torch warns where it looks for parameters that are not used and finds none
        self.unused = nn.Parameter(torch.zeros(1, device=trained[0].device))
        # not by register_parameter, which refuses leaves that are no nn.Parameter
        inside, known = ({id(p) for p in each} for each in (bound.parameters(), trained))
        buffers = [b for b in bound.buffers() if id(b) in known - inside]  # that are trained
        others = [*buffers, *outside(bound.model, trained).values()]
        self._parameters.update({str(i): p for i, p in enumerate(others)})  # type: ignore[misc]

    def forward(self, *batch: Tensor) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = self.bound(*batch)
        return terms


def _is_dense(buffer: Tensor) -> bool:
    return buffer.layout is torch.strided and not (buffer.is_nested or buffer.is_quantized)


def _memory_of(name: str, buffer: Tensor) -> Tensor:
    """A view of a buffer that has each number in memory once: an expanded one has some often.

    Raises:
        ValueError: it is sparse, or of another layout whose bytes cannot be sent.
    """
    if not _is_dense(buffer):
        raise ValueError(
            f"several processes take the buffers of rank 0, which must be dense, got {name} of "
            f"{buffer.layout}: register it with persistent=False, alike in all processes"
        )
    for dim, stride in enumerate(buffer.stride()):
        buffer = buffer.narrow(dim, 0, 1) if stride == 0 and buffer.numel() else buffer
    return buffer


@contextlib.contextmanager
def _thawed(parameters: list[Tensor]) -> Iterator[None]:
    """Within it all take gradients: what does not now may later, and is to be averaged then."""
    flags = [p.requires_grad for p in parameters]
    for p in parameters:
        p.requires_grad_(True)
    try:
        yield
    finally:
        for p, flag in zip(parameters, flags, strict=True):
            p.requires_grad_(flag)


def _weight_of_unlabelled(bound: Bound, like: Tensor) -> Tensor | None:
    """The objective's weight of unlabelled images, in a tensor that a compiled step reads anew."""
    if not isinstance(bound.objective, SemiSupervised):
        return None
    bound.objective.unlabelled_weight = torch.ones((), dtype=like.dtype, device=like.device)
    return bound.objective.unlabelled_weight
