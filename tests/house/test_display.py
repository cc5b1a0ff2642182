"""What a notebook shows where a cell ends in something of vaezoo's; in a kernel of its own."""

from __future__ import annotations

import base64
import html
import re
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from zoo import images, member

from vaezoo import crosscheck, evaluate, plots
from vaezoo.diagnostics import mixture_diagnostics
from vaezoo.evaluation import Estimate
from vaezoo.models import IWAE, M1M2, VAE
from vaezoo.priors import Prior
from vaezoo.tables import Estimates, equations, table

FIGURE = "plots.image_grid(torch.zeros(2, 1, 8, 8))"
HISTORY = "plots.training_curves({'step': [1, 2], 'bound': [-9.0, -8.0]})"
CELLS = [
    "import torch\nfrom vaezoo import models, plots",
    FIGURE,
    HISTORY,
    f"display({FIGURE})",
    "%matplotlib inline",
    FIGURE,
    HISTORY,
    f"display({FIGURE})",
    "models.VAE((1, 4, 4), 2, hidden=(3,))",
]


def test_figures_are_shown_once_with_and_without_the_inline_backend() -> None:
    """A bare kernel takes the figure's own picture, the inline backend draws it: one each time."""
    import nbformat  # not above: it takes two seconds, and all processes collect all tests
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    NotebookClient(notebook, timeout=1200, startup_timeout=600, kernel_name="python3").execute()
    shown = [[o.get("data", {}) for o in cell.outputs] for cell in notebook.cells]
    figures = [k for k, source in enumerate(CELLS) if "plots." in source]
    for k in figures:
        assert [{"image/png", "text/plain"} <= {*data} for data in shown[k]] == [True]
        assert base64.b64decode(shown[k][0]["image/png"])[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(figures) == 6
    assert "text/html" in shown[8][0]


@pytest.mark.parametrize("dpi", [None, 50])
def test_a_figure_is_shown_as_large_as_it_is(dpi: int | None) -> None:
    """Whatever `savefig` is told to do elsewhere."""
    from matplotlib import rc_context

    figure = plots.image_grid(torch.rand(5, 1, 8, 8))
    assert isinstance(figure, Figure)
    with rc_context({"savefig.dpi": dpi} if dpi else {}):
        header = figure._repr_png_()[:24]
    size = [int.from_bytes(header[k : k + 4]) for k in (16, 20)]
    assert size == pytest.approx((100 * figure.get_size_inches()).tolist(), abs=1)


def cells(page: str) -> list[list[str]]:
    """The cells of a table's rows, without tags."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    found = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[html.unescape(cell) for cell in row] for row in found]


def test_evaluation_is_a_dict_that_shows_a_table() -> None:
    found: Any = evaluate(
        member("SSVAE"), [(images(), torch.arange(6) % 3)], particles=(1, 2), progress=False
    )
    assert isinstance(found, dict)
    assert found == {**found}
    lines = repr(found).splitlines()
    assert lines[0] == "nats per image, mean ± standard error over 6 images"
    names = [re.split(r"\s{2,}", line)[0] for line in lines[1:]]
    assert names == ["nelbo", "rec", "kl", "niwae-1", "niwae-2", "accuracy (share of images)"]
    assert all(line.endswith(str(e)) for line, e in zip(lines[1:], found.values(), strict=True))
    assert len({len(line) for line in lines[1:]}) == 1
    rows = [[name, str(e)] for name, e in zip(names, found.values(), strict=True)]
    assert cells(found._repr_html_()) == [["", "mean ± standard error"], *rows]
    assert "over 6 images" in found._repr_html_()


def test_estimates_that_are_empty_or_over_different_images() -> None:
    assert repr(Estimates()) == "Estimates()"
    mixed = Estimates(a=Estimate(1.0, 0.5, 3), b=Estimate(2.0, 0.5, 4))
    assert repr(mixed).splitlines()[0] == "nats per image, mean ± standard error"


def test_crosscheck_shows_its_rows() -> None:
    rows = crosscheck(member("VAE"), images(), repeats=2)
    (_, *header), *shown = cells(rows._repr_html_())
    assert header == ["pyro", "closed form", "difference", "z"]
    assert [row[0] for row in shown] == [row.name for row in rows]
    assert [float(row[1]) for row in shown] == pytest.approx([r.pyro for r in rows], abs=1e-5)
    assert [row[4] == "" for row in shown] == [r.z is None for r in rows]
    lines = repr(rows).splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [row.name for row in rows]
    assert repr(type(rows)()) == "nats per image          pyro   closed form  difference        z"


def test_diagnostics_show_their_counts() -> None:
    found = mixture_diagnostics(member("GMVAE"), images())
    shown = dict(cells(found._repr_html_())[1:])
    assert list(shown) == ["components", "in effective use", "dead", "merged into others"]
    assert shown["components"] == "5"
    assert repr(found).startswith(f"5 components: {shown['in effective use']} in effective use, ")


def test_members_show_an_equation_a_line() -> None:
    model = M1M2()
    page = model._repr_html_()
    assert f"M1M2, {sum(p.numel() for p in model.parameters()):,} parameters" in page
    sides = cells(page)
    assert [left for left, _ in sides][:3] == ["p(y)", "p(z2)", "p(z1|z2, y)"]
    assert sides[1][1] == "= StandardNormal(50)"
    assert [" ".join(side) for side in sides] == repr(M1M2()).split("   ")
    assert page.count("white-space: pre") == 2 * len(sides)


def test_a_part_that_says_more_than_a_line_stays_one_equation() -> None:
    class Own(Prior):
        z_dim = 2

        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Sequential(nn.Linear(1, 2)))

        def forward(self) -> dist.TorchDistribution:
            return dist.Normal(self.net(torch.zeros(1)), 1.0).to_event(1)

    sides = cells(VAE((1, 4, 4), 2, hidden=(3,), prior=Own())._repr_html_())
    assert [left for left, _ in sides] == ["p(z)", "p(x|z)", "q(z|x)"]
    assert "    (0): Linear" in sides[0][1]


def test_members_that_train_differently_look_different() -> None:
    """The objective's settings are a line, in the table as in `repr`."""
    sizes: Any = {"x_shape": (1, 4, 4), "z_dim": 2, "hidden": (3,)}
    shown = [cells(m._repr_html_()) for m in (VAE(**sizes), VAE(**sizes, beta=4), IWAE(**sizes))]
    assert shown[0] == shown[1][:-1] == shown[2][:-1]
    assert shown[1][-1] == ["β", "= 4"]
    assert shown[2][-1] == ["m", "= 10 importance samples"]


def test_a_replaced_program_is_shown_escaped() -> None:
    vae = VAE((1, 4, 4), 2, hidden=(3,))
    vae.guide = lambda x: None
    page = vae._repr_html_()
    assert "&lt;lambda&gt;" in page
    assert "<lambda>" not in page


def test_tables_fix_no_colours_and_escape() -> None:
    page = table("a < b", ["<x>"], [["&"]]) + equations("<c>", ["d = e = <f>", "no equation"])
    assert not re.search(r"background|#[0-9a-f]{3}|rgb|black|white(?!-space)", page)
    assert re.findall(r"color: (\w+)", page) == ["inherit"] * 4
    assert cells(page) == [["<x>"], ["&"], ["d", "= e = <f>"], ["no equation", ""]]
    assert "&lt;c&gt;" in page
