"""Means with their standard errors, and the difference of two on the same images."""

from __future__ import annotations

import itertools
import math
from array import array
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaezoo.data.batches import check_dense
from vaezoo.data.columns import Column
from vaezoo.tables import Differences, Estimates

__all__ = ["Estimate", "Values", "compare"]

MISSING = -0.7548776662466927  # in a fingerprint
IMAGES = "\0images of "  # before the name of values, and "" for all images


class _Numbers(NamedTuple):
    mean: float
    stderr: float
    n: int


class Estimate(_Numbers):
    """A mean over n images and its standard error.

    Attributes:
        values: what it is the mean of, one number per image (n,), in float64; None in an estimate
            made by hand, of its three numbers alone. Those of many images lie in a file without a
            name, which the system removes with the tensor, in the folder of `tempfile`.

    Example:
        >>> print(Estimate(97.5512, 0.2401, 10_000))
        97.55 ± 0.24
    """

    values: Tensor | None = None
    _images: Tensor | None = None

    def of_same_images(self, values: Tensor) -> Estimate:
        """The mean of other values (n,) of the same images.

        Example:
            >>> print(Estimate(97.55, 0.24, 2).of_same_images(torch.tensor([1.0, 2.0])))
            1.50 ± 0.50
        """
        return _estimate(values, self._images)

    def __str__(self) -> str:
        known = self.stderr > 0 and math.isfinite(self.stderr)
        digits = max(2, 1 - math.floor(math.log10(self.stderr))) if known else 2
        return f"{self.mean:.{digits}f} ± {self.stderr:.{digits}f}"


def _estimate(values: Tensor, images: Tensor | None = None) -> Estimate:
    """The mean of values, with its standard error.

    Args:
        values: one number per image, shape (n,).
        images: `_fingerprints` of the images, by which `compare` knows them again.

    Raises:
        ValueError: there are fewer than two.

    Example:
        >>> _estimate(torch.tensor([1.0, 3.0]))
        Estimate(mean=2.0, stderr=1.0, n=2)
    """
    n, values = len(values), values.double()
    if n < 2:
        raise ValueError(f"a standard error needs at least 2 images, got {n}")
    estimate = Estimate(values.mean().item(), values.std().item() / math.sqrt(n), n)
    estimate.values, estimate._images = values, images
    return estimate


class Values:
    """Values per image by name, gathered from one batch after the other.

    Example:
        >>> values = Values()
        >>> for x in torch.zeros(2, 5, 3):
        ...     values.see(x)
        ...     values.add("nelbo", x.sum(1) + 90)
        >>> print(values.estimates()["nelbo"])
        90.00 ± 0.00
    """

    def __init__(self) -> None:
        self.values: defaultdict[str, Column] = defaultdict(Column)
        self.images: defaultdict[str, Column] = defaultdict(Column)
        self._cuts: list[dict[str, int]] = []

    def see(self, x: Tensor, y: Tensor | None = None, *, of: str = "") -> None:
        """Note images, and labels, of which values will be added: all, or those of one name."""
        check_dense(x)
        if not len(x):
            raise ValueError(f"a batch needs at least one image, got {tuple(x.shape)}")
        prints = torch.cat([_fingerprints(part) for part in x.detach().split(64)])
        if y is not None:
            prints += MISSING * (1 + y.detach().double().cpu())
        self.images[of].extend(prints.tolist())

    def add(self, name: str, values: Tensor) -> None:
        """Take in the values (n,) of some images."""
        self.values[name].extend(values.double().tolist())

    def cut(self) -> None:
        """Note that another batch begins."""
        self._cuts.append({name: len(each) for name, each in self._columns().items()})

    def pieces(self) -> list[dict[str, array[float]]]:
        """What was added in each batch, by name, and the images of it, by that name and a mark."""
        columns = self._columns()
        tensors = {name: each.tensor() for name, each in columns.items()}
        starts = [*self._cuts, {name: len(each) for name, each in columns.items()}]
        return [
            {
                name: array("d", t[a.get(name, 0) : b.get(name, 0)].tolist())
                for name, t in tensors.items()
            }
            for a, b in itertools.pairwise(starts)
        ]

    def extend(self, piece: Mapping[str, array[float]]) -> None:
        """Take in a piece of other values.

        Example:
            >>> values, others = Values(), Values()
            >>> others.cut()
            >>> others.add("nelbo", torch.tensor([90.0]))
            >>> values.extend(others.pieces()[0])
            >>> values.values["nelbo"].tensor()
            tensor([90.], dtype=torch.float64)
        """
        for name, each in piece.items():
            of = name.removeprefix(IMAGES)
            (self.values[name] if of == name else self.images[of]).extend(each)

    def _columns(self) -> dict[str, Column]:
        return {**{IMAGES + of: each for of, each in self.images.items()}, **self.values}

    def estimates(self) -> dict[str, Estimate]:
        """The mean of each name's values, with its standard error.

        What fewer than two images have is left out where others have more, such as the accuracy of
        images that hardly have labels.
        """
        if not len(self.images[""]):
            raise ValueError("data must be Images, or an iterable of at least one batch of tensors")
        images = {of: each.tensor() for of, each in self.images.items()}
        n = len(images[""])
        values = {name: each for name, each in self.values.items() if len(each) >= min(2, n)}
        # where some batches come without labels, some values are of fewer images
        estimates = Estimates()
        for name, each in values.items():
            seen = images.get(name, images[""])
            estimates[name] = _estimate(each.tensor(), seen if len(each) == len(seen) else None)
        for name, each in values.items():
            estimates[name].values = each.tensor()  # without the pages that the mean has read
        return estimates


def compare(a: Mapping[str, Estimate], b: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """The paired differences a - b of two evaluations on the same images.

    An image that is hard is hard for both models, which cancels: the standard error is that of the
    differences d_i = a_i - b_i per image, sqrt(Var[d] / n), mostly far below that of the difference
    of two independent means.

    Args:
        a, b: what `evaluate` returned, on the same data with the same seed.

    Returns:
        For each quantity that both have, the difference as an `Estimate`, in the unit of a and b.

    Raises:
        TypeError: a or b is no such dict.
        ValueError: they have nothing in common, are over different images (or the same ones
            binarised by another seed), or have no values per image.

    Example:
        >>> a = {"nelbo": _estimate(torch.tensor([90.0, 120.0, 101.0]))}
        >>> b = {"nelbo": _estimate(torch.tensor([92.0, 121.0, 104.0]))}
        >>> print(compare(a, b)["nelbo"], "rather than", a["nelbo"])
        -2.00 ± 0.58 rather than 103.67 ± 8.76
    """
    _check_evaluation(a)
    _check_evaluation(b)
    names = [name for name in a if name in b]
    if not names:
        raise ValueError(
            f"nothing to compare: one has {', '.join(a) or 'nothing'}, the other "
            f"{', '.join(b) or 'nothing'}"
        )
    return Differences((name, _difference(name, a[name], b[name])) for name in names)


def _difference(name: str, a: Estimate, b: Estimate) -> Estimate:
    if a.values is None or b.values is None:
        raise ValueError(
            f"{name} has no values per image: compare what evaluate returned, not its three numbers"
        )
    if a.n != b.n:
        raise ValueError(f"{name} is over {a.n} and {b.n} images: evaluate both on the same ones")
    images = a._images, b._images
    if images[0] is not None and images[1] is not None and not _are_same(images[0], images[1]):
        raise ValueError(
            f"{name} is over different images: evaluate both on the same ones, in the same order, "
            "binarised by the same seed"
        )
    return _estimate(a.values - b.values, images[0])


def _fingerprints(x: Tensor) -> Tensor:
    """A number for each image (N, *x_shape), by which `compare` knows it again: (N,), float64.

    It is Σ_i √i x_i over pixels i = 1, 2, …, which one changed pixel, or two exchanged, change.
    What is not finite, such as NaN of a pixel that is missing, counts as a number no pixel has.

    Example:
        >>> _fingerprints(torch.eye(3)).tolist() == [1, 2**0.5, 3**0.5]
        True
    """
    flat = x.detach().reshape(len(x), math.prod(x.shape[1:])).double().cpu()
    if not flat.isfinite().all():
        flat = flat.nan_to_num(MISSING, 1 / MISSING, -1 / MISSING)
    weights: Tensor = torch.arange(1, flat.shape[1] + 1, dtype=torch.float64, device="cpu").sqrt()
    return flat @ weights


def _are_same(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=6e-8, atol=0)  # pixels may be rounded to float32


def _check_evaluation(given: Any) -> None:
    if not isinstance(given, Mapping) or not all(isinstance(e, Estimate) for e in given.values()):
        raise TypeError(
            "compare takes two dicts of estimates, as evaluate returns them, got a "
            f"{type(given).__name__}"
        )
