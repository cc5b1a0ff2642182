"""Arrays as files and pictures give them, and batches that are none: the same numbers, or a word."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, random_split
from zoo import X_SHAPE, images, member, refused

from vaezoo import Bound, Step, accuracy, data, evaluate, evaluation, fit
from vaezoo.data.batches import from_array

X = np.arange(24.0).reshape(2, 3, 4) / 7
ARRAYS: dict[str, Callable[[Any], Any]] = {
    "big-endian": lambda x: x.astype(">f8"),
    "little-endian": lambda x: x.astype("<f8"),
    "mirrored": lambda x: x[:, ::-1],
    "upside down": lambda x: x[::-1, :, ::-1],
    "every second": lambda x: x[:, :, ::2],
    "Fortran's": np.asfortranarray,
    "read only": lambda x: np.broadcast_to(x[:1], x.shape),
    "mirrored, big-endian": lambda x: x.astype(">f8")[..., ::-1],
    "no number": lambda x: x[:0],
    "one number": lambda x: x[0, 0, 0],
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_any_layout(kind: str) -> None:
    array = ARRAYS[kind](X.copy())
    tensor = from_array(array)
    assert np.array_equal(tensor.numpy(), np.asarray(array, dtype="=f8"))


@pytest.mark.parametrize("dtype", [">i8", ">i2", "<u2", ">f4"])
def test_dtypes_of_any_byte_order(dtype: str) -> None:
    array = np.arange(5).astype(dtype)
    assert from_array(array).tolist() == [0, 1, 2, 3, 4]


def test_training_on_them() -> None:
    x = images(4).numpy()
    losses = []
    for array in (x, x.astype(">f4"), x[..., ::-1][..., ::-1]):
        torch.manual_seed(0)
        losses.append(fit(member("VAE"), [array], steps=2, progress=False)["loss"])
    assert losses[0] == losses[1] == losses[2]


SPARSE = images(4).flatten(1).to_sparse()
test_no_dense_tensor = refused(
    {
        "fit": (lambda: fit(member("VAE"), [SPARSE], steps=1, progress=False), ValueError, r"images must be dense, got a sparse tensor: x\.to_dense\(\)"),
        "evaluate": (lambda: evaluate(member("VAE"), [SPARSE], progress=False), ValueError, r"images must be dense, got a sparse tensor: x\.to_dense"),
        "Bound": (lambda: Bound(member("VAE"))(images().numpy()), TypeError, r"programs take tensors, got a ndarray: torch\.as_tensor"),
        "Step": (lambda: step()(images().numpy()), TypeError, r"programs take tensors, got a ndarray: torch\.as_tensor"),
        "a list": (lambda: Bound(member("VAE"))([[0.5]]), TypeError, r"programs take tensors, got a list: .*bound\.arguments\(batch\)"),
    }
)  # fmt: skip


def step() -> Step:
    bound = Bound(member("VAE"))
    return Step(bound, torch.optim.Adam(bound.parameters()))


def nested() -> torch.Tensor:
    with warnings.catch_warnings():  # torch says that they may change
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor(list(images(4)))


ASKED: dict[str, Callable[[Any], Any]] = {
    "fit": lambda x: fit(member("VAE"), [x], progress=False),
    "validation": lambda x: fit(member("VAE"), [images(4)], validation=[x], progress=False),
    "evaluate": lambda x: evaluate(member("VAE"), [x], progress=False),
    "a classifier": lambda x: evaluate(member("SSVAE"), [(x, [0] * 4)], progress=False),
    "rate": lambda x: evaluation.rate(member("VAE"), [x], progress=False),
    "units": lambda x: evaluation.units(member("VAE"), [x], progress=False),
    "accuracy": lambda x: accuracy(member("SSVAE"), [(x, [0] * 4)]),
    "score": lambda x: member("VAE").score(x),
    "Bound": lambda x: Bound(member("VAE")).check([x]),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_images_are_dense(ask: Callable[[Any], Any]) -> None:
    """Nested and sparse ones are refused before torch says that it cannot do something with them."""
    with pytest.raises(ValueError, match=r"dense, got a nested tensor: torch\.stack\(x\.unbind"):
        ask(nested())
    with pytest.raises(ValueError, match=r"dense, got a sparse tensor: x\.to_dense\(\)"):
        ask(images(4).to_sparse())


def half_labelled(n: int = 40) -> data.Images:
    pixels = (np.random.default_rng(0).random((n, *X_SHAPE)) > 0.5).astype("u1") * 255
    labels = np.where(np.arange(n) % 2, np.arange(n) % 3, -1)
    return data.Images(pixels, labels, binarisation="threshold")


NESTED: dict[str, Callable[[data.Images], Any]] = {
    "images": lambda i: i,
    "a split": lambda i: random_split(i, [20, 20], torch.Generator().manual_seed(0))[0],
    "joined": lambda i: ConcatDataset([i, i]),
    "a share of joined splits": lambda i: Subset(
        ConcatDataset(random_split(i, [10, 30])), range(9)
    ),
}


@pytest.mark.parametrize("kind", NESTED)
def test_no_label_in_sets_made_of_sets(kind: str) -> None:
    """-1 of `Images` is no label, behind whatever takes them apart or together."""
    made = NESTED[kind](half_labelled())
    labels = [int(y) for _, y in made]
    found = evaluate(member("SSVAE"), DataLoader(made, 7), particles=2, progress=False)
    assert found["nelbo"].n == len(labels)
    assert found["accuracy"].n == sum(y >= 0 for y in labels)


def test_labels_of_others_are_held_to_what_they_are() -> None:
    """A set of one's own that has -1 says so."""
    pairs = [(images(1)[0], -1), (images(1)[0], 1)]
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2, got -1"):
        evaluate(member("SSVAE"), DataLoader(pairs, 2), progress=False)  # type: ignore[arg-type]
