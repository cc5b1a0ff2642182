"""Data from the package, from real files on this machine, and what a loader says that finds none."""

import errno
import gzip
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from zoo import BadCall, refused

from vaezoo.data import (
    digits,
    fashion_mnist,
    mnist,
    svhn,
)
from vaezoo.data._torchvision import datasets
from vaezoo.data.downloads import data_root
from vaezoo.data.idx import read_idx
from vaezoo.data.make_digits import make_digits

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real files are not on this machine")


def raw_folder(root: Path, folder: str) -> Path:
    shutil.copytree(SHARED / folder, root / folder, copy_function=shutil.copyfile)
    for path in (root / folder, root / folder / "raw"):
        path.chmod(0o755)
    return root


@pytest.fixture(scope="module")
def mnist_root(tmp_path_factory):
    return raw_folder(tmp_path_factory.mktemp("mnist"), "MNIST")


@pytest.fixture
def no_network(monkeypatch):
    """torchvision's own download code, with addresses at which nobody answers."""
    nowhere = "http://127.0.0.1:9/"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(datasets().MNIST, "mirrors", [nowhere])
    monkeypatch.setattr(datasets().FashionMNIST, "mirrors", [nowhere])
    files = datasets().SVHN.split_list
    away = {split: [nowhere + file, file, md5] for split, (_, file, md5) in files.items()}
    monkeypatch.setattr(datasets().SVHN, "split_list", away)


def test_digits_are_the_expected_ones():
    train, test = digits(), digits("test", binarisation="none")
    assert repr(train) == "Images(digits train, 10000 × 1×28×28, dynamic)"
    assert repr(test) == "Images(digits test, 2000 × 1×28×28, none)"
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert train.labels.bincount().tolist() == [
        1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978,
    ]  # fmt: skip
    assert train.pixels[0].sum() == 27525
    assert train.pixels[0, 0, 5, 12] == 3
    folder = Path(sys.modules["vaezoo.data"].__file__).parent
    assert sum(file.stat().st_size for file in folder.glob("digits*")) < 2_000_000
    assert "CC BY-SA 3.0" in (folder / "digits.LICENSE.txt").read_text()


@shared
def test_digits_equal_the_official_files_to_the_byte():
    raw = SHARED / "MNIST" / "raw"
    for split, stem in (("train", "train"), ("test", "t10k")):
        images = digits(split)
        pixels = read_idx(raw / f"{stem}-images-idx3-ubyte")[: len(images), None]
        labels = read_idx(raw / f"{stem}-labels-idx1-ubyte")[: len(images)]
        assert np.array_equal(images.pixels.numpy(), pixels)
        assert np.array_equal(images.labels.numpy(), labels)


@shared
def test_digits_can_be_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("vaezoo.data.make_digits.SIZES", {"train": 60, "test": 20})
    for file in ("one.npz", "two.npz"):
        make_digits(SHARED / "MNIST" / "raw", file=tmp_path / file)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    # the function hides the module of its name
    monkeypatch.setattr(sys.modules["vaezoo.data.digits"], "FILE", tmp_path / "one.npz")
    assert repr(digits()) == "Images(digits train, 60 × 1×28×28, dynamic)"
    assert digits("test").labels[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]


@shared
def test_mnist_from_real_files(mnist_root, no_network):
    train, test = (mnist(split, root=mnist_root) for split in ("train", "test"))
    assert repr(train) == "Images(mnist train, 60000 × 1×28×28, dynamic)"
    assert repr(test) == "Images(mnist test, 10000 × 1×28×28, dynamic)"
    assert train.pixels[:10_000].equal(digits().pixels)
    assert test.labels[:2_000].equal(digits("test").labels)
    assert (train.pixels / 255).mean().item() == pytest.approx(0.1307, abs=5e-5)


@shared
def test_mnist_packed_or_not_needs_no_writing(tmp_path, monkeypatch):
    root = raw_folder(tmp_path, "MNIST")
    raw = root / "MNIST" / "raw"
    monkeypatch.setenv("VAEZOO_DATA", str(root))
    packed = mnist("test", download=False)
    before = {path: path.stat() for path in raw.iterdir()}
    assert {path: path.stat() for path in raw.iterdir()} == before
    for file in raw.glob("t10k*.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    unpacked = mnist("test")
    assert unpacked.pixels.equal(packed.pixels)
    assert unpacked.labels.equal(packed.labels)


@shared
def test_fashion_mnist_from_real_files(tmp_path, no_network):
    images = fashion_mnist("test", root=raw_folder(tmp_path, "FashionMNIST"), binarisation="none")
    assert repr(images) == "Images(fashion_mnist test, 10000 × 1×28×28, none)"
    assert images.labels[:6].tolist() == [9, 2, 1, 1, 6, 1]
    assert images.labels.bincount().tolist() == [1000] * 10


@shared
def test_svhn_from_a_real_part():
    images = svhn(file=SHARED / "svhn" / "train_32x32_first1083.mat")
    assert repr(images) == "Images(svhn train_32x32_first1083, 1083 × 3×32×32, none)"
    assert images.labels[:5].tolist() == [1, 9, 2, 3, 2]
    assert images.labels.max() == 9
    assert images.labels.min() == 0
    assert images.pixels[0, :, 0, 0].tolist() == [33, 30, 38]  # red, green, blue


@shared
def test_svhn_reads_what_scipy_reads():
    scipy_io = pytest.importorskip("scipy.io")
    content = scipy_io.loadmat(SHARED / "svhn" / "train_32x32_first1083.mat")
    images = svhn(file=SHARED / "svhn" / "train_32x32_first1083.mat")
    assert np.array_equal(images.pixels.numpy(), content["X"].transpose(3, 2, 0, 1))
    assert np.array_equal(images.labels.numpy(), content["y"].ravel() % 10)


@shared
def test_svhn_through_the_cache_folder(tmp_path, monkeypatch, no_network):
    part = SHARED / "svhn" / "train_32x32_first1083.mat"
    shutil.copyfile(part, tmp_path / "test_32x32.mat")
    files = datasets().SVHN.split_list
    checksum = datasets().utils.calculate_md5(part)
    monkeypatch.setitem(files, "test", [*files["test"][:2], checksum])
    images = svhn("test", root=tmp_path)
    assert repr(images) == "Images(svhn test, 1083 × 3×32×32, none)"
    assert images.pixels.equal(svhn(file=part).pixels)
    assert images.labels.equal(svhn(file=part).labels)


@pytest.mark.parametrize(
    ("load", "file", "folder"),
    [
        (mnist, "t10k-labels-idx1-ubyte.gz", "MNIST/raw"),
        (fashion_mnist, "t10k-labels-idx1-ubyte.gz", "FashionMNIST/raw"),
        (svhn, "test_32x32.mat", "."),
    ],
)
def test_failed_download_says_what_to_do(load, file, folder, tmp_path, no_network):
    with pytest.raises(ConnectionError) as caught:
        load("test", root=tmp_path)
    message = str(caught.value)
    for part in ("127.0.0.1:9", file, str(tmp_path / folder), "vaezoo.data.digits()"):
        assert part in message
    with pytest.raises(FileNotFoundError, match="not there, and download is False"):
        load("test", root=tmp_path, download=False)


def test_damaged_packed_file_is_named(tmp_path, no_network):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    damaged = raw / "train-images-idx3-ubyte.gz"
    damaged.write_bytes(gzip.compress(b"not MNIST")[:-3])
    with pytest.raises(ConnectionError, match=f"Delete the damaged {damaged}"):
        mnist(root=tmp_path)
    with pytest.raises(OSError, match=f"Delete the damaged {damaged}"):
        mnist(root=tmp_path, download=False)


def test_unpacked_files_are_checked(tmp_path, no_network):
    """Of another length, or of the right one with labels above 9: refused by their checksum."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images, labels = raw / "t10k-images-idx3-ubyte", raw / "t10k-labels-idx1-ubyte"
    header = bytes([0, 0, 8, 3, 0, 0, 39, 16, 0, 0, 0, 28, 0, 0, 0, 28])
    labels.write_bytes(bytes([0, 0, 8, 1, 0, 0, 39, 16]) + bytes([200]) * 10_000)
    for content in (b"", b"\0\0", header, header + bytes(10_000 * 28 * 28)):
        images.write_bytes(content)
        with pytest.raises(OSError, match=f"(?s)a file is damaged.*Delete the damaged {images} "):
            mnist("test", root=tmp_path)


def test_folder_that_cannot_be_written(tmp_path, no_network):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write to .*VAEZOO_DATA") as caught:
        mnist(root=tmp_path / "file")
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)


def test_data_root(monkeypatch):
    monkeypatch.setenv("VAEZOO_DATA", "/somewhere")
    assert data_root() == Path("/somewhere")
    assert data_root("here") == Path("here")
    assert data_root("~/x") == Path.home() / "x"
    monkeypatch.delenv("VAEZOO_DATA")
    assert "vaezoo" in data_root().parts[-1]


BAD_CALLS: list[BadCall] = [
    (lambda: digits("trian"), ValueError, "train"),
    (lambda: digits(binarisation="binary"), ValueError, "dynamic, static, threshold, none, got 'binary'"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
