"""The peers of benchmarks/speed do the same work as vaezoo, and its command runs."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch

from benchmarks import compiling
from benchmarks.peers import batches, handwritten
from benchmarks.peers.building import build
from benchmarks.peers.tasks import TASKS as ALL
from benchmarks.peers.tasks import member
from vaezoo import Bound, data, objectives

ROOT = Path(__file__).parents[2]
SIZE = 20
HAND = ("by hand, in memory", "by hand, fused Adam", "by hand, fused Adam, CPU tuned")
STOCK = [
    ("VAE", "Trace_ELBO"),
    ("VAE", "JitTrace_ELBO"),
    ("GMVAE", "Trace_ELBO"),
    ("IWAE-50", "RenyiELBO"),
    ("SSVAE", "TraceEnum_ELBO"),
    ("FSVAE", "Trace_ELBO"),
]
TASKS = ("VAE", "GMVAE", "IWAE-50", "SSVAE", "FSVAE")


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The peers on the built-in digits, with noise that depends on its shape alone."""
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)  # as a download that failed leaves it
    monkeypatch.setenv("VAEZOO_DATA", str(tmp_path))
    monkeypatch.setattr(torch, "randn_like", lambda t: noise(t.shape))
    monkeypatch.setattr(
        torch.distributions.normal, "_standard_normal", lambda shape, dtype, device: noise(shape)
    )
    with pyro.validation_enabled(False):
        yield
    pyro.clear_param_store()


def noise(shape: Any) -> torch.Tensor:
    return 1.3 * (0.7 * torch.arange(torch.Size(shape).numel())).sin().reshape(shape)


def expected(task: str, objective: objectives.Objective | None = None) -> float:
    bound = Bound(member(task), objective or ALL[task].objective())
    (batch,) = batches.in_memory(task, SIZE, number=1)
    shape = ALL[task].x_shape
    images = [t if t.dtype == torch.long else t.reshape(-1, *shape) for t in batch]
    return bound(*images)["loss"].item()


def first(monkeypatch: pytest.MonkeyPatch, task: str, name: str) -> float:
    """A peer's loss on the batch of `expected`, before its first step."""
    one = batches.in_memory(task, SIZE, number=1)
    monkeypatch.setattr(batches, "in_memory", lambda *_: one)
    return build(task, name, SIZE)(1)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", HAND)
def test_by_hand_the_loss_is_vaezoos(peers, monkeypatch, task, name):
    assert list(ALL) == list(TASKS)
    wanted = expected(task)
    assert first(monkeypatch, task, name) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_by_hand_training_goes_where_vaezoos_goes(peers, task):
    hand = build(task, "by hand, fused Adam", SIZE)
    ours = build(task, "vaezoo, eager", SIZE)
    assert hand(5) == pytest.approx(ours(5), rel=1e-3)


@pytest.mark.parametrize(("task", "name"), STOCK)
def test_stock_pyro_estimates_the_same_bound(peers, monkeypatch, task, name):
    assert name in ALL[task].stock
    sampled = objectives.IWELBO(1)  # stock objectives draw the KL
    if task == "SSVAE":
        sampled = objectives.SemiSupervised(sampled)
    wanted = expected(task, None if task == "IWAE-50" else sampled)
    assert first(monkeypatch, task, name) == pytest.approx(wanted, rel=1e-4)


# vmap gives the particles of IWAE-50 the same noise, whatever comes from outside
@pytest.mark.parametrize("task", [task for task in TASKS if task != "IWAE-50"])
def test_numpyro_has_the_loss_of_vaezoo(peers, monkeypatch, task):
    pytest.importorskip("numpyro")
    import jax

    from benchmarks.peers import with_numpyro

    given = lambda key, shape=(), dtype=None: jax.numpy.asarray(noise(shape).numpy())  # noqa: E731
    monkeypatch.setattr(jax.random, "normal", given)
    programs, wanted = with_numpyro.Programs(task), expected(task)
    (batch,) = batches.in_memory(task, SIZE, number=1)
    key = jax.random.PRNGKey(0)
    arrays = [jax.numpy.asarray(t.numpy()) for t in batch]
    loss = programs.objective().loss(key, {}, programs.model, programs.guide, *arrays)
    assert float(loss) / SIZE == pytest.approx(wanted, rel=1e-4)


def test_the_loader_yields_what_images_hold(peers):
    for images in (data.digits("test"), data.colour_digits("test", n=3)):
        x, y = handwritten.Pictures(images.pixels, images.labels)[2]
        assert torch.equal(x, images.pixels[2] / 255)
        assert y == images.labels[2]
    loader = handwritten.loaded(images.pixels, images.labels, 2, binary=True)
    x, y = next(loader)
    assert x.shape == (2, 3072)
    assert sorted(x.unique().tolist()) == [0, 1]


@pytest.mark.parametrize(("value", "ends"), [(3, False), (10**7, True)])
def test_growth_ends_where_memory_does(value: int, ends: bool) -> None:
    """Ten million particles of a hundred images do not fit in two GiB."""
    asked = {"what": "growth", "axis": "particles", "value": value, "peer": "seed", "gib": 2}
    command = [sys.executable, "-m", "benchmarks.speed.fresh", json.dumps(asked | {"threads": 1})]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert found == {"ended": True} if ends else found["seconds"] > 0 and found["mib"] > 0


def test_the_command_writes_json_table_and_figure(tmp_path):
    asked = [
        "--quick",
        "steps",
        "floor",
        "epoch",
        "--tasks",
        "VAE",
        "--batches",
        "20",
        "--rounds",
        "2",
    ]
    asked += [
        "--peers",
        "vaezoo, eager",
        "vaezoo, compiled",
        "--threads",
        "1",
        "--out",
        str(tmp_path),
    ]
    environment = {**os.environ, "VAEZOO_DATA": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.speed", *asked]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True, text=True)
    record = json.loads((tmp_path / "speed.json").read_text())
    setting = record["steps"]["VAE, 20, cpu"]
    assert setting["rounds"] == 2
    names = {HAND[0], "vaezoo, eager", "vaezoo, compiled"}
    assert {n: len(t) for n, t in setting["seconds"].items()} == dict.fromkeys(names, 2)
    counted = record["floor"]["operations"]["VAE, 20"]
    assert 0.9 * counted["by hand"] < counted["vaezoo"] <= counted["by hand"]
    profile = record["floor"]["profiles"]["VAE, 20, float32"]
    assert 0 < profile["products"] < profile["step"]
    table = (tmp_path / "speed.md").read_text()
    assert "| epoch on MNIST, data included | by hand, DataLoader | 0.35 | not me" in table
    assert (tmp_path / "speed.png").stat().st_size > 1000


@pytest.mark.parametrize(("part", "module", "name"), [*compiling.TIMED, *compiling.LATE])
def test_what_is_timed_of_a_compilation_is_there(part: str, module: str, name: str) -> None:
    assert part in compiling.PARTS
    assert callable(getattr(importlib.import_module(f"vaezoo.compiler.{module}"), name))


def test_a_run_of_the_benchmark_of_choices(peers: None) -> None:
    """Seconds, and what was compiled: nothing of three steps."""
    asked = ["--run", "VAE", "3", "chosen", "--threads", "1"]
    command = [sys.executable, "-m", "benchmarks.choosing", *asked]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert 0 < found["seconds"] < 600
    assert found["steps"] == "eager"
