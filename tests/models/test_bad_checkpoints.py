"""Hostile and damaged files, and those of another model: refused by name, and nothing is changed."""

from __future__ import annotations

import copy
import json
import pickle
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peaks import at_most
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, BadCall, member, refused

from vaezoo import CheckpointError, likelihoods, load, models, posteriors, priors, save
from vaezoo.models.checkpoints.allowance import Allowance


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[n]) for n, t in a.items())


def checkpoint(path: Path, description: Any, tensors: Any = (), **changes: Any) -> Path:
    """A file that no model wrote: text or JSON of a description, (name, dtype, shape, bytes)."""
    text = description if isinstance(description, str) else json.dumps(description)
    header: dict[str, Any] = {"__metadata__": {"vaezoo": "1", "model": text, **changes}}
    body = b""
    for name, dtype, shape, content in tensors:
        offsets = [len(body), len(body) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        body += content
    raw = json.dumps({k: v for k, v in header.items() if v is not None}).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + body)
    return path


def vae(**arguments: Any) -> dict[str, Any]:
    return {"class": "vaezoo.models.VAE", "arguments": arguments}


def part(name: str, **arguments: Any) -> dict[str, Any]:
    return {"class": f"vaezoo.{name}", "arguments": arguments}


def nested(depth: int) -> dict[str, Any]:
    description = part("priors.StandardNormal", z_dim=2)
    for _ in range(depth):
        description = part("posteriors.DiagonalNormal", x_shape=[2], z_dim=2, network=description)
    return description


HUGE = 10**9


LEAKY = "torch.nn.modules.activation.LeakyReLU"


HOSTILE: list[tuple[Any, str]] = [
    ("{", "its model is no JSON"),
    ("[" * 100_000 + "]" * 100_000, "its model is no JSON"),
    ('{"class": ' + "9" * 5000 + "}", "its model is no JSON"),
    (json.dumps(vae(hidden=[1] * 1_000_000)), "its model is too long"),
    ([1], "describes no model"),
    ("null", "describes no model"),
    ("3", "describes no model"),
    ({}, "describes no model"),
    ({"class": 3, "arguments": {}}, "describes no model"),
    ({"class": "vaezoo.models.VAE", "arguments": []}, "describes no model"),
    ({"type": LEAKY}, "describes no model"),
    (vae() | {"model": "a program"}, "replaced program"),
    (vae() | {"colour": 3}, "replaced program"),
    (vae(colour=1), "cannot be built: TypeError .*colour"),
    (vae(z_dim=-3), "cannot be built: ValueError"),
    (vae(z_dim=0), "cannot be built"),
    (vae(z_dim="3"), "cannot be built"),
    (vae(z_dim=None), "cannot be built"),
    (vae(z_dim=2.5), "cannot be built"),
    (vae(z_dim={"z": 3}), "describes no model"),
    (vae(z_dim=[3]), "cannot be built"),
    (vae(z_dim=2**60), "describes no model"),
    (vae(z_dim=HUGE), "larger than its 0 weights|cannot be built"),
    (vae(x_shape=[HUGE, HUGE, HUGE]), "larger than its 0 weights|cannot be built"),
    (vae(x_shape=[1, 60_000, 60_000]), "larger than its 0 weights"),
    (vae(hidden=[200_000, 200_000]), "larger than its 0 weights"),
    (vae(hidden=[1] * 9_000), "larger than its 0 weights"),
    (vae(hidden=[1] * 20_000), "describes no model"),
    (vae(hidden="300"), "cannot be built|other weights"),
    (vae(hidden=[float("nan")]), "cannot be built"),
    (vae(hidden=[float("inf")]), "cannot be built"),
    (vae(prior=part("posteriors.DiagonalNormal", x_shape=[1, 28, 28], z_dim=10)), "TypeError"),
    (vae(prior=part("priors.StandardNormal")), "cannot be built"),
    (vae(prior=part("priors.StandardNormal", z_dim=HUGE)), "larger than its 0 weights"),
    (vae(prior=part("priors.MixtureOfGaussians", z_dim=10, k=HUGE)), "larger than its 0"),
    (vae(prior=part("priors.VampPrior", x_shape=[HUGE], z_dim=10)), "larger than its 0"),
    (vae(prior=part("priors.Flow", z_dim=10, layers=HUGE, hidden=[16])), "larger than its 0"),
    (vae(posterior=part("networks.MLP", in_shape=[3], hidden=[3], out_shape=[3])), "TypeError"),
    (part("networks.MLP", in_shape=[2], hidden=[2], out_shape=[HUGE]), "larger than its 0"),
    (part("networks.Conv", in_shape=[1, 2, 2], hidden=[HUGE], out_shape=[2]), "larger than its 0"),
    (part("networks.MLP", in_shape=[2], hidden=[2], out_shape=[2], activation=3), "TypeError"),
    (
        part("networks.MLP", in_shape=[2], hidden=[2], out_shape=[2])
        | {"arguments": {"activation": {"partial": LEAKY, "arguments": 3, "keywords": {}}}},
        "describes no model",
    ),
    (vae(posterior=nested(10)), "cannot be built"),
    (nested(30), "nested more than 20 deep"),
    (part("models.torch"), "part from outside vaezoo, vaezoo.models.torch"),
    (part("models.Tensor"), "part from outside vaezoo"),
    (part("models.base.VAE"), "part from outside vaezoo"),
    (part("priors.Callable"), "part from outside vaezoo"),
    (part("priors.Prior"), "part from outside vaezoo"),
    (part("models.LatentVariableModel"), "part from outside vaezoo"),
    ({"class": "os.system", "arguments": {"command": "true"}}, "part from outside vaezoo, os.sys"),
    ({"class": "antigravity.VAE", "arguments": {}}, "part from outside vaezoo, antigravity"),
    (vae(prior={"type": "torch.nn.functional"}), "part from outside vaezoo, torch.nn.functional"),
    (vae(prior={"type": "x.ELU"}), "part from outside vaezoo, x.ELU"),
    (vae(prior={"object": "<function f>"}), "part from outside vaezoo, <function f>"),
    (vae(), "has other weights than the model: likelihood"),
]


@pytest.mark.parametrize(("description", "message"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_descriptions(description: Any, message: str, tmp_path: Path) -> None:
    """A file without weights is refused as it is read, and what it asks for is not allocated."""
    path = checkpoint(tmp_path / "a.safetensors", description)
    with at_most(500e6), pytest.raises(CheckpointError, match=f"^{path} .*({message})"):
        load(path)


MIXTURE = part("priors.MixtureOfGaussians", z_dim=2, k=1)


ZEROS = [("loc", "F32", [1, 2], bytes(8)), ("raw_scale", "F32", [1, 2], bytes(8))]


FILES: list[tuple[Callable[[Path], Any], str]] = [
    (lambda p: p.write_bytes(b""), "damaged or no safetensors file"),
    (lambda p: p.write_bytes(b"\xff" * 100), "damaged or no safetensors file: its header is too"),
    (lambda p: p.write_bytes(pickle.dumps({"weights": 1})), "damaged or no safetensors file"),
    (lambda p: p.write_bytes(struct.pack("<Q", 100)), "damaged or no safetensors file"),
    (lambda p: p.write_bytes(struct.pack("<Q", 2) + b"{}"), r"not written by vaezoo.save"),
    (lambda p: checkpoint(p, vae(), vaezoo="2"), r"not written by vaezoo.save \(format 1\)"),
    (lambda p: checkpoint(p, vae(), vaezoo=1), "damaged or no safetensors file"),
    (lambda p: p.write_bytes(p.read_bytes().replace(b'"model"', b'"modem"')), "model is missing"),
    (lambda p: checkpoint(p, MIXTURE, ZEROS[:1]), "has other weights than the model: raw_scale"),
    (lambda p: checkpoint(p, MIXTURE, [*ZEROS, ("more", "U8", [1], b"0")]), "other weights.*more"),
    (lambda p: checkpoint(p, MIXTURE, [ZEROS[0], ("raw_scale", "F32", [2], bytes(8))]), "other w"),
    (lambda p: checkpoint(p, MIXTURE, [ZEROS[0], ("raw_scale", "I32", [1, 2], bytes(8))]), "other"),
    (
        lambda p: checkpoint(p, MIXTURE, [ZEROS[0], ("raw_scale", "C64", [1, 2], bytes(16))]),
        "(other weights|damaged)",  # older versions of safetensors do not know these two
    ),
    (
        lambda p: checkpoint(p, MIXTURE, [ZEROS[0], ("raw_scale", "F8_E4M3", [1, 2], b"00")]),
        "(other weights|damaged)",
    ),
    (lambda p: checkpoint(p, MIXTURE, [("loc", "F32", [2**40], bytes(8))]), "damaged or no safe"),
    (lambda p: checkpoint(p, MIXTURE, ZEROS, frozen="{"), "its frozen is no JSON"),
    (lambda p: checkpoint(p, MIXTURE, ZEROS, frozen="{}"), "its frozen is no list of names"),
    (lambda p: checkpoint(p, MIXTURE, ZEROS, frozen="[[]]"), "its frozen is no list of names"),
    (lambda p: checkpoint(p, MIXTURE, ZEROS, frozen='["logits"]'), "freezes what .* not have: log"),
]


@pytest.mark.parametrize(("write", "message"), FILES, ids=range(len(FILES)))
def test_damaged_files(write: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    """Refused, and a model that was to be filled is as it was."""
    model = priors.MixtureOfGaussians(2, k=1)
    path, before = save(model, tmp_path / "a.safetensors"), copy.deepcopy(model.state_dict())
    write(path)
    for given in ((), (model,)):
        with pytest.raises(CheckpointError, match=f"^{path} .*{message}"):
            load(path, *given)
    assert equal(before, model.state_dict())
    assert all(p.requires_grad for p in model.parameters())


def test_weights_that_a_module_refuses_half_way(tmp_path: Path) -> None:
    """A user's module that raises while it loads: what was loaded before it is put back."""

    class Refuses(nn.Linear):
        def _load_from_state_dict(self, *args: Any) -> None:
            super()._load_from_state_dict(*args)
            raise OverflowError("not these")

    def build() -> posteriors.Classifier:
        return posteriors.Classifier((3,), 2, network=nn.Sequential(nn.Linear(3, 3), Refuses(3, 2)))

    path, model = save(build(), tmp_path / "a.safetensors"), build()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match="OverflowError not these"):
        load(path, model)
    assert equal(before, model.state_dict())


def test_an_allowance_counts_everything() -> None:
    """From nothing, from other tensors, and the number of operations."""
    calls: list[Callable[[], Any]] = [
        lambda: torch.arange(2**25),
        lambda: torch.zeros(1).new_zeros(2**25),
        lambda: torch.zeros(1).expand(2**28).clone(),
        lambda: torch.zeros(2**20, 1) @ torch.zeros(1, 2**20),
        lambda: torch.zeros(1).repeat(2**28),
        lambda: [torch.zeros(1) for _ in range(5_000)],
        lambda: [torch.zeros(2**22) for _ in range(5)],
    ]
    for call in calls:
        with (
            at_most(500e6),
            Allowance(10, 1),
            pytest.raises(CheckpointError, match="larger than its 10 weights"),
        ):
            call()
    with Allowance(2**25, 1):
        assert torch.arange(2**24).view(2, -1).shape == (2, 2**23)


def test_checkpoints_refuse_what_does_not_fit(tmp_path: Path) -> None:
    """Corrupt, foreign, pickled, or of another architecture: an error, and no weight changed."""
    path = save(member("VAE"), tmp_path / "vae.safetensors")
    other = member("VAE", z_dim=2)
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(
        CheckpointError, match=r"another model: model\.z_dim is 3 in the file and 2"
    ):
        load(path, other)
    assert all(torch.equal(before[n], t) for n, t in other.state_dict().items())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged or no safetensors file"):
        load(path)
    path.write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(CheckpointError, match="damaged or no safetensors file"):
        load(path)


def test_refused_weights_change_nothing(tmp_path: Path) -> None:
    """Descriptions agree on a user's network, its width does not: nothing is half loaded."""

    def build(width: int) -> models.VAE:
        network = nn.Sequential(
            nn.Linear(Z_DIM, width), nn.Linear(width, 16), nn.Unflatten(-1, X_SHAPE)
        )
        return member("VAE", likelihood=likelihoods.Bernoulli(Z_DIM, X_SHAPE, network=network))

    path, other = save(build(4), tmp_path / "a.safetensors"), build(5)
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(CheckpointError, match=r"other (model|weights)"):
        load(path, other)
    assert all(torch.equal(before[n], t) for n, t in other.state_dict().items())


def mutations(content: bytes, rng: random.Random, n: int) -> Iterator[bytes]:
    """Bytes changed, dropped and doubled; most of them in the header."""
    for _ in range(n):
        found = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 5))):
            i = rng.randrange(min(len(found), rng.choice((8, 2500, len(found)))))
            how = rng.randrange(4)
            if how == 0:
                found[i] = rng.randrange(256)
            elif how == 1:
                found[i] ^= 1 << rng.randrange(8)
            elif how == 2:
                del found[i : i + rng.randrange(1, 9)]
            else:
                found[i:i] = found[i : i + rng.randrange(1, 9)]
        yield bytes(found)


def test_mutated_files(tmp_path: Path) -> None:
    """300 of them, seed 0: loaded, or refused by name; nothing else is raised."""
    rng, path, refused = random.Random(0), tmp_path / "a.safetensors", 0
    names = ("adgm", "conv_mixture", "flows", "low_rank", "vamp_full")
    folder = Path(__file__).parent / "checkpoints"
    contents = [(folder / f"{name}.safetensors").read_bytes() for name in names]
    for content in contents:
        for mutated in mutations(content, rng, 60):
            path.write_bytes(mutated)
            try:
                load(path)
            except CheckpointError:
                refused += 1
    assert 250 < refused < 300


NO_FILES: list[BadCall] = [
    (lambda: load("nowhere.safetensors"), FileNotFoundError, "no checkpoint at nowhere"),
]  # fmt: skip


test_no_files = refused(NO_FILES)
