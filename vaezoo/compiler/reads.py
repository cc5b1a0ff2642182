"""Reads of tensors' values in Python, refused while a step is traced."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from vaezoo.programs.writes import memory, tensors_in

__all__ = ["NoNumbers", "NoReads"]

NUMBERS: tuple[Any, ...] = (Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__)
NUMBERS += (Tensor.__repr__, Tensor.__reduce_ex__)
_READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
_FRESH = (torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default)
_GET_DATA, _SET_DATA = Tensor.data.__get__, Tensor.data.__set__  # type: ignore[attr-defined]


class NoReads(TorchDispatchMode):
    """Refuses programs that read a tensor's value in Python (`.item()`, `bool(t)`).

    What is computed from it would be frozen into the graph. Tensors made while tracing are left to
    `make_fx`, which refuses those without a value.

    Attributes:
        made: the memory of tensors made within it.
        constant: the memory of those that are the same at every step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.made: set[int | None] = set()
        self.constant: set[int | None] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _READS and memory(args[0]) not in self.made:
            raise _read_in_python(func)
        given = set(map(memory, tensors_in((args, kwargs))))
        if func not in _READS and _shows_values(func, args) and not given <= self.constant:
            raise _read_in_python(func)
        result = func(*args, **(kwargs or {}))
        made = set(map(memory, tensors_in(result)))
        random = torch.Tag.nondeterministic_seeded in func.tags
        if func in _FRESH:  # a tensor made of numbers in the program, before and after it is lifted
            self.constant |= made | given
        elif given <= self.constant and not random:
            self.constant |= made
        else:
            self.constant -= made | (given if func._schema.is_mutable else set())
        # what an operation returns may be a view of what it was given
        self.made |= made if func in _FRESH else made - given
        return result

    def unrecorded(self) -> set[int | None]:
        """The memory of tensors that depend on the batch: where a graph holds such, it is wrong."""
        return self.made - self.constant


def _shows_values(func: Any, args: Any) -> bool:
    """Whether what an operation returns, or the shape of that, depends on values.

    So it is of indices that are a mask; of numbers it is not.
    """
    if func is torch.ops.aten.index.Tensor:
        return any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1])
    return bool({torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags))


class NoNumbers(TorchFunctionMode):
    """Refuses programs that hand the values of a tensor to NumPy or Python, which trace nothing."""

    def __init__(self, reads: NoReads) -> None:
        super().__init__()
        self.reads = reads

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in NUMBERS and memory(args[0]) not in self.reads.constant:
            raise _read_in_python(func.__name__)
        if func == _SET_DATA:
            raise RuntimeError("the program sets the data of a tensor")
        if func == _GET_DATA:  # the same, but recorded
            return args[0].detach()
        return func(*args, **(kwargs or {}))


def _read_in_python(by: object) -> RuntimeError:
    return RuntimeError(f"the program reads a tensor's value in Python ({by})")
