"""Callbacks for `fit`: stop where it gets no better, and keep what was best.

fit(vae, digits, validation=test, callback=EarlyStopping(patience=5))
fit(vae, digits, validation=test, callback=(best := KeepBest(vae)))
best.restore()
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from vaezoo import arguments
from vaezoo.data.counts import as_count
from vaezoo.training.callbacks import term_of
from vaezoo.training.weights import copied, put_back

__all__ = ["EarlyStopping", "KeepBest"]


class Best:
    """The best value of a term so far.

    Args:
        term: its name in a record.
        higher: whether more is better, as of a bound; of a loss less is.

    Attributes:
        value: the best one; None before the first that is a number.
        step: where it was.
    """

    def __init__(self, term: str, *, higher: bool = False) -> None:
        if not isinstance(term, str):
            raise TypeError(f"term must be the name of a term of the records, got {term!r}")
        self.term, self.higher = term, higher
        self.value: float | None = None
        self.step = 0

    def betters(self, record: dict[str, float], *, by: float = 0.0) -> bool:
        """Whether a record is better by more than this, in which case it is the best from now."""
        value = term_of(record, self.term)
        gain = math.inf if self.value is None else value - self.value
        better = not math.isnan(value) and (gain if self.higher or gain == math.inf else -gain) > by
        if better:
            self.value, self.step = value, int(record["step"])
        return better

    def state_dict(self) -> dict[str, Any]:
        """The best value, where it was, and of what."""
        kind = {"term": self.term, "higher": self.higher}
        return kind | {"value": self.value, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.value, self.step = state["value"], state["step"]

    def fits_state(self, state: dict[str, Any]) -> bool | None:
        """Whether a state is of the same term; None of older ones, which do not say that."""
        kind = self.term, self.higher
        return (state["term"], state["higher"]) == kind if "term" in state else None

    def __str__(self) -> str:
        return "nothing yet" if self.value is None else f"{self.value:.4f} at step {self.step}"


class EarlyStopping:
    """Stops training once a term has not been better for some records.

    Used again, it begins anew where a run does; with fit(…, history=history) it goes on. Where β
    has a schedule, losses of two steps are not alike: watch "validation_bound", higher=True.

    Args:
        patience: how many records may follow the best one before training stops.
        term: of the record; by default the loss on validation data.
        least: a record is better only by more than this.
        higher: whether more is better, as of "validation_bound".

    Attributes:
        best: the best record, with its `value` and `step`.
        since: records since then.

    Raises:
        TypeError, ValueError: patience is no number of at least 1, or least of at least 0; when it
            is called, the record has no such term.

    Example:
        >>> stop = EarlyStopping(patience=2, term="loss")
        >>> [stop({"step": i, "loss": loss}) for i, loss in enumerate([3.0, 2.0, 2.5, 2.0])]
        [False, False, False, True]
        >>> stop
        EarlyStopping(patience=2, term='loss'), best 2.0000 at step 1
    """

    def __init__(
        self,
        patience: int,
        *,
        term: str = "validation_loss",
        least: float = 0.0,
        higher: bool = False,
    ) -> None:
        self.patience = as_count("patience", patience)
        self.least = arguments.number("least", least, least=0)
        self.best, self.since, self._last = Best(term, higher=higher), 0, -math.inf

    def __call__(self, record: dict[str, float]) -> bool:
        """Whether to stop."""
        if record["step"] <= self._last:
            self.begin_anew()
        self._last = record["step"]
        self.since = 0 if self.best.betters(record, by=self.least) else self.since + 1
        return self.since >= self.patience

    def begin_anew(self) -> None:
        """Forget the records so far, as `fit` has it at the start of a run."""
        if self._last > -math.inf:  # what was loaded is for the run to come
            self.load_state_dict({"value": None, "step": 0, "since": 0})

    def __repr__(self) -> str:
        what = f"patience={self.patience}, term={self.best.term!r}"
        return f"{type(self).__name__}({what}), best {self.best}"

    def state_dict(self) -> dict[str, Any]:
        """The best record, and how many have followed."""
        return self.best.state_dict() | {"since": self.since}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.best.load_state_dict(state)
        self.since, self._last = state["since"], -math.inf

    def fits_state(self, state: dict[str, Any]) -> bool | None:
        """Whether a state is that of one which watches the same term."""
        return self.best.fits_state(state)


class KeepBest:
    """Keeps weights and buffers as they were at the best record, and what else `fit` trains.

    Of several calls of `fit` it keeps the best of all: for other data, make another one. Where β
    has a schedule, losses of two steps are not alike: watch "validation_bound", higher=True.

    Args:
        model: what is trained.
        term: of the record; by default the loss on validation data.
        higher: whether more is better, as of "validation_bound".
        save: called without arguments at each record that is the best so far, to keep the model in
            a file too: `lambda: vaezoo.save(vae, "best.safetensors")`.

    Attributes:
        best: the best record, with its `value` and `step`.

    Raises:
        ValueError: when it is called, the record has no such term.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> best = KeepBest(model, term="loss")
        >>> for step, loss in enumerate([3.0, 2.0, 2.5]):
        ...     _ = nn.init.constant_(model.weight, step)
        ...     best({"step": step, "loss": loss})
        >>> best.restore().weight.item(), best.best.value
        (1.0, 2.0)
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        term: str = "validation_loss",
        higher: bool = False,
        save: Callable[[], object] | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"KeepBest(model, …) keeps the weights of a module, got {model!r}")
        self.model, self.save = model, save
        self.best = Best(term, higher=higher)
        self._weights: dict[str, dict[str, Any]] | None = None

    def __call__(self, record: dict[str, float]) -> None:
        """Look at a record, and keep the weights if it is the best one."""
        if self.best.betters(record):
            self._weights = copied(self.model)
            if self.save is not None:
                self.save()

    def restore(self) -> nn.Module:
        """Put the best weights and buffers back; returns the model.

        Raises:
            RuntimeError: there was no record whose term is a number.
        """
        if self._weights is None:
            raise RuntimeError(
                f"there is nothing to restore: no record with a {self.best.term} came; pass this "
                "as fit(…, callback=…) first"
            )
        put_back(self.model, self._weights)
        return self.model

    def __repr__(self) -> str:
        return f"{type(self).__name__}(term={self.best.term!r}), best {self.best}"

    def state_dict(self) -> dict[str, Any]:
        """The best record, and its weights."""
        return self.best.state_dict() | {"weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.best.load_state_dict(state)
        self._weights = state["weights"]

    def fits_state(self, state: dict[str, Any]) -> bool | None:
        """Whether a state is that of one which watches the same term."""
        return self.best.fits_state(state)
