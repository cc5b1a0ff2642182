"""The examples, run as a reader runs them: their words, files and numbers, and what they refuse."""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import matplotlib.image
import numpy as np
import pytest
import torch
from several import run_script

import vaezoo
from vaezoo import data, models, plots
from vaezoo.evaluation import Estimate

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples"
SHARED = {"inputs", "outputs"}  # imported by the scripts, not run


class Example(NamedTuple):
    member: type
    main_picture: str
    images: Callable[..., data.Images]
    defaults: dict[str, Any]  # besides what all examples share, or in its place


EXAMPLES = {
    "vae_mnist": Example(
        models.VAE, "samples.png", data.digits, {"steps": 20_000, "z_dim": 10, "beta": 1.0}
    ),
    "gmvae_mnist": Example(
        models.GMVAE, "codes.png", data.digits, {"steps": 20_000, "z_dim": 10, "k": 500}
    ),
    "iwae_mnist": Example(
        models.IWAE, "samples.png", data.digits, {"steps": 20_000, "z_dim": 10, "particles": 10}
    ),
    "ssvae_mnist": Example(
        models.SSVAE,
        "style_by_content.png",
        data.digits,
        {"steps": 30_000, "z_dim": 12, "labels": 100, "alpha": 10.0, "batch_size": 50, "lr": 8e-3},
    ),
    "fsvae_svhn": Example(
        models.FSVAE,
        "style_by_content.png",
        data.colour_digits,
        {"steps": 50_000, "z_dim": 10, "svhn_file": None},
    ),
}
SHARED_DEFAULTS = {"data": "auto", "batch_size": 100, "lr": 1e-3, "seed": 0, "smoke": False}


class Run(NamedTuple):
    name: str
    folder: Path
    process: subprocess.CompletedProcess[str]

    @property
    def metrics(self) -> dict[str, Any]:
        return json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))


def start(
    name: str, *argv: str, folder: Path, anew: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a script in its own process, from elsewhere, with no data, no network and no warning.

    Python is started `anew`, or the process is forked from one that has imported vaezoo.
    """
    (folder / "data").mkdir(parents=True)
    env = os.environ | {"PYTHONPATH": str(ROOT), "VAEZOO_DATA": str(folder / "data")}
    env |= {"NO_PROXY": "", "no_proxy": "", "PYTHONIOENCODING": "utf-8"}
    for scheme in ("http_proxy", "https_proxy"):
        env[scheme] = env[scheme.upper()] = "http://127.0.0.1:9"  # a port where nobody listens
    path = FOLDER / f"{name}.py"
    if not anew:
        return run_script(path, *argv, folder=folder, env=env)
    command = [sys.executable, "-W", "error", str(path), *argv]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, encoding="utf-8", timeout=1200
    )


@pytest.fixture(scope="module", params=EXAMPLES)
def smoke(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    process = start(name, "--smoke", "--output", str(folder / "out"), folder=folder)
    assert process.returncode == 0, process.stderr
    return Run(name, folder / "out", process)


Script = Callable[..., ModuleType]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Script]:
    """Import an example into this process, with a command line, in an empty folder."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.chdir(tmp_path)

    def load(name: str, *argv: str) -> ModuleType:
        monkeypatch.setattr(sys, "argv", [str(FOLDER / f"{name}.py"), *argv])
        return importlib.import_module(name)

    yield load
    for name in SHARED | set(EXAMPLES):
        sys.modules.pop(name, None)


def exit_of(function: Callable[[], object]) -> Any:
    with pytest.raises(SystemExit) as caught:
        function()
    return caught.value.code


def test_every_script_is_covered():
    assert {path.stem for path in FOLDER.glob("*.py")} == SHARED | set(EXAMPLES) | {"gallery"}


def test_the_gallery_draws_every_figure(tmp_path):
    """A picture for each function of plots, and a film; those of docs/figures.md are among them."""
    process = start("gallery", *["--steps", "1", "--dpi", "40", "--output", "out"], folder=tmp_path)
    assert process.returncode == 0, process.stderr
    drawn = {path.name for path in (tmp_path / "out").iterdir()}
    names = set(plots.__all__) - {"LatentFilm"}
    assert {f"{name}.png" for name in names} | {"training.gif"} <= drawn
    for path in (tmp_path / "out").glob("*.png"):
        assert matplotlib.image.imread(path)[..., :3].std() > 0.02, f"{path.name} is blank"
    text = (ROOT / "docs/figures.md").read_text()
    assert set(re.findall(r"figures/([\w.]+)\)", text)) == drawn


def test_pictures_of_the_docs_are_small():
    """All of them that the page shows, and no others."""
    pictures = [path for path in (ROOT / "docs/figures").glob("*") if path.suffix != ".gif"]
    if not pictures:
        pytest.skip("not in a source distribution")
    shown = re.findall(r"figures/([\w.]+)\)", (ROOT / "docs/figures.md").read_text())
    assert sorted(shown) == sorted(p.name for p in (ROOT / "docs/figures").iterdir())
    assert sum(p.stat().st_size for p in (ROOT / "docs/figures").iterdir()) < 600_000


def test_it_ends_with_its_main_picture(smoke):
    last = Path(smoke.process.stdout.splitlines()[-1])
    assert last == smoke.folder / EXAMPLES[smoke.name].main_picture
    picture = matplotlib.image.imread(last)
    height, width = picture.shape[:2]
    assert height > 300
    assert width > 300
    assert picture[..., :3].std() > 0.05, "the picture is blank"


def test_it_writes_what_its_docstring_names(smoke, script):
    promised = re.findall(r"\w+\.(?:png|json|safetensors)", script(smoke.name).__doc__)
    assert {path.name for path in smoke.folder.iterdir()} == set(promised)
    for path in smoke.folder.glob("*.png"):
        assert matplotlib.image.imread(path).size > 0


def loaded(smoke, script):
    """The model that it left; one with a network from elsewhere is built by its script."""
    path, example = smoke.folder / "model.safetensors", script(smoke.name)
    built = [example.member(12)] if smoke.name == "ssvae_mnist" else []
    return vaezoo.load(path, *built)


def test_it_tells_the_five_steps_and_the_model(smoke, script):
    out = smoke.process.stdout
    assert re.findall(r"^(\d)\. ", out, re.MULTILINE) == list("12345")
    assert repr(loaded(smoke, script)) in out
    assert "5/5" in smoke.process.stderr, "there is no progress bar"


def test_metrics_are_finite_and_consistent(smoke):
    found = smoke.metrics["metrics"]
    for name, estimate in found.items():
        assert set(estimate) == {"mean", "stderr", "n"}
        assert all(math.isfinite(value) for value in estimate.values())
        assert estimate["stderr"] > 0, name
        assert estimate["n"] == 100
    mean = {name: estimate["mean"] for name, estimate in found.items()}
    assert mean["nelbo"] == pytest.approx(mean["kl"] - mean["rec"])
    assert mean["niwae-5"] <= mean["niwae-1"]
    assert ("accuracy" in mean) == (smoke.name == "ssvae_mnist")


def test_the_table_shows_the_metrics(smoke):
    for name, estimate in smoke.metrics["metrics"].items():
        if name == "accuracy":
            name, estimate = "accuracy, %", {k: 100 * v for k, v in estimate.items()}
        shown = Estimate(estimate["mean"], estimate["stderr"], 100)
        assert re.search(rf"^{name} +{shown}  ", smoke.process.stdout, re.MULTILINE)


def test_metrics_say_what_was_run(smoke):
    record, example = smoke.metrics, EXAMPLES[smoke.name]
    recipe = SHARED_DEFAULTS | example.defaults
    recipe |= {"smoke": True, "steps": 5, "particles_eval": [1, 5], "output": str(smoke.folder)}
    assert {name: record["arguments"][name] for name in recipe} == recipe
    train, test = record["data"]["train"], record["data"]["test"]
    assert train["name"] == f"{example.images.__name__} train"
    assert test["name"] == f"{example.images.__name__} test"
    assert (train["size"], test["size"]) == (1000, 100)
    assert train["binarisation"] == ("none" if smoke.name == "fsvae_svhn" else "dynamic")
    assert record["fallback"] is None, "smoke asks for built-in data: that is no fallback"
    assert record["versions"]["vaezoo"] == vaezoo.__version__
    assert record["versions"]["torch"] == torch.__version__
    assert record["steps"] == record["history"]["step"][-1] == 5
    assert record["seconds"] > 0


def test_the_checkpoint_gives_the_metrics_back(smoke, script):
    model = loaded(smoke, script)
    assert type(model) is EXAMPLES[smoke.name].member
    test = data.digits("test")[:100]
    if smoke.name == "fsvae_svhn":
        test = data.colour_digits("test", n=100)
    found = vaezoo.evaluate(model, test, particles=(1, 5), progress=False)
    for name, estimate in smoke.metrics["metrics"].items():
        assert found[name].mean == pytest.approx(estimate["mean"], rel=1e-4), name
        assert found[name].stderr == pytest.approx(estimate["stderr"], rel=1e-3), name


@pytest.mark.parametrize("name", EXAMPLES)
def test_defaults_are_as_documented(script, name):
    args = vars(script(name).arguments())
    expected = SHARED_DEFAULTS | EXAMPLES[name].defaults | {"output": Path("outputs") / name}
    assert {option: args[option] for option in expected} == expected
    assert {1, 10, 100} <= set(args["particles_eval"])
    assert set(args) == set(expected) | {"particles_eval", "device"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_help_explains_every_option(script, capsys, name):
    example = script(name, "--help")
    assert exit_of(example.main) == 0
    text = capsys.readouterr().out
    assert example.__doc__.strip() in text
    options = text.partition("\noptions:\n")[2]
    given = {*SHARED_DEFAULTS, *EXAMPLES[name].defaults, "output", "particles_eval", "device"}
    for option in given:
        flag = "--" + option.replace("_", "-")
        assert re.search(rf"^  {flag}\b.*?\s{{2,}}\w", options, re.MULTILINE), flag


@pytest.mark.parametrize(
    ("name", "argv", "message"),
    [
        ("vae_mnist", "--steps 0", "--steps: must be a whole number of at least 1, got '0'"),
        ("vae_mnist", "--steps many", "--steps: must be a whole number of at least 1, got 'many'"),
        ("vae_mnist", "--steps 1.5", "--steps: must be a whole number of at least 1, got '1.5'"),
        ("vae_mnist", "--batch-size -1", "--batch-size: must be a whole number of at least 1"),
        ("vae_mnist", "--z-dim 0", "--z-dim: must be a whole number of at least 1"),
        ("vae_mnist", "--lr 0", "--lr: must be a number above 0, got '0'"),
        ("vae_mnist", "--lr nan", "--lr: must be a number above 0, got 'nan'"),
        ("vae_mnist", "--lr inf", "--lr: must be a number above 0, got 'inf'"),
        ("vae_mnist", "--seed -1", "--seed: must be a whole number of at least 0, got '-1'"),
        ("vae_mnist", f"--seed {2**63}", "--seed: must be a whole number"),
        ("vae_mnist", "--particles-eval 10 0", "--particles-eval: must be a whole number"),
        ("vae_mnist", "--particles-eval", "--particles-eval: expected at least one argument"),
        ("vae_mnist", "--device tpu", "--device: must be cpu or cuda, got 'tpu'"),
        ("vae_mnist", "--data svhn", "--data: invalid choice: 'svhn'"),
        ("vae_mnist", "--beta -1", "--beta: must be a number of at least 0, got '-1'"),
        ("vae_mnist", "--beta nan", "--beta: must be a number of at least 0, got 'nan'"),
        ("vae_mnist", "--particles 5", "unrecognized arguments: --particles 5"),
        ("vae_mnist", "--output FILE", "--output: must be a folder, and "),
        ("vae_mnist", "--output FILE/new", "--output: must be a folder, and "),
        ("gmvae_mnist", "--k 0", "--k: must be a whole number of at least 1, got '0'"),
        ("iwae_mnist", "--particles 0", "--particles: must be a whole number of at least 1"),
        ("ssvae_mnist", "--labels 95", "--labels: must be a positive multiple of the 10 classes"),
        ("ssvae_mnist", "--labels 0", "--labels: must be a positive multiple of the 10 classes"),
        ("ssvae_mnist", "--alpha -1", "--alpha: must be a number of at least 0, got '-1'"),
        ("fsvae_svhn", "--data mnist", "--data: invalid choice: 'mnist'"),
        ("fsvae_svhn", "--svhn-file no.mat", "--svhn-file: must be a file, and there is none at"),
        ("fsvae_svhn", "--smoke --svhn-file FILE", "--svhn-file cannot go with --smoke"),
        (
            "fsvae_svhn",
            "--data colour-digits --svhn-file FILE",
            "--svhn-file cannot go with --smoke or --data colour-digits",
        ),
    ],
)
def test_bad_arguments_are_refused(script, capsys, tmp_path, name, argv, message):
    assert exit_of(script(name, *argv.replace("FILE", __file__).split()).main) == 2
    out, error = capsys.readouterr()
    assert message in error
    assert out == ""
    assert not list(tmp_path.iterdir()), "a refused command left files"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(script, capsys):
    assert exit_of(script("vae_mnist", "--device", "cuda").main) == 2
    assert "--device: torch sees no GPU here" in capsys.readouterr().err


def test_a_refusal_ends_the_process_with_2(tmp_path):
    process = start("vae_mnist", "--steps", "0", folder=tmp_path)
    assert process.returncode == 2
    assert "Traceback" not in process.stderr


def test_without_a_network_it_says_so_loudly(tmp_path):
    argv = ("--steps", "1", "--particles-eval", "1")
    process = start("vae_mnist", *argv, folder=tmp_path, anew=True)
    assert process.returncode == 0, process.stderr
    framed = [line for line in process.stderr.splitlines() if re.fullmatch(r"\*.*\*", line)]
    assert len({len(line) for line in framed}) == 1
    text = " ".join(line.strip("* ") for line in framed)
    assert "NOT THE FULL MNIST: these are the 10,000 digits that ship with vaezoo" in text
    assert "MNIST could not be loaded" in text
    assert f"into {tmp_path / 'data' / 'MNIST' / 'raw'}" in text
    record = Run("vae_mnist", tmp_path / "outputs" / "vae_mnist", process).metrics
    assert record["fallback"].startswith("MNIST could not be loaded")
    assert record["data"]["train"]["name"] == "digits train"
    assert record["data"]["train"]["size"] == 10_000
    assert record["data"]["test"]["size"] == 2_000


def raising(error: Exception) -> Callable[..., data.Images]:
    def loader(*_: object, **__: object) -> data.Images:
        raise error

    return loader


LOADERS = [("mnist_or_digits", "mnist"), ("svhn_or_colour_digits", "svhn")]


@pytest.mark.parametrize(("function", "loader"), LOADERS)
@pytest.mark.parametrize("kind", [ConnectionError, FileNotFoundError, ModuleNotFoundError])
def test_data_that_are_missing_fall_back(script, capsys, monkeypatch, function, loader, kind):
    inputs = script("inputs")
    small = data.colour_digits("test", n=2)
    monkeypatch.setattr(data, "colour_digits", lambda *_, **__: small)
    monkeypatch.setattr(data, loader, raising(kind("nobody\nanswers")))
    splits = getattr(inputs, function)("auto")
    assert splits.fallback == "nobody\nanswers"
    error = capsys.readouterr().err
    assert re.search(r"^\* NOT .*: these are ", error, re.MULTILINE)
    assert re.search(r"^\* nobody +\*\n\* answers +\*$", error, re.MULTILINE)


@pytest.mark.parametrize(("function", "loader"), LOADERS)
@pytest.mark.parametrize(
    ("choice", "error"),
    [
        ("auto", OSError("a file is damaged: delete it")),
        ("full", ConnectionError("nobody answers")),
        ("full", ModuleNotFoundError("pip install scipy")),
    ],
)
def test_data_that_were_asked_for_do_not_fall_back(
    script, capsys, monkeypatch, function, loader, choice, error
):
    monkeypatch.setattr(data, loader, raising(error))
    choice = loader if choice == "full" else choice
    load = getattr(script("inputs"), function)
    assert exit_of(lambda: load(choice)) == f"error: {error}"
    assert "NOT" not in capsys.readouterr().err


@pytest.mark.parametrize(("function", "loader"), LOADERS)
def test_data_that_are_there_are_used(script, capsys, monkeypatch, function, loader):
    images = {split: data.digits(split)[:10] for split in ("train", "test")}
    monkeypatch.setattr(data, loader, lambda split: images[split])
    splits = getattr(script("inputs"), function)("auto")
    assert splits == (images["train"], images["test"], None)
    assert capsys.readouterr().err == ""


def test_too_many_labels_are_refused(script, capsys):
    code = exit_of(script("ssvae_mnist", "--data", "digits", "--labels", "9000").main)
    assert code.startswith("error: --labels 9000: n=9000 asks for 900 images of each class")


def test_fsvae_reads_a_file_of_svhn(script, tmp_path, capsys):
    scipy_io = pytest.importorskip("scipy.io")
    generator = np.random.default_rng(0)
    content = {
        "X": generator.integers(0, 256, (32, 32, 3, 40), dtype=np.uint8),
        "y": generator.integers(1, 11, (40, 1), dtype=np.uint8),
    }
    scipy_io.savemat(tmp_path / "part.mat", content)
    argv = ("--svhn-file", "part.mat", "--steps", "2", "--particles-eval", "1", "--output", "out")
    script("fsvae_svhn", *argv).main()
    record = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert record["data"]["train"]["name"] == "svhn part"
    assert (record["data"]["train"]["size"], record["data"]["test"]["size"]) == (36, 4)
    assert record["arguments"]["svhn_file"] == "part.mat"
    assert "NOT SVHN" not in capsys.readouterr().err


def test_a_damaged_file_of_svhn_is_refused(script, tmp_path):
    (tmp_path / "part.mat").write_bytes(b"no matrix")
    code = exit_of(script("fsvae_svhn", "--svhn-file", "part.mat").main)
    assert code.startswith("error: part.mat is not a .mat file")


def test_the_same_seed_gives_the_same_numbers(script, tmp_path):
    metrics = []
    for seed, folder in ((3, "first"), (3, "again"), (4, "other")):
        script("vae_mnist", "--smoke", "--seed", str(seed), "--output", folder).main()
        record = json.loads((tmp_path / folder / "metrics.json").read_text(encoding="utf-8"))
        metrics.append(record["metrics"])
    assert metrics[0] == metrics[1]
    assert metrics[0] != metrics[2]


def test_iwae_shows_the_bound_fall(script):
    bounds = {1: 101.0, 10: 98.5, 100: 97.5}
    found = {"nelbo": Estimate(101.1, 0.2, 9)}
    found |= {f"niwae-{k}": Estimate(mean, 0.2, 9) for k, mean in bounds.items()}
    lines = script("iwae_mnist").fall(found).splitlines()[1:]
    assert [line.split() for line in lines] == [
        ["1", "101.00", "±", "0.20", "0.00"],
        ["10", "98.50", "±", "0.20", "2.50", "#" * 10],
        ["100", "97.50", "±", "0.20", "3.50", "#" * 14],
    ]


def test_fsvae_says_why_nelbo_is_negative(script, smoke):
    # every pixel off by a tenth: 3072 * 0.01 / 2v = 153.6 nats, less the constant
    rec = 713.79 - 153.6
    found = {"rec": Estimate(rec, 1.0, 9), "nelbo": Estimate(20 - rec, 1.0, 9)}
    text = script("fsvae_svhn").explain(found, pixels=3072)
    assert "the constant -3072/2 log(2 pi/10) = +713.79 nats" in text
    assert "Here it is -540.19, and 173.60 without" in text
    assert "off by 0.100 " in text
    if smoke.name == "fsvae_svhn":
        assert "+713.79 nats" in smoke.process.stdout
