"""The semi-supervised VAE: read digits from 100 labels, and many images without one.

A digit has a class y and a style z. Without its label an image's class is summed out, weighted by
a classifier q(y|x); the few labels teach that classifier, and the sum teaches it from all images:

    maximise  sum_x ELBO(x) + sum_(x,y) ELBO(x, y) + alpha sum_(x,y) log q(y|x)
    ELBO(x) = sum_y q(y|x) [ ELBO(x, y) - log q(y|x) ]

First the few labels spread over all images, from each to those whose strokes run alike. What they
end as is right more often than not, and is taken for labels. These images are turned, sheared,
scaled and shifted a little, afresh for every batch; the classifier reads with two convolutions; the
code is small, so that what a digit is must come from y; the learning rate rises high, and ends at
nothing. The score depends on which labels were drawn: docs/quality.md has several draws of them.

    python examples/ssvae_mnist.py
    python examples/ssvae_mnist.py --data digits --steps 7500 --seed 1

It leaves style_by_content.png, reconstructions.png, training.png, metrics.json and
model.safetensors, which vaezoo.load(path, member(z_dim)) reads back. The second command takes less
than three minutes on two cores; the first takes four times as many steps.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

import inputs
import outputs
import vaezoo
from vaezoo import data, likelihoods, models, networks, objectives, plots, posteriors, training

X_SHAPE, HIDDEN = (1, 28, 28), (128, 128)


def main() -> None:
    """Data, model, training, evaluation, pictures."""
    args = arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)

    print(f"1. Data: {args.labels} labels, as many of each digit, spread to images that are alike")
    splits = inputs.mnist_or_digits(args.data, smoke=args.smoke)
    batches = semi_supervised(splits.train, args)
    print(f"all:   {batches.unlabelled}\nwith:  {batches.labelled}\ntest:  {splits.test}")

    print("\n2. Model: the generative story p(y) p(z) p(x|z, y), and the guess q(y|x) q(z|x, y)")
    ssvae = member(args.z_dim).to(args.device)
    print(ssvae)

    objective = objectives.SemiSupervised(alpha=args.alpha)
    print(f"\n3. Training: maximise {objective} by Adam")
    history = vaezoo.fit(
        ssvae,
        batches,
        objective,
        steps=args.steps,
        lr=training.one_cycle(args.lr, args.steps),
    )
    vaezoo.save(ssvae, args.output / "model.safetensors")

    print("\n4. Evaluation on images not seen in training: bounds with y summed out, and accuracy")
    found = vaezoo.evaluate(ssvae, splits.test, particles=args.particles_eval, seed=args.seed)
    outputs.write_metrics(args, splits, history, found)

    print("\n5. Pictures: a row for each class y, a column for each style z")
    draw(ssvae, splits, history, args)

    print(f"\n{outputs.table(found)}\n")
    print(args.output / "style_by_content.png")


def draw(
    ssvae: models.SSVAE,
    splits: inputs.Splits,
    history: dict[str, list[float]],
    args: argparse.Namespace,
) -> None:
    """Write the pictures."""
    x, _ = splits.test[:10].tensors(seed=args.seed)
    outputs.save_pictures(
        args.output,
        style_by_content=plots.style_by_content(ssvae, seed=args.seed),
        reconstructions=plots.reconstructions(ssvae, x),
        training=plots.training_curves(history),
    )


def member(z_dim: int) -> models.SSVAE:
    """An SSVAE whose q(y|x) has convolutions, and whose labels begin with more weight."""
    convolutions = networks.Conv(X_SHAPE, (16, 32), (128,), activation=nn.ReLU)
    reader = nn.Sequential(convolutions, nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))
    drawer = networks.MLP((z_dim,), HIDDEN, X_SHAPE, classes=10, label_scale=3.0)
    return models.SSVAE(
        X_SHAPE,
        z_dim,
        hidden=HIDDEN,
        classifier=posteriors.Classifier(X_SHAPE, 10, network=reader),
        likelihood=likelihoods.Bernoulli(z_dim, X_SHAPE, network=drawer, classes=10),
    )


def semi_supervised(images: data.Images, args: argparse.Namespace) -> data.SemiSupervisedBatches:
    """Batches of all images, each beside some that a label has reached, which are moved about."""
    try:
        few = images.labelled(args.labels, seed=args.seed)
    except ValueError as error:  # more labels than there are images of a class
        raise SystemExit(f"error: --labels {args.labels}: {error}") from error
    spread = data.spread_labels(images, few, features=data.strokes, alpha=0.995, share=1.0)
    reached = torch.as_tensor(spread.labels) >= 0
    return data.semi_supervised(images, data.Moved(spread[reached]), batch_size=args.batch_size)


def arguments() -> argparse.Namespace:
    """By default 100 labels, alpha 10, z of 12, 30,000 batches of 50 and a rate of up to 8e-3."""
    parser = inputs.command_line(
        __doc__, full="mnist", built_in="digits", steps=30_000, z_dim=12, batch_size=50, lr=8e-3
    )
    parser.add_argument(
        "--labels", type=inputs.tens, default=100, help="images with a label; default 100"
    )
    parser.add_argument(
        "--alpha", type=inputs.weight, default=10.0, help="weight of log q(y|x); default 10"
    )
    return inputs.parse(parser)


if __name__ == "__main__":
    main()
