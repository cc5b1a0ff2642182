"""One style, that is ours alone, and classes that can be told apart."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import vaezoo
from vaezoo import plots
from vaezoo.plots.colours import COLOURS, LOOKS, look
from vaezoo.plots.figures import STYLE

# Machado, Oliveira, Fernandes 2009, table 1, severity 1, on linear RGB
SIGHT = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


def lab(colours: list[str], sight: str) -> np.ndarray:
    """CIELAB (n, 3) of colours as one with such sight sees them (sRGB, D65)."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(SIGHT[sight]).T, 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]  # fmt: skip
    t = seen @ np.array(to_xyz).T / [0.95047, 1, 1.08883]
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


@pytest.mark.parametrize(("sight", "least"), [("full", 40), ("protanopia", 25), ("deuteranopia", 25), ("tritanopia", 25)])  # fmt: skip
def test_ten_colours_can_be_told_apart(sight: str, least: float) -> None:
    """Also from white paper; a just noticeable difference is 2.3."""
    seen = lab([*COLOURS], sight)
    assert len(seen) == 10
    apart = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    assert min(apart) > least
    assert np.linalg.norm(seen - lab(["white"], sight), axis=1).min() > 20


def test_a_hundred_classes_look_different() -> None:
    assert len({look(k) for k in range(LOOKS)}) == LOOKS == 100
    assert len({look(k)[1] for k in range(10)}) == 10


def picture(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def curves() -> Figure:
    return plots.training_curves({"step": [1, 2, 3], "bound": [-9.0, -8.0, -7.0]})


OTHERS: list[dict[str, Any]] = [
    {"image.origin": "lower", "image.aspect": "auto", "lines.linestyle": "none"},
    {"legend.labelcolor": "white", "xtick.labelbottom": False, "xtick.minor.visible": True},
    {"axes.grid": False, "axes.titley": 0.5, "figure.autolayout": True, "lines.marker": "o"},
]


@pytest.mark.parametrize(
    "draw", [curves, lambda: plots.image_grid(torch.zeros(4, 1, 8, 8), title="four")]
)
def test_a_style_of_the_users_changes_nothing(draw) -> None:
    """Neither one that is set while a figure is made, nor while it is drawn or written."""
    from matplotlib import style

    before = picture(draw())
    with style.context(["dark_background", {"font.size": 25, "savefig.dpi": 30}, *OTHERS]):
        assert np.array_equal(picture(draw()), before)
        figure = draw()
        png = figure._repr_png_()
    assert figure._repr_png_() == png


def test_settings_are_left_alone() -> None:
    """After figures that succeed and one that fails."""
    before = dict(matplotlib.rcParams)
    picture(curves())
    with pytest.raises(TypeError):
        plots.image_grid("no images")
    with pytest.raises(ValueError, match="kl must be nats"):
        plots.kl_per_unit([-1])
    assert dict(matplotlib.rcParams) == before


def test_axes_of_ones_own_keep_their_style() -> None:
    with matplotlib.rc_context({"axes.facecolor": "pink"}):
        axes = Figure().add_subplot()
        plots.kl_per_unit([1.0, 2.0], ax=axes)
    assert to_rgb(axes.get_facecolor()) == to_rgb("pink")
    assert to_rgb(plots.kl_per_unit([1.0]).axes[0].get_facecolor()) == (1, 1, 1)


def test_pictures_stand_upright_on_axes_of_ones_own() -> None:
    with matplotlib.rc_context({"image.origin": "lower"}):
        axes = Figure().subplots(1, 2)
        plots.image_grid(torch.zeros(4, 1, 8, 8), ax=axes[0])
        plots.confusion([0, 1], [0, 1], ax=axes[1])
    assert [each.images[0].origin for each in axes] == ["upper", "upper"]


def test_files_and_windows_are_the_users() -> None:
    """Looks are ours; how many dots a file has, and what is in it, is not."""
    assert {"savefig.dpi", "savefig.directory", "backend", "svg.fonttype"}.isdisjoint(STYLE)
    assert {"axes.titley", "image.origin", "savefig.facecolor", "figure.figsize"} <= {*STYLE}


def test_the_style_is_in_the_wheel() -> None:
    """As a file beside the package's own; matplotlib reads every line of it."""
    folder = Path(vaezoo.__file__).parent
    assert STYLE["axes.titlesize"] == 12
    assert "vaezoo.mplstyle" in (folder.parent / "setup.cfg").read_text()
    lines = (folder / "plots/vaezoo.mplstyle").read_text().splitlines()
    names = [line.partition(":")[0] for line in lines if ":" in line and line[0] != "#"]
    assert {*names} <= {*STYLE}
