"""The README: its code runs, and its tables are what the benchmark wrote."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest
import torch
from pyro import infer

from benchmarks import agreement, flows, gradients
from benchmarks.quality import tables
from benchmarks.speed import report
from vaezoo import models

ROOT = Path(__file__).parents[2]
KS = (1, 10, 100, 1000)
README = (ROOT / "README.md").read_text()


def test_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The twenty lines, as they stand, but for fewer steps; then those on Pyro's own tools."""
    pytest.importorskip("graphviz")
    twenty, tools = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(twenty.strip().splitlines()) <= 22
    monkeypatch.chdir(tmp_path)
    Path("lines.py").write_text(twenty.replace("steps=500", "steps=20") + tools)
    found = runpy.run_path("lines.py")
    printed = capsys.readouterr().out
    assert "p(z) = StandardNormal(10)" in printed
    assert re.search(r"niwae-100 +\d+\.\d+ ± \d+\.\d+ nats", printed)
    assert Path("outputs/vae.safetensors").is_file()
    assert "z -> x" in printed
    assert found["drawn"].shape == (3, *found["x"].shape)
    assert not torch.equal(found["drawn"][0], found["x"])
    ours, pyros = map(float, printed.splitlines()[-1].split())
    assert 0.6 < ours / pyros < 1.6  # a draw each, and means both: a sum is five times as much


def test_why_a_program_has_to_be_freed_of_its_data() -> None:
    """The fact that the README warns of: an observed x comes back as it was given."""
    vae, x = models.VAE((1, 4, 4), 2, hidden=(3,)), torch.ones(5, 1, 4, 4)
    found = infer.Predictive(vae.model, guide=vae.guide, num_samples=3, return_sites=("x",))(x)
    assert torch.equal(found["x"], x.expand(3, *x.shape))


def test_tables_are_the_committed_ones() -> None:
    """Every line of the tables stands in the README, and they say what the JSON says."""
    results = ROOT / "benchmarks/results"
    rows = json.loads((results / "gradients.json").read_text())["rows"]
    for name, table in (("quality", tables.table()), ("gradients", gradients.table(rows))):
        assert (results / f"{name}.md").read_text() == table
        assert table.strip() in README


def test_flows_are_as_fast_as_it_says() -> None:
    """The sentence on flows, and their table, from the JSON."""
    results = ROOT / "benchmarks/results"
    rows = json.loads((results / "flows.json").read_text())["rows"]
    assert (results / "flows.md").read_text() == flows.table(rows)
    assert [row["batch"] for row in rows] == [100, 1000]
    zuko, pyro = ([f"{row['ratio'][name]:.2f}" for row in rows] for name in ("zuko", "Pyro"))
    said = f"zuko's takes {zuko[0]} and {zuko[1]} of its time, Pyro's {pyro[0]} and {pyro[1]}"
    assert said in " ".join(README.split())


def test_flows_of_all_libraries_are_one_size() -> None:
    sizes = {sum(p.numel() for p in m.parameters()) for m in flows.flows().values()}
    assert sizes == {82_000}


def test_speed_is_what_was_measured() -> None:
    """speed.md and agreement.md say what their JSON says, and the README what speed.md says."""
    results = ROOT / "benchmarks/results"
    record = json.loads((results / "speed.json").read_text())
    assert (results / "speed.md").read_text() == report.table(record)
    assert report.summary(record) in README
    compared = json.loads((results / "agreement.json").read_text())
    assert (results / "agreement.md").read_text() == agreement.table(compared)
    assert agreement.table(compared).strip() in README


def test_results_meet_the_targets() -> None:
    """What the project promises of the seed's recipe, read from the committed results."""

    def metric(task: str, name: str) -> float:
        results = json.loads((ROOT / f"benchmarks/results/{task}.json").read_text())
        return float(results["metrics"][name]["mean"])

    assert metric("vae", "nelbo") <= 100.5
    assert metric("gmvae", "nelbo") <= 98.0
    assert metric("iwae", "niwae-1000") < metric("vae", "niwae-1000")
    others = ("weights", "vamp", "flow", "full", "lowrank", "iaf")
    for task in ("vae", "gmvae", "iwae", *others):
        falling = [metric(task, f"niwae-{k}") for k in KS]
        assert falling == sorted(falling, reverse=True)
    best = {task: metric(task, "niwae-1000") for task in ("vae", "gmvae", "vamp", "flow")}
    assert min(best["vamp"], best["flow"]) < best["gmvae"]
    assert max(best["vamp"], best["flow"]) < best["vae"] - 1
    for styles in ("styles of real scenes", "styles from the prior"):
        assert metric("fsvae", f"read as asked, {styles}") >= 0.9
    for kind, target in (("ssvae", 0.92), ("moved", 0.97)):
        assert sum(metric(f"{kind}-{draw}", "accuracy") for draw in range(3)) / 3 >= target
