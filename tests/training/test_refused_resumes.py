"""A run that cannot go on from its checkpoint: the model and all else stay as they were."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from zoo import fixed, member

from vaezoo import data, fit
from vaezoo.training import Checkpoints, KeepBest, ResumeError, steps
from vaezoo.training.state import state_of

PIXELS = (fixed(16) * 255).to(torch.uint8)


class Refusing:
    """Batches that know which they are, and take no place in others."""

    def __init__(self, of: str) -> None:
        self.of = of

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(fixed(16).split(8))

    def state_dict(self) -> dict[str, Any]:
        return {"of": self.of}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state != self.state_dict():
            raise ValueError("these are other batches")


class Counting:
    """A callback that is of another kind now."""

    def __init__(self, kind: str) -> None:
        self.kind, self.seen = kind, 0

    def __call__(self, record: dict[str, float]) -> None:
        self.seen += 1

    def state_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]
        if state["kind"] != self.kind:
            raise RuntimeError("of another kind")


def streamed(folder: Path, *, seed: int) -> data.Stream:
    if not (folder / "shards").exists():
        data.write_shards(folder / "shards", [PIXELS], shard_size=8)
    return data.Stream(folder / "shards", batch_size=8, binarisation="threshold", seed=seed)


# what is given first, what then, and what is said
CASES: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any], str]] = {
    "a stream of another seed": (
        lambda p: {"data": streamed(p, seed=0)},
        lambda p: {"data": streamed(p, seed=1)},
        "of another stream: seed",
    ),
    "data of ones own": (
        lambda p: {"data": Refusing("one")},
        lambda p: {"data": Refusing("another")},
        "these are other batches",
    ),
    "a callback": (
        lambda p: {"callback": Counting("one")},
        lambda p: {"callback": Counting("another")},
        "of another kind",
    ),
}


def run(folder: Path, n: int, model: Any, **options: Any) -> Any:
    settings = {"data": fixed(16).split(8), "log_every": 1, **options}
    return fit(model, settings.pop("data"), steps=n, checkpoint=folder, every=2, progress=False,
               compile=False, **settings)  # fmt: skip


def everything(model: Any) -> list[torch.Tensor]:
    return [*copy.deepcopy(model.state_dict()).values(), torch.get_rng_state()]


@pytest.mark.parametrize("case", CASES)
def test_what_is_refused_changes_nothing(case: str, tmp_path: Path) -> None:
    before, now, said = CASES[case]
    run(tmp_path / "run", 4, member("VAE"), **before(tmp_path))
    mine, options = member("VAE"), now(tmp_path)
    kept = everything(mine)
    with pytest.raises(ResumeError, match=f"step-000000004.*{re.escape(said)}"):
        run(tmp_path / "run", 8, mine, **options)
    assert all(map(torch.equal, everything(mine), kept))
    if "callback" in options:
        assert options["callback"].seen == 0


def test_a_state_that_fails_by_hand_changes_nothing() -> None:
    """Of weights, optimizer, rates, records and the place in the data, whichever it breaks at."""
    first = steps(member("VAE"), fixed(16).split(8), steps=9, log_every=2, compile=False)
    for taken in first:
        if taken.step == 5:
            break
    given = copy.deepcopy(first.state_dict())
    for part in ("batches", "records", "optimizer", "weights"):
        broken = {**given, part: {"strange": 0}}
        again = steps(member("VAE"), fixed(16).split(8), steps=9, log_every=2, compile=False)
        before = everything(again.bound.model)
        with pytest.raises(Exception, match=r"\w"):
            again.load_state_dict(broken)
        assert all(map(torch.equal, everything(again.bound.model), before)), part
        assert not state_of(again)["optimizer"]["state"]
        assert (again.recorder.steps, dict(again.history)) == (0, {})
    again.load_state_dict(given)
    assert again.recorder.steps == 5


@pytest.mark.parametrize("n", range(40))
def test_a_changed_bit_is_found(n: int, tmp_path: Path) -> None:
    """Anywhere in the header or in the tensors."""
    vae = member("VAE")
    run(tmp_path, 2, vae, average=0.9, callback=KeepBest(vae, term="loss"))
    (file,) = Checkpoints(tmp_path).files()
    content = bytearray(file.read_bytes())
    place = int(np.random.default_rng(n).integers(8, len(content)))
    content[place] ^= 1 << n % 8
    file.write_bytes(content)
    mine = member("VAE")
    kept = everything(mine)
    with pytest.raises(ResumeError, match="step-000000002"):
        run(tmp_path, 4, mine, average=0.9, callback=KeepBest(mine, term="loss"))
    assert all(map(torch.equal, everything(mine), kept))


def test_a_file_without_a_checksum_is_read(tmp_path: Path) -> None:
    """As they were before there was one."""
    run(tmp_path, 2, member("VAE"))
    (file,) = Checkpoints(tmp_path).files()
    with safe_open(file, "pt") as opened:
        header = {n: t for n, t in opened.metadata().items() if n != "checksum"}
        assert len(header) == len(opened.metadata()) - 1
    save_file(load_file(file), file, metadata=header)
    assert run(tmp_path, 4, member("VAE"))["step"] == [1, 2, 3, 4]
