"""A function of tensors on a GPU, recorded as a CUDA graph and replayed.

A step of a small model is some tens of kernels of a few microseconds each. To launch them one by
one from Python takes longer than they run; a graph of them is launched at once.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vaezoo.compiler.libraries import users_level

__all__ = ["Replay", "are_on_gpu"]

_made: weakref.WeakSet[Replay] = weakref.WeakSet()

RECORDINGS = 8  # for weights that lie elsewhere again and again, calls are not recorded any more


class Replay:
    """The same function, whose kernels are launched together from its second call on.

    Its draws follow torch's generator of the GPU, as those of the function do.

    Args:
        function: reads no value of a tensor in Python; returns tensors.
        moving: how many of the first arguments are other tensors at every call. The rest, such as
            weights, are taken where they lie, and what the function writes into them stays.

    Attributes:
        graph: what was recorded; None before that, and where it cannot be.
        recorded: how often.
    """

    def __init__(self, function: Callable[..., Sequence[Tensor]], moving: int) -> None:
        self.graph: torch.cuda.CUDAGraph | None = None
        self.recorded = 0
        self._function, self._moving = function, moving
        self._places: list[int] | None = None
        self._given: list[Tensor] = []
        self._outputs: Sequence[Tensor] = []
        _made.add(self)

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor]:
        """What the function returns, in memory of its own."""
        with torch.cuda.device_of(next(t for t in inputs if t.is_cuda)):
            return self._run(inputs)

    def _run(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        places = [t.data_ptr() for t in inputs[self._moving :]]
        if places != self._places:  # the first call is not recorded: kernels are made and tuned
            self._places, self.graph = places, None
            return self._function(*inputs)
        if self.graph is None:
            if self.recorded >= RECORDINGS:
                return self._function(*inputs)
            self._record(inputs)
        if self.graph is None:
            return self._function(*inputs)
        for place, given in zip(self._given, inputs[: self._moving], strict=True):
            place.copy_(given, non_blocking=True)
        self.graph.replay()
        return _copies(self._outputs)

    def _record(self, inputs: Sequence[Tensor]) -> None:
        """Note what the function launches; nothing of it runs."""
        self.recorded += 1
        self._given = [t.clone() for t in inputs[: self._moving]]
        graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        state = generator.clone_state()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._outputs = self._function(*self._given, *inputs[self._moving :])
        except Exception as error:  # whatever a GPU cannot record
            self.recorded, self._outputs = RECORDINGS, []
            # the generator's state is taken for one of the recording: others, which know it, are
            # made anew
            generator.graphsafe_set_state(state)
            for each in _made:
                each.graph, each._places = None, None
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"steps are not recorded: {reason}", stacklevel=users_level())
        else:
            self.graph = graph


def are_on_gpu(inputs: Sequence[Tensor]) -> bool:
    """Whether all are on one, but for those that hold nothing: of others values would be recorded.

    Example:
        >>> are_on_gpu([torch.zeros(2)])
        False
    """
    devices = {t.device for t in inputs if t.is_cuda or t.numel()}
    return len(devices) == 1 and devices.pop().type == "cuda"


def _copies(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The same values in new memory; those of numbers of one dtype are copied at once.

    Example:
        >>> _copies([torch.tensor(1.0), torch.zeros(2), torch.tensor(True), torch.tensor(3.0)])
        [tensor(1.), tensor([0., 0.]), tensor(True), tensor(3.)]
    """
    dtype = outputs[0].dtype
    together = [t for t in outputs if not t.dim() and t.dtype == dtype]
    numbers = iter(torch.stack(together).unbind() if together else ())
    return [next(numbers) if not t.dim() and t.dtype == dtype else t.clone() for t in outputs]
