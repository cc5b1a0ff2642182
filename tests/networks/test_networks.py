"""The networks of the library, and what they refuse."""

from __future__ import annotations

import torch
from zoo import BadCall, labels, refused

from vaezoo import (
    networks,
)

CALLS: list[BadCall] = [
    (lambda: networks.MLP((4,), (), (2,)), ValueError, "hidden must be one or more sizes"),
    (lambda: networks.MLP((4,), (3,), (2,))(torch.zeros(2, 5)), ValueError, r"inputs \(\.\.\., 4\), got \(2, 5\)"),
    (lambda: networks.MLP((4,), (3,), (2,))(torch.zeros(2, 4), labels(2)), ValueError, "takes no labels"),
    (lambda: networks.Conv((1, 6, 6), (3, 3), (2,)), ValueError, "divisible by 4 on one side"),
    (lambda: networks.Conv((4,), (3,), (2,)), ValueError, r"needs an image \(C, H, W\)"),
]  # fmt: skip


test_bad_networks = refused(CALLS)
