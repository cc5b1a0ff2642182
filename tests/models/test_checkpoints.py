"""Checkpoints: there and back, hostile and damaged files, and saving beside other savers."""

from __future__ import annotations

import copy
import functools
import json
import os
import pickle
import random
import resource
import stat
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peaks import at_most
from small import X_SHAPE, Z_DIM, member
from torch import Tensor, nn

from vaezoo import CheckpointError, likelihoods, load, models, networks, posteriors, priors, save
from vaezoo.models.checkpoints.allowance import Allowance

# written by vaezoo 0.1.0: repr, sum of the absolute weights
BEFORE = {
    "adgm": ("p(a|x, z, y) = DiagonalNormal(2)", 84.305081),
    "conv_mixture": ("p(z) = MixtureOfGaussians(3, k=3)", 43.219868),
    "flows": ("p(z) = Flow(3, layers=2)", 158.498909),
    "low_rank": ("q(z|x, y) = LowRankNormal(3, rank=1)", 62.722326),
    "vamp_full": ("p(z) = VampPrior(3, k=3)", 124.512760),
}
FOLDER = Path(__file__).parent / "checkpoints"


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[n]) for n, t in a.items())


def with_activation(activation: Any) -> models.VAE:
    network = networks.MLP((Z_DIM,), (4,), X_SHAPE, activation=activation)
    return member("VAE", likelihood=likelihoods.Bernoulli(Z_DIM, X_SHAPE, network=network))


# There and back


@pytest.mark.parametrize("name", BEFORE)
def test_checkpoints_of_before(name: str) -> None:
    """Built anew, and into a model that describes itself as the file of before does."""
    part, weights = BEFORE[name]
    model = load(FOLDER / f"{name}.safetensors")
    assert part in repr(model)
    total = sum(t.double().abs().sum().item() for t in model.state_dict().values())
    assert total == pytest.approx(weights, abs=1e-6)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    assert load(FOLDER / f"{name}.safetensors", other) is other
    assert equal(other.state_dict(), model.state_dict())
    assert all(p.requires_grad for p in model.parameters())


def test_a_partial_of_before_needs_its_model() -> None:
    """Files of before hold its repr, which nothing can be built from."""
    path = FOLDER / "partial.safetensors"
    with pytest.raises(CheckpointError, match=r"part from outside vaezoo, functools\.partial"):
        load(path)
    network = networks.MLP((3,), (4,), (1, 4, 4), activation=functools.partial(nn.LeakyReLU, 0.2))
    likelihood = likelihoods.Bernoulli(3, (1, 4, 4), hidden=(4,), network=network)
    model = load(path, models.VAE((1, 4, 4), 3, hidden=(4,), likelihood=likelihood))
    total = sum(t.double().abs().sum().item() for t in model.state_dict().values())
    assert total == pytest.approx(40.400365, abs=1e-6)


NUMBERS: list[Callable[[], models.VAE]] = [
    lambda: models.VAE(X_SHAPE, Z_DIM, hidden=(np.int64(8),)),
    lambda: models.VAE(torch.Size(X_SHAPE), Z_DIM, hidden=[8]),
    lambda: models.VAE(np.array(X_SHAPE), Z_DIM, hidden=np.array([8])),
    lambda: models.VAE(X_SHAPE, Z_DIM, hidden=(8,), beta=np.float32(0.5)),
    lambda: models.GMVAE(X_SHAPE, Z_DIM, hidden=(8,), k=np.int64(5)),
    lambda: models.IWAE(X_SHAPE, Z_DIM, hidden=(8,), particles=np.asarray(4)),
    lambda: member("VAE", prior=priors.MixtureOfGaussians(Z_DIM, k=3, learn_weights=np.bool_(True))),
    lambda: member("VAE", prior=priors.MixtureOfGaussians(np.int64(Z_DIM), k=np.int32(3))),
    lambda: member("VAE", likelihood=likelihoods.Normal(Z_DIM, X_SHAPE, variance=np.float64(0.5))),
    lambda: with_activation(functools.partial(nn.LeakyReLU, negative_slope=np.float64(0.2))),
    lambda: with_activation(functools.partial(functools.partial(nn.Dropout, 0.25), inplace=True)),
    lambda: with_activation(nn.Identity),
]  # fmt: skip


@pytest.mark.parametrize("build", NUMBERS, ids=range(len(NUMBERS)))
def test_what_json_has_no_word_for(build: Callable[[], models.VAE], tmp_path: Path) -> None:
    """NumPy's numbers and torch's sizes come back as plain ones, partials as partials."""
    model = build()
    twin = load(save(model, tmp_path / "a.safetensors"))
    assert repr(twin) == repr(model)
    assert equal(twin.state_dict(), model.state_dict())
    assert load(tmp_path / "a.safetensors", model) is model  # both describe themselves alike
    assert type(twin.beta) is float
    assert {type(n) for n in (*twin.x_shape, *twin.hidden, twin.z_dim)} == {int}
    x = torch.zeros(1, Z_DIM)
    assert torch.equal(twin.eval().likelihood(x).mean, model.eval().likelihood(x).mean)


def named() -> nn.Module:
    return nn.LeakyReLU(0.2)


@pytest.mark.parametrize(
    "activation",
    [named, lambda: nn.ELU(), functools.partial(named), functools.partial(nn.Softplus, np.ones(2))],
)
def test_functions_are_refused_at_once(activation: Any, tmp_path: Path) -> None:
    model = with_activation(nn.ELU)
    model.likelihood.network.activation = activation
    message = r"likelihood\.network\.activation is .*no file can hold: .*partial\(nn.LeakyReLU, 0.2"
    with pytest.raises(TypeError, match=message):
        save(model, tmp_path / "deep" / "a.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: save("a.safetensors", member("VAE")), "takes a model first, got a str"),
        (lambda: save(member("VAE"), 3), "expected a path, got a int"),
        (lambda: load(member("VAE")), "expected a path, got a VAE"),
        (lambda: load("a.safetensors", "b"), "takes a model second, got a str"),
    ],
)
def test_swapped_arguments(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


class Mine(nn.Module):
    """A network from outside, with arguments of all kinds."""

    def __init__(self, act: Any, sizes: Any) -> None:
        super().__init__()
        self.act, self.sizes = act, sizes
        self.linear = nn.Linear(Z_DIM, 16)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.act(self.linear(z)).unflatten(-1, X_SHAPE)
        return out


def test_networks_from_outside_hold_what_they_like(tmp_path: Path) -> None:
    """Functions, sets, tensors: saved, and filled into the same network made anew."""

    def build(act: Any) -> models.VAE:
        network = Mine(act, {"a": np.zeros(3), "b": torch.ones(2)})
        return member("VAE", likelihood=likelihoods.Bernoulli(Z_DIM, X_SHAPE, network=network))

    model = build(lambda h: h.relu())
    path = save(model, tmp_path / "a.safetensors")
    assert " at 0x" not in path.read_bytes().decode(errors="replace")
    with pytest.raises(CheckpointError, match=r"part from outside vaezoo, test_checkpoints\.Mine"):
        load(path)
    assert equal(load(path, build(lambda h: h.relu())).state_dict(), model.state_dict())
    with pytest.raises(CheckpointError, match=r"network.act.* is .*lambda.* file and .*tanh"):
        load(path, build(torch.tanh))


def test_a_state_that_is_no_tensor(tmp_path: Path) -> None:
    class Counts(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"calls": 3}

    model = posteriors.Classifier((3,), 2, network=Counts(3, 2))
    with pytest.raises(TypeError, match=r"network._extra_state is a dict, which no file can hold"):
        save(model, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_plain_layer_as_network(tmp_path: Path) -> None:
    """`nn.Linear` keeps a parameter under the name of an argument, which says nothing of it."""

    def build() -> Any:
        return posteriors.Classifier((3,), 2, network=nn.Linear(3, 2))

    model, twin = build(), build()
    load(save(model, tmp_path / "a.safetensors"), twin)
    assert equal(model.state_dict(), twin.state_dict())


def test_frozen_flags(tmp_path: Path) -> None:
    """They come back; what is frozen in a given model stays frozen."""
    m1 = member("VAE")
    model = models.M1M2.from_m1(m1, 2, classes=3, upper_hidden=(4,))
    model.prior.requires_grad_(False)
    path = save(model, tmp_path / "a.safetensors")
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    assert len(set(flags.values())) == 2
    twin = load(path)
    assert {n: p.requires_grad for n, p in twin.named_parameters()} == flags
    twin.requires_grad_(True)
    twin.classifier.requires_grad_(False)
    found = {n: p.requires_grad for n, p in load(path, twin).named_parameters()}
    assert found == {n: f and not n.startswith("classifier") for n, f in flags.items()}


# Saving


def forked(function: Callable[[], object]) -> int:
    """The number of a child process that runs the function and ends; status 0 if it returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside pytest's threads
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        function()
        status = 0
    finally:
        os._exit(status)


def test_processes_save_to_one_path(tmp_path: Path) -> None:
    """300 saves by two processes: none fails, and whoever reads meanwhile reads one whole file."""
    path, made = tmp_path / "a.safetensors", []
    for value in (1.0, 2.0):
        made.append(member("VAE"))
        with torch.no_grad():
            for p in made[-1].parameters():
                p.fill_(value)
    save(made[0], path)
    running = {forked(lambda m=m: [save(m, path) for _ in range(150)]) for m in made}
    read = []
    while running:
        read.append({t.flatten()[0].item() for t in load(path, made[0]).state_dict().values()})
        for child in list(running):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                assert status == 0
                running.remove(child)
    assert {frozenset(values) for values in read} <= {frozenset({1.0}), frozenset({2.0})}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_save_that_fails_leaves_nothing(failing: str, tmp_path: Path, monkeypatch: Any) -> None:
    """A full disk at any moment: the older file stays, and no unfinished one."""
    path = save(member("VAE"), tmp_path / "a.safetensors")
    before = path.read_bytes()
    if failing == "write":
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    else:
        owner = os if failing == "fsync" else Path

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(owner, failing, full)
    try:
        with pytest.raises(OSError, match=r"space|large"):
            save(member("VAE"), path)
    finally:
        if failing == "write":
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("folder", "pipe", "link"):
        with pytest.raises(OSError, match="cannot save to what is no file"):
            save(member("VAE"), tmp_path / name)
        with pytest.raises(CheckpointError, match="is no file"):
            load(tmp_path / name)
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "pipe", "link"}


def test_modes(tmp_path: Path) -> None:
    """An older file keeps its mode, a new one follows the umask."""
    path = tmp_path / "a.safetensors"
    before = os.umask(0o027)
    try:
        assert stat.S_IMODE(save(member("VAE"), path).stat().st_mode) == 0o640
        for mode in (0o600, 0o664, 0o444):
            path.chmod(mode)
            assert stat.S_IMODE(save(member("VAE"), path).stat().st_mode) == mode
    finally:
        os.umask(before)


def test_links_are_replaced_and_not_followed(tmp_path: Path) -> None:
    """Neither at the path itself, nor where a name for the unfinished file could be foreseen."""
    other, path = tmp_path / "other", tmp_path / "a.safetensors"
    other.write_text("precious")
    for name in (path.name, f"{path.name}.partial"):
        (tmp_path / name).symlink_to(other)
    assert not save(member("VAE"), path).is_symlink()
    assert other.read_text() == "precious"
    load(path)


def test_home_and_text(tmp_path: Path, monkeypatch: Any) -> None:
    """`~` is the home, a text is a path, and names may be as long as the system takes them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert save(member("VAE"), "~/deep/a.safetensors") == tmp_path / "deep" / "a.safetensors"
    load("~/deep/a.safetensors")
    load(save(member("VAE"), tmp_path / ("a" * 255)))
    with pytest.raises(FileNotFoundError, match="no checkpoint at ~nobody-of-that-name"):
        load("~nobody-of-that-name/a.safetensors")


# Bad files


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
    contents = [(FOLDER / f"{name}.safetensors").read_bytes() for name in sorted(BEFORE)]
    for content in contents:
        for mutated in mutations(content, rng, 60):
            path.write_bytes(mutated)
            try:
                load(path)
            except CheckpointError:
                refused += 1
    assert 250 < refused < 300


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


def test_checkpoints_of_unusual_models(tmp_path: Path) -> None:
    """Double weights stay double; tied weights are saved."""
    path = save(member("VAE").double(), tmp_path / "double.safetensors")
    assert next(load(path).parameters()).dtype == torch.float64
    tied = member("SSVAE")
    tied.classifier.network.first[1].weight = tied.posterior.network.first[1].weight
    twin = load(save(tied, tmp_path / "tied.safetensors"))
    assert torch.equal(
        twin.classifier.network.first[1].weight, tied.posterior.network.first[1].weight
    )


def test_checkpoint_of_parts_from_elsewhere(tmp_path: Path) -> None:
    """A part that vaezoo does not know is built by the user and filled; never imported."""

    class Mine(priors.StandardNormal):
        pass

    path = save(member("VAE", prior=Mine(3)), tmp_path / "mine.safetensors")
    with pytest.raises(CheckpointError, match=r"part from outside vaezoo, .*Mine: build the model"):
        load(path)
    filled = load(path, member("VAE", prior=Mine(3)))
    assert isinstance(filled.prior, Mine)


@pytest.mark.parametrize("name", ["VAE", "GMVAE", "IWAE", "SSVAE", "FSVAE"])
def test_checkpoint_round_trip(name: str, tmp_path: Path) -> None:
    """Class, sizes, swapped parts and every weight come back; the file holds no pickle."""
    model = member(name)
    if not model.classes:
        model.prior = priors.MixtureOfGaussians(Z_DIM, k=3, learn_weights=True)
        model.posterior = posteriors.DiagonalNormal(
            X_SHAPE, Z_DIM, network=networks.Conv(X_SHAPE, (4,), (2, Z_DIM))
        )
    path = save(model, tmp_path / "deep" / f"{name}.safetensors")
    twin = load(path)
    assert type(twin) is getattr(models, name)
    assert repr(twin) == repr(model)
    assert all(torch.equal(t, twin.state_dict()[n]) for n, t in model.state_dict().items())
    assert [p.name for p in path.parent.iterdir()] == [path.name]
