"""A few steps of Pyro's own `SVI`, and what they moved."""

from __future__ import annotations

import copy
import math
from typing import Any

import pyro
import torch
from pyro import infer
from torch import Tensor, nn

from vaezoo import ELBO


def moved(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}


def svi_steps(model: Any, batch: tuple[Tensor, ...], n: int = 2, loss: Any = None) -> set[str]:
    before = copy.deepcopy(model.state_dict())
    svi = infer.SVI(model.model, model.guide, pyro.optim.Adam({"lr": 1e-2}), loss or ELBO())
    for _ in range(n):
        assert math.isfinite(svi.step(*batch))
    return moved(model, before)
