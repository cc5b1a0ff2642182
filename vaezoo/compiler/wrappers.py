"""What may be around a call and hears of each operation in it: a compiled step tells it of none."""

from __future__ import annotations

import torch
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor
from torch.utils._device import DeviceContext

__all__ = ["is_wrapped"]


def is_wrapped(batch: tuple[Tensor, ...]) -> bool:
    """Whether something is around that eager operations are told of.

    Handlers of Pyro's, modes of torch's, hooks of what autograd saves, or autocast, in a graph also
    where that is disabled. A default device is none of them.

    Args:
        batch: of the call.

    Example:
        >>> with torch.autograd.graph.save_on_cpu():
        ...     is_wrapped(())
        True
        >>> with torch.device("meta"):
        ...     is_wrapped(())
        False
    """
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    if am_i_wrapped() or hooks is not None or torch._C._len_torch_dispatch_stack():
        return True
    if (n := torch._C._len_torch_function_stack()) and not all(map(_is_of_devices, range(n))):
        return True
    return bool(batch) and torch.is_autocast_enabled(batch[0].device.type)


def _is_of_devices(i: int) -> bool:
    """Whether a mode says where new tensors lie, and no more."""
    return isinstance(torch._C._get_function_stack_at(i), DeviceContext)
