"""The fully supervised VAE on house numbers in colour: content and style apart.

The label y of every image is given, so the code z need not hold it: what remains for z is style,
such as colours, slant and light. The pixels are Normal around the decoder's output,

    log p(x|y)  >=  E_q[ log N(x; m(y, z), 1/10) ]  -  KL( q(z|x, y) || p(z) )

A density may exceed 1: with 3,072 pixels of variance 1/10 its constant alone is +713.79 nats, so
NELBO comes out negative. Only differences between models of the same data mean anything.

    python examples/fsvae_svhn.py
    python examples/fsvae_svhn.py --svhn-file train_32x32.mat
    python examples/fsvae_svhn.py --data colour-digits --steps 5000

It leaves style_by_content.png, reconstructions.png, training.png, metrics.json and
model.safetensors, which vaezoo.load reads back. SVHN is 246 MB to download, for non-commercial use
only.
"""

from __future__ import annotations

import argparse
import math

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

    print("1. Data: colour pixels in [0, 1], and the digit in the middle as the label")
    splits = inputs.svhn_or_colour_digits(args.data, args.svhn_file, smoke=args.smoke)
    print(f"train: {splits.train}\ntest:  {splits.test}")

    print("\n2. Model: the generative story p(z) p(x|z, y), and the guess q(z|x, y)")
    fsvae = models.FSVAE(z_dim=args.z_dim).to(args.device)
    print(fsvae)

    objective = objectives.ELBO()
    print(f"\n3. Training: maximise {objective} by Adam")
    history = vaezoo.fit(
        fsvae, splits.train, objective, steps=args.steps, batch_size=args.batch_size, lr=args.lr
    )
    vaezoo.save(fsvae, args.output / "model.safetensors")

    print("\n4. Evaluation on images not seen in training")
    found = vaezoo.evaluate(fsvae, splits.test, particles=args.particles_eval, seed=args.seed)
    outputs.write_metrics(args, splits, history, found)

    print("\n5. Pictures: a row for each class y, a column for each style z, clipped to [0, 1]")
    draw(fsvae, splits, history, args)

    print(f"\n{outputs.table(found, bounded='p(x|y)')}\n")
    print(explain(found, pixels=math.prod(fsvae.x_shape)), end="\n\n")
    print(args.output / "style_by_content.png")


def draw(
    fsvae: models.FSVAE,
    splits: inputs.Splits,
    history: dict[str, list[float]],
    args: argparse.Namespace,
) -> None:
    """Write the pictures."""
    x, y = splits.test[:10].tensors(seed=args.seed)
    outputs.save_pictures(
        args.output,
        style_by_content=plots.style_by_content(fsvae, columns=20, seed=args.seed),
        reconstructions=plots.reconstructions(fsvae, x, y),
        training=plots.training_curves(history),
    )


def explain(found: dict[str, Estimate], *, pixels: int, variance: float = 0.1) -> str:
    """Why NELBO is negative once a model is trained, and what it says of pixels."""
    constant = -pixels / 2 * math.log(2 * math.pi * variance)
    # -log N(x; m, v) is |x - m|^2 / 2v less the constant
    squares = 2 * variance * (constant - found["rec"].mean)
    return (
        f"log N(x; m, 1/10) of {pixels:,} pixels has the constant -{pixels}/2 log(2 pi/10) = "
        f"{constant:+.2f} nats,\nso the NELBO of a trained model is negative. Here it is "
        f"{found['nelbo'].mean:.2f}, and {found['nelbo'].mean + constant:.2f} without the\n"
        f"constant; a pixel is off by {math.sqrt(squares / pixels):.3f} (root mean square, of 1)."
    )


def arguments() -> argparse.Namespace:
    """The reference recipe by default: 3072-500-500-10, Adam at 1e-3, 50,000 batches of 100."""
    parser = inputs.command_line(
        __doc__, full="svhn", built_in="colour-digits", steps=50_000, z_dim=10
    )
    parser.add_argument(
        "--svhn-file",
        type=inputs.file,
        metavar="PATH.mat",
        help="a file of SVHN in place of the download; its last tenth is kept for testing",
    )
    args = inputs.parse(parser)
    if args.svhn_file and (args.smoke or args.data == "colour-digits"):
        parser.error("--svhn-file cannot go with --smoke or --data colour-digits")
    return args


if __name__ == "__main__":
    main()
