"""A VAE whose prior is a mixture of Gaussians: let the codes of digits fall into clusters.

One round Gaussian has no room for ten kinds of digits. Here p(z) is a mixture of k of them, whose
means and variances are learned with the rest. The bound is the ELBO,

    E_q[ log p(x|z) + log p(z) - log q(z|x) ],      p(z) = 1/k sum_i N(z; m_i, v_i)

The KL between a Gaussian and a mixture has no closed form, so log q - log p at one draw of z stands
in for it. With k = 1 it is a VAE again; compare the NELBO of

    python examples/gmvae_mnist.py
    python examples/gmvae_mnist.py --k 1 --output outputs/one_gaussian

It leaves codes.png, samples.png, reconstructions.png, training.png, metrics.json and
model.safetensors, which vaezoo.load reads back. 20,000 steps take minutes; --data digits
--steps 2000 gives a first idea.
"""

from __future__ import annotations

import argparse

import torch

import inputs
import outputs
import vaezoo
from vaezoo import models, objectives, plots


def main() -> None:
    """Data, model, training, evaluation, pictures."""
    args = arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)

    print("1. Data: grey digits, whose pixels are drawn as 0 or 1 afresh in every batch")
    splits = inputs.mnist_or_digits(args.data, smoke=args.smoke)
    print(f"train: {splits.train}\ntest:  {splits.test}")

    print("\n2. Model: the generative story p(z) p(x|z), and the guess q(z|x)")
    gmvae = models.GMVAE(z_dim=args.z_dim, k=args.k).to(args.device)
    print(gmvae)

    objective = objectives.ELBO()  # sees that the prior is a mixture, and samples the KL
    print(f"\n3. Training: maximise {objective} by Adam")
    history = vaezoo.fit(
        gmvae, splits.train, objective, steps=args.steps, batch_size=args.batch_size, lr=args.lr
    )
    vaezoo.save(gmvae, args.output / "model.safetensors")

    print("\n4. Evaluation on images not seen in training")
    found = vaezoo.evaluate(gmvae, splits.test, particles=args.particles_eval, seed=args.seed)
    outputs.write_metrics(args, splits, history, found)

    print("\n5. Pictures: the codes of test digits, coloured by labels the model never saw")
    draw(gmvae, splits, history, args)

    print(f"\n{outputs.table(found)}\n")
    print(args.output / "codes.png")


def draw(
    gmvae: models.GMVAE,
    splits: inputs.Splits,
    history: dict[str, list[float]],
    args: argparse.Namespace,
) -> None:
    """Write the pictures."""
    x, y = splits.test[:2000].tensors(seed=args.seed)
    outputs.save_pictures(
        args.output,
        codes=plots.latent_scatter(gmvae, x, y, seed=args.seed),
        samples=plots.samples(gmvae),
        reconstructions=plots.reconstructions(gmvae, x),
        training=plots.training_curves(history),
    )


def arguments() -> argparse.Namespace:
    """The reference recipe by default: 784-300-300-10, k = 500, batches of 100, 20,000 steps."""
    parser = inputs.command_line(__doc__, full="mnist", built_in="digits", steps=20_000, z_dim=10)
    parser.add_argument(
        "--k", type=inputs.count, default=500, help="Gaussians in the prior; default 500"
    )
    return inputs.parse(parser)


if __name__ == "__main__":
    main()
