"""Labels of a few images, spread over the many that are alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vaezoo.data.counts import as_count, is_bool
from vaezoo.data.images import Images
from vaezoo.data.neighbours import PRECISION, nearest, similarities, spread

__all__ = ["spread_labels"]

BATCH = 1_000  # images, whose features are made at once
ROUNDING = 1e-6  # of a doubt
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
            distances say how alike images are; the pixels by default. A network does in eval mode.
        neighbours: of each image.
        alpha: in (0, 1), how much an image has from its neighbours rather than from its own label.
        share: of the N images, the surest of which keep their labels; images whose features are
            those of a labelled one keep its label first. The others have -1, and so has one that
            no label reaches, or less of it than 1e-10.
        progress: show a bar. Time grows as the square of the number of images, and memory as the
            numbers of all features, or as images times classes.

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
    few = _labelled(images, labelled)
    # equal images are one, or copies would be the only neighbours of each other
    nodes, node = _features(few, images, features).unique(dim=0, return_inverse=True)
    indices, similar = _near(nodes, neighbours, progress)
    classes, labels = few.labels.cpu().unique(return_inverse=True)  # type: ignore[union-attr]
    given, rest = node.cpu().split([len(few), len(images)])
    y = torch.zeros(len(nodes), len(classes), dtype=torch.float64, device="cpu")
    y.index_put_((given, labels), y.new_ones(()), accumulate=True)
    reached = spread(indices, similar, y, alpha=alpha)
    found = images._map(lambda t: t)
    found.labels = _surest(reached[rest], y[rest], classes, share).to(images.pixels.device)
    return found


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
    return labelled.to(images.pixels.device)[labelled.labels >= 0]


def _features(few: Images, images: Images, features: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Of the grey levels of both, one after the other, (n + N, D)."""
    if not (features is None or callable(features)):
        raise TypeError(
            "features must be a function of grey levels (n, C, H, W), such as data.strokes, got "
            f"{features!r}"
        )
    rows = torch.empty(0, 0)
    batches = [*few.pixels.split(BATCH), *images.pixels.split(BATCH)]
    end = 0
    for pixels in batches:
        grey, start, end = pixels / 255, end, end + len(pixels)
        with torch.no_grad():
            made = grey.flatten(1) if features is None else features(grey)
        _check_features(made, len(grey), rows.shape[1] if start else None)
        if not start:
            wide = torch.promote_types(made.dtype, torch.float32)
            rows = made.new_empty(len(few) + len(images), made.shape[1], dtype=wide)
        rows[start:end] = made.detach()
    return rows.add_(0.0)  # of -0 and 0, which are equal


def _check_features(made: Any, n: int, width: int | None) -> None:
    if not isinstance(made, Tensor) or made.dtype not in FLOATS or made.is_sparse:
        found = made.dtype if isinstance(made, Tensor) else type(made).__name__
        raise TypeError(f"features must make a dense tensor of floats ({n}, D), got {found}")
    shape = (n, width or max(1, made.shape[-1])) if made.dim() else None
    if made.shape != shape:
        raise ValueError(
            f"features must make a tensor ({n}, {width or 'D'}) of {n} images, got "
            f"{tuple(made.shape)}: use .flatten(1), if these are several to an image"
        )
    if not made.isfinite().all():
        raise ValueError("features must be finite, got NaN or infinity")


def _near(nodes: Tensor, neighbours: int, progress: bool) -> tuple[Tensor, Tensor]:
    """Each node's neighbours, and how alike they are, on the CPU."""
    count = as_count("neighbours", neighbours)
    if count >= len(nodes):
        raise ValueError(
            f"neighbours must be fewer than the images that differ, {len(nodes)}, got {count}"
        )
    indices, squared = nearest(nodes, count, progress=progress)
    return indices.cpu(), similarities(indices, squared).cpu().double()


def _surest(reached: Tensor, y: Tensor, classes: Tensor, share: float) -> Tensor:
    """Labels (N,) by what each image has of each class (N, K): -1, but for the surest.

    Images that are the same as labelled ones (y > 0) are the surest, of that label.
    """
    own = y.sum(1) > 0
    reached = torch.where(own[:, None], y, reached)
    most = torch.cat([reached, torch.zeros_like(reached[:, :1])], 1).topk(2, 1).values
    doubt = torch.where(most[:, 0] >= PRECISION, most[:, 1] / most[:, 0], torch.inf)
    # where the second is of rounding, the one that has more goes first
    order = most[:, 0].argsort(descending=True, stable=True)
    order = order[doubt[order].clamp_min(ROUNDING).argsort(stable=True)]
    kept = order[: round(share * len(order))]
    labels = kept.new_full(doubt.shape, -1)
    labels[kept] = classes[reached[kept].argmax(1)]
    return labels.masked_fill(doubt.isinf(), -1)


def _inside(name: str, value: float, range_: str) -> float:
    """A number of (0, 1) or (0, 1], or an error."""
    wrong = f"{name} must be a number in {range_}, got {value!r}"
    if is_bool(value) or not hasattr(value, "__float__"):
        raise TypeError(wrong)
    number = float(value)
    if not 0 < number <= 1 or (number == 1 and range_.endswith(")")):
        raise ValueError(wrong)
    return number
