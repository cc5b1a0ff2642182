"""Evaluation: bounds, evidence and accuracy, each with its standard error over images.

    NELBO     -Σ_y q(y|x) [ rec - kl + log p(y) - log q(y|x) ], mean over all draws
    NIWAE-k   -log Σ_y p(y) 1/k Σ_i w(y, z_i)

in nats per image, lower is better; Σ_y only for members that infer a label. NIWAE-k is an upper
bound on -log p(x) in expectation and falls with k. All k come from the same draws, cut into groups
of k: small k are averaged over many groups, and where the k divide one another the estimates fall
with k by construction (Jensen), so noise cannot hide a mistake in that order or fake one.

Evaluation has a generator of its own: the same seed gives the same numbers, and the global
generator is left alone.

References:
    Burda, Grosse, Salakhutdinov 2016. arXiv:1509.00519, theorem 1 and section 5.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import pyro
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from vaezoo.bound import Bound
from vaezoo.components import outside_param_store
from vaezoo.cpu import tuned
from vaezoo.data import Images
from vaezoo.objectives import Objective
from vaezoo.traces import Terms, required_arguments, run

__all__ = ["Estimate", "accuracy", "evaluate"]


class Estimate(NamedTuple):
    """A mean over n images and its standard error.

    Example:
        >>> print(Estimate(97.5512, 0.2401, 10_000))
        97.55 ± 0.24
    """

    mean: float
    stderr: float
    n: int

    def __str__(self) -> str:
        digits = max(2, 1 - math.floor(math.log10(self.stderr))) if self.stderr else 2
        return f"{self.mean:.{digits}f} ± {self.stderr:.{digits}f}"


def evaluate(
    model: nn.Module,
    data: Images | Iterable[Any],
    *,
    particles: Sequence[int] = (1, 10, 100, 1000),
    seed: int = 0,
    batch_size: int = 100,
    max_decodes: int = 2000,
    progress: bool = True,
    compile: bool = False,  # noqa: A002
) -> dict[str, Estimate]:
    """NELBO, KL, rec and NIWAE-k of a model on held-out data.

    Args:
        model: a member of the zoo, or any module with programs `model` and `guide`.
        data: `Images`, binarised once by `seed`, or an iterable of batches. Labels are used
            where the model requires them (FSVAE) and left out where it can infer them.
        particles: the k of NIWAE-k; the largest is the number of draws per image.
        seed: of binarisation and draws.
        batch_size: images at a time, where data are `Images`.
        max_decodes: codes decoded at a time, which bounds memory.
        progress: show a progress bar.
        compile: compile what is done for a few codes (see `Bound.compile`): the same estimates
            from the same draws. It takes some seconds, and pays for thousands of images or draws.

    Returns:
        "nelbo", "kl", "rec" (this one -log p(x|z), so that nelbo = rec + kl) and "niwae-k" for
        each k, as `Estimate`; "accuracy" too for a member that classifies (SSVAE, M1M2, ADGM)
        on labelled data.

    Raises:
        ValueError: a k below 1, or fewer than two images.

    Example:
        >>> from vaezoo import data, models
        >>> test = data.digits("test")[:20]
        >>> found = evaluate(models.VAE(), test, particles=(1, 5), progress=False)
        >>> found["niwae-5"].mean <= found["niwae-1"].mean
        True
    """
    if not particles or min(particles) < 1:
        raise ValueError(f"particles must be one or more k of at least 1, got {tuple(particles)}")
    values: defaultdict[str, list[float]] = defaultdict(list)
    wanted = required_arguments(cast(Any, model).model)
    batches = _batches(data, seed, batch_size)
    with _evaluating(model, seed), tqdm(batches, disable=not progress, unit="batch") as bar:
        draws = _Drawing(model, bar.set_postfix_str if compile else None)
        for batch in bar:
            tensors = _on_device(model, batch)
            for name, each in _batch(draws, tensors[:wanted], sorted(particles), max_decodes):
                values[name] += each.tolist()
            if hasattr(model, "classify") and len(tensors) == 2:
                values["accuracy"] += _correct(model, *tensors)
    return {name: _estimate(each) for name, each in values.items()}


def accuracy(model: nn.Module, data: Images, *, seed: int = 0, batch_size: int = 1000) -> Estimate:
    """The share of images whose most probable class under q(y|x) is their label.

    Example:
        >>> from vaezoo import data, models
        >>> 0 <= accuracy(models.SSVAE(), data.digits("test")[:50]).mean <= 1
        True
    """
    if not hasattr(model, "classify"):
        raise TypeError(f"accuracy needs a model with classify, got a {type(model).__name__}")
    if data.labels is None:
        raise ValueError(f"accuracy needs labelled images, got {data}")
    with _evaluating(model, seed):
        correct = [
            each
            for batch in _batches(data, seed, batch_size)
            for each in _correct(model, *_on_device(model, batch))
        ]
    return _estimate(correct)


class _Draws(Objective):
    """What evaluation keeps of some draws: sums of rec and kl (N,), and log weights (L, K, N)."""

    def report(self, terms: Terms) -> dict[str, Tensor]:
        kl = terms.expect(terms.kl + terms.log_qy - terms.log_py)
        each = {"rec": -terms.expect(terms.rec), "kl": kl}
        sums = {name: t.expand(terms.particles, -1).sum(0) for name, t in each.items()}
        return {**sums, "log_w": terms.log_w + terms.log_py}


class _Drawing(dict[int, Bound]):
    """For each number of draws, a module that makes so many; compiled if there is `announce`."""

    def __init__(self, model: nn.Module, announce: Callable[[str], object] | None) -> None:
        self.model, self.announce = model, announce

    def __missing__(self, particles: int) -> Bound:
        self[particles] = bound = Bound(self.model, _Draws(particles))
        if self.announce is not None:
            bound.compile(announce=self.announce, gradients=False)
        return bound


def _batch(
    draws: _Drawing, batch: list[Tensor], particles: list[int], max_decodes: int
) -> Iterator[tuple[str, Tensor]]:
    """Name and per-image values of every quantity, (N,).

    As many images at a time as all their draws are decoded at once: the encoder then runs once for
    each image, unless one image's draws are too many.
    """
    labels = _labels(draws.model, batch)
    size = max(1, max_decodes // (particles[-1] * labels))
    for part in zip(*(t.split(size) for t in batch), strict=True):
        yield from _few(draws, list(part), particles, max(1, max_decodes // labels))


def _few(
    draws: _Drawing, batch: list[Tensor], particles: list[int], at_a_time: int
) -> Iterator[tuple[str, Tensor]]:
    """The same for a few images, with so many draws of each at a time."""
    total, means = particles[-1], defaultdict[str, Tensor](lambda: torch.zeros(()))
    log_w = []
    for k in _parts(total, at_a_time):
        # values were checked in full when the labels were counted
        with pyro.validation_enabled(False):
            found = draws[k](*batch)
        for name in ("rec", "kl"):
            means[name] = means[name] + found[name] / total
        log_w.append(found["log_w"])
    yield "nelbo", means["rec"] + means["kl"]
    yield from means.items()
    together = torch.cat(log_w, 1)
    for k in particles:
        yield f"niwae-{k}", _niwae(together, k)


def _parts(total: int, largest: int) -> list[int]:
    """Equal parts where that takes at most twice as many, so that all are of one shape."""
    size = next(n for n in range(min(largest, total), 0, -1) if total % n == 0)
    if 2 * size < largest < total:
        return [len(part) for part in torch.arange(total).split(largest)]
    return [size] * (total // size)


def _niwae(log_w: Tensor, k: int) -> Tensor:
    """From log weights (L, K, N) with log p(y) in them, the mean over groups of k draws, (N,)."""
    groups = log_w.shape[1] // k
    grouped = log_w[:, : groups * k].reshape(log_w.shape[0], groups, k, -1)
    return -(grouped.logsumexp((0, 2)) - math.log(k)).mean(0)


def _labels(model: Any, batch: list[Tensor]) -> int:
    """How many combinations of labels the pair sums out; run on the whole batch, to check it."""
    terms: Terms = run(model.model, model.guide, *batch)
    return terms.log_qy.shape[0]


def _correct(model: Any, x: Tensor, y: Tensor) -> list[float]:
    found: list[float] = (model.classify(x).argmax(-1) == y).double().tolist()
    return found


def _estimate(values: list[float]) -> Estimate:
    n, each = len(values), torch.tensor(values, dtype=torch.float64)
    if n < 2:
        raise ValueError(f"a standard error needs at least 2 images, got {n}")
    return Estimate(each.mean().item(), each.std().item() / math.sqrt(n), n)


def _batches(data: Images | Iterable[Any], seed: int, batch_size: int) -> list[Any]:
    if isinstance(data, Images):
        tensors = data.tensors(seed=seed)
        return list(zip(*(t.split(batch_size) for t in tensors), strict=True))
    batches = list(data) if not isinstance(data, Tensor) else []
    if not batches:
        raise ValueError("data must be Images, or an iterable of at least one batch of tensors")
    return batches


def _on_device(model: nn.Module, batch: Any) -> list[Tensor]:
    device = next(model.parameters()).device
    return [t.to(device) for t in ([batch] if isinstance(batch, Tensor) else batch)]


@contextlib.contextmanager
def _evaluating(model: nn.Module, seed: int) -> Iterator[None]:
    """No gradients, evaluation mode, a generator of our own."""
    training = model.training
    # manual_seed seeds every device, so every device's generator is kept
    cuda = range(torch.cuda.device_count())
    with torch.no_grad(), torch.random.fork_rng(cuda), outside_param_store(), tuned():
        torch.manual_seed(seed)
        model.eval()
        try:
            yield
        finally:
            model.train(training)
