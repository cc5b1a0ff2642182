"""README and docs: their code runs, their links lead somewhere, their tables are what was measured."""

from __future__ import annotations

import ast
import doctest
import importlib.util
import json
import re
import runpy
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from pyro import infer
from torch.utils.data import DataLoader

from benchmarks import agreement, choosing, disentanglement, documents, flows, gradients, panel
from benchmarks.quality.results import found as measured
from benchmarks.quality.tables import tables
from benchmarks.speed import candidates, gpu, report
from vaezoo import Step, contract, likelihoods, models, networks, objectives, posteriors, priors

ROOT = Path(__file__).parents[2]
DERIVED_FROM = {
    *(likelihoods.Likelihood, models.LatentVariableModel, models.Part, objectives.Objective),
    *(objectives.Schedule, posteriors.Posterior, priors.Prior),
}
README = (ROOT / "README.md").read_text()
DOCS = {path.stem: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
INDEX = DOCS.pop("index")  # of the site
TEXTS = {"README.md": README, **{f"docs/{name}.md": text for name, text in DOCS.items()}}
TEXTS |= {name: (ROOT / name).read_text() for name in ("CHANGELOG.md", "CONTRIBUTING.md")}


def run(text: str, folder: Path, steps: int = 5) -> dict[str, Any]:
    """What the code of a text leaves, with as few steps as show that it runs."""
    lines = "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    (folder / "lines.py").write_text(re.sub(r"steps=\d+", f"steps={steps}", lines))
    left = runpy.run_path(str(folder / "lines.py"))
    for each in left.values():
        if isinstance(each, DataLoader):  # its processes hang where the garbage collector ends them
            each._iterator = None
    return left


def test_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120
    assert max(map(len, README.splitlines())) <= 240


def test_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The twenty lines, as they stand, but for fewer steps."""
    (twenty,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(twenty.strip().splitlines()) <= 22
    monkeypatch.chdir(tmp_path)
    run(README, tmp_path, steps=20)
    printed = capsys.readouterr().out
    assert "p(z) = StandardNormal(10)" in printed
    assert re.search(r"niwae-100 +\d+\.\d+ ± \d+\.\d+ nats", printed)
    assert Path("outputs/vae.safetensors").is_file()


def test_code_with_pyro_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("graphviz")
    monkeypatch.chdir(tmp_path)
    left = run(DOCS["pyro"], tmp_path)
    printed = capsys.readouterr().out
    assert "z -> x" in printed
    assert left["drawn"].shape == (3, *left["x"].shape)
    assert not torch.equal(left["drawn"][0], left["x"])
    ours, pyros = map(float, printed.splitlines()[-1].split())
    assert 0.6 < ours / pyros < 1.6  # a draw each, and means both: a sum is five times as much


@pytest.mark.parametrize("name", sorted(DOCS.keys() - {"pyro"}))
def test_code_of_docs_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled is traced alone, which takes seconds less."""
    monkeypatch.setattr(Step.compile, "__defaults__", ("eager",))
    monkeypatch.chdir(tmp_path)
    run(DOCS[name], tmp_path)


def test_the_example_prior_keeps_the_contract(tmp_path: Path) -> None:
    """The code in CONTRIBUTING, doctest included."""
    (code,) = re.findall(r"```python\n(.*?)```", TEXTS["CONTRIBUTING.md"], re.DOTALL)
    (tmp_path / "laplace.py").write_text(textwrap.dedent(code))
    names = runpy.run_path(str(tmp_path / "laplace.py"))
    prior = names["Laplace"](2)
    contract.check_prior(prior)
    assert repr(prior) == "Laplace(2)"
    found = doctest.DocTestFinder(recurse=False).find(names["Laplace"], "Laplace", globs=names)
    assert [doctest.DocTestRunner().run(example) for example in found] == [(0, 1)]


def anchors(text: str) -> set[str]:
    """What a forge calls the headings of a text in links."""
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    pictures = any((ROOT / "benchmarks/results").glob("*.png"))  # not in a source distribution
    for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", TEXTS[name]):
        if target.startswith("https://") or (target.endswith(".png") and not pictures):
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), f"{name} links to {target}"
        assert not anchor or anchor in anchors(path.read_text()), f"{name}: {target}#{anchor}"


def test_every_text_is_linked_from_the_readme() -> None:
    linked = set(re.findall(r"\]\(([^)]*)\)", README))
    assert {f"docs/{name}.md" for name in DOCS} <= linked, "README links to each of docs/"


def test_every_text_is_in_the_site() -> None:
    named = set(re.findall(r"^\w+$", INDEX, re.MULTILINE))
    assert DOCS.keys() <= named, "docs/index.md names each"


@pytest.mark.parametrize("room", [likelihoods, models, networks, objectives, posteriors, priors])
def test_the_tables_have_the_whole_catalogue(room: Any) -> None:
    """What can be made into a model, but for what is there to be derived from."""
    public = {getattr(room, name) for name in room.__all__} - DERIVED_FROM
    kinds = {t.__name__ for t in public if isinstance(t, type)}
    package = (ROOT / "PACKAGE.md").read_text()
    for text in (README, package):
        assert not {kind for kind in kinds if f"`{kind}" not in text}


def check_commands(code: str, where: str) -> None:
    """Every `make …`, `python -m …` and script in it is there."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z]+)", code)) <= {*targets}, where
    for module in re.findall(r"python3? -m ((?:vaezoo|benchmarks)[\w.]*\w)", code):
        assert importlib.util.find_spec(module), f"{where} runs {module}"
    for script in re.findall(r"python3? (\w+/\S+\.py)", code):
        assert (ROOT / script).is_file(), f"{where} runs {script}"


@pytest.mark.parametrize("name", TEXTS)
def test_commands_exist(name: str) -> None:
    """Those that stand in code."""
    blocks = re.findall(r"```\n(.*?)```", TEXTS[name], re.DOTALL)
    check_commands("\n".join(blocks + re.findall(r"`([^`\n]+)`", TEXTS[name])), name)


def test_commands_of_scripts_exist() -> None:
    """Those of the Makefile, and of the docstrings beside the library."""
    check_commands((ROOT / "Makefile").read_text().partition("\n")[2], "Makefile")
    for folder in ("benchmarks", "examples", "notebooks"):
        for path in (ROOT / folder).rglob("*.py"):
            check_commands(ast.get_docstring(ast.parse(path.read_text())) or "", str(path))


def test_why_a_program_has_to_be_freed_of_its_data() -> None:
    """The fact that docs/pyro.md warns of: an observed x comes back as it was given."""
    vae, x = models.VAE((1, 4, 4), 2, hidden=(3,)), torch.ones(5, 1, 4, 4)
    found = infer.Predictive(vae.model, guide=vae.guide, num_samples=3, return_sites=("x",))(x)
    assert torch.equal(found["x"], x.expand(3, *x.shape))


def test_tables_are_the_committed_ones() -> None:
    """README and docs/quality.md say what the JSON says."""
    for text in (README, DOCS["quality"]):
        assert "<!-- table " in text
        assert documents.filled(text, tables()) == text, "run `python -m benchmarks.quality table`"
    results = ROOT / "benchmarks/results"
    rows = json.loads((results / "gradients.json").read_text())["rows"]
    assert (results / "gradients.md").read_text() == gradients.table(rows)
    assert gradients.table(rows).strip() in DOCS["quality"]


def test_flows_are_as_fast_as_it_says() -> None:
    """The sentence on flows, and their table, from the JSON."""
    results = ROOT / "benchmarks/results"
    rows = json.loads((results / "flows.json").read_text())["rows"]
    assert (results / "flows.md").read_text() == flows.table(rows)
    assert [row["batch"] for row in rows] == [100, 1000]
    zuko, pyro = ([f"{row['ratio'][name]:.2f}" for row in rows] for name in ("zuko", "Pyro"))
    said = f"zuko's takes {zuko[0]} and {zuko[1]} of its time, Pyro's {pyro[0]} and {pyro[1]}"
    assert said in " ".join(DOCS["speed"].split())


def test_flows_of_all_libraries_are_one_size() -> None:
    sizes = {sum(p.numel() for p in m.parameters()) for m in flows.flows().values()}
    assert sizes == {82_000}


def test_speed_is_what_was_measured() -> None:
    """speed.md and agreement.md say what their JSON says, and README and docs what they say."""
    results = ROOT / "benchmarks/results"
    record = json.loads((results / "speed.json").read_text())
    assert (results / "speed.md").read_text() == report.table(record)
    assert report.summary(record) in DOCS["speed"]
    assert report.overview(record) in README
    on_gpu = json.loads((results / "speed_gpu.json").read_text())
    assert (results / "speed_gpu.md").read_text() == gpu.table(on_gpu)
    assert gpu.overview(on_gpu) in DOCS["speed"]
    compared = json.loads((results / "agreement.json").read_text())
    assert (results / "agreement.md").read_text() == agreement.table(compared)
    assert agreement.table(compared).strip() in DOCS["speed"]


def test_what_more_it_says_of_speed_was_measured() -> None:
    """On another processor, of ways that are not taken, and of what `fit` chooses."""
    results = ROOT / "benchmarks/results"
    other = json.loads((results / "speed_zen5.json").read_text())
    assert report.overview(other) in DOCS["speed"]
    assert report.summary(other) in DOCS["speed"]
    for script in (candidates, choosing):
        name = script.__name__.rpartition(".")[2]
        found = json.loads((results / f"{name}.json").read_text())
        assert (results / f"{name}.md").read_text().strip() == script.table(found)
        assert script.table(found) in DOCS["speed"]


def test_factors_are_as_far_apart_as_it_says() -> None:
    record = json.loads((ROOT / "benchmarks/results/disentanglement.json").read_text())
    assert disentanglement.table(record["rows"]) in DOCS["evaluation"]
    found: dict[tuple[str, float | None, str], list[float]] = {}
    for row in record["rows"]:
        for score in disentanglement.SCORES:
            found.setdefault((row["images"], row["beta"], score), []).append(row[score])
    assert {len(each) for each in found.values()} == {len(disentanglement.SEEDS)}
    for name in disentanglement.MEMBERS:  # as the sentences below the table say
        assert min(found[name, 4, "mig"]) < max(found[name, 1, "mig"])
        untrained, trained = (sum(found[name, b, "disentanglement"]) / 3 for b in (None, 1))
        assert trained <= untrained


def test_the_panel_answers_as_soon_as_it_says() -> None:
    record = json.loads((ROOT / "benchmarks/results/panel.json").read_text())
    assert panel.table(record) in DOCS["panel"]
    longest = {"slider": 100, "swap": 200, "answer": 100}  # milliseconds
    for name, limit in longest.items():
        assert record["milliseconds"][name]["median"] < limit


def test_results_meet_the_targets() -> None:
    """What the project promises of its recipes, means over seeds, read from the committed results."""
    for path in (ROOT / "benchmarks/results/quality").glob("*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        ks = sorted(int(key[6:]) for key in record["metrics"] if key.startswith("niwae-"))
        falling = [record["metrics"][f"niwae-{k}"]["mean"] for k in ks]
        assert falling == sorted(falling, reverse=True), path
    targets = {
        "vae-cycle": {"nelbo": 97.3, "niwae-1000": 94.2},
        "gmvae-cycle": {"nelbo": 95.0, "niwae-1000": 92.3},
        "flow-iaf": {"niwae-1000": 91.5},
    }
    for name, wanted in targets.items():
        assert all(mean(name, measure) <= target for measure, target in wanted.items())
    for styles in ("styles of real scenes", "styles from the prior"):
        assert mean("fsvae", f"read as asked, {styles}") >= 0.9
    for name, target in (("ssvae-100", 0.92), ("moved-100", 0.97), ("spread-100", 0.985)):
        assert mean(name, "accuracy") >= target


def mean(name: str, measure: str) -> float:
    each = measured(name, measure)
    assert each is not None
    return each.mean
