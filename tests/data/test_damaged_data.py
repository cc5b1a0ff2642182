"""Damaged and hostile data files: the documented errors, and no more memory than a file accounts for."""

import gzip
import random
import struct
import sys
import zlib

import numpy as np
import pytest
from peaks import at_most

from benchmarks.fuzz import damaged
from vaezoo.data import digits, svhn
from vaezoo.data.idx import read_idx
from vaezoo.data.svhn import read_svhn


def idx(*shape, values=None, kind=8):
    header = bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + (bytes(int(np.prod(shape))) if values is None else values)


def element(kind, content):
    """A MATLAB element, padded unless it is compressed."""
    padding = b"" if kind == 15 else bytes(-len(content) % 8)
    return struct.pack("<II", kind, len(content)) + content + padding


def variable(name, values, *, kind=9, type_=2, shape=None, flags=0):
    """A MATLAB variable; `kind` is its class, 9 for uint8, and `type_` how it is stored."""
    shape = values.shape if shape is None else shape
    return element(
        14,
        element(6, struct.pack("<II", kind | flags, 0))
        + element(5, struct.pack(f"<{len(shape)}i", *shape))
        + element(1, name.encode())
        + element(type_, values.tobytes(order="F")),
    )


def mat(*variables, packed=False, magic=b"\x00\x01IM"):
    content = [element(15, zlib.compress(v)) if packed else v for v in variables]
    return b"MATLAB 5.0".ljust(124) + magic + b"".join(content)


PICTURES = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 3)).astype(np.uint8)
X = variable("X", PICTURES)
Y = variable("y", np.array([[10], [3], [7]], np.uint8))


# What is well-formed


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "y",
    [
        Y,
        variable("y", np.array([[10.0, 3.0, 7.0]]), kind=6, type_=9),
        variable("y", np.array([[10], [3], [7]], np.uint8), kind=6),  # doubles, stored as bytes
        variable("y", np.array([[10], [3], [7]], "<i2"), kind=10, type_=3),
    ],
    ids=range(4),
)
def test_svhn_layouts(tmp_path, packed, y):
    more = variable("more", np.zeros((2, 2)), kind=6, type_=9)
    (tmp_path / "a.mat").write_bytes(mat(more, y, X, X, packed=packed))
    images = svhn(file=tmp_path / "a.mat")
    assert images.labels.tolist() == [0, 3, 7]
    assert np.array_equal(images.pixels.numpy(), PICTURES.transpose(3, 2, 0, 1))
    assert repr(images) == "Images(svhn a, 3 × 3×32×32, none)"


def test_one_picture_loses_its_last_dimension(tmp_path):
    """As MATLAB writes it, its one label within the tag of an element."""
    x = variable("X", PICTURES[..., 0])
    small = struct.pack("<II", 1 << 16 | 2, 10)
    y = Y[8 : 8 + 16 + 16 + 16] + small
    y = struct.pack("<II", 14, len(y)) + y.replace(struct.pack("<i", 3), struct.pack("<i", 1), 1)
    (tmp_path / "a.mat").write_bytes(mat(x, y))
    pixels, labels = read_svhn(tmp_path / "a.mat")
    assert np.array_equal(pixels[0], PICTURES[..., 0].transpose(2, 0, 1))
    assert labels.tolist() == [0]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.int16, np.float32])
@pytest.mark.parametrize("n", [2, 2500])
def test_what_scipy_writes(tmp_path, packed, dtype, n):
    """2,500 images take several blocks and chunks."""
    scipy_io = pytest.importorskip("scipy.io")
    x = np.resize(PICTURES, (n, 3, 32, 32)).transpose(3, 2, 1, 0)
    y = (np.arange(n) % 10 + 1).astype(dtype)[:, None]
    content = {"s": {"a": 1}, "X": x, "text": "SVHN", "y": y}
    scipy_io.savemat(tmp_path / "a.mat", content, do_compression=packed)
    pixels, labels = read_svhn(tmp_path / "a.mat")
    assert np.array_equal(pixels, x.transpose(3, 2, 0, 1))
    assert np.array_equal(labels, (np.arange(n) + 1) % 10)


def test_idx_of_any_rank(tmp_path):
    for shape in ((3,), (2, 3), (2, 1, 2, 3)):
        values = bytes(range(int(np.prod(shape))))
        (tmp_path / "a").write_bytes(idx(*shape, values=values))
        (tmp_path / "b.gz").write_bytes(gzip.compress(idx(*shape, values=values)))
        for name in "ab":
            assert read_idx(tmp_path / name).shape == shape
            assert read_idx(tmp_path / name).tobytes() == values


# What is not


HUGE = 2**31
BAD_IDX = [
    (b"", "4 bytes are missing"),
    (b"\0\0\x08", "1 bytes are missing"),
    (b"\0\0\x08\x00", "first bytes are wrong"),
    (idx(3, kind=9), "first bytes are wrong"),
    (b"\1" + idx(3)[1:], "first bytes are wrong"),
    (b"\0\0\x08\x03\0\0\0\x01", "8 bytes are missing"),
    (idx(3)[:-1], "missing|too short"),
    (idx(3) + b"x", "too long"),
    (idx(HUGE, values=b""), "too short"),
    (idx(HUGE, HUGE, HUGE, values=b""), "too short"),
    (b"\0\0\x08\xff" + b"\xff" * 1020, "too short"),
]


@pytest.mark.parametrize(("content", "message"), BAD_IDX, ids=range(len(BAD_IDX)))
@pytest.mark.parametrize("packed", [False, True])
def test_bad_idx(content, message, packed, tmp_path):
    name = "a.gz" if packed else "a"
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    expected = f"{tmp_path / name} is not a complete .*({message})"
    with at_most(1e8), pytest.raises(ValueError, match=expected):
        read_idx(tmp_path / "a")


def test_a_gz_is_unpacked_no_further_than_its_header_says(tmp_path):
    """200 MB of zeros behind an image, in 200 kB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with (tmp_path / "a.gz").open("wb") as stream:
        stream.write(packer.compress(idx(1, 28, 28)))
        for _ in range(200):
            stream.write(packer.compress(bytes(2**20)))
        stream.write(packer.flush())
    message = r"too long for the shape \(1, 28, 28\)"
    with at_most(1e8), pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "a")


def test_where_no_idx_file_is(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "a")
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        read_idx(tmp_path / "a")


BIG = np.zeros((1, 1), np.uint8)
BAD_MAT = [
    (b"", "in MATLAB save it with -v7"),
    (mat()[:127], "in MATLAB save it with -v7"),
    (mat(X, Y, magic=b"\x01\x00MI"), "in MATLAB save it with -v7"),
    (mat(X, Y, magic=b"\x02\x00IM"), "in MATLAB save it with -v7"),
    (mat(), "it holds no X and no y"),
    (mat(X), "it holds no y"),
    (mat(Y), "it holds no X"),
    (mat(X, Y)[:-8], "longer than the file"),
    (mat(X, Y) + b"\0", "7 bytes are missing|are announced"),
    (mat(X, element(9, bytes(8))), "type 9, which is no variable"),
    (mat(X, variable("y", np.array([[1], [2]], np.uint8))), "3 images and y 2 labels"),
    (mat(X, variable("y", np.array([[1], [2], [11]], np.uint8))), "whole numbers from 1 to 10"),
    (mat(X, variable("y", np.array([[1.5, 1, 1]]), kind=6, type_=9)), "whole numbers from 1"),
    (mat(X, variable("y", np.array([[np.nan, 1, 1]]), kind=6, type_=9)), "whole numbers|invalid"),
    (mat(X, variable("y", np.array([[-1, 1, 1]], "i1"), kind=8, type_=1)), "whole numbers from 1"),
    (mat(X, variable("y", np.array([[1, 2, 3]], np.uint8), kind=4)), "y must be numbers"),
    (mat(X, variable("y", np.array([1, 2, 3], np.uint8))), r"y must be numbers of shape \(N, 1\)"),
    (mat(X, variable("y", BIG, shape=(2**31 - 1, 1))), "y must be numbers of shape"),
    (mat(X, variable("y", BIG, shape=(3, 1))), "1 bytes for the shape"),
    (mat(X, variable("y", BIG, shape=(0, 1))), "bytes for the shape"),
    (mat(variable("X", PICTURES[:28, :28]), Y), r"X must be uint8 .*got uint8 \(28, 28, 3, 3\)"),
    (mat(variable("X", PICTURES.astype(float), kind=6, type_=9), Y), "X must be .*got class 6"),
    (mat(variable("X", PICTURES, shape=(32, 32, 3, 2**31 - 1)), Y), "bytes for the shape"),
    (mat(variable("X", PICTURES, shape=(32, 32, 3, -1)), Y), "has the shape"),
    (mat(variable("X", PICTURES, shape=(32, 32, 3, 0)), Y), "bytes for the shape|empty"),
    (mat(variable("X", PICTURES, flags=0x0800), Y), "X is complex"),
    (mat(variable("X" * 65, PICTURES), Y), "65 bytes is not one of type 1"),
    (mat(*[Y] * 1001), "more than 1000 elements"),
    (mat(element(15, zlib.compress(X)[:-4])), "bytes are missing|another length"),
    (mat(element(15, zlib.compress(X + b"12345678"))), "another length"),
    (mat(element(15, b"no zlib here")), "Error -3|incorrect"),
    (mat(element(15, zlib.compress(struct.pack("<II", 14, HUGE)))), "bytes are announced"),
]


@pytest.mark.parametrize(("content", "message"), BAD_MAT, ids=range(len(BAD_MAT)))
def test_bad_mat(content, message, tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    expected = f"{path} is not a .mat file .*({message}).*delete it"
    with at_most(1e8), pytest.raises(ValueError, match=expected):
        svhn(file=path)


def test_a_mat_is_unpacked_no_further_than_it_says(tmp_path):
    """X says that it has 4 GB, and has 200 MB in 200 kB."""
    shape = (32, 32, 3, 1_300_000)
    head = variable("X", PICTURES, shape=shape)[:72]
    head = head[:-4] + struct.pack("<I", 3072 * 1_300_000)
    (tmp_path / "a.mat").write_bytes(mat(head + bytes(2 * 10**8), packed=True))
    with at_most(1e8), pytest.raises(ValueError, match="bytes are announced"):
        read_svhn(tmp_path / "a.mat")


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all" * 100])
def test_bad_digits(content, tmp_path, monkeypatch):
    """The package's own file, after a bad installation."""
    # the function hides the module of its name
    monkeypatch.setattr(sys.modules["vaezoo.data.digits"], "FILE", tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(OSError, match=r"a\.npz is damaged .*: install vaezoo again"):
        digits()


@pytest.mark.parametrize(
    "arrays",
    [
        {"test_pixels": np.zeros((2, 28, 28), np.uint8), "test_labels": np.zeros(3, np.uint8)},
        {"test_pixels": np.zeros((2, 28, 27), np.uint8), "test_labels": np.zeros(2, np.uint8)},
        {"test_pixels": np.zeros((2, 28, 28), np.uint8), "test_labels": np.full(2, 10, np.uint8)},
        {"test_pixels": np.zeros((2, 28, 28)), "test_labels": np.zeros(2, np.uint8)},
        {
            "test_pixels": np.zeros((20_000, 28, 28), np.uint8),
            "test_labels": np.zeros(20_000, "u1"),
        },
        {"test_pixels": np.array([{}]), "test_labels": np.zeros(2, np.uint8)},
        {"test_pixels": np.zeros((2, 28, 28), np.uint8)},
    ],
    ids=range(7),
)
def test_other_digits(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["vaezoo.data.digits"], "FILE", tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with pytest.raises(OSError, match=r"a\.npz is damaged .*: install vaezoo again"):
        digits("test")


# Mutations


def refused(read, path, contents):
    """How many of the files are; any other error is a failure."""
    n = 0
    for content in contents:
        path.write_bytes(content)
        try:
            read(path)
        except ValueError:
            n += 1
    return n


def test_mutated_files(tmp_path):
    """1,200 of idx, .gz and .mat, seed 0: read, or refused by name, in bounded memory."""
    rng = random.Random(0)
    plain, packed = idx(3, 4, 4), gzip.compress(idx(30, 28, 28))
    loose, tight = mat(X, Y), mat(X, Y, packed=True)
    inner = [zlib.compress(damaged(rng, X, 80)) for _ in range(200)]
    for read, contents in (
        (read_idx, [damaged(rng, plain, 16) for _ in range(200)]),
        (
            lambda path: read_idx(path.with_suffix("")),
            [damaged(rng, packed, 20) for _ in range(200)],
        ),
        (
            lambda path: read_idx(path.with_suffix("")),
            [gzip.compress(damaged(rng, plain, 16)) for _ in range(200)],
        ),
        (read_svhn, [damaged(rng, loose, 220) for _ in range(200)]),
        (read_svhn, [damaged(rng, tight, 220) for _ in range(200)]),
        (read_svhn, [mat(element(15, x), Y) for x in inner]),
    ):
        with at_most(1e8):
            assert 100 < refused(read, tmp_path / "a.gz", contents) <= 200


def test_mutated_digits(tmp_path, monkeypatch):
    """60 of the package's own file, seed 0."""
    module = sys.modules["vaezoo.data.digits"]
    content, rng, n = module.FILE.read_bytes(), random.Random(0), 0
    monkeypatch.setattr(module, "FILE", tmp_path / "a.npz")
    for _ in range(60):
        tail = rng.randrange(20, 400)
        module.FILE.write_bytes(content[:-tail] + damaged(rng, content[-tail:], 64))
        try:
            digits("test")
        except OSError:
            n += 1
    assert 30 < n <= 60
