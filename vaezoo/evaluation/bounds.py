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
import functools
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vaezoo.bound import arguments, dtype_of
from vaezoo.chunks import Draws, per_image
from vaezoo.compiler.beside import ended
from vaezoo.cpu import tuned
from vaezoo.data import Images, Stream
from vaezoo.data.bars import bar
from vaezoo.data.batches import columns_of
from vaezoo.data.counts import as_count, as_seed
from vaezoo.data.labels import Agreement, as_labels
from vaezoo.data.passes import Data, length_of, one_pass
from vaezoo.data.sources import sources
from vaezoo.estimates import Estimate, Values
from vaezoo.evaluation.visiting import check_model, evaluating, labelled, warn_of_factor
from vaezoo.programs.pair import required_arguments
from vaezoo.programs.refusing import described
from vaezoo.scopes import OwnGenerator
from vaezoo.training.loaders import of_loaders
from vaezoo.training.opened import in_turn
from vaezoo.training.together import together

__all__ = ["Estimate", "accuracy", "evaluate"]


def evaluate(
    model: nn.Module,
    data: Data,
    *,
    particles: Sequence[int] | int = (1, 10, 100, 1000),
    seed: int = 0,
    batch_size: int = 100,
    max_decodes: int = 2000,
    progress: bool = True,
    compile: bool | None = None,  # noqa: A002
) -> dict[str, Estimate]:
    """NELBO, KL, rec and NIWAE-k of a model on held-out data.

    Args:
        model: a member of the zoo, or any module with programs `model` and `guide`.
        data: `Images`, binarised once by `seed`, or an iterable of batches. Labels are used
            where the model requires them (FSVAE) and left out where it can infer them; -1 of
            `Images` and of a `Stream` is none.
        particles: the k of NIWAE-k, one or more; the largest is the number of draws per image.
        seed: of binarisation and draws.
        batch_size: images at a time, where data are `Images`; they are read batch by batch, and
            so is an iterable, once.
        max_decodes: images decoded at a time, which bounds memory. One with several outputs for
            each pixel, as of `Categorical(levels=256)`, counts for as many.
        progress: show a progress bar.
        compile: compile what is done for a few codes (see `Bound.compile`), or do not: the same
            estimates from the same draws, to rounding. By default batches are evaluated eagerly
            until it is known how long they take, and compiled from there on where that saves more
            time than compiling costs, as in `fit`.

    Returns:
        "nelbo", "kl", "rec" = E_q[log p(x|z)] (so that nelbo = kl - rec, as -bound in the history
        of `fit`) and "niwae-k" for each k, as `Estimate`; "accuracy" too for a member that
        classifies (SSVAE, M1M2, ADGM) on labelled data, of the images that have a label, where
        two or more have one. `compare` takes two such dicts.

    Raises:
        TypeError: the model is no pair, or data are no iterable.
        ValueError: a k below 1, fewer than two images, labels that are not such as the model's, or
            lazy layers that have not run.

    Example:
        >>> from vaezoo import data, models
        >>> test = data.digits("test")[:20]
        >>> estimates = evaluate(models.VAE(), test, particles=(1, 5), progress=False)
        >>> estimates["niwae-5"].mean <= estimates["niwae-1"].mean
        True
    """
    with ended(), together() as here, tuned():
        check_model(model)
        seed, ks, most = as_seed(seed), _particles(particles), as_count("max_decodes", max_decodes)
        batches = one_pass(data, batch_size, dtype=dtype_of(model), seed=seed)
        length, values, guesses = length_of(data, batch_size), Values(), _Guesses(data)
        noise, take = OwnGenerator(here.seed(seed)), functools.partial(_taken, model)
        with bar(length, "batch", shown=progress and here.world.rank == 0) as shown:
            draws = Draws(model, shown, compile=here.compiles(compile), left=length)
            for batch in in_turn(here.parts(batches, take, seed, values), of_loaders(seed)):
                with evaluating(model, noise), draws.on_a_batch():
                    _add(values, guesses, draws, batch, ks, most)
                shown.update()
        draws.close()
        return here.values(values).estimates()


class _Guesses:
    """A classifier's guesses held against labels; -1 of `Images` and of a `Stream` is none."""

    def __init__(self, data: Data) -> None:
        self.agreement = Agreement()
        self.may_lack = any(isinstance(each, Images | Stream) for each in sources(data))

    def labels_of(self, model: Any, batch: Any) -> list[Tensor]:
        """Images (n, …) and labels (n,) of those of a batch that have one; [] where none does.

        Raises:
            ValueError: they are no such labels.
        """
        if not hasattr(model, "classify") or len(tensors := arguments(model, batch)) != 2:
            return []
        x, y = tensors
        if self.may_lack and not (known := y >= 0).all():
            x, y = x[known], y[known]
        as_labels(y, len(x), getattr(model, "classes", 0) or 2**62)
        return [x, y] if len(x) else []


def _taken(model: Any, batch: Any) -> list[Tensor]:
    """The tensors that the programs take, and the labels that a classifier is held against."""
    held_against = hasattr(model, "classify") and len(columns_of(batch)) == 2
    return arguments(model, batch, None if held_against else required_arguments(model.model))


def _add(
    values: Values, guesses: _Guesses, draws: Draws, batch: Any, ks: list[int], at_a_time: int
) -> None:
    """Add the values of every image of a batch."""
    known = guesses.labels_of(draws.pair, batch)
    taken = arguments(draws.pair, batch, required_arguments(draws.pair.model))
    values.see(taken[0])
    for name, each in per_image(draws, taken, ks, at_a_time):
        warn_of_factor(draws)
        values.add(name, each)
    if known:
        values.see(*known, of="accuracy")
        values.add("accuracy", _correct(draws.pair, guesses.agreement, *known))


def accuracy(model: nn.Module, data: Data, *, seed: int = 0, batch_size: int = 1000) -> Estimate:
    """The share of images whose most probable class under q(y|x) is their label.

    Args:
        model: a member that classifies: SSVAE, M1M2, ADGM.
        data: `Images` with labels, binarised once by `seed`, or an iterable of batches (x, y).
        seed: of binarisation.
        batch_size: images at a time, where data are `Images`.

    Raises:
        TypeError: the model has no `classify`.
        ValueError: there are no labels, they are not such as the model's, or images are not such as
            its likelihood's.

    Example:
        >>> from vaezoo import data, models
        >>> 0 <= accuracy(models.SSVAE(), data.digits("test")[:50]).mean <= 1
        True
    """
    with together() as here, tuned():
        if not hasattr(model, "classify"):
            raise TypeError(f"accuracy needs a model with classify, got {described(model)}")
        seed = as_seed(seed)
        batches = one_pass(data, batch_size, dtype=dtype_of(model), seed=seed)
        if isinstance(data, Images) and data.labels is None:
            raise ValueError(f"accuracy needs labelled images, got {data}")
        noise, values, agreement = OwnGenerator(here.seed(seed)), Values(), Agreement()
        take = functools.partial(labelled, model)
        for batch in in_turn(here.parts(batches, take, seed, values), of_loaders(seed)):
            with evaluating(model, noise):
                x, y = labelled(model, batch)
                values.see(x, y)
                values.add("accuracy", _correct(model, agreement, x, y))
        return here.values(values).estimates()["accuracy"]


def _correct(model: Any, agreement: Agreement, x: Tensor, y: Tensor) -> Tensor:
    probabilities: Tensor = model.classify(x)
    return agreement.of(probabilities.argmax(-1), y, probabilities.shape[-1])


def _particles(particles: Any) -> list[int]:
    """The k in ascending order."""
    single = isinstance(particles, str) or not hasattr(particles, "__iter__")
    with contextlib.suppress(TypeError):  # a tensor or array of no dimension
        ks = [as_count("particles", k) for k in ([particles] if single else particles)]
        if not ks:
            raise ValueError("particles must be one or more k of at least 1, got none")
        return sorted(set(ks))
    return [as_count("particles", particles)]
