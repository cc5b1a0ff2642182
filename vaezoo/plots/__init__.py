"""Figures of images, latent codes, bounds and training; each function returns a figure.

    figure = samples(vae)
    figure.savefig("samples.png")       # in a notebook, a cell that ends in `figure` shows it

    image_grid, samples, reconstructions, style_by_content     images
    manifold, traversals, interpolations                       what the code means
    latent_scatter, before_after, LatentFilm                   codes and the prior, also in training
    components, responsibilities                               of a mixture prior
    kl_per_unit, bound_against_k, rate_distortion              numbers in nats
    confusion, reliability                                     of a classifier
    training_curves

They are matplotlib's, built without pyplot: no backend is chosen, nothing is shown, and nothing is
kept in a global list. A notebook shows them with and without `%matplotlib inline`. Their style is
`vaezoo.mplstyle`, beside this file, whatever yours is; `ax=` draws on axes of a figure of yours, in
your style. Members are in evaluation mode while they are drawn from, and left as they were.
"""

from vaezoo.plots.bounds import bound_against_k, rate_distortion
from vaezoo.plots.classes import confusion, reliability
from vaezoo.plots.components import components, responsibilities
from vaezoo.plots.curves import training_curves
from vaezoo.plots.films import LatentFilm
from vaezoo.plots.grids import image_grid
from vaezoo.plots.latents import latent_scatter
from vaezoo.plots.manifolds import manifold
from vaezoo.plots.members import reconstructions, samples, style_by_content
from vaezoo.plots.swaps import before_after
from vaezoo.plots.traversals import interpolations, traversals
from vaezoo.plots.units import kl_per_unit

__all__ = [
    "LatentFilm",
    "before_after",
    "bound_against_k",
    "components",
    "confusion",
    "image_grid",
    "interpolations",
    "kl_per_unit",
    "latent_scatter",
    "manifold",
    "rate_distortion",
    "reconstructions",
    "reliability",
    "responsibilities",
    "samples",
    "style_by_content",
    "training_curves",
    "traversals",
]
