"""Figures of images, latent codes and training; each function returns a figure and shows nothing.

    figure = samples(vae)
    figure.savefig("samples.png")       # in a notebook, a cell that ends in `figure` shows it

They are matplotlib's, built without pyplot: no backend is chosen, and nothing is kept in a global
list. A notebook shows them with and without `%matplotlib inline`.
Members are in evaluation mode while they are drawn from, and left as they were.

References:
    Petroff. Accessible Color Sequences for Data Visualization. 2021. arXiv:2107.02270 (ten colours
    that stay apart for colour-blind readers).
"""

from vaezoo.plots.curves import training_curves
from vaezoo.plots.grids import image_grid
from vaezoo.plots.latents import latent_scatter
from vaezoo.plots.members import reconstructions, samples, style_by_content

__all__ = [
    "image_grid",
    "latent_scatter",
    "reconstructions",
    "samples",
    "style_by_content",
    "training_curves",
]
