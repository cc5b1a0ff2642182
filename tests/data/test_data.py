"""Loaders: exact values, real files, bad input, and random numbers that stay where they belong."""

import errno
import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo import BadCall, refused

from vaezoo.data import (
    ColourDigits,
    Images,
    _torchvision,
    colour_digits,
    digits,
    fashion_mnist,
    mnist,
    semi_supervised,
    svhn,
)
from vaezoo.data._torchvision import datasets
from vaezoo.data.binarising import bernoulli
from vaezoo.data.colour_digits import CONTRAST, LUMINANCE
from vaezoo.data.downloads import data_root
from vaezoo.data.idx import read_idx
from vaezoo.data.make_digits import make_digits

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real files are not on this machine")

ROW = torch.tensor([[0, 51, 127], [128, 204, 255]], dtype=torch.uint8).reshape(2, 1, 1, 3)
GREY = torch.arange(256, dtype=torch.uint8).repeat(40, 1).reshape(40, 1, 16, 16)


def blank(n: int, labels: Tensor | None = None) -> Images:
    return Images(torch.zeros(n, 1, 2, 2, dtype=torch.uint8), labels, binarisation="none")


def numbered(n: int, binarisation: str = "none") -> Images:
    """Images whose pixel and label both say which image it is."""
    pixels = torch.arange(n, dtype=torch.uint8).reshape(n, 1, 1, 1)
    return Images(pixels, torch.arange(n), binarisation=binarisation)


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


# Images


@pytest.mark.parametrize(
    ("binarisation", "expected"),
    [("none", [0, 0.2, 127 / 255, 128 / 255, 0.8, 1]), ("threshold", [0, 0, 0, 1, 1, 1])],
)
def test_fixed_values(binarisation, expected):
    images = Images(ROW, torch.tensor([4, 9]), binarisation=binarisation)
    x, y = images.tensors()
    torch.testing.assert_close(x.flatten(), torch.tensor(expected, dtype=torch.float32))
    assert y.tolist() == [4, 9]
    assert x.shape == (2, 1, 1, 3)
    (again, labels), *rest = images.batches(shuffle=False)
    assert again.equal(x)
    assert labels.equal(y)
    assert not rest


def test_default_dtype_is_followed():
    torch.set_default_dtype(torch.float64)
    try:
        for binarisation in ("dynamic", "threshold", "none"):
            (x,) = Images(ROW, binarisation=binarisation).tensors()
            assert x.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("binarisation", ["dynamic", "static"])
def test_binarisation_is_bernoulli(binarisation):
    # n = 40 × 256 draws of known probabilities, seed 0; |z| > 4 would happen once in 15,000 seeds.
    torch.manual_seed(0)
    images = Images(GREY, binarisation=binarisation)
    (x,) = next(images.batches(40, shuffle=False))
    p = GREY / 255
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert x[GREY == 0].max() == 0
    assert x[GREY == 255].min() == 1
    for weight in (torch.ones_like(p), p - 0.5):  # the mean, and that it rises with the pixel
        z = (weight * (x - p)).sum() / (weight**2 * p * (1 - p)).sum().sqrt()
        assert abs(z) < 4


def test_every_pixel_value_is_drawn_with_its_own_probability():
    """n = 20,000 draws of each of 256 values: χ² of 254 degrees, |z| < 4.5, two-sided 7e-6."""
    torch.manual_seed(0)
    levels, n = torch.arange(256, dtype=torch.uint8), 20_000
    x = bernoulli(levels.expand(n, 256).contiguous(), None, dtype=torch.float64)
    assert x[:, 0].sum() == 0
    assert x[:, 255].sum() == n
    p = levels[1:-1].double() / 255
    chi2 = ((x[:, 1:-1].mean(0) - p) ** 2 / (p * (1 - p) / n)).sum()
    assert abs(chi2 - 254) / (2 * 254) ** 0.5 < 4.5
    neighbours = x[:, 100:110] - levels[100:110] / 255  # eight bytes of one number
    covariance = neighbours.T @ neighbours / n
    off = covariance - torch.diag(covariance.diagonal())
    assert off.abs().max() < 5 * 0.25 / n**0.5  # 45 pairs, each |z| < 5


def test_dynamic_draws_afresh_and_static_never():
    dynamic, static = (Images(GREY, binarisation=kind) for kind in ("dynamic", "static"))
    first, second = (next(dynamic.batches(40, shuffle=False))[0] for _ in range(2))
    assert not first.equal(second)
    first, second = (next(static.batches(40, shuffle=False))[0] for _ in range(2))
    assert first.equal(second)
    assert first.equal(static.tensors(seed=7)[0])
    assert static[10:20].tensors()[0].equal(first[10:20])
    assert Images(GREY, binarisation="static").tensors()[0].equal(first)
    assert not Images(GREY, binarisation="static", seed=1).tensors()[0].equal(first)


def test_tensors_are_drawn_by_their_seed():
    images = Images(GREY, binarisation="dynamic")
    assert images.tensors()[0].equal(images.tensors(seed=0)[0])
    assert not images.tensors(seed=1)[0].equal(images.tensors(seed=0)[0])


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_cover_every_image_once(shuffle):
    images = numbered(25)
    batches = list(images.batches(10, shuffle=shuffle))
    assert [len(x) for x, _ in batches] == [10, 10, 5]
    labels = torch.cat([y for _, y in batches])
    assert labels.sort().values.tolist() == list(range(25))
    assert (labels.tolist() == list(range(25))) is not shuffle
    for x, y in batches:
        torch.testing.assert_close(x.flatten() * 255, y.float())
    dropped = list(images.batches(10, drop_last=True))
    assert [len(x) for x, _ in dropped] == [10, 10]


def test_batches_follow_the_global_seed_or_a_generator():
    images = Images(GREY, torch.arange(40), binarisation="dynamic")

    def draw(generator=None):
        return torch.cat([x for x, _ in images.batches(7, generator=generator)])

    torch.manual_seed(3)
    first = draw()
    assert not draw().equal(first)
    torch.manual_seed(3)
    assert draw().equal(first)
    state = torch.get_rng_state()
    one, two = (draw(torch.Generator().manual_seed(5)) for _ in range(2))
    assert one.equal(two)
    assert torch.get_rng_state().equal(state)


def test_images_without_labels_give_one_tensor():
    images = blank(3)
    assert [len(batch) for batch in images.batches(2)] == [1, 1]
    assert len(images.tensors()) == 1
    assert images[:1].labels is None
    assert repr(images) == "Images(images, 3 × 1×2×2, none, unlabelled)"


def test_indexing():
    images = numbered(9, "threshold")
    for index in (slice(1, 9, 3), torch.tensor([1, 4, 7]), torch.arange(9) % 3 == 1):
        part = images[index]
        assert part.labels.tolist() == part.pixels.flatten().tolist() == [1, 4, 7]
        assert part.binarisation == "threshold"
        assert part.x_shape == (1, 1, 1)
    assert len(images) == 9


def test_to_moves_everything():
    moved = colour_digits("test", n=3).to("meta")
    tensors = [moved.pixels, moved.labels, *moved.factors.values()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_labelled_is_balanced_seeded_and_random():
    images = digits("train")
    few = images.labelled(100)
    assert few.labels.bincount().tolist() == [10] * 10
    assert few.pixels.equal(images.labelled(100, seed=0).pixels)
    assert not few.pixels.equal(images.labelled(100, seed=1).pixels)
    assert not few.pixels.equal(images[:100].pixels)
    assert len(few.pixels.unique(dim=0)) == 100


@pytest.mark.parametrize(
    "call",
    [
        lambda: Images(GREY, binarisation="static"),
        lambda: Images(GREY, binarisation="dynamic").tensors(),
        lambda: digits("test").labelled(50),
        lambda: colour_digits("test", n=20),
    ],
)
def test_global_random_state_is_untouched(call):
    before = torch.get_rng_state()
    call()
    assert torch.get_rng_state().equal(before)


# Semi-supervised batches


def test_semi_supervised_takes_all_labelled_images_each_time():
    unlabelled, labelled = numbered(25), numbered(6)
    batches = semi_supervised(unlabelled, labelled, batch_size=10)
    assert len(batches) == 3
    assert batches.labelled_fraction == 6 / 31
    for _ in range(2):  # it can be iterated again
        steps = list(batches)
        assert [len(x) for x, _, _ in steps] == [10, 10, 5]
        seen = torch.cat([x for x, _, _ in steps]).flatten() * 255
        assert seen.round().sort().values.tolist() == list(range(25))
        for _, x, y in steps:
            assert y.sort().values.tolist() == list(range(6))
            torch.testing.assert_close(x.flatten() * 255, y.float())


def test_semi_supervised_goes_round_many_labelled_images():
    batches = semi_supervised(numbered(60), numbered(20), batch_size=10)
    labels = [y for _, _, y in batches]
    assert [len(y) for y in labels] == [10] * 6
    rounds = [torch.cat(labels[i : i + 2]) for i in (0, 2, 4)]
    assert all(y.sort().values.tolist() == list(range(20)) for y in rounds)
    assert not rounds[0].equal(rounds[1])
    smaller = semi_supervised(numbered(60), numbered(20), batch_size=10, labelled_batch_size=4)
    assert {len(y) for _, _, y in smaller} == {4}
    assert "batches of 4" in repr(smaller)


# Built-in digits


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


# Downloads


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


# Imports


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_data_is_light():
    code = "import sys, vaezoo.data; vaezoo.data.colour_digits('test', n=1)\n"
    code += "print([name for name in ('torchvision', 'matplotlib') if name in sys.modules])"
    assert python(code) == "[]"


@pytest.mark.parametrize(
    "first",
    [
        "import importlib.util, vaezoo; importlib.util.find_spec('torchvision.transforms')",
        "try: import torchvision\nexcept RuntimeError: pass\nimport vaezoo",
    ],
    ids=["before", "after one that failed"],
)
def test_torchvision_can_be_imported(first):
    """The user's own import, of a torchvision built for CUDA beside a torch that is not."""
    code = f"""{first}
import sys, torch
from torchvision import datasets, transforms
import torchvision.ops
from vaezoo.data import _torchvision
assert _torchvision.datasets() is datasets
assert torch.ops.torchvision.nms
assert sys.modules["torchvision.extension"]._has_ops() or torch.ops.torchvision.qnms
assert not any(isinstance(finder, _torchvision._Finder) for finder in sys.meta_path)
print(tuple(transforms.Resize(4)(torch.zeros(1, 8, 8)).shape))
"""
    assert python(code) == "(1, 4, 4)"


def test_a_healthy_torchvision_is_left_alone(monkeypatch):
    """One that declares its operators itself: a second declaration would raise, in C++."""
    extension = ModuleType("torchvision.extension")
    extension._has_ops = lambda: True
    monkeypatch.setitem(sys.modules, "torchvision.extension", extension)
    before = list(_torchvision._declared)
    _torchvision.watch()
    assert _torchvision._declared == before
    monkeypatch.setattr(extension, "_has_ops", lambda: False)
    _torchvision.watch()
    assert len(_torchvision._declared) == len(before) + 1


# Colour digits


@pytest.fixture(scope="module")
def scenes():
    return colour_digits("test")


def test_colour_digits_are_deterministic(scenes):
    assert repr(scenes) == "ColourDigits(colour_digits test, 2000 × 3×32×32, none)"
    few = colour_digits("test", n=30)
    assert few.pixels.equal(scenes.pixels[:30])
    assert few.labels.equal(digits("test").labels[:30])
    assert not colour_digits("test", n=30, seed=1).pixels.equal(few.pixels)
    train = colour_digits(n=30)
    assert not train.factors["background"].equal(few.factors["background"])
    torch.set_default_dtype(torch.float64)
    try:
        assert colour_digits("test", n=30).pixels.equal(few.pixels)
    finally:
        torch.set_default_dtype(torch.float32)


def test_more_scenes_than_digits_repeat_the_digits_in_other_styles(scenes):
    more = colour_digits("test", n=2300)
    assert len(more) == 2300
    assert more.pixels[:2000].equal(scenes.pixels)
    assert more.factors["source"][1998:2002].tolist() == [1998, 1999, 0, 1]
    assert more.labels[2000:].equal(more.labels[:300])
    assert not more.pixels[2000].equal(more.pixels[0])


def test_ink_stands_out_from_paper(scenes):
    foreground, background = scenes.factors["foreground"], scenes.factors["background"]
    assert ((foreground - background) @ LUMINANCE).abs().min() > CONTRAST - 1e-5
    for colour in (foreground, background):
        assert colour.min() >= 0
        assert colour.max() <= 1
        assert colour.std(0).min() > 0.15


def test_factors_describe_the_scenes(scenes):
    x, _ = scenes.tensors()
    foreground, background = scenes.factors["foreground"], scenes.factors["background"]
    paper = x.flatten(2).median(-1).values  # most of a scene is paper
    assert (paper - background).abs().mean() < 0.05
    # how far each pixel lies on the way from paper to ink, in the middle of the scene
    way = (foreground - background)[:, :, None, None]
    ink = ((x - background[:, :, None, None]) * way).sum(1) / way.square().sum(1)
    assert ink[:, 8:24, 8:24].amax((1, 2)).median() == pytest.approx(1, abs=0.15)
    rows = torch.arange(32.0)
    profile = ink.clamp(0.3, 1).sub(0.3).sum(-1)
    centre = (profile @ rows) / profile.sum(-1)
    assert torch.corrcoef(torch.stack((centre, scenes.factors["shift"][:, 1])))[0, 1] > 0.6


def test_indexing_keeps_factors_aligned(scenes):
    part = scenes[torch.tensor([5, 1500])]
    assert isinstance(part, ColourDigits)
    assert part.factors["source"].tolist() == [5, 1500]
    for name, factor in scenes.factors.items():
        assert len(factor) == 2000
        assert part.factors[name].equal(factor[[5, 1500]])
    few = scenes.labelled(20)
    assert few.labels.equal(digits("test").labels[few.factors["source"]])


# Bad input


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Images(ROW, binarisation="soft"), ValueError, "dynamic, static, threshold, none"),
        (lambda: Images(ROW.float(), binarisation="none"), TypeError, "uint8.*got torch.float32"),
        (lambda: Images(ROW.tolist(), binarisation="none"), TypeError, "got a list.*np.stack"),
        (lambda: Images(ROW[0], binarisation="none"), ValueError, r"\(N, C, H, W\).*unsqueeze"),
        (lambda: Images(ROW[:0], binarisation="none"), ValueError, "at least one image"),
        (lambda: blank(2)[2:], ValueError, "at least one image"),
        (lambda: blank(2).batches(0), ValueError, "batch_size must be at least 1, got 0"),
        (lambda: blank(2).batches(3, drop_last=True), ValueError, "make batch_size smaller"),
        (lambda: blank(2).labelled(2), ValueError, "has no labels"),
        (lambda: numbered(3).labelled(4), ValueError, "multiple of the 3 classes, got 4"),
        (lambda: numbered(3).labelled(0), ValueError, "multiple of the 3 classes, got 0"),
        (lambda: numbered(3).labelled(6), ValueError, "2 images of each class.*at most n=3"),
        (lambda: semi_supervised(blank(2), blank(2)), ValueError, "need labels"),
        (lambda: semi_supervised(blank(2), numbered(2)), ValueError, "one shape"),
        (
            lambda: semi_supervised(numbered(2), numbered(2), batch_size=0),
            ValueError,
            "batch_size must be at least 1, got 0",
        ),
        (
            lambda: semi_supervised(numbered(2), numbered(2), labelled_batch_size=3),
            ValueError,
            "between 1 and the 2 labelled images, got 3",
        ),
        (lambda: digits("valid"), ValueError, "'train' or 'test', got 'valid'"),
        (lambda: mnist("valid"), ValueError, "'train' or 'test', got 'valid'"),
        (lambda: mnist(binarisation="soft"), ValueError, "dynamic, static, threshold, none"),
        (lambda: svhn("valid"), ValueError, "'train', 'test' or 'extra', got 'valid'"),
        (lambda: svhn(file="absent.mat"), FileNotFoundError, "absent.mat is not there"),
        (lambda: svhn(file=__file__), ValueError, r"test_data.py is not a .mat file with X and y"),
        (lambda: colour_digits("valid"), ValueError, "'train' or 'test', got 'valid'"),
        (lambda: colour_digits(n=0), ValueError, "n must be at least 1, got 0"),
    ],
)
def test_bad_input_is_explained(call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call()


BAD_CALLS: list[BadCall] = [
    (lambda: digits("trian"), ValueError, "train"),
    (lambda: digits(binarisation="binary"), ValueError, "dynamic, static, threshold, none, got 'binary'"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
