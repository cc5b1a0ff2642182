"""The notebooks: run in a bare kernel, what they show is what is committed.

The first has a kernel of its own; those of the others have torch and Pyro already (kernels.py).

A number that comes out again differs from the committed one by at most 1e-3 of it and one unit of
its last digit. float32 rounding differs between processors, and a thousand steps carry it to 1e-7
of a bound (measured between AVX512 and SSE); torch 2.9, 2.13 and 2.15 draw the same random numbers.
Pictures are compared where the pinned matplotlib draws them: others move labels by a pixel.
"""

from __future__ import annotations

import base64
import io
import os
import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from kernels import server

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
NAMES = (
    "01_the_vae",
    "02_swap_the_prior",
    "03_mixtures_and_clusters",
    "04_tighter_bounds",
    "05_a_hundred_labels",
    "06_content_and_style",
    "07_your_own",
    "08_can_i_trust_it",
)
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*\w)")
RELATIVE, ROUNDING = 1e-3, 1e-9
PINNED = f"matplotlib=={matplotlib.__version__}\n" in (ROOT / "constraints.txt").read_text()


def parsed(text: str) -> tuple[str, list[tuple[float, float]]]:
    """The words of a text, and each number in it with the unit of its last digit."""
    numbers = []
    for found in NUMBER.findall(text):
        mantissa, _, power = found.replace(",", "").partition("e")
        digits = len(mantissa.partition(".")[2])
        numbers.append((float(f"{mantissa}e{power or 0}"), 10.0 ** (int(power or 0) - digits)))
    # the columns of a table are as wide as what stands in them
    return re.sub(r"\s+", " ", NUMBER.sub("#", text)), numbers


def differences(old: str, new: str) -> list[str]:
    """What of a text did not come out again."""
    (words, before), (again, after) = parsed(old), parsed(new)
    if words != again:
        return [f"{old!r} is now {new!r}"]
    return [
        f"{a} is now {b}"
        for (a, digit), (b, other) in zip(before, after, strict=True)
        if abs(a - b) > RELATIVE * abs(a) + 1.01 * max(digit, other)
        and max(abs(a), abs(b)) > ROUNDING
    ]


def pixels(picture: str) -> np.ndarray[Any, Any]:
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(picture)))[..., :3]


def drift(old: str, new: str) -> float:
    """The mean difference of two pictures' pixels; labels may move by a few of them."""
    a, b = pixels(old), pixels(new)
    assert np.abs(np.subtract(a.shape, b.shape)).max() <= 4
    height, width = min(a.shape[0], b.shape[0]), min(a.shape[1], b.shape[1])
    return float(np.abs(a[:height, :width] - b[:height, :width]).mean())


def texts(output: Any) -> dict[str, str]:
    """What an output says, by its kind; pictures apart, and tables without their tags."""
    data = {"text/plain": output["text"]} if "text" in output else output["data"]
    said = {kind: "".join(text) for kind, text in data.items() if kind != "image/png"}
    if not PINNED:  # in another matplotlib letters have another width, and figures another size
        said = {k: re.sub(r"(<Figure size) [\d.x]+", r"\1", t) for k, t in said.items()}
    return {k: re.sub("<[^>]*>", " ", t) if k == "text/html" else t for k, t in said.items()}


@pytest.fixture(scope="module")
def begin() -> Iterator[Callable[[Path], Any]]:
    """What begins a kernel in a folder."""
    runs = runpy.run_path(str(FOLDER / "execute.py"))
    with server(os.environ | runs["ENVIRONMENT"]) as beginning:
        yield beginning


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_comes_out_again(name: str, begin: Callable[[Path], Any]) -> None:
    runs, path = runpy.run_path(str(FOLDER / "execute.py")), FOLDER / f"{name}.ipynb"
    kernel = None if name == NAMES[0] else begin(FOLDER)
    old, new = runs["nbformat"].read(path, as_version=4), runs["executed"](path, kernel)
    found = []
    for before, after in zip(old.cells, new.cells, strict=True):
        a, b = before.get("outputs", []), after.get("outputs", [])
        assert [o.output_type for o in a] == [o.output_type for o in b], before.source
        for said, says in zip(a, b, strict=True):
            assert texts(said).keys() == texts(says).keys()
            for kind, text in texts(said).items():
                found += differences(text, texts(says)[kind])
            if PINNED and "image/png" in said.get("data", {}):
                shown = drift(said.data["image/png"], says.data["image/png"])
                found += [f"a picture by {shown}"] * (shown > 0.02)
    assert not found, f"{found}: look at what changed; then `make notebooks`"


@pytest.mark.parametrize("name", NAMES)
def test_committed_as_a_bare_kernel_shows_them(name: str) -> None:
    """Under 20 cells, run in order, a picture for every figure, no errors, below half a megabyte."""
    path = FOLDER / f"{name}.ipynb"
    cells = runpy.run_path(str(FOLDER / "execute.py"))["nbformat"].read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    outputs = [output for cell in code for output in cell.outputs]
    assert len(cells) < 20
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert not [cell for cell in code if "%matplotlib" in cell.source]
    printed = [[o.output_type for o in cell.outputs].count("stream") for cell in code]
    assert max(printed) <= 1, "a kernel cuts what is printed by the clock"
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert kinds == {"text/plain", "text/html", "image/png"}, "a progress bar is a widget"
    figures = [o for o in outputs if "<Figure" in o.get("data", {}).get("text/plain", "")]
    assert len(figures) >= 3
    assert all("image/png" in output.data for output in figures)
    assert path.stat().st_size < 500_000


def test_all_are_there() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == list(NAMES)


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("nelbo 158.33 ± 2.92", "nelbo 156.01 ± 2.92", ["158.33 is now 156.01"]),
        ("nelbo 158.33 ± 2.92", "nelbo  158.34 ± 2.91", []),
        ("z -0.36, 1.8e-15", "z -0.37, 0.0e+00", []),
        ("z -0.36", "z 0.36", ["-0.36 is now 0.36"]),
        ("2.3e-01", "-2.3e-01", ["0.23 is now -0.23"]),
        ("1,000 steps", "1,400 steps", ["1000.0 is now 1400.0"]),
        (
            "p(z1) = Normal(10)",
            "p(z2) = Normal(10)",
            ["'p(z1) = Normal(10)' is now 'p(z2) = Normal(10)'"],
        ),
        ("rec", "kl", ["'rec' is now 'kl'"]),
    ],
)
def test_a_change_is_noticed(old: str, new: str, found: list[str]) -> None:
    assert differences(old, new) == found


def test_another_picture_is_noticed() -> None:
    """What components draw, with its rows in another order."""
    nbformat = runpy.run_path(str(FOLDER / "execute.py"))["nbformat"]
    cells = nbformat.read(FOLDER / "02_swap_the_prior.ipynb", as_version=4).cells
    shown = [
        o.data["image/png"]
        for c in cells
        for o in c.get("outputs", [])
        if "data" in o and "image/png" in o.data
    ]
    picture, file = shown[-1], io.BytesIO()
    assert drift(picture, picture) == 0
    rows = pixels(picture)
    matplotlib.image.imsave(file, np.roll(rows, len(rows) // 10, axis=0), format="png")
    assert drift(picture, base64.b64encode(file.getvalue()).decode()) > 0.02
