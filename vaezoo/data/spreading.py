"""Labels of a few images, spread over the many that are alike."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vaezoo.data.counts import as_count
from vaezoo.data.images import Images
from vaezoo.data.neighbours import nearest, similarities, spread

__all__ = ["spread_labels"]

BATCH = 1_000  # images, whose features are made at once
ROUNDING = 1e-6  # of a doubt


def spread_labels(
    images: Images,
    labelled: Images,
    *,
    features: Callable[[Tensor], Tensor] | None = None,
    neighbours: int = 8,
    alpha: float = 0.99,
    share: float = 0.9,
    progress: bool = True,
) -> Images:
    """The images, each with the label that reaches it from the labelled ones over its neighbours.

    Two images are neighbours where the features of one are among the nearest to those of the other;
    the nearer, the more of a label passes. An image gets the class of which it has most in the end,
    and is the surer of it, the less it has of the second. So a label follows the data from image to
    image, from a plain 7 to one with a bar. The features decide how far that is right.

        spread = data.spread_labels(images, images.labelled(100))
        batches = data.semi_supervised(images, spread[spread.labels >= 0])

    Args:
        images: N of them; their own labels are not looked at. Moves are not made.
        labelled: a few of the same shape; they may be among the N. Those without a label are left
            out.
        features: makes of grey levels x (n, C, H, W) in [0, 1] vectors (n, D), whose Euclidean
            distances say how alike images are; the pixels by default.
        neighbours: of each image.
        alpha: in (0, 1), how much an image has from its neighbours rather than from its own label.
        share: of the N images, the surest of which keep their labels; the others have -1, and so
            has one that no label reaches.
        progress: show a bar. Time grows as the square of the number of images, and memory as the
            numbers of all features.

    Returns:
        Images of the same kind, in their order, with labels (N,).

    Raises:
        TypeError: these are no `Images`, or features make no tensor of floats.
        ValueError: images of two shapes, no labels, a number out of range, or features of another
            shape or that are not finite.

    References:
        Zhou, Bousquet, Lal, Weston, Schölkopf. Learning with Local and Global Consistency. 2004.

    Example:
        >>> from vaezoo.data import digits
        >>> images = digits("test", binarisation="none")
        >>> spread = spread_labels(images, images.labelled(100), share=0.8, progress=False)
        >>> given = spread.labels >= 0
        >>> int(given.sum()), bool((spread.labels == images.labels)[given].float().mean() > 0.8)
        (1600, True)
    """
    alpha, share = _inside("alpha", alpha, "(0, 1)"), _inside("share", share, "(0, 1]")
    few = _labelled(images, labelled).to(images.pixels.device)
    rows = torch.cat([_features(each, features) for each in (few, images)])
    neighbours = as_count("neighbours", neighbours)
    if neighbours >= len(rows):
        raise ValueError(f"neighbours must be fewer than the images, {len(rows)}, got {neighbours}")
    indices, squared = nearest(rows, neighbours, progress=progress)
    indices, similar = indices.cpu(), similarities(indices, squared).cpu().double()
    classes = functional.one_hot(few.labels.cpu()).double()  # type: ignore[union-attr]
    y = torch.cat([classes, classes.new_zeros(len(images), classes.shape[1])])
    given = copy(images)
    labels = _surest(spread(indices, similar, y, alpha=alpha)[len(few) :], share)
    given.labels = labels.to(images.pixels.device)
    return given


def _labelled(images: Images, labelled: Images) -> Images:
    """The labelled images that have labels."""
    for each in (images, labelled):
        if not isinstance(each, Images):
            raise TypeError(f"spread_labels takes data.Images twice, got a {type(each).__name__}")
    if images.x_shape != labelled.x_shape:
        raise ValueError(
            f"images of one shape share labels, got {images.x_shape} and {labelled.x_shape}"
        )
    if labelled.labels is None or bool((labelled.labels < 0).all()):
        raise ValueError(f"{labelled} has no labels to spread: give images.labelled(100), say")
    return labelled[labelled.labels >= 0]


def _features(images: Images, features: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Of the grey levels of all, (N, D)."""
    parts = []
    for pixels in images.pixels.split(BATCH):
        grey = pixels / 255
        with torch.no_grad():
            made = grey.flatten(1) if features is None else features(grey)
        _check_features(made, len(grey))
        parts.append(made.to(torch.promote_types(made.dtype, torch.float32)))
    return torch.cat(parts)


def _check_features(made: Any, n: int) -> None:
    if not isinstance(made, Tensor) or not made.is_floating_point():
        found = made.dtype if isinstance(made, Tensor) else type(made).__name__
        raise TypeError(f"features must make a tensor of floats ({n}, D), got {found}")
    if made.dim() != 2 or len(made) != n:
        raise ValueError(
            f"features must make a tensor ({n}, D) of {n} images, got {tuple(made.shape)}: "
            "use .flatten(1), if these are several to an image"
        )
    if not made.isfinite().all():
        raise ValueError("features must be finite, got NaN or infinity")


def _surest(reached: Tensor, share: float) -> Tensor:
    """Labels (N,) by what each image has of each class (N, K): -1, but for the surest."""
    most = torch.cat([reached, torch.zeros_like(reached[:, :1])], 1).topk(2, 1).values
    doubt = torch.where(most[:, 0] > 0, most[:, 1] / most[:, 0], torch.inf)
    # where the second is of rounding, the one that has more goes first
    order = most[:, 0].argsort(descending=True, stable=True)
    order = order[doubt[order].clamp_min(ROUNDING).argsort(stable=True)]
    kept = order[: round(share * len(order))]
    labels = kept.new_full(doubt.shape, -1)
    labels[kept] = reached[kept].argmax(1)
    return labels.masked_fill(doubt.isinf(), -1)


def _inside(name: str, value: float, range_: str) -> float:
    """A number of (0, 1) or (0, 1], or an error."""
    wrong = f"{name} must be a number in {range_}, got {value!r}"
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        raise TypeError(wrong)
    number = float(value)
    if not 0 < number <= 1 or (number == 1 and range_.endswith(")")):
        raise ValueError(wrong)
    return number
