"""Streams: each image once in a pass, in an order that can be gone on with, and what is refused."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from zoo import member

from vaezoo import accuracy, data, evaluate, fit, likelihoods

SIZES = [700, 1, 300, 33]
N = sum(SIZES)
X_SHAPE = (1, 4, 4)


def pictures(n: int = N, start: int = 0) -> np.ndarray:
    """Images (n, 1, 4, 4) that tell their numbers, in their first two bytes."""
    numbers = np.arange(start, start + n)
    pixels = np.random.default_rng(start).integers(0, 256, (n, *X_SHAPE), dtype=np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = numbers % 256, numbers // 256
    return pixels


PIXELS = pictures()
LABELS = np.arange(N) % 3


def numbers(batches: Any) -> list[list[int]]:
    """The numbers of the images of each batch that is not binarised."""
    found = []
    for x, *_ in batches:
        first = (255 * x[:, 0, 0, :2]).round().long()
        found.append((first[:, 0] + 256 * first[:, 1]).tolist())
    return found


def flat(lists: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(lists))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four shards of unequal sizes, with labels beside them."""
    for i, (stop, size) in enumerate(zip(np.cumsum(SIZES), SIZES, strict=True)):
        np.save(tmp_path / f"{i}.npy", PIXELS[stop - size : stop])
        np.save(tmp_path / f"{i}.labels.npy", LABELS[stop - size : stop].astype(np.int16))
    return tmp_path


def stream(folder: Path, **options: Any) -> data.Stream:
    return data.Stream(folder, **{"binarisation": "none", "block": 16, "window": 100, **options})


def images(**options: Any) -> data.Images:
    return data.Images(PIXELS, LABELS, **{"binarisation": "none", **options})


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("batch_size", "block", "window"), [(100, 16, 100), (7, 50, 13), (N, 1, N), (64, 9999, 9999), (1, 3, 1)])  # fmt: skip
def test_each_image_comes_once_in_a_pass(
    folder: Path, batch_size: int, block: int, window: int, shuffle: bool
) -> None:
    source = stream(folder, batch_size=batch_size, block=block, window=window, shuffle=shuffle)
    first, second = numbers(source), numbers(source)
    assert len(first) == len(source) == -(-N // batch_size)
    assert {len(batch) for batch in first[:-1]} <= {batch_size}
    for found in (first, second):
        assert sorted(flat(found)) == list(range(N))
    assert (first == second) is not shuffle
    assert (flat(first) == list(range(N))) is not shuffle


def test_labels_stay_with_their_images(folder: Path) -> None:
    for x, y in stream(folder):
        (each,) = numbers([(x,)])
        assert y.tolist() == LABELS[each].tolist()
        assert torch.equal(x, torch.from_numpy(PIXELS[each]) / 255)


def test_the_order_follows_seed_and_pass(folder: Path) -> None:
    """The third pass of one stream is that of another, and no two passes or seeds agree."""
    source = stream(folder, seed=3)
    passes = [numbers(source) for _ in range(3)]
    other = stream(folder, seed=3)
    other.set_epoch(2)
    assert numbers(other) == passes[2]
    orders = [*passes, numbers(stream(folder, seed=4))]
    assert all(a != b for a, b in itertools.combinations(orders, 2))


def test_every_place_is_as_likely(folder: Path) -> None:
    """Mean places of 4 images over n = 100 passes, uniform on 0..1033: |z| < 4."""
    source, n = stream(folder), 100
    places = torch.zeros(n, 4)
    for i in range(n):
        order = flat(numbers(source))
        places[i] = torch.tensor([order.index(k) for k in (0, 333, 700, N - 1)])
    z = (places.mean(0) - (N - 1) / 2) / (N / 12**0.5 / n**0.5)
    assert z.abs().max() < 4


def test_neighbours_in_a_file_are_apart(folder: Path) -> None:
    """Within a window and across the files: of a batch of 100 no more than a block are neighbours."""
    source = stream(folder, batch_size=100, block=16, window=400)
    first = numbers(source)[0]
    assert max(first) - min(first) > N / 2
    assert sum(b - a == 1 for a, b in itertools.pairwise(first)) < 10


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize(("ranks", "batch_size"), [(2, 100), (3, 10), (5, 23), (4, 2), (2, 47), (7, 13)])  # fmt: skip
def test_shares_are_disjoint_and_whole(
    folder: Path, ranks: int, batch_size: int, drop_last: bool
) -> None:
    """Equally many batches on all ranks, none empty, and together each image once."""
    whole = stream(folder, batch_size=batch_size, drop_last=drop_last)
    shares = [whole.shard(rank, ranks) for rank in range(ranks)]
    for _ in range(2):
        found = [numbers(share) for share in shares]
        assert {len(batches) for batches in found} == {len(share) for share in shares}
        assert len({len(share) for share in shares}) == 1
        assert all(0 < len(batch) <= batch_size for batches in found for batch in batches)
        seen = flat([flat(batches) for batches in found])
        assert len(set(seen)) == len(seen)
        if drop_last:
            assert {len(batch) for batches in found for batch in batches} == {batch_size}
        else:
            assert len(seen) == N


def test_what_cannot_be_shared_is_refused(folder: Path) -> None:
    whole = stream(folder, batch_size=1)
    with pytest.raises(ValueError, match="no equal numbers of batches of 1 for 3 ranks"):
        whole.shard(0, 3)
    assert sorted(flat([flat(numbers(whole.shard(r, 2))) for r in range(2)])) == list(range(N))
    with pytest.raises(ValueError, match="fewer than 2000 ranks"):
        whole.shard(0, 2000)
    with pytest.raises(ValueError, match=r"rank must lie in 0\.\.1"):
        whole.shard(2, 2)
    with pytest.raises(ValueError, match="of a whole stream"):
        whole.shard(0, 2).shard(0, 2)
    with pytest.raises(ValueError, match="drop_last=True leaves no batch"):
        stream(folder, batch_size=N + 1, drop_last=True)
    with pytest.raises(ValueError, match="drop_last=True leaves no batch"):
        stream(folder, batch_size=600, drop_last=True).shard(0, 2)


def same(a: Any, b: Any) -> bool:
    return len(a) == len(b) and all(
        torch.equal(s, t) for x, y in zip(a, b, strict=True) for s, t in zip(x, y, strict=True)
    )


def for_ever(source: data.Stream) -> Iterator[Any]:
    while True:
        yield from source


@pytest.mark.parametrize("binarisation", ["dynamic", "static", "none"])
@pytest.mark.parametrize("rank", [None, 1])
def test_a_pass_goes_on_in_the_middle(folder: Path, binarisation: str, rank: int | None) -> None:
    """From each place, in JSON and in another stream: bitwise the batches that would have come."""
    make: Callable[[], data.Stream] = lambda: stream(folder, binarisation=binarisation)  # noqa: E731
    if rank is not None:
        whole = make
        make = lambda: whole().shard(rank, 3)  # noqa: E731
    source, ends = make(), len(make())
    unbroken = list(itertools.islice(for_ever(make()), 3 * ends))
    going = for_ever(source)
    for place in range(2 * ends):
        other = make()
        other.load_state_dict(json.loads(json.dumps(source.state_dict())))
        found = list(itertools.islice(for_ever(other), ends))
        assert same(found, unbroken[place : place + ends])
        torch.rand(3)  # draws of torch's global generator change nothing
        next(going)


def test_after_the_last_batch_a_pass_has_none_left(folder: Path) -> None:
    """Before the pass is left, a state says that it is done; after it, that the next one begins."""
    source, other = stream(folder), stream(folder)
    going = iter(source)
    for _ in range(len(source)):
        next(going)
    other.load_state_dict(source.state_dict())
    assert list(other) == []
    assert next(going, None) is None
    third = stream(folder)
    third.load_state_dict(source.state_dict())
    assert numbers(other) == numbers(third) == numbers(source)


def test_one_state_is_for_all_ranks(folder: Path) -> None:
    first, second, again = (stream(folder).shard(rank, 2) for rank in (0, 1, 1))
    for share in (first, second):
        going = iter(share)
        for _ in range(3):
            next(going)
    again.load_state_dict(first.state_dict())
    assert same(list(again), list(going))


def test_states_of_other_streams_are_refused(folder: Path) -> None:
    state = stream(folder).state_dict()
    changes: dict[str, dict[str, Any]] = {
        "batch_size is 50 here, got 100": {"batch_size": 50},
        "seed is 1 here, got 0": {"seed": 1},
        "window is 99 here": {"window": 99},
        "binarisation is 'threshold' here, got 'none'": {"binarisation": "threshold"},
    }
    for message, options in changes.items():
        with pytest.raises(ValueError, match=message):
            stream(folder, **options).load_state_dict(state)
    with pytest.raises(ValueError, match="ranks is 2 here, got 1"):
        stream(folder).shard(0, 2).load_state_dict(state)
    (folder / "3.npy").unlink()
    (folder / "3.labels.npy").unlink()
    with pytest.raises(ValueError, match="n is 1001 here, got 1034"):
        stream(folder).load_state_dict(state)


@pytest.mark.parametrize(
    "change",
    [{"epoch": -1}, {"batch": 1.0}, {"batch": True}, {"order": "0"}, {"of": None}, {"workers": None}, {"batch": 12}],
)  # fmt: skip
def test_what_is_no_state_is_refused(folder: Path, change: dict[str, Any]) -> None:
    source = stream(folder)
    with pytest.raises(ValueError, match=r"state must be|a pass has 11 batches"):
        source.load_state_dict({**source.state_dict(), **change})
    with pytest.raises(ValueError, match="state must be"):
        source.load_state_dict("state")  # type: ignore[arg-type]
    assert source.state_dict()["batch"] == 0


@pytest.mark.parametrize("binarisation", ["dynamic", "threshold", "none"])
def test_evaluation_is_that_of_images(folder: Path, binarisation: str) -> None:
    """In float64 and to the last bit, with the same sizes of batches; the passes are not changed."""
    grey = likelihoods.ContinuousBernoulli(3, X_SHAPE, hidden=(8,), classes=3)
    ssvae = member("SSVAE", **({"likelihood": grey} if binarisation == "none" else {})).double()
    options: dict[str, Any] = {"particles": (1, 3), "progress": False}
    source = stream(folder, binarisation=binarisation, batch_size=90)
    whole = images(binarisation=binarisation)
    before = source.state_dict()
    found = evaluate(ssvae, source, **options)
    expected = evaluate(ssvae, whole, batch_size=90, **options)
    assert found == expected
    assert found["accuracy"].n == N
    assert accuracy(ssvae, source, seed=1) == accuracy(ssvae, whole, batch_size=90, seed=1)
    assert source.state_dict() == before


def test_evaluation_of_a_loaders_stream_is_the_same_each_time(folder: Path) -> None:
    """Also in the middle of a pass, which goes on as it would have without."""
    source, twin = (stream(folder, binarisation="dynamic", batch_size=90) for _ in range(2))
    vae, passes = member("VAE", x_shape=X_SHAPE), [iter(source), iter(twin)]
    loader, found = DataLoader(source, batch_size=None), []
    for _ in range(2):
        assert all(map(torch.equal, *map(next, passes)))
        found.append(evaluate(vae, loader, particles=1, progress=False))
    assert found[0] == found[1]
    left = [torch.cat([x for x, _ in each]) for each in passes]
    assert torch.equal(*left)
    assert source.state_dict() == twin.state_dict()


def test_static_pixels_are_drawn_once(folder: Path) -> None:
    """The same draw in every pass, order, share and window, of n pixels: means to |z| < 4."""

    def draws(batches: Any) -> Tensor:
        """In the order of the images, which labels tell here."""
        x, y = (torch.cat(each) for each in zip(*batches, strict=True))
        return x[y.argsort()]

    for i, (stop, size) in enumerate(zip(np.cumsum(SIZES), SIZES, strict=True)):
        np.save(folder / f"{i}.labels.npy", np.arange(stop - size, stop))
    source = stream(folder, binarisation="static")
    first = draws(source)
    assert torch.equal(draws(source), first)
    assert torch.equal(draws(source.in_order()), first)
    assert torch.equal(draws(stream(folder, binarisation="static", window=30, batch_size=7)), first)
    shares = [batch for r in range(3) for batch in source.shard(r, 3)]
    assert torch.equal(draws(shares), first)
    assert not torch.equal(draws(stream(folder, binarisation="static", seed=1)), first)
    p = torch.from_numpy(PIXELS) / 255
    z = (first - p).sum() / (p * (1 - p)).sum().sqrt()
    assert abs(z) < 4


def test_dynamic_pixels_are_drawn_afresh(folder: Path) -> None:
    source = stream(folder, binarisation="dynamic", shuffle=False)
    first, second = (torch.cat([x for x, _ in source]) for _ in range(2))
    assert not torch.equal(first, second)
    p = torch.from_numpy(PIXELS) / 255
    for drawn in (first, second):
        assert set(drawn.unique().tolist()) == {0, 1}
        z = (drawn - p).sum() / (p * (1 - p)).sum().sqrt()
        assert abs(z) < 4


def test_training_on_a_stream(folder: Path) -> None:
    """In float64 too, and validation on the same stream changes nothing of it."""
    ends = []
    for validated in (False, True):
        torch.manual_seed(0)
        vae, source = member("VAE").double(), stream(folder, binarisation="dynamic")
        validation = source if validated else None
        history = fit(vae, source, epochs=2, log_every=5, validation=validation, progress=False)
        assert history["step"][-1] == 2 * len(source)
        ends.append([p.detach().clone() for p in vae.parameters()])
        assert source.state_dict()["epoch"] == 2
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_the_global_generator_is_left_alone(folder: Path) -> None:
    before = torch.get_rng_state()
    for _ in stream(folder, binarisation="dynamic"):
        pass
    for _ in stream(folder, binarisation="dynamic").in_order():
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_pixels_have_the_default_dtype(folder: Path) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert next(iter(stream(folder)))[0].dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("ranks", [1, 2])
def test_workers_share_a_pass(folder: Path, ranks: int) -> None:
    """Each image once, and each pass of a loader in an order of its own, the same of one seed."""
    shares = [stream(folder).shard(rank, ranks) for rank in range(ranks)]
    loaders = [DataLoader(share, batch_size=None, num_workers=2) for share in shares]

    def found(epoch: int) -> list[list[list[int]]]:
        for share in shares:
            if ranks > 1:
                share.set_epoch(epoch)
        return [numbers(loader) for loader in loaders]

    torch.manual_seed(0)
    first, second = found(0), found(1)
    assert first != second
    for batches in (first, second):
        assert sorted(flat([flat(each) for each in batches])) == list(range(N))
        assert [len(each) for each in batches] == [len(loader) for loader in loaders]
    torch.manual_seed(0)
    assert found(0) == first


def test_workers_that_persist_count_passes(folder: Path) -> None:
    """Those of a share, with nobody to call `set_epoch`: the orders of both ranks stay one."""
    shares = [stream(folder).shard(rank, 2) for rank in range(2)]
    loaders = [
        DataLoader(s, batch_size=None, num_workers=1, persistent_workers=True) for s in shares
    ]
    first, second = ([flat(numbers(loader)) for loader in loaders] for _ in range(2))
    assert first != second
    for seen in (first, second):
        assert sorted(flat(seen)) == list(range(N))


def test_a_loader_trains(folder: Path) -> None:
    loader = DataLoader(stream(folder, binarisation="dynamic"), batch_size=None, num_workers=2)
    history = fit(member("VAE"), loader, epochs=2, progress=False)
    assert history["step"] == [22]
    assert evaluate(member("VAE"), loader, particles=1, progress=False)["nelbo"].n == N


def test_a_place_of_the_whole_is_none_of_workers(folder: Path) -> None:
    """Each worker would leave out as many batches, and images would be lost without a word."""
    source = stream(folder)
    next(iter(source))
    source.load_state_dict(source.state_dict())
    batches: Any = iter(DataLoader(source, batch_size=None, num_workers=2))
    with pytest.raises(ValueError, match="in the middle of a pass of 1 workers, got 2"):
        next(batches)
    batches._shutdown_workers()  # which hang for seconds where the garbage collector finds them


def test_a_stream_can_be_sent(folder: Path) -> None:
    """As to processes that are spawned, with its place."""
    source = stream(folder)
    next(iter(source))
    sent = pickle.loads(pickle.dumps(source))
    assert sent.state_dict() == source.state_dict()
    assert numbers(sent) == numbers(source)


def test_kinds_of_shards(folder: Path) -> None:
    """Files, mapped arrays, parts of these, and raw bytes are read as they are."""
    paths = [folder / f"{i}.npy" for i in range(4)]
    PIXELS[:50, 0].tofile(folder / "raw.bytes")
    raw = np.memmap(folder / "raw.bytes", np.uint8, "r", offset=16 * 10, shape=(40, 4, 4))
    kinds: dict[str, tuple[Any, list[int]]] = {
        "a list of paths": (paths, list(range(N))),
        "strings": ([str(path) for path in paths[2:]], list(range(701, N))),
        "one file": (paths[0], list(range(700))),
        "maps": ([np.load(path, mmap_mode="r") for path in paths], list(range(N))),
        "a part of a map": (np.load(paths[0], mmap_mode="r")[5:][3:20], list(range(8, 25))),
        "bytes without a header": (raw, list(range(10, 50))),
        "a file twice": ([paths[1], paths[1]], [700, 700]),
    }
    for name, (shards, expected) in kinds.items():
        source = data.Stream(shards, binarisation="none", shuffle=False, block=16)
        assert flat(numbers(source)) == expected, name
        assert (source.labels is None) is ("map" in name or "bytes" in name), name


def test_repr(folder: Path) -> None:
    share = stream(folder, name="numbers").shard(0, 2)
    assert repr(share) == (
        "Stream(numbers, 1034 × 1×4×4 in 4 shards, none, batches of 100, share 0 of 2)"
    )


def cut(path: Path, n: int = 10) -> None:
    path.write_bytes(path.read_bytes()[:-n])


def header(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut": (cut, "1.npy should have .* it was cut, or is still being written"),
    "cut in its header": (lambda p: p.write_bytes(p.read_bytes()[:30]), "1.npy is not a .npy file"),
    "longer": (lambda p: p.write_bytes(p.read_bytes() + b"12"), "1.npy should have"),
    "empty": (lambda p: p.write_bytes(b""), "1.npy is not a .npy file"),
    "text": (lambda p: p.write_text("1,2,3\n" * 20), "1.npy is not a .npy file"),
    "pickled": (lambda p: np.save(p, np.array([{}, 1], object), allow_pickle=True), "1.npy must hold bytes"),
    "floats": (lambda p: np.save(p, np.zeros((9, 1, 4, 4), np.float32)), "must hold bytes .* got float32"),
    "another shape": (lambda p: np.save(p, np.zeros((9, 1, 4, 5), np.uint8)), r"1.npy holds images of the shape \(1, 4, 5\), and .*0.npy \(1, 4, 4\)"),
    "rows": (lambda p: np.save(p, np.zeros((9, 16), np.uint8)), r"1.npy: pixels must have the shape"),
    "channels last": (lambda p: np.save(p, np.zeros((9, 8, 8, 3), np.uint8)), "channels seem to come last"),
    "no image": (lambda p: np.save(p, np.zeros((0, 1, 4, 4), np.uint8)), "at least one image"),
    "one number": (lambda p: np.save(p, np.uint8(3)), "1.npy: pixels must have the shape"),
    "Fortran's order": (lambda p: np.save(p, np.asfortranarray(PIXELS[:9])), "Fortran's order"),
    "a huge shape": (lambda p: p.write_bytes(header("(99999999999999999999, 1, 4, 4)")), "1.npy should have"),
    "a negative shape": (lambda p: p.write_bytes(header("(-1, -1, 4, 4)") + bytes(16)), "1.npy should have"),
    "a shape of floats": (lambda p: p.write_bytes(header("(1.0, 1, 4, 4)") + bytes(16)), "1.npy is not a .npy file"),
    "a nested header": (lambda p: p.write_bytes(header("(" * 8000 + ")" * 8000)), "1.npy is not a .npy file"),
    "code": (lambda p: p.write_bytes(header("__import__('os').abort()")), "1.npy is not a .npy file"),
    "labels missing": (lambda p: p.with_name("2.labels.npy").unlink(), "2.labels.npy is not there"),
    "labels of floats": (lambda p: np.save(p.with_name("1.labels.npy"), np.zeros(1)), r"1.labels.npy must hold integers \(1,\)"),
    "labels too few": (lambda p: np.save(p.with_name("0.labels.npy"), np.zeros(699, int)), r"0.labels.npy must hold integers \(700,\)"),
    "labels cut": (lambda p: cut(p.with_name("0.labels.npy")), "0.labels.npy should have"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_shards_are_refused_by_name(folder: Path, name: str) -> None:
    spoil, message = BAD[name]
    spoil(folder / "1.npy")
    with pytest.raises(ValueError, match=message):
        stream(folder)


CALLS: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "an empty folder": (lambda p: data.Stream(_made(p / "new"), binarisation="none"), ValueError, "holds no .npy files"),
    "no shards": (lambda p: data.Stream([], binarisation="none"), ValueError, "at least one shard is needed"),
    "not there": (lambda p: data.Stream(p / "none", binarisation="none"), FileNotFoundError, "none"),
    "an array": (lambda p: data.Stream([PIXELS], binarisation="none"), TypeError, "got a ndarray; for what is in memory"),
    "a number": (lambda p: data.Stream([3], binarisation="none"), TypeError, "got a int"),
    "a copy-on-write map": (lambda p: data.Stream(np.load(p / "0.npy", mmap_mode="c"), binarisation="none"), ValueError, "mode 'c'"),
    "every second": (lambda p: data.Stream(np.load(p / "0.npy", mmap_mode="r")[::2], binarisation="none"), ValueError, "row after row"),
    "labels for one": (lambda p: data.Stream(p, [p / "0.labels.npy"], binarisation="none"), ValueError, "4 shards need as many of labels, got 1"),
    "binarisation": (lambda p: data.Stream(p, binarisation="no"), ValueError, "binarisation must be one of"),
    "batch_size": (lambda p: stream(p, batch_size=0), ValueError, "batch_size must be at least 1"),
    "block": (lambda p: stream(p, block=1.5), ValueError, "block must be a whole number"),
    "window": (lambda p: stream(p, window="8"), TypeError, "window must be a whole number"),
    "epoch": (lambda p: stream(p).set_epoch(-1), ValueError, "epoch must be at least 0"),
}  # fmt: skip


def _made(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("name", CALLS)
def test_bad_calls_are_refused(folder: Path, name: str) -> None:
    call, kind, message = CALLS[name]
    with pytest.raises(kind, match=message):
        call(folder)


CHANGES: dict[str, Callable[[Path], Any]] = {
    "cut": cut,
    "written anew": lambda p: np.save(p, pictures(300, 9)),
    "longer": lambda p: np.save(p, pictures(400)),
    "of another type": lambda p: np.save(p, np.zeros((300, 1, 4, 4))),
    "labels": lambda p: np.save(p.with_name("2.labels.npy"), np.ones(300, np.int16)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_shards_that_change_are_refused_by_name(folder: Path, name: str) -> None:
    source = stream(folder, shuffle=False, binarisation="dynamic")
    going = iter(source)
    next(going)
    CHANGES[name](folder / "2.npy")
    with pytest.raises(ValueError, match=r"2(.labels)?.npy has changed since the stream was made"):
        list(going)
    with pytest.raises(ValueError, match="has changed since"):
        evaluate(member("VAE"), source, particles=1, progress=False)


def test_a_shard_that_is_gone_is_named(folder: Path) -> None:
    source = stream(folder)
    (folder / "2.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"2\.npy"):
        list(source)


def test_labels_below_minus_one_are_refused_where_they_are_read(folder: Path) -> None:
    np.save(folder / "1.labels.npy", np.array([-2]))
    with pytest.raises(ValueError, match=r"1.labels.npy must hold classes from 0.* got -2"):
        list(stream(folder))
