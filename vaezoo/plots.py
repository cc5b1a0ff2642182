"""Figures of images, latent codes and training; each function returns a Figure and shows nothing.

    figure = samples(vae)
    figure.savefig("samples.png")       # in a notebook, a cell that ends in `figure` displays it

Figures are built without pyplot, so no backend is chosen and nothing is kept in a global list.
Members are in evaluation mode while they are drawn from, and left as they were.

References:
    Petroff. Accessible Color Sequences for Data Visualization. 2021. arXiv:2107.02270 (ten colours
    that stay apart for colour-blind readers).
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from vaezoo.models.base import LatentVariableModel

__all__ = [
    "image_grid",
    "latent_scatter",
    "reconstructions",
    "samples",
    "style_by_content",
    "training_curves",
]

COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
DPI = 100  # dots per inch, at which an image pixel is a whole number of dots
PAD = 0.08  # inches around an image grid and its labels
LARGEST = 1400  # dots; a grid that would be wider or higher is scaled down


def image_grid(
    images: Tensor,
    *,
    rows: int | None = None,
    columns: int | None = None,
    title: str | None = None,
    row_labels: Sequence[object] | None = None,
    column_labels: Sequence[object] | None = None,
) -> Figure:
    """Images side by side, row by row from the top left.

    Args:
        images: (N, C, H, W) floats in [0, 1], clipped to it; C is 1 for grey or 3 for colour.
        rows, columns: of the grid; about square by default. Cells left over are blank.
        title: above the grid.
        row_labels, column_labels: one for each row, at its left; one for each column, on top.

    Raises:
        TypeError: images are not a floating-point tensor.
        ValueError: images have another shape, hold NaNs or do not fit in the grid, or labels are
            not as many as rows or columns.

    Example:
        >>> figure = image_grid(torch.rand(7, 1, 28, 28), columns=4)
        >>> figure.axes[0].images[0].get_array().shape           # 2 x 4 images, a pixel apart
        (57, 115)
    """
    _check_images(images)
    rows, columns = _layout(len(images), rows, columns)
    mosaic = _mosaic(images.detach().float().cpu().clamp(0, 1), rows, columns)
    side = max(images.shape[2:])
    # few images are drawn larger than many
    cell = min(max(560 / max(rows, columns), 56), 160)
    scale = min(max(1, round(cell / side)), LARGEST / max(mosaic.shape[:2])) / DPI
    figure = Figure((scale * mosaic.shape[1], scale * mosaic.shape[0]), DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(mosaic.squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.set_yticks(*_ticks("row_labels", row_labels, rows, mosaic.shape[0]))
    axes.set_xticks(*_ticks("column_labels", column_labels, columns, mosaic.shape[1]))
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)  # some styles draw one, which would cross the images
    axes.set_title(title or "")
    return _make_room(figure)


def samples(
    model: LatentVariableModel,
    n: int = 64,
    *,
    y: Tensor | int | None = None,
    title: str | None = None,
) -> Figure:
    """E[x|z] at n draws of z from the prior.

    Args:
        model: a member of the zoo.
        n: how many images.
        y: labels (n,) or one class for all. By default a member that infers y draws it, and one
            that is given y runs through the classes, a column for each.
        title: above the grid.

    Raises:
        ValueError: n is below 1, y is not n labels, or the member has no labels.

    Example:
        >>> from vaezoo import models
        >>> figure = samples(models.FSVAE(), 20)
        >>> [text.get_text() for text in figure.axes[0].get_xticklabels()][:2]
        ['y = 0', 'y = 1']
    """
    _check_count("n", n)
    if isinstance(y, Tensor) and y.shape not in ((), (n,)):
        raise ValueError(f"y must be a class or n={n} labels; got {_describe(y)}. Set n=len(y)")
    columns, labels = None, None
    if y is None and _needs_labels(model):
        y, columns = torch.arange(n) % model.classes, min(n, model.classes)
        labels = [f"y = {k}" for k in range(columns)]
    with _drawing(model):
        images = model.sample(n, y=y)
    return image_grid(images, columns=columns, title=title, column_labels=labels)


def reconstructions(
    model: LatentVariableModel, x: Tensor, y: Tensor | None = None, *, n: int = 10
) -> Figure:
    """The first n images, and below each its reconstruction E[x|z] at z = E_q[z|x].

    Args:
        model: a member of the zoo.
        x: images (N, C, H, W), such as the member is trained on.
        y: labels (N,), for a member that is given them; others infer or ignore them.
        n: how many images, or N if that is fewer.

    Raises:
        TypeError: x is not a floating-point tensor.
        ValueError: x or y have another shape, y is missing, or n is below 1.

    Example:
        >>> from vaezoo import models
        >>> figure = reconstructions(models.VAE(), torch.ones(5, 1, 28, 28))
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['data', 'E[x|z]']
    """
    _check_count("n", n)
    _check_images(x)
    batch = _batch(model, x, y, n)
    # a posterior without a known mean gives a draw: the same one every time
    with _drawing(model, seed=0):
        both = torch.cat([batch[0], model.reconstruct(*batch)])
    return image_grid(both, rows=2, row_labels=("data", "E[x|z]"))


def latent_scatter(model: LatentVariableModel, x: Tensor, y: Tensor, *, seed: int = 0) -> Figure:
    """Posterior means of images, one point each, coloured by class.

    Two latent dimensions are shown as they are, more by the first two principal components of the
    means, and one against the class.

    Args:
        model: a member of the zoo; the codes of one with labels are those of q(z|x, y).
        x: images (N, *x_shape), at least two.
        y: labels (N,), classes 0 to 9.
        seed: of the order of drawing, and of the codes where a posterior has no known mean;
            PyTorch's global generator is left alone.

    Raises:
        ValueError: x or y are not such images or labels.

    Example:
        >>> from vaezoo import models
        >>> x, y = torch.ones(6, 1, 28, 28), torch.tensor([0, 0, 1, 1, 2, 2])
        >>> figure = latent_scatter(models.VAE(z_dim=2), x, y)
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['0', '1', '2']
    """
    _check_classes(x, y)
    with _drawing(model, seed):
        z, y = model.encode(*_batch(model, x, y, len(x))).cpu(), y.cpu()
        order = torch.randperm(len(z), device="cpu")  # or the last class would hide the others
        points, labels = _plane(z, y)
    figure = Figure((6.2, 5), DPI, layout="constrained")
    axes = figure.add_subplot(xlabel=labels[0], ylabel=labels[1])
    axes.set_title(f"posterior means of {len(z):,} images")
    size = min(max(20_000 / len(z), 6), 40)
    colours = [COLOURS[k] for k in y[order].tolist()]
    across, up = points[order].T.tolist()
    axes.scatter(across, up, s=size, c=colours, alpha=0.8, linewidths=0)
    classes = sorted(set(y.tolist()))
    if z.shape[1] == 1:
        axes.set_yticks(classes)
    else:
        axes.set_aspect("equal", adjustable="datalim")
    handles = [Line2D([], [], ls="", marker="o", color=COLOURS[k], label=f"{k}") for k in classes]
    axes.legend(handles=handles, title="class", loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def training_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """What `training.fit` recorded against steps: a panel each for bound, rec, kl and log_qy.

    Validation is dashed. Where the start of a curve spans much more than the rest, the panel is
    scaled to the rest and the start runs out of it.

    Args:
        history: lists of equal length, `step` and `bound` at least; nats per image.

    Raises:
        ValueError: the history is empty, has no steps or bound, or its lists differ in length.

    Example:
        >>> history = {"step": [1, 2], "bound": [-9.0, -8.0], "validation_bound": [-9.5, -8.2]}
        >>> training_curves(history).axes[0].lines[1].get_ydata().tolist()
        [-9.5, -8.2]
    """
    if not history.get("step") or "bound" not in history:
        raise ValueError(
            "history must hold step and bound, one record at least, as training.fit returns it; "
            f"got {', '.join(f'{len(v)} of {k}' for k, v in history.items()) or 'nothing'}"
        )
    names = [name for name in ("bound", "rec", "kl", "log_qy") if name in history]
    figure = Figure((1.2 + 3.2 * len(names), 3.2), DPI, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        _curves(axes, history, name)
    return figure


def style_by_content(
    model: LatentVariableModel, *, columns: int = 20, seed: int = 0, z: Tensor | None = None
) -> Figure:
    """E[x|y, z] with a row for each class y and a column for each code z.

    Where content and style are apart, a row shows one class and a column one style.

    Args:
        model: a member of the zoo with labels.
        columns: how many codes are drawn from p(z); all rows share them.
        seed: of these codes; PyTorch's global generator is left alone.
        z: your own codes (columns, z_dim) in their place.

    Raises:
        ValueError: the member has no labels, columns is below 1, or z has another shape.

    Example:
        >>> from vaezoo import models
        >>> figure = style_by_content(models.FSVAE(), columns=5)
        >>> figure.axes[0].images[0].get_array().shape           # 10 x 5 images in colour
        (329, 164, 3)
    """
    if not model.classes:
        name = type(model).__name__
        raise ValueError(f"{name} has no labels to vary: use SSVAE or FSVAE, or plots.samples")
    _check_count("columns", columns)
    with _drawing(model, seed):
        z = model.prior().sample((columns,)) if z is None else z.to(_device(model))
        if z.dim() != 2 or z.shape[1] != model.z_dim:
            raise ValueError(f"z must be codes (columns, {model.z_dim}); got {_describe(z)}")
        y = torch.arange(model.classes).repeat_interleave(len(z))
        images = model.sample(y=y, z=z.repeat(model.classes, 1))
    figure = image_grid(images, rows=model.classes, row_labels=range(model.classes))
    figure.axes[0].set(xlabel="style z", ylabel="content y")
    return _make_room(figure)


def _layout(n: int, rows: int | None, columns: int | None) -> tuple[int, int]:
    if columns is None:
        columns = math.ceil(math.sqrt(n) if rows is None else n / max(rows, 1))
    if rows is None:
        rows = math.ceil(n / max(columns, 1))
    if min(rows, columns) < 1 or rows * columns < n:
        raise ValueError(
            f"{n} images do not fit in {rows} rows and {columns} columns: make them more, leave "
            "one out, or show fewer images"
        )
    return rows, columns


def _mosaic(images: Tensor, rows: int, columns: int) -> Tensor:
    """White paper (height, width, C) with the images on it, a little apart."""
    n, channels, height, width = images.shape
    gap = max(1, max(height, width) // 24)
    cells = torch.ones(rows * columns, height + gap, width + gap, channels, device="cpu")
    cells[:n, :height, :width] = images.permute(0, 2, 3, 1)
    cells = cells.reshape(rows, columns, *cells.shape[1:]).transpose(1, 2)
    return cells.flatten(2, 3).flatten(0, 1)[:-gap, :-gap]


def _ticks(
    name: str, labels: Sequence[object] | None, n: int, extent: int
) -> tuple[list[float], list[str]]:
    """Where the middles of n rows or columns lie, and what they are called."""
    if labels is None:
        return [], []
    if len(labels) != n:
        raise ValueError(f"{name} must be {n}, one for each; got {len(labels)}")
    # imshow puts the middle of the first pixel at 0
    return [(k + 0.5) * extent / n - 0.5 for k in range(n)], [str(label) for label in labels]


def _make_room(figure: Figure) -> Figure:
    """Make the figure as large as its axes and their labels need; the axes keep their size.

    A layout engine would fit the axes to the figure instead, and blur the images.
    """
    axes, outer = figure.axes[0], figure.get_tightbbox()
    inner = axes.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    width, height = outer.width + 2 * PAD, outer.height + 2 * PAD
    left, bottom = inner.x0 - outer.x0 + PAD, inner.y0 - outer.y0 + PAD
    figure.set_size_inches(width, height)
    axes.set_position((left / width, bottom / height, inner.width / width, inner.height / height))
    return figure


def _plane(z: Tensor, y: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Two coordinates (N, 2) of codes (N, z_dim), and what to call them."""
    if z.shape[1] == 1:
        beside = y + 0.6 * torch.rand(len(y), device="cpu") - 0.3
        return torch.stack([z[:, 0], beside], dim=1), ("z", "class y, spread out")
    if z.shape[1] == 2:
        return z, ("z₁", "z₂")
    centred = (z - z.mean(0)).double()
    _, spread, directions = torch.linalg.svd(centred, full_matrices=False)
    # a posterior that has collapsed onto the prior has no variance to share
    share = spread.square() / spread.square().sum().clamp_min(1e-30)
    first, second = (f"principal component {k + 1} ({share[k]:.0%} of variance)" for k in (0, 1))
    return centred @ directions[:2].T, (first, second)


def _curves(axes: Axes, history: Mapping[str, Sequence[float]], name: str) -> None:
    curves = {"training": name, "validation": f"validation_{name}"}
    shown = {label: history[key] for label, key in curves.items() if key in history}
    # a few records are marked: one alone would make no line
    marker = "." if len(history["step"]) <= 20 else ""
    for (label, values), style in zip(shown.items(), ("-", "--"), strict=False):
        axes.plot(history["step"], values, style, marker=marker, label=label)
    axes.set(title=name, xlabel="step", ylabel="nats per image", ylim=_limits(shown.values()))
    axes.grid(alpha=0.3)
    if len(shown) > 1:
        axes.legend()


def _limits(curves: Collection[Sequence[float]]) -> tuple[float, float]:
    """Limits for all values or, if those span over three times as much, for all but the start.

    The start is a fifth of the records: a network that knows nothing yet is hundreds of nats off,
    which would flatten all that follows.
    """
    finite = [[value for value in curve if math.isfinite(value)] for curve in curves]
    values = [value for curve in finite for value in curve] or [0.0]
    late = [value for curve in finite for value in curve[max(1, len(curve) // 5) :]] or values
    low, high = min(values), max(values)
    if high - low > 3 * (max(late) - min(late)) > 0:
        low, high = min(late), max(late)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _batch(model: LatentVariableModel, x: Tensor, y: Tensor | None, n: int) -> list[Tensor]:
    """The first n images, and labels if the member takes them, on its device."""
    if y is None and _needs_labels(model):
        raise ValueError(f"{type(model).__name__} is given labels: pass y, shape ({len(x)},)")
    if y is not None and y.shape != (len(x),):
        raise ValueError(f"y must have the shape ({len(x)},); got {_describe(y)}")
    given = [x] if y is None or not model.classes else [x, y]
    return [tensor[:n].to(_device(model)) for tensor in given]


def _needs_labels(model: LatentVariableModel) -> bool:
    parameters = inspect.signature(model.model).parameters.values()
    return model.classes > 0 and all(p.default is p.empty for p in parameters)


def _device(model: LatentVariableModel) -> torch.device:
    return next(model.parameters()).device


@contextlib.contextmanager
def _drawing(model: LatentVariableModel, seed: int | None = None) -> Iterator[None]:
    """Evaluation mode, no gradients and, given a seed, random numbers of one's own."""
    modes = {module: module.training for module in model.modules()}
    # manual_seed reaches all devices, so the generators of all are put back
    devices = range(torch.cuda.device_count())
    with torch.no_grad(), torch.random.fork_rng(devices, enabled=seed is not None):
        try:
            if seed is not None:
                torch.manual_seed(seed)
            model.eval()
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(
            f"images must be a floating-point tensor in [0, 1]; got {_describe(images)}. Bytes "
            "become one by x / 255, data.Images by images.tensors()[0]"
        )
    if images.dim() != 4 or images.shape[1] not in (1, 3) or images.numel() == 0:
        raise ValueError(
            "images must have the shape (N, C, H, W), C being 1 (grey) or 3 (colour) and N at "
            f"least 1; got {_describe(images)}. Grey (N, H, W) become so by x.unsqueeze(1)"
        )
    if images.isnan().any():
        raise ValueError("images hold NaNs: did training diverge? x.nan_to_num() shows the rest")


def _check_classes(x: Tensor, y: Tensor) -> None:
    if len(x) < 2:
        raise ValueError(f"a scatter needs at least two images; got {len(x)}")
    fits = isinstance(y, Tensor) and y.dtype == torch.long and y.shape == (len(x),)
    if not fits or y.min() < 0 or y.max() >= len(COLOURS):
        raise ValueError(
            f"y must be {len(x)} classes (torch.long) from 0 to {len(COLOURS) - 1}, as many as "
            f"there are colours; got {_describe(y)}. x[y < {len(COLOURS)}] picks such images"
        )


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")


def _describe(value: object) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    span = f" from {value.min()} to {value.max()}" if value.numel() else ""
    return f"{value.dtype} of shape {tuple(value.shape)}{span}"
