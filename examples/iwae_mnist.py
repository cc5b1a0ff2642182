"""The importance-weighted auto-encoder: several draws of the code for a tighter bound.

The model is the VAE's; what differs is what is maximised. With z_1 ... z_m drawn from q(z|x),

    L_m = E[ log 1/m sum_i p(x, z_i) / q(z_i|x) ]  <=  log p(x)

L_1 is the ELBO, and L_m grows with m. Training with m > 1 lets q be a poorer match of the posterior
and p a better model. The last table shows the bound NIWAE-k = -L_k of one trained model fall with
k, whatever m it was trained with. Compare NIWAE-100 of

    python examples/iwae_mnist.py
    python examples/iwae_mnist.py --particles 1 --output outputs/one_particle

It leaves samples.png, reconstructions.png, training.png, metrics.json and model.safetensors, which
vaezoo.load reads back. 20,000 steps take many minutes; --data digits --steps 2000 gives a first
idea.
"""

from __future__ import annotations

import argparse

import torch

import inputs
import outputs
import vaezoo
from vaezoo import models, objectives, plots
from vaezoo.evaluation import Estimate


def main() -> None:
    """Data, model, training, evaluation, pictures."""
    args = arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)

    print("1. Data: grey digits, whose pixels are drawn as 0 or 1 afresh in every batch")
    splits = inputs.mnist_or_digits(args.data, smoke=args.smoke)
    print(f"train: {splits.train}\ntest:  {splits.test}")

    print("\n2. Model: the generative story p(z) p(x|z), and the guess q(z|x)")
    iwae = models.IWAE(z_dim=args.z_dim, particles=args.particles).to(args.device)
    print(iwae)

    objective = objectives.IWELBO(args.particles)
    print(f"\n3. Training: maximise {objective} by Adam")
    history = vaezoo.fit(
        iwae, splits.train, objective, steps=args.steps, batch_size=args.batch_size, lr=args.lr
    )
    vaezoo.save(iwae, args.output / "model.safetensors")

    print("\n4. Evaluation on images not seen in training")
    found = vaezoo.evaluate(iwae, splits.test, particles=args.particles_eval, seed=args.seed)
    outputs.write_metrics(args, splits, history, found)

    print("\n5. Pictures: digits from random codes, and test digits through encoder and decoder")
    draw(iwae, splits, history, args)

    print(f"\n{outputs.table(found)}\n\n{fall(found)}\n")
    print(args.output / "samples.png")


def draw(
    iwae: models.IWAE,
    splits: inputs.Splits,
    history: dict[str, list[float]],
    args: argparse.Namespace,
) -> None:
    """Write the pictures."""
    x, _ = splits.test[:10].tensors(seed=args.seed)
    outputs.save_pictures(
        args.output,
        samples=plots.samples(iwae),
        reconstructions=plots.reconstructions(iwae, x),
        training=plots.training_curves(history),
    )


def fall(found: dict[str, Estimate]) -> str:
    """How far NIWAE-k falls: all k use the same draws, so that noise cannot hide it."""
    bounds = {n.removeprefix("niwae-"): e for n, e in found.items() if n.startswith("niwae-")}
    first, start = next(iter(bounds.items()))
    lines = [f"{'k':>6}  {'NIWAE-k':>16}  below NIWAE-{first}; a mark is a quarter of a nat"]
    for k, estimate in bounds.items():
        below = start.mean - estimate.mean
        marks = "#" * min(round(4 * below), 60)
        lines.append(f"{k:>6}  {estimate!s:>16}  {below:5.2f} {marks}".rstrip())
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The reference recipe by default: 784-300-300-10, Adam at 1e-3, 20,000 batches of 100."""
    parser = inputs.command_line(
        __doc__,
        full="mnist",
        built_in="digits",
        steps=20_000,
        z_dim=10,
        particles_eval=(1, 5, 10, 50, 100),
    )
    parser.add_argument(
        "--particles", type=inputs.count, default=10, help="m, draws in training; default 10"
    )
    return inputs.parse(parser)


if __name__ == "__main__":
    main()
