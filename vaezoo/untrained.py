"""What a step changes besides the weights it trains: buffers, averages in frozen parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Untrained"]

FEW = 4096  # numbers, which are copied at each step; more of them where they were written into


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
        self._copies: dict[Tensor, tuple[Tensor, int]] = {}

    def keep(self) -> None:
        """Copy them, unless a copy is as good as new."""
        copies: dict[Tensor, tuple[Tensor, int]] = {}
        for t in _untrained(self.module):
            known = self._copies.get(t)
            if known is None or t._version != known[1] or t.numel() <= FEW:
                known = t.detach().clone(), t._version
            copies[t] = known
        self._copies = copies

    @torch.no_grad()
    def put_back(self) -> None:
        """Let them be what they were."""
        for t, (value, version) in self._copies.items():
            if t._version != version or t.numel() <= FEW:
                t.copy_(value)


def _untrained(module: nn.Module) -> list[Tensor]:
    """As `buffers` and `parameters` find them, in a fifth of the time: it is asked at each step."""
    found: list[Tensor] = []
    modules, seen = [module], set[nn.Module]()
    while modules:
        one = modules.pop()
        if one not in seen:
            seen.add(one)
            modules += [m for m in one._modules.values() if m is not None]
            found += [b for b in one._buffers.values() if b is not None]
            found += [p for p in one._parameters.values() if p is not None and not p.requires_grad]
    return found
