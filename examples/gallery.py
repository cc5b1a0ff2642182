"""Every figure of vaezoo.plots, from models that ship trained or are trained for a few seconds.

Four small models learn the digits that ship with vaezoo: a VAE with two latent dimensions, before
and after its prior is swapped for a mixture, one with ten, and an IWAE. Images and labels are those
of members that ship trained.

    python examples/gallery.py
    python examples/gallery.py --steps 5000 --dpi 200 --output outputs/talk

It leaves a picture for each function of vaezoo.plots, each by its name, and training.gif. With the
steps of the first command that takes about a minute.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.distributions import kl_divergence

import inputs
from vaezoo import ELBO, compare, data, evaluate, fit, models, plots, priors
from vaezoo.training.history import History


class Trained(NamedTuple):
    """What the figures are of."""

    history: History
    film: plots.LatentFilm
    flat: models.VAE
    swapped: models.VAE
    ten: models.VAE
    iwae: models.IWAE


def main() -> None:
    """Train, draw, and write."""
    args = arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    digits, test = data.digits("train"), data.digits("test")
    x, y = test[:1000].tensors()

    trained = train(digits, test, x, y, args.steps)
    figures = codes(trained, x, y) | numbers(trained, test, args.steps)
    figures |= images(models.pretrained("vae-mnist"), x)
    figures |= labels(models.pretrained("ssvae-mnist"), x, y)
    for name, figure in figures.items():
        write(figure, args.output / f"{name}.png", args)
    trained.film.save(args.output / "training.gif", dpi=0.6 * args.dpi)
    print(*sorted(args.output.iterdir()), sep="\n")


def write(figure: Figure, path: Path, args: argparse.Namespace) -> None:
    """Write a figure, in few colours where that is asked for."""
    figure.savefig(path, dpi=args.dpi)
    if args.colours:
        with Image.open(path) as picture:
            fewer = picture.convert("RGB").quantize(args.colours)
        fewer.save(path, optimize=True)


def train(digits: data.Images, test: data.Images, x: Tensor, y: Tensor, steps: int) -> Trained:
    """Four models, one of which is the first with another prior."""
    flat = models.VAE(z_dim=2)
    film = plots.LatentFilm(flat, x[:500], y[:500])
    options: dict[str, Any] = {"steps": 2 * steps, "lr": 2e-3, "log_every": max(1, steps // 5)}
    history = fit(flat, digits, validation=test[:200], callback=film, **options)
    swapped = copy.deepcopy(flat)
    swapped.prior = priors.MixtureOfGaussians(2, k=10)
    fit(swapped, digits, **options)
    ten, iwae = models.VAE(), models.IWAE(particles=5)
    for model in (ten, iwae):
        fit(model, digits, steps=steps)
    return Trained(history, film, flat, swapped, ten, iwae)


def codes(trained: Trained, x: Tensor, y: Tensor) -> dict[str, Figure]:
    """Figures of latent space."""
    flat, swapped = trained.flat, trained.swapped
    return {
        "latent_scatter": plots.latent_scatter(swapped, x, y),
        "latent_scatter_ten": plots.latent_scatter(trained.ten, x, y),
        "latent_scatter_score": plots.latent_scatter(
            flat, x, colour=flat.score(x), colour_label="ELBO, nats"
        ),
        "before_after": plots.before_after(flat, swapped, x, y),
        "responsibilities": plots.responsibilities(swapped.cluster(x), y),
        "components": plots.components(swapped, swapped.cluster(x)),
        "manifold": plots.manifold(flat, n=15),
    }


def images(vae: Any, x: Tensor) -> dict[str, Figure]:
    """Grids of images."""
    return {
        "image_grid": plots.image_grid(x[:30], title="digits"),
        "samples": plots.samples(vae),
        "reconstructions": plots.reconstructions(vae, x),
        "traversals": plots.traversals(vae, x, kl=rate_per_unit(vae, x), rows=6),
        "interpolations": plots.interpolations(vae, x[:5], x[5:10]),
        "kl_per_unit": plots.kl_per_unit(rate_per_unit(vae, x)),
    }


def labels(ssvae: Any, x: Tensor, y: Tensor) -> dict[str, Figure]:
    """What a member that reads labels makes of them."""
    probabilities = ssvae.classify(x)
    return {
        "style_by_content": plots.style_by_content(ssvae, columns=12),
        "confusion": plots.confusion(y, probabilities.argmax(-1)),
        "reliability": plots.reliability(y, probabilities),
    }


def numbers(trained: Trained, test: data.Images, steps: int) -> dict[str, Figure]:
    """Figures of numbers, with their standard errors where they have any."""
    ks = (1, 2, 5, 10, 20)
    found = {
        name: evaluate(model, test[:200], particles=ks, progress=False)
        for name, model in (("VAE", trained.ten), ("IWAE", trained.iwae))
    }
    print(compare(found["IWAE"], found["VAE"]))
    bounds = {n: {k: e[f"niwae-{k}"] for k in ks} for n, e in found.items()}
    points = {n: (e["kl"], -e["rec"].mean) for n, e in found.items()}
    for beta in (0.3, 4.0):
        model = models.VAE(beta=beta)
        fit(model, data.digits("train"), ELBO(beta), steps=max(1, steps // 2))
        e = evaluate(model, test[:200], particles=1, progress=False)
        points[f"β = {beta:g}"] = (e["kl"], -e["rec"].mean)
    return {
        "training_curves": plots.training_curves(trained.history),
        "bound_against_k": plots.bound_against_k(bounds),
        "rate_distortion": plots.rate_distortion(points),
    }


@torch.no_grad()
def rate_per_unit(vae: Any, x: Tensor) -> Tensor:
    """KL(q ‖ p) of each unit of a Normal posterior from a Normal prior, a mean over images."""
    q, p = vae.posterior(x), vae.prior()
    return kl_divergence(q.base_dist, p.base_dist).mean(0)


def arguments() -> argparse.Namespace:
    """A minute's training by default, at a resolution for a screen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--steps", type=inputs.count, default=400, help="gradient steps of each; default 400")
    option("--dpi", type=inputs.count, default=100, help="dots per inch; default 100")
    option("--colours", type=inputs.count, help="of each picture, for smaller files; default all")
    option("--seed", type=inputs.seed, default=0, help="of weights and batches; default 0")
    option("--output", type=inputs.folder, default=Path("outputs") / "gallery", help="to write to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
