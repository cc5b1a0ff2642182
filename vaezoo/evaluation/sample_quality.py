"""Whether pictures that are drawn look like data, to a small classifier that knows only these.

The classifier is trained on half of the labelled training images; no network is downloaded. In the
outputs of its last hidden layer, two sets of pictures are as far apart as two Normals of their
moments:

    |μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½)

the square of a Fréchet distance. It is not 0 between two sets of real images either, as moments of
few images are noisy: that distance, of the other half of the training images to test images, is the
floor. Numbers compare where the images, their number and the seed are the same, and to nothing that
other features gave.

Two repeats have a share f of the images in common, so that the variance of a mean over R repeats is
about s² (1 / R + f / (1 - f)), as of a jackknife; less where both sets are of one distribution.

Where classes are asked for, the classifier says how many pictures show the class asked for, beside
how many real images it reads right.

References:
    Heusel et al. GANs Trained by a Two Time-Scale Update Rule. 2017. arXiv:1706.08500, equation 6.
    Dowson, Landau. The Fréchet distance between multivariate normal distributions. 1982. Journal of
    Multivariate Analysis 12(3).
    Shao, Wu. A General Theory for Jackknife Variance Estimation. 1989. Annals of Statistics 17(3).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from vaezoo.cpu import tuned
from vaezoo.data import Images
from vaezoo.data.batches import as_tensor
from vaezoo.data.counts import as_count, as_seed
from vaezoo.data.passes import one_pass, passes
from vaezoo.estimates import Estimate
from vaezoo.evaluation.visiting import outside_inference
from vaezoo.programs.refusing import described
from vaezoo.scopes import own_generator
from vaezoo.tables import Estimates

__all__ = ["frechet", "sample_quality"]

FEATURES = 64


def frechet(a: Tensor, b: Tensor) -> float:
    """The squared Fréchet distance of two Normals with the moments of features (n, d) and (m, d).

    Raises:
        ValueError: features are not finite, of two shapes, or of one row.

    Example:
        >>> a = torch.tensor([[0.0], [2.0]])
        >>> round(frechet(a, a + 3), 6), round(frechet(a, 2 * a - 1), 6)
        (9.0, 2.0)
    """
    a, b = (_features(each) for each in (a, b))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features must be of one size, got {a.shape[1]} and {b.shape[1]}")
    spread_a, spread_b = (torch.atleast_2d(t.T.cov()) for t in (a, b))
    values, vectors = torch.linalg.eigh(spread_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # the eigenvalues of Σ_a Σ_b, by a matrix that is symmetric
    overlap = torch.linalg.eigvalsh(root @ spread_b @ root).clamp(min=0).sqrt().sum()
    traces = spread_a.trace() + spread_b.trace()
    return ((a.mean(0) - b.mean(0)).square().sum() + traces - 2 * overlap).item()


def _features(values: Any) -> Tensor:
    features = as_tensor(values)
    if features.dim() != 2 or len(features) < 2:
        raise ValueError(f"features must be (n, d), n at least 2, got {tuple(features.shape)}")
    if not features.isfinite().all():
        raise ValueError("features must be finite, got NaN or infinity")
    return features.double()


def sample_quality(
    model: nn.Module,
    train: Images,
    test: Images,
    *,
    n: int = 1000,
    repeats: int = 5,
    steps: int = 1000,
    mean: bool = False,
    seed: int = 0,
) -> dict[str, Estimate]:
    """How far drawn pictures are from test images, and how often they show the class asked for.

    Args:
        model: a member.
        train: labelled images: the classifier learns one half, and the other is for the floor.
        test: other labelled images, which pictures are held against.
        n: pictures, and images, at a time; half of the images that there are where that is fewer,
            as repeats of the same ones tell no error.
        repeats: how often to draw them anew.
        steps: that the classifier is trained for, of 100 images each.
        mean: take E[x|z], the picture usually shown, rather than draws of the pixels, which
            binarised images are to be compared with.
        seed: of everything.

    Returns:
        "frechet", of pictures to test images, and "floor", of training to test images, with errors
        by their repeats; "judge", the share of test images that the classifier reads right, and,
        for members with labels, "consistency", that of pictures read as the class asked for.

    Raises:
        TypeError: the model cannot be drawn from.
        ValueError: train or test are no `data.Images` with labels, a class of test is not in train,
            there are too few, pictures are of several shapes, or a number is below its least.

    Example:
        >>> from vaezoo import data, models
        >>> train, test = data.digits("train")[:500], data.digits("test")[:200]
        >>> found = sample_quality(models.VAE(), train, test, steps=50)
        >>> found["frechet"].mean > 2 * found["floor"].mean
        True
    """
    n, repeats = as_count("n", n, least=2), as_count("repeats", repeats, least=2)
    steps = as_count("steps", steps)
    _check_images(model, train, test)
    with outside_inference(), own_generator(as_seed(seed)), tuned():
        judge, known = _trained(train, steps)
        n, common = _at_a_time(model, n, known, test)
        found = [_compared(model, judge, known, test, n, mean) for _ in range(repeats)]
        right = [v for x, y in _batches(test, seed) for v in _right(judge, x, y)]
    columns = {name: [v for each in found for v in each[name]] for name in found[0]}
    columns["judge"] = right
    return Estimates((name, _mean(v, common.get(name, 0.0))) for name, v in columns.items())


def _check_labelled(*given: Any) -> None:
    for images in given:
        if not isinstance(images, Images) or images.labels is None:
            raise ValueError(f"sample_quality needs data.Images with labels, got {images!r}")
        if n := int((images.labels < 0).sum()):
            raise ValueError(f"sample_quality needs a label of every image, got {n} without one")
    train, test = (set(images.labels.tolist()) for images in given)
    if missing := sorted(test - train):
        raise ValueError(f"test has images of classes {missing}, of which train has none")


def _check_images(model: Any, train: Images, test: Images) -> None:
    if isinstance(model, type) or not hasattr(model, "sample"):
        raise TypeError(f"sample_quality needs a member to draw from, got {described(model)}")
    _check_labelled(train, test)
    shapes = {tuple(images.pixels.shape[1:]) for images in (train, test)}
    if (drawn := getattr(model, "x_shape", None)) is not None:
        shapes.add(tuple(drawn))
    if len(shapes) > 1:
        raise ValueError(f"pictures of the model, train and test must have one shape, got {shapes}")
    if min(len(train) // 2, len(test)) < 2:
        raise ValueError(
            f"sample_quality needs four images of train and two of test at least, got {len(train)} "
            f"and {len(test)}"
        )


def _halves(images: Images) -> tuple[Images, Images]:
    rows = torch.randperm(len(images), device="cpu")
    half = len(images) // 2
    return images[rows[:half]], images[rows[half:]]


def _trained(images: Images, steps: int) -> tuple[nn.Sequential, Images]:
    """A classifier of half of them with one hidden layer before that of the features; the rest."""
    train, known = _halves(images)
    assert train.labels is not None
    width, classes = math.prod(train.pixels.shape[1:]), int(train.labels.max()) + 1
    with torch.device("cpu"):
        hidden = nn.Linear(width, 2 * FEATURES), nn.ReLU(), nn.Linear(2 * FEATURES, FEATURES)
        last = nn.Linear(FEATURES, classes)
    judge = nn.Sequential(nn.Flatten(), *hidden, nn.ReLU(), last).float()
    adam = torch.optim.Adam(judge.parameters(), 1e-3)
    with torch.enable_grad():
        for x, y in passes(train, 100, steps, None, dtype=torch.float32)[0]:
            adam.zero_grad()
            functional.cross_entropy(judge(x), y).backward()
            adam.step()
    return judge.requires_grad_(False), known


def _at_a_time(model: Any, n: int, known: Images, test: Images) -> tuple[int, dict[str, float]]:
    """How many pictures and images, and which share of each distance two repeats have in common."""
    asked = bool(getattr(model, "classes", 0))
    n = min(n, max(2, len(test) // 2), len(known) if asked else max(2, len(known) // 2))
    of_test, of_known = n / len(test), n / (len(known) + asked * n)  # if asked, with replacement
    return n, {"frechet": of_test / 2, "floor": (of_test + of_known) / 2}


def _compared(
    model: Any, judge: nn.Sequential, train: Images, test: Images, n: int, mean: bool
) -> dict[str, list[float]]:
    """Distances of pictures, and of training images, to as many test images; what they show."""
    real, y = _some(test, torch.randperm(len(test), device="cpu")[:n])
    asked = {"y": y} if getattr(model, "classes", 0) else {}
    # pictures of classes asked for are as many of each as the images, and so is their floor
    rows = _with_labels(train, y) if asked else torch.randperm(len(train), device="cpu")[:n]
    known, _ = _some(train, rows)
    drawn = model.sample(n, mean=mean, **asked).float().cpu()
    features = [judge[:-1](x) for x in (drawn, known, real)]
    found = {
        "frechet": [frechet(features[0], features[2])],
        "floor": [frechet(features[1], features[2])],
    }
    return found | ({"consistency": _right(judge, drawn, y)} if asked else {})


def _some(images: Images, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Images and their labels, binarised anew."""
    x, y = images[rows].tensors(seed=int(torch.randint(2**31, (), device="cpu")))
    return x.float(), y


def _with_labels(images: Images, y: Tensor) -> Tensor:
    """Rows of images that have these labels, drawn one by one."""
    assert images.labels is not None
    rows = torch.empty_like(y)
    for label in y.unique():
        of_class = (images.labels == label).nonzero().flatten()
        if not len(of_class):
            raise ValueError(f"train has too few images of class {label} to compare with")
        wanted = y == label
        rows[wanted] = of_class[torch.randint(len(of_class), (int(wanted.sum()),), device="cpu")]
    return rows


def _batches(images: Images, seed: int) -> Iterable[Any]:
    return one_pass(images, 1000, dtype=torch.float32, seed=seed)


def _right(judge: nn.Module, x: Tensor, y: Tensor) -> list[float]:
    """1 for each image that is read as its label, else 0."""
    right: list[float] = judge(x).argmax(1).eq(y).double().tolist()
    return right


def _mean(values: list[float], common: float) -> Estimate:
    """The mean of values any two of which are correlated by so much."""
    each, n = torch.tensor(values, dtype=torch.float64, device="cpu"), len(values)
    factor = 1 / n + common / (1 - common) if common < 1 else math.nan
    return Estimate(each.mean().item(), each.std().item() * math.sqrt(factor), n)
