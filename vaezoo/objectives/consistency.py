"""A reward for a classifier that reads an image in the same way wherever it has been moved."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.runtime import NonlocalExit
from torch import Tensor

from vaezoo import arguments
from vaezoo.objectives.base import Program
from vaezoo.programs.sites import is_label
from vaezoo.scopes import unchecked

__all__ = ["Consistency"]


class Consistency:
    """-log q(ŷ|x̃) of a moved image x̃ = move(x), where ŷ is what q(y|x) is sure of.

    The sum over y in the bound has the classifier agree with the decoder, which knows classes less
    well than pixels; this has it agree with itself. An image counts where max q(y|x) is above the
    threshold; no gradient goes through ŷ.

    Args:
        move: makes images (N, *x_shape) of others, drawn afresh, and leaves their classes as they
            are: `data.Moves(…)`.
        weight: of the mean over images in the loss.
        threshold: of a probability.

    Raises:
        TypeError: `move` cannot be called, or weight or threshold is no number.
        ValueError: weight or threshold is out of range.

    References:
        Xie, Dai, Hovy, Luong, Le. Unsupervised Data Augmentation for Consistency Training. 2020.
        arXiv:1904.12848.
        Sohn et al. FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence.
        2020. arXiv:2001.07685, equation 4.

    Example:
        >>> from vaezoo.data import Moves
        >>> from vaezoo.models import SSVAE
        >>> alike = Consistency(Moves(), threshold=0.0)
        >>> alike.of(SSVAE().guide, torch.zeros(7, 1, 28, 28)).item() > 0
        True
    """

    def __init__(
        self, move: Callable[[Tensor], Tensor], *, weight: float = 20.0, threshold: float = 0.95
    ) -> None:
        self.move, self.weight, self.threshold = move, weight, threshold

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "move" and not callable(value):
            raise TypeError(f"move must be a function of images, got a {type(value).__name__}")
        if name in ("weight", "threshold"):
            value = arguments.number(name, value, least=0 if name == "weight" else -math.inf)
        if name == "threshold" and not 0 <= value < 1:
            raise ValueError(f"threshold must lie in [0, 1), got {value}")
        super().__setattr__(name, value)

    def of(self, guide: Program, x: Tensor) -> Tensor:
        """The mean over images (N, *x_shape), without its weight, in nats.

        Raises:
            ValueError: the guide infers no label.
        """
        with torch.no_grad():
            probs = _label(guide, x).logits.softmax(-1)
            # not by max: of its indices Inductor in torch 2.13 made NaN, in bf16
            y, most = probs.argmax(-1, keepdim=True), probs.amax(-1, keepdim=True)
        with unchecked():  # between pixels that are 0 or 1 there may be grey ones now
            log_q = _label(guide, self._moved(x)).logits.log_softmax(-1)
        return -(log_q.gather(-1, y) * (most > self.threshold)).mean()

    def _moved(self, x: Tensor) -> Tensor:
        moved = self.move(x.clone())  # which may write into it
        shape = tuple(getattr(moved, "shape", ()))
        if shape != x.shape:
            raise ValueError(
                f"move must return as many images as it is given, of their shape {tuple(x.shape)}, "
                f"got {shape or type(moved).__name__}"
            )
        return moved

    def __repr__(self) -> str:
        settings = f"weight={self.weight:g}, threshold={self.threshold:g}"
        return f"Consistency({self.move!r}, {settings})"


def _label(guide: Program, x: Tensor) -> Any:
    """q(y|x), of a guide that is run until it draws y."""
    try:
        poutine.escape(guide, _is_drawn_label)(x)
    except NonlocalExit as found:
        return found.site["fn"]
    raise ValueError("Consistency needs a guide that infers a label, such as an SSVAE's")


def _is_drawn_label(site: Any) -> bool:
    return site["type"] == "sample" and not site["is_observed"] and is_label(site)
