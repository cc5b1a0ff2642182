"""Muon for matrices, Adam for the rest, at one rate: torch's own, as one optimizer for `fit`.

Jordan et al. Muon: An Optimizer for Hidden Layers in Neural Networks. 2024. Its steps are as large
as Adam's: Liu et al. Muon is Scalable for LLM Training. 2025. arXiv:2502.16982, section 2.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon"]


class Muon(torch.optim.Optimizer):
    """Two optimizers in one, whose rate is that of its group.

    Args:
        params: weights of two dimensions are Muon's, the others Adam's.
        lr: the rate of both.

    Example:
        >>> layer = torch.nn.Linear(3, 2)
        >>> [len(part.param_groups[0]["params"]) for part in Muon(layer.parameters()).parts]
        [1, 1]
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-3) -> None:
        every = list(params)
        super().__init__(every, {"lr": lr})
        matrices = [p for p in every if p.dim() == 2]
        rest = [p for p in every if p.dim() != 2]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
            torch.optim.Adam(rest, fused=True),
        ]

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of each, by the gradients at hand."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = self.param_groups[0]["lr"]
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """That of the group, and of each of the two."""
        return super().state_dict() | {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        of_parts = state_dict["parts"]
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "parts"})
        for part, state in zip(self.parts, of_parts, strict=True):
            part.load_state_dict(state)
