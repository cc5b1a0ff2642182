"""The variational auto-encoder on MNIST: learn to draw digits from a code of ten numbers.

A code z ~ N(0, I) is decoded into 784 pixels, and an encoder q(z|x) guesses the code of an image.
Both are trained to maximise a lower bound on log p(x), the ELBO (at beta = 1):

    E_q[ log p(x|z) ]  -  beta * KL( q(z|x) || p(z) )

The KL has a closed form, and one draw of z estimates the rest. A beta above 1 presses the codes
towards the prior (beta-VAE): more orderly codes, worse reconstructions. Try both:

    python examples/vae_mnist.py
    python examples/vae_mnist.py --beta 4 --output outputs/beta_4

With --nproc-per-node=2 of torchrun two processes train it, each on its half of every batch:

    torchrun --nproc-per-node=2 examples/vae_mnist.py

It leaves samples.png, reconstructions.png, training.png, metrics.json and model.safetensors, which
vaezoo.load reads back. 20,000 steps take minutes; --data digits --steps 2000 gives a first idea.
"""

from __future__ import annotations

import argparse

import torch

import inputs
import outputs
import vaezoo
from vaezoo import models, objectives, plots
from vaezoo.training import processes


def main() -> None:
    """Data, model, training, evaluation, pictures."""
    args = arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    with processes.launched() as world, outputs.said_by(first=world.rank == 0):
        torch.manual_seed(args.seed)
        run(args, first=world.rank == 0)


def run(args: argparse.Namespace, *, first: bool) -> None:
    """All of it; the first process, which is the only one without torchrun, writes the files."""
    print("1. Data: grey digits, whose pixels are drawn as 0 or 1 afresh in every batch")
    splits = inputs.mnist_or_digits(args.data, smoke=args.smoke)
    print(f"train: {splits.train}\ntest:  {splits.test}")

    print("\n2. Model: the generative story p(z) p(x|z), and the guess q(z|x)")
    vae = models.VAE(z_dim=args.z_dim).to(args.device)
    print(vae)

    objective = objectives.ELBO(args.beta)
    print(f"\n3. Training: maximise {objective} by Adam")
    history = vaezoo.fit(
        vae, splits.train, objective, steps=args.steps, batch_size=args.batch_size, lr=args.lr
    )
    if first:
        vaezoo.save(vae, args.output / "model.safetensors")

    print("\n4. Evaluation on images not seen in training, always at beta = 1")
    found = vaezoo.evaluate(vae, splits.test, particles=args.particles_eval, seed=args.seed)

    print("\n5. Pictures: digits from random codes, and test digits through encoder and decoder")
    if first:
        outputs.write_metrics(args, splits, history, found)
        draw(vae, splits, history, args)

    print(f"\n{outputs.table(found)}\n")
    print(args.output / "samples.png")


def draw(
    vae: models.VAE,
    splits: inputs.Splits,
    history: dict[str, list[float]],
    args: argparse.Namespace,
) -> None:
    """Write the pictures."""
    x, _ = splits.test[:10].tensors(seed=args.seed)
    outputs.save_pictures(
        args.output,
        samples=plots.samples(vae),
        reconstructions=plots.reconstructions(vae, x),
        training=plots.training_curves(history),
    )


def arguments() -> argparse.Namespace:
    """The reference recipe by default: 784-300-300-10, Adam at 1e-3, 20,000 batches of 100."""
    parser = inputs.command_line(__doc__, full="mnist", built_in="digits", steps=20_000, z_dim=10)
    parser.add_argument(
        "--beta", type=inputs.weight, default=1.0, help="weight of the KL; default 1, the ELBO"
    )
    return inputs.parse(parser)


if __name__ == "__main__":
    main()
