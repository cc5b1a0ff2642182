"""Validation: a bound on data that it is not trained on, with the same noise each time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from vaezoo.bound import Bound, dtype_of
from vaezoo.data import Images, SemiSupervisedStream, Stream
from vaezoo.data.passes import Data, one_pass
from vaezoo.objectives import SemiSupervised
from vaezoo.scopes import in_mode, one_thread, own_generator
from vaezoo.training.alone import Alone
from vaezoo.training.means import Mean

__all__ = ["Validation"]

SEED = 0


class Validation:
    """The terms of a bound, means over images, in evaluation mode and without gradients.

    Each call draws from generators that begin anew: binarisation and noise are the same, so that
    two results differ by the model alone, and training is not changed by it.

    Args:
        bound: the objective.
        data: `Images`, or an iterable of batches that can be passed over more than once. The
            first batch is tried at once.
        batch_size: of `Images`.
        here: the processes that share the data out, if there are several.

    Raises:
        ValueError: the data hold no batch, cannot be passed over again, have workers that live on
            from pass to pass, or do not fit the bound.

    Example:
        >>> from vaezoo.models import VAE
        >>> validation = Validation(Bound(VAE()), [torch.zeros(7, 1, 28, 28)])
        >>> validation() == validation()
        True
    """

    def __init__(
        self, bound: Bound, data: Data, batch_size: int = 100, here: Alone | None = None
    ) -> None:
        self.bound, self.data, self.batch_size = bound, data, batch_size
        self.here = Alone() if here is None else here
        self.dtype = dtype_of(bound.model)
        try:
            with self._apart():
                self._try()
        except (ValueError, TypeError) as error:
            raise type(error)(f"validation data: {error}") from error

    def __call__(self) -> dict[str, float]:
        """The terms of the model as it is now."""
        bounds = self._bounds()
        means, of_labelled = {column: Mean() for column in bounds}, Mean()
        with self._apart():
            apart = isinstance(self.bound.objective, SemiSupervised)
            for batch in self.here.parts(self._pass(), self.bound.arguments, SEED, apart=apart):
                arguments = self.bound.arguments(batch)
                for column, bound in bounds.items():
                    terms = bound(*arguments)
                    n = self.here.counted(len(arguments[column]), column)
                    means[column].add(terms, weight=n)
                    if "log_qy" in terms:
                        n = self.here.counted(len(arguments[-1]), -1)
                        of_labelled.add({"log_qy": terms["log_qy"]}, weight=n)
        found = [self.here.means(mean) for mean in means.values()]
        if not all(found):
            raise ValueError(
                "validation data have run out: they can be passed over once, so give a list of "
                "batches, a DataLoader of a data set, or data.Images"
            )
        whole = {name: sum(t.get(name, 0.0) for t in found) for each in found for name in each}
        return self._over_labelled(whole, of_labelled)

    def _over_labelled(self, means: dict[str, float], of_labelled: Mean) -> dict[str, float]:
        """The means, of log q(y|x) over labelled images, also where it is part of the loss."""
        objective = self.bound.objective
        if isinstance(objective, SemiSupervised) and "log_qy" in means:
            log_qy = self.here.means(of_labelled)["log_qy"]
            means["loss"] += objective.alpha * (means["log_qy"] - log_qy)
            means["log_qy"] = log_qy
        return means

    def _bounds(self) -> dict[int, Bound]:
        """What is a mean over a column of a batch: of labelled images there may be other shares."""
        model, objective, precision = self.bound.model, self.bound.objective, self.bound.precision
        if getattr(type(objective), "estimate", None) is not SemiSupervised.estimate:
            return {0: self.bound}
        labelled, unlabelled = objective.apart()
        of = functools.partial(Bound, model, precision=precision)
        return {-1: of(labelled), 0: of(unlabelled)}

    def _pass(self) -> Iterable[Any]:
        # in order, as the place of a stream may be training's
        seed = SEED if isinstance(self.data, Stream) else None
        return one_pass(self.data, self.batch_size, dtype=self.dtype, seed=seed)

    def _try(self) -> None:
        if getattr(self.data, "persistent_workers", False):
            raise ValueError(
                "the workers of a DataLoader with persistent_workers=True draw other noise in each "
                "pass: give one with persistent_workers=False, and not that of training"
            )
        batches = self._pass()
        once = not isinstance(self.data, Images) and iter(batches) is batches
        batch = None if once else next(iter(batches), None)
        if batch is None:
            raise ValueError("they must hold a batch, and must not be a generator")
        arguments = self.bound.arguments(batch)
        self.bound.check(arguments)
        self.bound(*arguments)

    @contextlib.contextmanager
    def _apart(self) -> Iterator[None]:
        mode = in_mode(self.bound.model, False)
        with (
            one_thread(),
            torch.no_grad(),
            mode,
            own_generator(self.here.seed(SEED)),
            _begun_anew(self.data),
        ):
            yield


@contextlib.contextmanager
def _begun_anew(loader: Any) -> Iterator[None]:
    """Within it a loader's stream, and generators that it was given, begin anew.

    They may be training's too, which goes on with them where it was.
    """
    names = ("dataset", "sampler", "batch_sampler")
    stream, *samplers = (getattr(loader, name, None) for name in names)
    owners = [loader, stream, *samplers, getattr(samplers[-1], "sampler", None)]
    given = (getattr(owner, "generator", None) for owner in owners)
    generators = {id(g): g for g in given if isinstance(g, torch.Generator)}
    before = [(g, g.get_state()) for g in generators.values()]
    for g in generators.values():
        g.manual_seed(SEED)
    try:
        with contextlib.ExitStack() as stack:
            for each in (loader, stream):
                if isinstance(each, Stream | SemiSupervisedStream):
                    stack.enter_context(each.begun_anew())
            yield
    finally:
        for g, state in before:
            g.set_state(state)
