"""Batches of a member: whether they fit it, and its images and labels as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaezoo.data.batches import as_tensor, check_dense
from vaezoo.data.labels import as_labels
from vaezoo.programs.pair import required_arguments
from vaezoo.scopes import checks_data

if TYPE_CHECKING:
    from vaezoo.models.base import LatentVariableModel

__all__ = ["as_batch", "as_images", "as_label_tensor", "check_batch", "tensor_like"]


def check_batch(model: LatentVariableModel, x: Tensor, y: Tensor | None) -> None:
    """`LatentVariableModel.check`."""
    for value in (x, y):
        if not isinstance(value, Tensor | None):
            raise ValueError(
                f"programs take tensors, got a {type(value).__name__}: torch.as_tensor(…)"
            )
    _check_shape(model, x)
    _check_numbers(model, x)
    model.likelihood.check(x)
    if y is None:
        return
    if not model.classes:
        raise ValueError(f"{type(model).__name__} has no labels, and the batch holds some")
    as_labels(y, len(x), model.classes)


def _check_numbers(model: LatentVariableModel, x: Tensor) -> None:
    if x.dtype != (dtype := tensor_like(model).dtype):
        raise ValueError(
            f"expected images of dtype {dtype} like the model's parameters, got {x.dtype}: "
            "convert with x.to(…); divide uint8 pixels by 255, or use data.Images"
        )
    if not torch.isfinite(x).all():
        raise ValueError("images hold NaN or infinite values; remove or mend them first")


def as_images(model: LatentVariableModel, x: Any) -> Tensor:
    """Images as a tensor that the networks of a member take, for calls outside its programs."""
    x = as_tensor(x, tensor_like(model))
    if checks_data():
        _check_shape(model, x)
        _check_numbers(model, x)
    return x


def _check_shape(model: LatentVariableModel, x: Tensor) -> None:
    check_dense(x)
    if x.dim() != len(model.x_shape) + 1 or x.shape[1:] != model.x_shape or len(x) == 0:
        sizes = ", ".join(map(str, model.x_shape))
        one = ": one image is x[None]" if x.shape == model.x_shape else ""
        raise ValueError(f"expected images (N, {sizes}), got {tuple(x.shape)}{one}")


def as_batch(model: LatentVariableModel, x: Any, y: Any) -> tuple[Tensor, Tensor | None]:
    """Images and labels as tensors; the most probable class where none is given."""
    x = as_tensor(x, tensor_like(model))
    if y is not None:
        y = as_labels(as_label_tensor(model, y), len(x) if x.dim() else 0, model.classes)
    elif classify := getattr(model, "classify", None):
        y = classify(x).argmax(-1)
    elif required_arguments(model.model) > 1:
        raise ValueError(f"{type(model).__name__} is given labels: pass y, shape ({len(x)},)")
    return x, y


def as_label_tensor(model: LatentVariableModel, y: Any) -> Tensor:
    """Labels as a tensor, where a member has any use for them."""
    if not model.classes:
        raise ValueError(f"{type(model).__name__} has no labels: leave y out")
    return as_tensor(y, tensor_like(model))


def tensor_like(model: LatentVariableModel) -> Tensor:
    """A tensor of the dtype and on the device of a member."""
    return next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
