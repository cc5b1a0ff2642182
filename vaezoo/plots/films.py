"""The latent space while a model is trained, as a film."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from matplotlib.animation import PillowWriter
from torch import Tensor

from vaezoo import arguments
from vaezoo.models.base import LatentVariableModel
from vaezoo.plots.densities import Density, prior_density
from vaezoo.plots.drawing import batch_of, drawn_from
from vaezoo.plots.figures import DPI, Figure, styled
from vaezoo.plots.latents import Seen, classes_of, draw_codes, see, several_images
from vaezoo.plots.planes import plane_or_line
from vaezoo.scopes import own_generator

__all__ = ["Frame", "LatentFilm"]


class Frame(NamedTuple):
    """What there was to see at one record.

    Attributes:
        step: how many steps had been taken.
        codes: posterior means (N, z_dim).
        density: the prior.
    """

    step: int
    codes: Tensor
    density: Density | None


class LatentFilm:
    """Codes of some images and the prior at each record of training, to be saved as a GIF.

        film = plots.LatentFilm(vae, x, y)
        fit(vae, digits, epochs=20, log_every=60, callback=film)
        film.save("training.gif")

    Or call it in a loop of yours over `training.steps`, where it is given each record. Training
    goes on as without it: it draws from a generator of its own.

    Args:
        model: the member that is trained.
        x: images (N, *x_shape), at least two; some hundreds are enough.
        y: labels (N,), classes 0 to 99.
        dims: the numbers of two units to show; by default both where there are two, else the first
            two principal components of the last codes.
        step: how many steps the model has taken already: `history["step"][-1]` where its training
            goes on.

    Attributes:
        frames: one for each record, and one for how the model was at first.

    Raises:
        ValueError: x, y or dims are no such images, labels or units.

    Example:
        >>> from vaezoo import fit, models
        >>> vae, x = models.VAE((1, 4, 4), 2, hidden=(3,)), torch.ones(5, 1, 4, 4)
        >>> film = LatentFilm(vae, x)
        >>> _ = fit(vae, [x], steps=4, log_every=2, progress=False, callback=film)
        >>> [frame.step for frame in film.frames]
        [0, 2, 4]
    """

    def __init__(
        self,
        model: LatentVariableModel,
        x: Tensor,
        y: Tensor | Sequence[int] | None = None,
        *,
        dims: Sequence[int] | None = None,
        step: int = 0,
    ) -> None:
        x = several_images(model, x, "film")
        self.model, self.dims = model, dims
        self.y = None if y is None else classes_of(y, len(x))
        self.batch = batch_of(model, x, self.y, len(x))
        self.frames: list[Frame] = []
        self({"step": arguments.size("step", step, least=0)})
        self._limits()  # refuses dims that are no units

    def __call__(self, record: Mapping[str, float]) -> None:
        """Keep what there is to see now; `fit` calls it with each record."""
        with drawn_from(self.model, seed=0):
            codes = self.model.encode(*self.batch).cpu()
            self.frames.append(Frame(int(record["step"]), codes, prior_density(self.model)))

    def figure(self, k: int = -1) -> Figure:
        """The frame of number k; all have the same plane and the same limits."""
        with styled():
            whole = Figure((5, 4.6), DPI)
            self._draw(whole, self.frames[k])
        return whole

    def save(self, path: str | os.PathLike[str], *, fps: int = 4, dpi: float = 80) -> None:
        """Write a GIF.

        Args:
            path: the file.
            fps: frames a second; the last one stays for a second more.
            dpi: dots per inch, of five inches.

        Raises:
            TypeError, ValueError: fps is no whole number of at least 1, or dpi no number as large.
        """
        fps, dpi = arguments.size("fps", fps), arguments.number("dpi", dpi, least=1)
        with styled():
            whole, writer = Figure((5, 4.6), DPI), PillowWriter(fps)
            with writer.saving(whole, os.fspath(path), dpi):
                for frame in [*self.frames, *[self.frames[-1]] * fps]:
                    whole.clear()
                    self._draw(whole, frame)
                    writer.grab_frame()

    def _draw(self, whole: Figure, frame: Frame) -> None:
        axes = whole.add_axes((0.13, 0.12, 0.84, 0.8))
        with own_generator(0):
            order = torch.randperm(len(frame.codes), device="cpu")
            draw_codes(axes, self._seen(frame), self.y, order=order, legend=False)
        low, high = self._limits()
        axes.set_aspect("equal", adjustable="box")
        axes.set(title=f"step {frame.step:,}", xlim=(low[0], high[0]), ylim=(low[1], high[1]))

    def _seen(self, frame: Frame) -> Seen:
        last = self.frames[-1].codes
        plane = plane_or_line(last, self.dims)
        return see(frame.codes, self.y, plane, frame.density if plane else None)

    def _limits(self) -> tuple[list[float], list[float]]:
        """Corners of a square around the codes of all frames."""
        with own_generator(0):
            points = torch.cat([self._seen(frame).points for frame in self.frames])
        low, high = points.amin(0), points.amax(0)
        centre, half = (low + high) / 2, 0.55 * (high - low).max().clamp_min(1e-6)
        return (centre - half).tolist(), (centre + half).tolist()
