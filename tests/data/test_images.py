"""`Images` of what people have at hand, and as a torch `Dataset`; labels of which some are -1."""

import numpy as np
import pytest
import torch
from peaks import at_most
from torch.utils.data import ConcatDataset, DataLoader, Subset, random_split

from vaezoo.data import Images, colour_digits, semi_supervised

PIXELS = torch.arange(9, dtype=torch.uint8).reshape(9, 1, 1, 1) * 25


def numbered(labels=True, binarisation="none"):
    """Nine images whose pixel and label both say which image it is."""
    return Images(PIXELS, torch.arange(9) if labels else None, binarisation=binarisation)


# As a Dataset


@pytest.mark.parametrize("index", [3, np.int64(3), torch.tensor(3), np.array(3), -6, np.int32(-6)])
def test_one_example(index):
    x, y = numbered()[index]
    assert x.shape == (1, 1, 1)
    assert x.item() == pytest.approx(75 / 255)
    assert (y.shape, y.dtype, y.item()) == ((), torch.int64, 3)
    (x,) = numbered(labels=False, binarisation="threshold")[8]
    assert x.item() == 1.0
    (x,) = numbered(labels=False, binarisation="threshold")[index]
    assert x.item() == 0.0


def test_iteration_ends():
    assert [y.item() for _, y in numbered()] == list(range(9))
    assert len(list(numbered(labels=False))) == 9


@pytest.mark.parametrize(
    "index",
    [
        slice(1, 9, 3),
        [1, 4, 7],
        [1, -5, 7],
        range(1, 9, 3),
        np.array([1, 4, 7]),
        np.array([1, -5, -2], np.int32),
        torch.tensor([1, 4, 7]),
        torch.tensor([1, 4, 7], dtype=torch.int16),
        [i % 3 == 1 for i in range(9)],
        np.arange(9) % 3 == 1,
        torch.arange(9) % 3 == 1,
    ],
    ids=range(11),
)
def test_several_are_images(index):
    part = numbered(binarisation="threshold")[index]
    assert isinstance(part, Images)
    assert part.labels.tolist() == (part.pixels.flatten() // 25).tolist() == [1, 4, 7]
    assert part.binarisation == "threshold"


def labels_of(batches):
    found = []
    for x, y in batches:
        torch.testing.assert_close(x.flatten() * 255 / 25, y.to(x.dtype))
        assert y.dtype == torch.int64
        found += y.tolist()
    return found


@pytest.mark.parametrize(
    "dataset",
    [
        numbered(),
        ConcatDataset([numbered()[:5], numbered()[5:]]),
        Subset(numbered(), list(range(9))),
        Subset(numbered(), np.arange(9)),
        Subset(Subset(numbered(), range(9)), torch.arange(9)),
    ],
    ids=["Images", "ConcatDataset", "Subset", "of an array", "Subset of a Subset"],
)
def test_data_loaders(dataset):
    loader = DataLoader(dataset, batch_size=4, shuffle=True)
    assert [len(y) for _, y in loader] == [4, 4, 1]
    assert sorted(labels_of(loader)) == list(range(9))


def test_random_split():
    parts = random_split(numbered(), [5, 4], generator=torch.Generator().manual_seed(0))
    found = [labels_of(DataLoader(part, batch_size=2)) for part in parts]
    assert [len(part) for part in found] == [5, 4]
    assert sorted(found[0] + found[1]) == list(range(9))


def test_without_labels_and_unbatched():
    (x,) = next(iter(DataLoader(numbered(labels=False), batch_size=9)))
    assert (255 * x / 25).round().flatten().tolist() == list(range(9))
    assert len(list(DataLoader(numbered(), batch_size=None))) == 9


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers():
    """Two processes: every image once, and each worker draws pixels of its own."""
    assert sorted(labels_of(DataLoader(numbered(), batch_size=2, num_workers=2))) == list(range(9))
    grey = Images(torch.full((4, 1, 16, 16), 128, dtype=torch.uint8), binarisation="dynamic")
    torch.manual_seed(0)
    one, two = (x for (x,) in DataLoader(grey, batch_size=2, num_workers=2))
    assert set(one.unique().tolist()) == {0.0, 1.0}
    assert not one.equal(two)


def test_colour_digits_too():
    scenes = colour_digits("test", n=4)
    x, y = scenes[2]
    assert x.equal(scenes.tensors()[0][2])
    assert y == scenes.labels[2]


# Pixels and labels at hand


@pytest.mark.parametrize(
    "pixels",
    [
        PIXELS.numpy(),
        np.asfortranarray(PIXELS.numpy()),
        PIXELS.numpy()[::-1][::-1],
        np.frombuffer(PIXELS.numpy().tobytes(), np.uint8).reshape(9, 1, 1, 1),
        PIXELS.expand(9, 1, 1, 1),
    ],
    ids=["array", "Fortran", "strides", "read-only", "expanded"],
)
@pytest.mark.parametrize("binarisation", ["none", "static"])
def test_pixels(pixels, binarisation):
    images = Images(pixels, binarisation=binarisation)
    expected = Images(PIXELS, binarisation=binarisation)
    assert images.pixels.equal(expected.pixels)


def test_read_only_indices_and_labels():
    """torch warns of arrays that may not be written, which here is an error."""
    index = np.frombuffer(np.array([1, 4]).tobytes(), np.int64)
    labels = np.frombuffer(np.arange(9).tobytes(), np.int64)
    assert Images(PIXELS, labels, binarisation="none")[index].labels.tolist() == [1, 4]


def test_arrays_are_not_copied():
    array = np.zeros((3, 1, 2, 2), np.uint8)
    images = Images(array, binarisation="none")
    array[1] = 7
    assert images.pixels[1].unique().tolist() == [7]


@pytest.mark.parametrize(
    "labels",
    [
        torch.arange(9),
        torch.arange(9, dtype=torch.int32),
        torch.arange(9, dtype=torch.uint8),
        np.arange(9),
        np.arange(9, dtype=np.int16),
        np.arange(9, dtype=np.uint64),
        list(range(9)),
        tuple(range(9)),
        [np.int64(i) for i in range(9)],
    ],
    ids=range(9),
)
def test_labels(labels):
    found = Images(PIXELS, labels, binarisation="none").labels
    assert found.dtype == torch.int64
    assert found.tolist() == list(range(9))


# Labels of which some are -1


def some_labelled():
    return Images(PIXELS, [0, -1, 1, -1, -1, 1, 0, -1, -1], binarisation="none")


def test_semi_supervised_splits_one_set():
    batches = semi_supervised(some_labelled(), batch_size=5)
    assert batches.labelled.labels.tolist() == [0, 1, 1, 0]
    assert (batches.labelled.pixels.flatten() // 25).tolist() == [0, 2, 5, 6]
    assert batches.unlabelled.labels is None
    assert (batches.unlabelled.pixels.flatten() // 25).tolist() == [1, 3, 4, 7, 8]
    assert batches.labelled_fraction == 4 / 9
    ((x, x_labelled, y),) = list(batches)
    assert (len(x), len(x_labelled)) == (5, 4)
    assert sorted(y.tolist()) == [0, 0, 1, 1]


def test_labelled_leaves_out_what_has_no_label():
    chosen = some_labelled().labelled(4)
    assert sorted(chosen.labels.tolist()) == [0, 0, 1, 1]


# Bad input


def images(labels=None, **arguments):
    return Images(PIXELS, labels, **{"binarisation": "none", **arguments})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: images()[9], IndexError, "there are 9 images, got the index .9"),
        (lambda: images()[-10], IndexError, "there are 9 images"),
        (lambda: images()[[0, 9]], IndexError, "there are 9 images"),
        (lambda: images()[np.array([-10])], IndexError, "there are 9 images"),
        (lambda: images()[[]], ValueError, "at least one image"),
        (lambda: images()[np.zeros(0)], ValueError, "at least one image"),
        (lambda: images()[[True] * 8], ValueError, "as long as the 9 images, got 8"),
        (lambda: images()[torch.ones(10).bool()], ValueError, "as long as the 9 images, got 10"),
        (lambda: images()[torch.zeros(9).bool()], ValueError, "at least one image"),
        (lambda: images()[1.0], TypeError, "a number, a slice.*got 1.0"),
        (lambda: images()[True], TypeError, "a number, a slice.*got True"),
        (lambda: images()["a"], TypeError, "got 'a'"),
        (lambda: images()[None], TypeError, "got None"),
        (lambda: images()[1, 2], TypeError, r"got \(1, 2\)"),
        (lambda: images()[[1.5]], TypeError, r"got \[1.5\]"),
        (lambda: images()[["a"]], TypeError, r"got \['a'\]"),
        (lambda: images()[[[1]]], TypeError, "one-dimensional"),
        (lambda: images()[[[1], [1, 2]]], TypeError, "one-dimensional"),
        (lambda: images()[torch.zeros(1, 1).long()], TypeError, "one-dimensional"),
        (lambda: images()[torch.zeros(9, dtype=torch.uint8)], TypeError, "or a mask"),
        (lambda: images().batches("a"), TypeError, "batch_size must be a whole number, got 'a'"),
        (lambda: images().batches(2.5), ValueError, "batch_size must be a whole number, got 2.5"),
        (lambda: images(range(9)).labelled(1.5), ValueError, "n must be a whole number, got 1.5"),
        # pixels
        (lambda: Images(PIXELS.tolist(), binarisation="none"), TypeError, "got a list.*np.stack"),
        (
            lambda: Images(PIXELS.numpy() / 255, binarisation="none"),
            TypeError,
            r'array of float64. Floats .*\(255 \* x\).round\(\).astype\("uint8"\)',
        ),
        (
            lambda: Images(PIXELS / 255, binarisation="none"),
            TypeError,
            r"torch.float32. Floats .*\(255 \* x\).round\(\).byte\(\)",
        ),
        (lambda: Images(PIXELS.long(), binarisation="none"), TypeError, r"Whole .* x.byte\(\)"),
        (lambda: Images(PIXELS > 3, binarisation="none"), TypeError, r"255 \* x.byte\(\)"),
        (lambda: Images(PIXELS.numpy() > 3, binarisation="none"), TypeError, "255 .*astype"),
        (lambda: Images(PIXELS[0], binarisation="none"), ValueError, r"unsqueeze\(1\).*None"),
        (lambda: Images(PIXELS[:, 0].numpy(), binarisation="none"), ValueError, r"pixels\[:, None"),
        (lambda: Images(PIXELS.flatten(1), binarisation="none"), ValueError, "reshape"),
        (lambda: Images(PIXELS.flatten(), binarisation="none"), ValueError, r"got \(9,\)"),
        (
            lambda: Images(np.zeros((2, 28, 28, 1), np.uint8), binarisation="none"),
            ValueError,
            r"last: pixels.transpose\(0, 3, 1, 2\)",
        ),
        (
            lambda: Images(torch.zeros(2, 32, 32, 3).byte(), binarisation="none"),
            ValueError,
            r"last: pixels.permute\(0, 3, 1, 2\)",
        ),
        # labels
        (lambda: images(torch.zeros(9, 1).long()), ValueError, r"got \(9, 1\).*squeeze\(1\)"),
        (lambda: images(torch.eye(9).long()), ValueError, r"got \(9, 9\).*argmax"),
        (lambda: images(torch.zeros(9)), ValueError, r"torch.float32: use y.long\(\)"),
        (lambda: images(np.zeros(9)), ValueError, r"torch.float64: use y.long\(\)"),
        (lambda: images([0.0] * 9), ValueError, r"use y.long\(\)"),
        (lambda: images(torch.ones(9).bool()), ValueError, r"torch.bool: use y.long\(\)"),
        (lambda: images(["a"] * 9), ValueError, "a list that is no array of numbers"),
        (lambda: images(torch.zeros(8).long()), ValueError, r"classes y \(9,\), got \(8,\)"),
        (lambda: images([0] * 8 + [-2]), ValueError, "from 0, or -1 for no label, got -2"),
        (lambda: images(3), ValueError, r"expected integer classes y \(9,\)"),
        # labels of which some are -1
        (lambda: images([-1] * 9).labelled(3), ValueError, "has no labels"),
        (lambda: semi_supervised(images([-1] * 9)), ValueError, "none have labels: give two sets"),
        (lambda: semi_supervised(images([0] * 9)), ValueError, "all have labels: give two sets"),
        (lambda: semi_supervised(images()), ValueError, "none have labels: give two sets"),
        (
            lambda: semi_supervised(images(), some_labelled()),
            ValueError,
            r"5 of the 9 labelled images have the label -1.*labelled\[labelled.labels >= 0\]",
        ),
        (lambda: semi_supervised(PIXELS, images([0] * 9)), TypeError, r"data.Images.*got a Tensor"),
        (lambda: semi_supervised(images(), [PIXELS]), TypeError, r"data.Images.*got a list"),
    ],
)  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call()


def test_numbers_of_numpy():
    """And whole floats: sizes, seeds."""
    found = images(range(9), binarisation="static", seed=np.int64(3))
    assert found.pixels.equal(images(range(9), binarisation="static", seed=3).pixels)
    assert [len(x) for x, _ in found.batches(np.int64(4))] == [4, 4, 1]
    assert [len(x) for x, _ in found.batches(4.0)] == [4, 4, 1]
    assert len(found.labelled(np.int64(9), seed=np.int64(1))) == 9
    assert found.tensors(seed=np.int64(1))[0].equal(found.tensors(seed=1)[0])
    few = colour_digits("test", n=np.int64(3), seed=np.int64(1))
    assert few.pixels.equal(colour_digits("test", n=3, seed=1).pixels)
    assert semi_supervised(images(), found, batch_size=np.int64(4)).batch_size == 4


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_mapped_pixels_stay_in_their_file(tmp_path, mode):
    """64 MB that are mapped take less than 8 MB, rows of them too; the file is not written into."""
    whole = np.lib.format.open_memmap(
        tmp_path / "a.npy", mode="w+", dtype=np.uint8, shape=(16_000, 1, 64, 64)
    )
    whole[3] = 255
    whole.flush()
    with at_most(8e6):
        mapped = np.load(tmp_path / "a.npy", mmap_mode=mode)
        images = Images(mapped[2:], binarisation="none")
        assert images[1][0].min() == 1
        assert images[0][0].max() == 0
    if mode != "r+":  # which is asked for by name
        images.pixels[0] = 9
        assert np.load(tmp_path / "a.npy")[2].max() == 0
