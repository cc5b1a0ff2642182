"""What a step changes besides the weights that it trains: buffers and frozen parameters."""

from __future__ import annotations

import contextlib
import itertools
import operator
from collections.abc import Iterator

import torch
from torch import Tensor, nn

__all__ = ["Untrained"]

FEW = 4096  # numbers: tensors of so many are copied at each step, larger ones if written into


class Untrained:
    """Buffers and frozen parameters of a module, as they were when they were last kept.

    Args:
        module: with all that is inside it at the time of a call.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> untrained = Untrained(norm)
        >>> untrained.keep()
        >>> _ = norm(torch.full((3, 2), torch.nan))
        >>> untrained.put_back()
        >>> norm.running_mean.tolist(), norm.num_batches_tracked.item()
        ([0.0, 0.0], 0)
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._places = _Places(module)
        self._copies: dict[Tensor, tuple[Tensor, int]] = {}
        self._held: list[tuple[dict[str, Tensor | None], dict[str, Tensor | None]]] = []

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep them, and put them back behind it, whatever happens within."""
        self.keep()
        try:
            yield
        finally:
            self.put_back()

    def keep(self) -> None:
        """Copy them, except large ones that were not written into since they were last copied."""
        copies: dict[Tensor, tuple[Tensor, int]] = {}
        if not self._places.are_all():
            self._places = _Places(self.module)
        for t in self._places.untrained():
            known = self._copies.get(t)
            if known is None or t._version != known[1] or t.numel() <= FEW:
                known = t.detach().clone(), t._version
            copies[t] = known
        self._copies = copies
        held = (buffers for buffers in self._places.buffers if isinstance(buffers, dict))
        self._held = [(buffers, dict(buffers)) for buffers in held if buffers]

    @torch.no_grad()
    def put_back(self) -> None:
        """Restore the values that were kept, also of what is another tensor by now."""
        for buffers, before in self._held:
            buffers.update(before)
        for t, (value, version) in self._copies.items():
            if t._version != version or t.numel() <= FEW:
                t.copy_(value)


class _Places:
    """Where a module and those inside it keep tensors: found once, and read at each step."""

    def __init__(self, module: nn.Module) -> None:
        modules = list(module.modules())
        # what torch.jit has made has no dictionary of modules: none is set in it later
        self.inner = [m._modules for m in modules if isinstance(m._modules, dict)]
        self.children = self._children()
        self.buffers = [m._buffers for m in modules]
        self.parameters = [m._parameters for m in modules]

    def _children(self) -> list[nn.Module | None]:
        return [*itertools.chain.from_iterable(map(dict.values, self.inner))]

    def are_all(self) -> bool:
        """Whether no module has come, gone or been replaced."""
        now = self._children()
        return len(now) == len(self.children) and all(map(operator.is_, now, self.children))

    def untrained(self) -> list[Tensor]:
        """Buffers and frozen parameters."""
        with_buffers, with_parameters = filter(None, self.buffers), filter(None, self.parameters)
        buffers = [b for held in with_buffers for b in held.values() if b is not None]
        parameters = (p for held in with_parameters for p in held.values() if p is not None)
        return [*buffers, *(p for p in parameters if not p.requires_grad)]
