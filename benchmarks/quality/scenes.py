"""What an FSVAE draws, read by a classifier that has only seen real scenes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.quality.results import estimate
from vaezoo import data, models
from vaezoo.evaluation import Estimate

__all__ = ["read_as_asked"]

EPOCHS = 3


def read_as_asked(model: models.FSVAE) -> dict[str, Estimate]:
    """How often drawings show the digit asked for, in held-out styles and in the prior's."""
    torch.manual_seed(0)
    reader = trained(data.colour_digits("train", n=60_000))
    x, y = data.colour_digits("test").tensors()
    asked = torch.arange(10).repeat_interleave(200)
    styles = {
        "styles of real scenes": model.encode(x, y),
        "styles from the prior": model.prior().sample((len(asked),)),
    }
    found = {"read on real scenes": estimate(read(reader, x) == y)}
    for name, z in styles.items():
        shown = model.sample(y=asked, z=z).clamp(0, 1)
        found[f"read as asked, {name}"] = estimate(read(reader, shown) == asked)
    return found


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
