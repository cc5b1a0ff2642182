"""Hostile files and arrays for everything that reads some, and what came of each.

    python -m benchmarks.fuzz --seconds 60      # benchmarks/results/fuzz.json

Each input is made from a random generator: sound files with bytes changed, dropped, doubled or cut
off, and files that are made to be wrong, with huge or negative sizes, other types, deep JSON, paths
and classes from elsewhere. An input is read, or refused with the error that is documented; anything
else ("other", with the first few errors) is a fault. So are a hang (20 seconds), and an event that
Python's audit hooks report of code that was run, a process that was started or an address that was
asked for ("foreign"). The peak is of resident memory, above what the process had before the first
input. The seed is one number for each loader: the same inputs come again.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vaezoo import CheckpointError, load, models, priors, save
from vaezoo.data import Images, digits
from vaezoo.data.idx import read_idx
from vaezoo.data.svhn import read_svhn

RESULTS = Path(__file__).parent / "results"
HANG = 20  # seconds
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a disk would take most of the time
FOREIGN = (
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "socket.connect",
    "os.fork",
)
SIZES = (0, 1, 2, 3, 7, 28, 255, 65536, 2**31 - 1, 2**31, 2**32 - 1)
HUGE = (-1, 0, 1, 3, 10, 1000, 10**6, 10**9, 2**53, 2**63, 10**30, 1e308)


def damaged(rng: random.Random, content: bytes, head: int = 512) -> bytes:
    """The content with a few bytes changed, dropped, doubled, made huge or cut off."""
    found = bytearray(content)
    for _ in range(rng.randrange(1, 5)):
        if not found:
            break
        i = rng.randrange(min(len(found), rng.choice((8, head, len(found)))))
        how = rng.randrange(6)
        if how == 0:
            found[i] = rng.randrange(256)
        elif how == 1:
            found[i] ^= 1 << rng.randrange(8)
        elif how == 2:
            found[i : i + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(SIZES))
        elif how == 3:
            del found[i : i + rng.randrange(1, 9)]
        elif how == 4:
            found[i:i] = found[i : i + rng.randrange(1, 9)]
        else:
            del found[i:]
    return bytes(found)


def idx_file(rng: random.Random) -> bytes:
    """An idx file of a few bytes, sound or not, packed or not."""
    shape = [rng.choice((1, 2, 3, 5)) for _ in range(rng.randrange(1, 4))]
    body = bytes(int(np.prod(shape)))
    if rng.randrange(2):
        shape[rng.randrange(len(shape))] = rng.choice(SIZES)
    kind = rng.choice((8, 8, 8, 0, 9, 13, 255))
    head = bytes([0, 0, kind, rng.choice((len(shape), 0, 255))])
    content = head + struct.pack(f">{len(shape)}I", *shape) + body
    return damaged(rng, content, 16) if rng.randrange(2) else content


def packed_file(rng: random.Random) -> bytes:
    """The same packed by gzip, damaged before or after."""
    content = gzip.compress(idx_file(rng), 1)
    return damaged(rng, content, 20) if rng.randrange(2) else content


def mat_file(rng: random.Random) -> bytes:
    """A file of MATLAB level 5 with X and y, damaged in its elements or as a whole."""
    n = rng.choice((1, 2, 3))
    shape = [32, 32, 3, n]
    if not rng.randrange(3):
        shape[rng.randrange(4)] = rng.choice(SIZES) % 2**31
    elements = []
    for name, values, sizes in (("X", bytes(3072 * n), shape), ("y", bytes([10] * n), [n, 1])):
        inner = _element(6, struct.pack("<II", rng.choice((9, 9, 9, 6, 1, 0x809)), 0))
        inner += _element(5, struct.pack(f"<{len(sizes)}i", *sizes))
        inner += _element(1, rng.choice((name, name, name, "../x", "é")).encode()[:60])
        inner += _element(rng.choice((2, 2, 2, 1, 9, 14)), values)
        content = _element(14, damaged(rng, inner, 64) if not rng.randrange(3) else inner)
        if rng.randrange(2):
            packed = zlib.compress(content, 1)
            content = _element(15, damaged(rng, packed) if not rng.randrange(3) else packed)
        elements.append(content)
    whole = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"".join(elements)
    return damaged(rng, whole, 220) if not rng.randrange(3) else whole


def _element(kind: int, content: bytes) -> bytes:
    padding = b"" if kind == 15 else bytes(-len(content) % 8)
    return struct.pack("<II", kind, len(content)) + content + padding


def npz_file(rng: random.Random) -> bytes:
    """An archive with the names of the digits that ship, of few images."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as z:
        for name, shape in (("pixels", [2, 28, 28]), ("labels", [2])):
            values = bytes(int(np.prod(shape)))
            if not rng.randrange(3):
                shape[rng.randrange(len(shape))] = rng.choice(HUGE[:-1])
            kind = rng.choice(("|u1", "|u1", "|u1", "<f8", "|O", "__import__('os')"))
            head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {tuple(shape)}}}"
            head = rng.choice((head, head, head, "[" * 2000, "os.system('true')"))
            length = struct.pack("<H", len(head))
            member = b"\x93NUMPY\x01\x00" + length + head.encode() + values
            member = damaged(rng, member, 64) if not rng.randrange(3) else member
            z.writestr(f"{rng.choice(('test', 'test', 'test', '../test'))}_{name}.npy", member)
    content = stream.getvalue()
    return damaged(rng, content) if not rng.randrange(3) else content


def checkpoint_file(rng: random.Random) -> bytes:
    """A file of safetensors: a sound one that is damaged, or one with a hostile description."""
    if rng.randrange(2):
        return damaged(rng, rng.choice(_sound()), 2500)
    text = rng.choice(("[" * 50_000, '{"a":' * 5000, "null", "{", "9" * 5000))
    if rng.randrange(8):
        text = json.dumps(_description(rng, 0))
    version = rng.choice(("1", "1", "1", "1", "0", "2", "", "1e9"))
    frozen = rng.choice(("[]", "[]", "[]", '["a"]', "{}", "[[]]", "[" * 10_000))
    metadata: dict[str, Any] = {"vaezoo": version, "model": text, "frozen": frozen}
    header: dict[str, Any] = {"__metadata__": metadata}
    body = bytes(rng.choice((0, 4, 8, 64)))
    for i in range(rng.randrange(4)):
        shape = [rng.choice(HUGE[:-2]) for _ in range(rng.randrange(4))]
        ends = [rng.choice((0, 4, len(body), 2**40, -1)) for _ in range(2)]
        name = rng.choice(("prior.loc", "../../etc/passwd", f"w{i}", "é" * 50))
        kind = rng.choice(("F32", "F32", "I64", "BF16", "F8_E4M3", "X"))
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": ends}
    raw = json.dumps(header).encode()
    length = rng.choice((len(raw), len(raw), len(raw), len(raw), 2**22, 2**63, 0))
    return struct.pack("<Q", length) + raw + body


CLASSES = (
    "models.VAE", "models.GMVAE", "models.SSVAE", "models.HierarchicalVAE", "models.M1M2",
    "priors.StandardNormal", "priors.MixtureOfGaussians", "priors.VampPrior", "priors.Flow",
    "posteriors.DiagonalNormal", "posteriors.Flow", "posteriors.LowRankNormal", "networks.MLP",
    "networks.Conv", "likelihoods.Normal", "likelihoods.Categorical", "models.LatentVariableModel",
)  # fmt: skip
ARGUMENTS = (
    "x_shape", "z_dim", "hidden", "k", "layers", "rank", "classes", "levels", "prior", "posterior",
    "likelihood", "network", "in_shape", "out_shape", "activation", "variance", "self",
    "__class__",
)  # fmt: skip


def _description(rng: random.Random, depth: int) -> Any:
    """Of a model, or of an argument of one, right or wrong."""
    how = rng.randrange(10) if depth < 4 else rng.randrange(5, 10)
    if depth == 0 or how < 4:
        name = f"vaezoo.{rng.choice(CLASSES)}" if rng.randrange(8) else "os.system"
        names = rng.sample(ARGUMENTS, rng.randrange(5))
        return {"class": name, "arguments": {n: _description(rng, depth + 1) for n in names}}
    if how == 4:
        layer = rng.choice(("activation.LeakyReLU", "linear.Linear", "dropout.Dropout", "x.Y"))
        values = [_description(rng, depth + 1) for _ in range(rng.randrange(3))]
        name = f"torch.nn.modules.{layer}" if rng.randrange(4) else "builtins.eval"
        return {"partial": name, "arguments": values, "keywords": {}}
    if how == 5:
        return [rng.choice(HUGE) for _ in range(rng.randrange(5))]
    if how == 6:
        return rng.choice(({"type": "torch.nn.modules.linear.Linear"}, {"object": "x"}, {}, [[]]))
    return rng.choice((*HUGE, "3", "../../x", None, True, "relu"))


_files: list[bytes] = []


def _sound() -> list[bytes]:
    """Checkpoints of small members, in bytes."""
    if not _files:
        torch.manual_seed(0)
        small: dict[str, Any] = {"x_shape": (1, 4, 4), "z_dim": 3, "hidden": (8,)}
        prior = priors.VampPrior((1, 4, 4), 3, k=4)
        zoo = [models.VAE(**small), models.VAE(prior=prior, **small), models.SSVAE(**small)]
        with tempfile.TemporaryDirectory() as folder:
            paths = [save(m, f"{folder}/{i}.safetensors") for i, m in enumerate(zoo)]
            _files.extend(path.read_bytes() for path in paths)
    return _files


def arrays(rng: random.Random) -> tuple[Any, Any]:
    """Pixels and labels of any type and shape that are not too large to be made."""
    shape = [rng.choice((0, 1, 2, 3, 28)) for _ in range(rng.randrange(6))]
    kinds = ("uint8", "uint8", "uint8", "int64", "float32", "bool", "complex64", "O", "U3", "M8[s]")
    pixels: Any = np.zeros(shape, rng.choice(kinds))
    how = rng.randrange(8)
    if how == 0:
        pixels = pixels.tolist()
    elif how == 1 and pixels.dtype.kind in "uifb":
        pixels = torch.as_tensor(pixels)
    elif how == 2:
        pixels = rng.choice((None, 3, "pixels", {}, object(), pixels.T, pixels[..., None]))
    n = rng.choice((0, 1, 2, 3, 28))
    labels = rng.choice(
        (None, [0] * n, list(range(n)), [-1] * n, [-7] * n, [2**70] * n, [float("nan")] * n,
         np.zeros((n, 1)), np.zeros(n, "uint64"), ["a"] * n, [[0]] * n, torch.zeros(n), 3)
    )  # fmt: skip
    return pixels, labels


class Loader(NamedTuple):
    """What is fuzzed: how an input is made, how it is read, and the errors that are documented."""

    made: Callable[[random.Random], Any]
    read: Callable[[Any, Path], Any]
    errors: tuple[type[Exception], ...]


def _read_with(read: Callable[[Path], Any], name: str) -> Callable[[Any, Path], Any]:
    def reading(content: bytes, folder: Path) -> Any:
        file = folder / name
        file.write_bytes(content)
        return read(file)

    return reading


def _digits(file: Path) -> Any:
    module = sys.modules["vaezoo.data.digits"]
    usual, module.FILE = module.FILE, file  # type: ignore[attr-defined]
    try:
        return digits("test")
    finally:
        module.FILE = usual  # type: ignore[attr-defined]


def _images(given: Any, folder: Path) -> Any:
    images = Images(*given, binarisation="threshold")
    return images.tensors(), repr(images)


LOADERS = {
    "load": Loader(checkpoint_file, _read_with(load, "a.safetensors"), (CheckpointError,)),
    "idx": Loader(idx_file, _read_with(read_idx, "a"), (ValueError,)),
    "idx.gz": Loader(
        packed_file, _read_with(lambda f: read_idx(f.with_suffix("")), "b.gz"), (ValueError,)
    ),
    "mat": Loader(mat_file, _read_with(read_svhn, "a.mat"), (ValueError,)),
    "npz": Loader(npz_file, _read_with(_digits, "a.npz"), (OSError,)),
    "Images": Loader(arrays, _images, (ValueError, TypeError)),
}


def outcome(loader: Loader, given: Any, folder: Path) -> str:
    """What came of one input: "loaded", "refused", or the error that is a fault."""
    try:
        loader.read(given, folder)
    except loader.errors:
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "loaded"


def _late(*_: Any) -> None:
    raise TimeoutError(f"no answer in {HANG} seconds")


def fuzz(name: str, seconds: float, most: int, seed: int) -> dict[str, Any]:
    """Inputs to one loader until the time is over, and the counts of what came of them."""
    rng, counts, faults = random.Random(seed), Counter[str](), list[str]()
    loader, start, before = LOADERS[name], time.monotonic(), _peak()
    usual = signal.signal(signal.SIGALRM, _late)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        while counts.total() < most and time.monotonic() - start < seconds:
            given = loader.made(rng)
            signal.alarm(HANG)
            kind = outcome(loader, given, Path(folder))
            signal.alarm(0)
            counts[kind if kind in ("loaded", "refused") else "other"] += 1
            faults += [kind] if kind not in ("loaded", "refused") and len(faults) < 20 else []
    signal.signal(signal.SIGALRM, usual)
    counts["foreign"] = len(_seen)
    return {
        "inputs": counts["loaded"] + counts["refused"] + counts["other"],
        **{kind: counts[kind] for kind in ("loaded", "refused", "other", "foreign")},
        "seconds": round(time.monotonic() - start, 1),
        "peak MiB above": round((_peak() - before) / 1024, 1),
        "faults": faults,
    }


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB


_seen: list[str] = []


def _listen(event: str, arguments: Any) -> None:
    if event in FOREIGN:
        _seen.append(event)


def main() -> Iterator[str]:
    """Fuzz each loader, and write what came of it after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="for each loader")
    parser.add_argument("--most", type=int, default=100_000, help="inputs for each loader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=LOADERS, action="append")
    parser.add_argument("--out", type=Path, default=RESULTS / "fuzz.json")
    options = parser.parse_args()
    _sound()
    sys.addaudithook(_listen)
    kept = json.loads(options.out.read_text()) if options.only and options.out.exists() else {}
    found: dict[str, Any] = kept | {"seed": options.seed, "torch": torch.__version__}
    for name in options.only or LOADERS:
        found[name] = fuzz(name, options.seconds, options.most, options.seed)
        options.out.write_text(json.dumps(found, indent=1) + "\n")
        yield f"{name}: {found[name]}"


if __name__ == "__main__":
    for line in main():
        print(line, flush=True)
