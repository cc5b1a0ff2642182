"""Shares of images are rows of the images that they are of, whatever kind these are."""

from __future__ import annotations

import torch

from vaezoo.data import Images, Moved
from vaezoo.data.shares import ImagesShare


def test_a_share_of_moved_images_is_moved() -> None:
    """Rows 3 to 7 of the first batch of 7, drawn and moved by the global generator."""
    pixels = torch.randint(256, (20, 1, 4, 4), dtype=torch.uint8)
    moved = Moved(Images(pixels, torch.arange(20) % 3, binarisation="dynamic"))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(1)
    x, y = next(ImagesShare(moved, 1, 2, seed=5).batches(7))
    torch.manual_seed(1)
    expected = [
        torch.stack(column) for column in zip(*moved.__getitems__(order[3:7].tolist()), strict=True)
    ]
    assert torch.equal(x, expected[0])
    assert torch.equal(y, expected[1])
