"""A process's share of data to train on, of whatever kind they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vaezoo.bound import Bound, dtype_of
from vaezoo.data import Images
from vaezoo.data.passes import Data, check_data
from vaezoo.data.semi_supervised import SemiSupervisedBatches
from vaezoo.data.shares import ImagesShare, SemiSupervisedShare
from vaezoo.objectives import SemiSupervised
from vaezoo.training.loaders import LoaderShare, key_of_images
from vaezoo.training.processes import World

__all__ = ["share_of"]


def share_of(
    data: Data, bound: Bound, world: World, seed: int, are_same: Callable[[Any], bool]
) -> ImagesShare | SemiSupervisedShare | LoaderShare | None:
    """The process's rows of data that all are given; None of `Images` that are a share already.

    Args:
        data: as `fit` takes them.
        bound: takes the batches.
        world: this process's place.
        seed: of the order, the same in all processes.
        are_same: whether all processes call it with the same value.

    Raises:
        TypeError, ValueError: data are no iterable of batches, or semi-supervised batches are of
            other images in another process.

    Example:
        >>> from vaezoo.models import VAE
        >>> share_of([], Bound(VAE()), World(0, 2), 0, lambda key: True).world
        World(rank=0, size=2)
    """
    check_data(data)
    if isinstance(data, SemiSupervisedBatches):
        if not are_same([key_of_images(data.unlabelled), key_of_images(data.labelled)]):
            raise ValueError(
                "fit shares semi-supervised batches out among the processes, so that the "
                "labelled fraction stays what it is: give all of them the same images, got "
                "others on another rank"
            )
        return SemiSupervisedShare(data, *world, seed)
    if not isinstance(data, Images):
        apart, dtype = isinstance(bound.objective, SemiSupervised), dtype_of(bound.model)
        return LoaderShare(data, world, seed, bound.arguments, are_same, dtype=dtype, apart=apart)
    return ImagesShare(data, *world, seed) if are_same(key_of_images(data)) else None
