"""A classifier of colour scenes, which says what digit somebody would read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaezoo import data

__all__ = ["read", "trained"]

EPOCHS = 3


def trained(scenes: data.Images) -> nn.Module:
    """A small convolutional classifier, trained on real scenes only."""
    layers = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU()]
    head = [nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(128), nn.ReLU(), nn.Linear(128, 10)]
    reader = nn.Sequential(*layers, *head)
    reader(torch.zeros(1, *scenes.x_shape))
    optimizer = torch.optim.Adam(reader.parameters(), lr=2e-3)
    total = EPOCHS * len(scenes) // 100
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=total)
    for _ in range(EPOCHS):
        for x, y in scenes.batches(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(reader(x), y).backward()
            optimizer.step()
            scheduler.step()
    return reader


@torch.no_grad()
def read(reader: nn.Module, x: Tensor) -> Tensor:
    """The digits that it reads, (N,)."""
    return torch.cat([reader(part).argmax(-1) for part in x.split(500)])
