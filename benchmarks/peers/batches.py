"""Batches of a task, the same for every peer."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.peers import handwritten
from benchmarks.peers.handwritten import Batch
from benchmarks.peers.tasks import TASKS
from vaezoo import data
from vaezoo.data.downloads import data_root

__all__ = ["LABELLED", "arguments", "in_memory", "pictures", "shaped"]

LABELLED = 100  # images of a batch that an SSVAE sees once more, with labels


def pictures(task: str) -> tuple[Tensor, Tensor]:
    """Pixels (N, *x_shape) and labels: MNIST where it is there, else the built-in digits."""
    if task == "FSVAE":
        scenes = data.colour_digits("train", n=4000)
        assert scenes.labels is not None
        return scenes.pixels, scenes.labels
    if handwritten.has_mnist(data_root()):
        return handwritten.mnist(data_root(), "train")
    digits = data.digits("train")
    assert digits.labels is not None
    return digits.pixels, digits.labels


def in_memory(task: str, size: int, device: str = "cpu", *, number: int = 10) -> list[Batch]:
    """Batches of flat float images, binarised once, as `arguments` has them."""
    pixels, labels = pictures(task)
    torch.manual_seed(0)
    rows = torch.randint(len(pixels), (number, size))
    result = []
    for chosen in rows:
        x = pixels[chosen].flatten(1) / 255
        x = x if task == "FSVAE" else torch.bernoulli(x)
        result.append(tuple(t.to(device) for t in arguments(task, x, labels[chosen])))
    return result


def shaped(task: str, size: int, device: str = "cpu") -> list[Batch]:
    """The same batches in the shape of images, as members take them."""
    shape = TASKS[task].x_shape
    return [
        tuple(t if t.dtype == torch.long else t.reshape(-1, *shape) for t in batch)
        for batch in in_memory(task, size, device)
    ]


def arguments(task: str, x: Tensor, y: Tensor) -> Batch:
    """What the task's loss takes; an SSVAE's labelled images are the first of the batch."""
    if task == "SSVAE":
        return x, x[:LABELLED], y[:LABELLED]
    return (x, y) if task == "FSVAE" else (x,)
