"""Recipes are run over kills as without, and tables say what files of results say."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import pytest
import torch
from several import run_code

from benchmarks import documents
from benchmarks.quality import figures, results, tables
from benchmarks.quality.__main__ import RECIPES
from benchmarks.quality.recipe import Recipe
from benchmarks.quality.results import Found, found, runs_of
from benchmarks.quality.running import trained
from vaezoo.models import VAE

KILLED_AND_UNBROKEN = """
import functools, os, signal, sys
from pathlib import Path
import torch
from benchmarks.quality import running
from benchmarks.quality.muon import Muon
from benchmarks.quality.recipe import Recipe
from vaezoo import data, models, training

running.PART, folder = 10, Path(sys.argv[1])

def begin(model, images):
    with open(folder / "begun", "a") as file, torch.no_grad():
        print(os.getpid(), file=file)
        next(model.parameters()).add_(torch.randn(()))

def run(name, steps=200):
    recipe = Recipe(
        lambda: models.VAE(z_dim=2, hidden=(5,)),
        lambda seed: data.digits("train")[:500],
        lambda: data.digits("test")[:40],
        steps=steps, cycle=True, optimizer=Muon, compile=False, particles=(1, 20), start=begin,
    )
    running.run(recipe, "small", 3, 0.5, folder / name, folder / name)

def killed(when):
    if (child := os.fork()) == 0:
        when(lambda: os.kill(os.getpid(), signal.SIGKILL))
        run("killed")
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL

def in_training(kill):
    at_forty = lambda record: record["step"] >= 40 and kill()
    training.fit = functools.partial(training.fit, callback=at_forty)

def behind_a_part(kill):
    write = running._write
    running._write = lambda path, what: (write(path, what), path.stem == "part-1" and kill())

killed(in_training)
killed(behind_a_part)
run("killed")
run("unbroken")
run("unbroken", steps=100)
"""


def record(folder: Path) -> dict[str, object]:
    text = (folder / "small-3-budget-0.5.json").read_text(encoding="utf-8")
    return {k: v for k, v in json.loads(text).items() if not k.endswith("seconds")}


def test_killed_anywhere_it_gives_the_same_numbers(tmp_path: Path) -> None:
    done = run_code(KILLED_AND_UNBROKEN, str(tmp_path), folder=tmp_path)
    assert "was begun by another recipe: remove it, or go back" in done.stderr, done.stderr
    unbroken = record(tmp_path / "unbroken")
    assert record(tmp_path / "killed") == unbroken
    assert unbroken["steps"] == 100
    # what comes before training is done where training begins, and not where it goes on
    assert len((tmp_path / "begun").read_text().splitlines()) == 2


def test_weights_decay(tmp_path: Path) -> None:
    """By a tenth a step, the rate of 1e-3 times 100."""
    norms = []
    for decay in (0.0, 100.0):
        torch.manual_seed(0)
        recipe = Recipe(lambda: VAE(z_dim=2, hidden=(5,)), decay=decay, compile=False)
        model = recipe.member()
        trained(recipe, model, [torch.zeros(3, 1, 28, 28)], 10, tmp_path / f"{decay}")
        norms.append(next(model.parameters()).norm().item())
    assert norms[1] < 0.5 * norms[0]


def write(folder: Path, name: str, seed: int, budget: float, mean: float) -> None:
    metrics = {"nelbo": {"mean": mean, "stderr": 0.25, "n": 100}}
    record = {"name": name, "seed": seed, "budget": budget, "metrics": metrics}
    text = json.dumps(record | {"versions": {"vaezoo": "0.0.1" if seed == 2 else "0.2.0"}})
    (folder / f"{name}-{seed}-{budget}.json").write_text(text)


def test_seeds_are_averaged_and_budgets_said(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    assert found("a", "nelbo") is None
    assert runs_of("a") == "0"
    write(tmp_path, "a", 0, 0.5, 7.0)
    write(tmp_path, "a-b", 0, 1, 1.0)  # of another recipe
    assert str(found("a", "nelbo")) == "7.00 ± 0.25, reduced budget 0.5"
    for seed, mean in ((2, 3.0), (1, 5.0)):
        write(tmp_path, "a", seed, 1, mean)
    # the standard error of 5 and 3 over seeds is sqrt(2) / sqrt(2)
    assert str(found("a", "nelbo")) == "4.00 ± 0.25 ± 1.00"
    assert found("a", "nelbo") == Found((5.0, 3.0), 0.25, 1)
    assert found("a", "kl") is None
    assert runs_of("a") == "2, version 0.0.1"


def test_tables_name_recipes_and_recipes_stand_in_tables() -> None:
    groups = (tables.MEMBERS, tables.PARTS, tables.BOTH, tables.CHANGES, tables.PAPER)
    groups += tables.OTHERWISE, tables.FIXED, tables.LABELS
    named = {name for group in groups for name in group}
    named |= {f"{name}-cycle" for name in tables.BETTER} | {"gmvae-ten", "fsvae", "svhn"}
    named |= {f"{name}-fashion" for name in tables.MEMBERS}
    assert named == {*RECIPES}
    assert {*tables.SUMMARY} < {*RECIPES}


def test_the_figure_of_labels_has_what_was_measured() -> None:
    """Errors of the files, by number of labels, at their places."""
    files = [json.loads(f.read_text()) for f in results.RESULTS.glob("moved-100-*.json")]
    each = [100 - 100 * run["metrics"]["accuracy"]["mean"] for run in files]
    measured = figures.errors()
    moved = measured[tables.LABELS["moved-100"][1]][100]
    assert moved.mean == pytest.approx(statistics.mean(each))
    (axes,) = figures.against_labels(measured).axes
    drawn = [(x, y) for line in axes.lines for x, y in zip(*line.get_data(), strict=True)]
    assert (100, pytest.approx(moved.mean)) in drawn


def test_tables_come_between_their_marks() -> None:
    text = "a\n<!-- table x y -->\nold\n| 1 |\n<!-- end -->\nb <!-- end -->\n"
    once = documents.filled(text, {"x y": "| 2 |"})
    assert once == "a\n<!-- table x y -->\n| 2 |\n<!-- end -->\nb <!-- end -->\n"
    assert documents.filled(once, {"x y": "| 2 |"}) == once
    with pytest.raises(KeyError, match="x y"):
        documents.filled(text, {"x": ""})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "run which? name recipes, see `list`"),
        (["run", "vea"], "there is no recipe vea: see `list`"),
        (["run", "vae", "--budget", "2"], "--budget must be above 0 and at most 1, got 2"),
    ],
)
def test_a_wrong_command_is_refused(words, said, monkeypatch, capsys):
    from benchmarks.quality.__main__ import main

    monkeypatch.setattr(sys, "argv", ["quality", *words])
    with pytest.raises(SystemExit):
        main()
    assert said in capsys.readouterr().err
