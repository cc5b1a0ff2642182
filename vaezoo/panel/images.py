"""The images that a panel looks at, taken from whatever a model is trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vaezoo.data import Images
from vaezoo.data.batches import as_tensors
from vaezoo.data.labels import integer_labels
from vaezoo.data.passes import Data, one_pass
from vaezoo.data.semi_supervised import SemiSupervisedBatches
from vaezoo.training.opened import in_turn

__all__ = ["levels", "some_images"]


def some_images(data: Data, n: int, like: Tensor) -> tuple[Tensor, Tensor | None]:
    """The first n images of data, binarised once, with their labels if they have any.

    Args:
        data: `Images`, semi-supervised batches, or an iterable of batches.
        n: how many at most.
        like: a parameter of the model, whose device and dtype they take.

    Example:
        >>> x, y = some_images([(torch.zeros(5, 3), [0, 1, 2, 0, 1])] * 2, 7, torch.zeros(1))
        >>> x.shape, y.tolist()
        (torch.Size([7, 3]), [0, 1, 2, 0, 1, 0, 1])
    """
    if isinstance(data, SemiSupervisedBatches):
        data = data.unlabelled if data.unlabelled.labels is not None else data.labelled
    if isinstance(data, Images):
        data = data[:n]
    columns: list[list[Tensor]] = [[], []]
    for batch in in_turn(one_pass(data, n, dtype=like.dtype, seed=0), seed=0):
        for column, tensor in zip(columns, _pair(as_tensors(batch, like)), strict=False):
            column.append(tensor)
        if sum(map(len, columns[0])) >= n:
            break
    x = torch.cat(columns[0])[:n]
    return x, integer_labels(torch.cat(columns[1])[:n], len(x)) if columns[1] else None


def _pair(batch: list[Tensor]) -> list[Tensor]:
    """x and y of a batch; of a semi-supervised one all images, -1 where there is no label."""
    if len(batch) < 3:
        return batch
    x, labelled, y = batch
    return [torch.cat([x, labelled]), torch.cat([y.new_full((len(x),), -1), y])]


def levels(x: Tensor) -> dict[str, Any]:
    """One image as whole numbers from 0 to 255, row by row, channels last.

    Values are cut off at 0 and 1; what is no picture is shown in one row, its largest value white.

    Example:
        >>> levels(torch.tensor([[[0.0, 0.5], [1.0, 2.0]]]))
        {'height': 2, 'width': 2, 'channels': 1, 'levels': [0, 128, 255, 255]}
    """
    if x.dim() != 3 or x.shape[0] not in (1, 3):
        x = x.reshape(1, 1, -1) / x.max().clamp_min(1e-30)
    whole = (x.detach().cpu().float().clamp(0, 1) * 255).round().long()
    channels, height, width = whole.shape
    flat = whole.permute(1, 2, 0).flatten().tolist()
    return {"height": height, "width": width, "channels": channels, "levels": flat}
