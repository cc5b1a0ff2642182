"""Where a stream is: a place in its passes, said in numbers and read again from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Place", "place_of"]


class Place(NamedTuple):
    """A pass and how much of it was given.

    Attributes:
        epoch: the pass, counted from 0.
        batch: the batches given in it, by one worker where there are several.
        order: a loader's seed, on which the order of the pass depends beside the stream's own.
        workers: among how many the batches are shared.
    """

    epoch: int = 0
    batch: int = 0
    order: int = 0
    workers: int = 1


def place_of(state: Any, settings: Mapping[str, Any], batches: int) -> Place:
    """The place that a state says, once it is one of a stream with these settings.

    Args:
        state: what `Stream.state_dict` returned.
        settings: of the stream that is to go on from there.
        batches: in its passes.

    Raises:
        ValueError: it is no such state.

    Example:
        >>> state = {"epoch": 1, "batch": 2, "order": 0, "workers": 1, "of": {"n": 6}}
        >>> place_of(state, {"n": 6}, 3)
        Place(epoch=1, batch=2, order=0, workers=1)
        >>> place_of(state, {"n": 7}, 3)
        Traceback (most recent call last):
        ...
        ValueError: the state is of another stream: n is 7 here, got 6
    """
    entries = state if isinstance(state, Mapping) else {}
    of, numbers = entries.get("of"), [entries.get(name, -1) for name in Place._fields]
    if not isinstance(of, Mapping) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"state must be what state_dict returned, got {state!r}")
    for name, value in settings.items():
        if of.get(name) != value:
            raise ValueError(
                f"the state is of another stream: {name} is {value!r} here, got {of.get(name)!r}"
            )
    place = Place(*numbers)
    if place.batch > batches:
        raise ValueError(f"a pass has {batches} batches, got a state after {place.batch}")
    return place
