"""The prior as a plane of latent space shows it: contours of its density, ellipses of its parts."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Patch
from torch import Tensor
from torch.distributions import MixtureSameFamily

from vaezoo.distributions.projections import Normals, as_normals, kernels
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.drawing import prior_codes
from vaezoo.models.parts import has_lone_prior, lone_prior

__all__ = ["Density", "draw_density", "prior_density"]

SHARES = (0.95, 0.5)  # of the prior's mass, each within a contour
FEW = 60  # components that are drawn one by one
SIDE = 90  # points of the grid that contours are found on, each way
CPU: dict[str, Any] = {"dtype": torch.double, "device": "cpu"}
LINE, FILLS = "#7f7f7f", ("#f2f2f2", "#e3e3e3")


class Density(NamedTuple):
    """A prior as a mixture of Normals, and whether its components are worth drawing.

    Attributes:
        normals: exactly the prior, or a kernel around each of 1,000 draws from it.
        has_parts: whether they are the components of a mixture, few enough to tell apart.
    """

    normals: Normals
    has_parts: bool


def prior_density(model: LatentVariableModel) -> Density:
    """The prior of the code that `encode` gives, as it is now.

    Where that is no Normal and no mixture of them (a flow, z1 of a hierarchical VAE, a prior that
    depends on the label), it is estimated from draws of the member's program.
    """
    alone = model.parts["prior"].of == model.code and has_lone_prior(model)
    prior = lone_prior(model) if alone else None
    exact = None if prior is None else as_normals(prior)
    if exact is None:
        return Density(kernels(prior_codes(model, 1000, model.code)), has_parts=False)
    mixture = isinstance(prior, MixtureSameFamily)
    return Density(exact, has_parts=mixture and len(exact.weights) <= FEW)


def draw_density(axes: Axes, density: Density, points: Tensor) -> list[Line2D | Patch]:
    """Draw contours and ellipses behind points; returns what a legend says of them.

    Args:
        axes: of the plane.
        density: of codes in that plane.
        points: what else is in it (N, 2), which sets the limits together with the density.
    """
    normals, draws = density.normals, density.normals.sample(2000)
    low, high = _limits(points, draws)
    across, up = (torch.linspace(*ends, SIDE, **CPU) for ends in zip(low, high, strict=True))
    grid = torch.stack(torch.meshgrid(across, up, indexing="xy"), -1).reshape(-1, 2)
    height = normals.log_prob(grid).reshape(SIDE, SIDE)
    # a region of highest density holds as much of the mass as of the draws
    levels = normals.log_prob(draws).quantile(1 - torch.tensor(SHARES, **CPU)).tolist()
    levels = [level for level in levels if level < height.max()]  # not of a spike between points
    if levels:
        data = (across.numpy(), up.numpy(), height.numpy())
        axes.contourf(*data, levels=[*levels, math.inf], colors=FILLS, zorder=0)
        axes.contour(*data, levels=levels, colors=LINE, linewidths=0.9, linestyles="-", zorder=0.5)
    inside = " and ".join(f"{share:.0%}".replace("%", " %") for share in sorted(SHARES))
    said: list[Line2D | Patch] = [Patch(fc=FILLS[1], ec=LINE, label=f"prior, {inside} of it")]
    if density.has_parts:
        _draw_parts(axes, normals)
        said.append(Line2D([], [], color="black", lw=1, ls="--", label="components, ±2σ"))
    return said


def _draw_parts(axes: Axes, normals: Normals) -> None:
    """An ellipse for each component, two standard deviations from its mean."""
    for weight, mean, covariance in zip(*normals, strict=True):
        variances, directions = torch.linalg.eigh(covariance)
        width, height = (4 * variances.sqrt()).tolist()
        angle = math.degrees(math.atan2(directions[1, 0].item(), directions[0, 0].item()))
        # many, and those of little weight, are faint
        k = len(normals.weights)
        strength = 0.8 * min(1.0, 10 / k) * min(1.0, 0.3 + 0.7 * k * weight.item())
        axes.add_patch(
            Ellipse(
                mean.tolist(), width, height, angle=angle, fill=False, lw=1, ls="--",
                ec="black", alpha=strength, zorder=3,
            )
        )  # fmt: skip


def _limits(points: Tensor, draws: Tensor) -> tuple[list[float], list[float]]:
    """Corners of a rectangle that holds all points and nearly all of the prior."""
    ends = torch.tensor([0.005, 0.995], **CPU)
    both = torch.cat([points.double(), draws.quantile(ends, dim=0)])
    low, high = both.amin(0), both.amax(0)
    margin = 0.06 * (high - low).clamp_min(1e-6)
    return (low - margin).tolist(), (high + margin).tolist()
