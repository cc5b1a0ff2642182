"""Where a pass over data is: it goes on with the same batches, bitwise, at any place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from zoo import fixed, labels

from vaezoo import data
from vaezoo.data.passes import passes
from vaezoo.data.positions import cast, located

PIXELS = (255 * fixed(11)).byte()
IMAGES = data.Images(PIXELS, labels(11), binarisation="dynamic")


class Counting:
    """Batches from a loader that says where it is."""

    def __init__(self, n: int) -> None:
        self.n, self.i = n, 0

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        while self.i < self.n:
            self.i += 1
            yield [torch.full((2,), self.i) + torch.rand(2)]
        self.i = 0

    def state_dict(self) -> dict[str, Any]:
        return {"i": self.i}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.i = state["i"]


DATA: dict[str, Any] = {
    "images": lambda: IMAGES,
    "semi-supervised": lambda: data.semi_supervised(
        IMAGES, IMAGES[:5], batch_size=4, labelled_batch_size=2
    ),
    "list": lambda: [[PIXELS[:3]], [PIXELS[3:]]],
    "tuple": lambda: tuple([p] for p in PIXELS),
    "with a state": lambda: Counting(3),
}


# loaders have their own drop_last
@pytest.mark.parametrize(
    ("name", "drop_last"),
    [*((n, False) for n in DATA), ("images", True), ("semi-supervised", True)],
)
def test_it_goes_on_at_any_batch(name: str, drop_last: bool) -> None:
    """Three passes, and left and resumed at each batch: batches and the generator bitwise equal."""

    def begun() -> Any:
        return passes(DATA[name](), 4, None, 3, drop_last=drop_last)[0]

    torch.manual_seed(5)
    whole, states = [], []
    batches = begun()
    while True:
        states.append((batches.state_dict(), torch.get_rng_state()))
        if (batch := next(batches, None)) is None:
            break
        whole.append(batch)
    end = torch.get_rng_state()
    assert len(whole) > 5
    for i, (state, generator) in enumerate(states):
        torch.manual_seed(77)
        again = begun()
        if i % 2:  # one that has begun elsewhere
            next(again)
        torch.set_rng_state(generator)
        again.load_state_dict(state)
        left = list(again)
        assert len(left) == len(whole) - i
        for a, b in zip(left, whole[i:], strict=True):
            assert all(map(torch.equal, a, b))
        assert torch.equal(torch.get_rng_state(), end)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (DataLoader([torch.zeros(1)] * 3), "a DataLoader .* StatefulDataLoader"),
        ((x for x in [torch.zeros(1)] * 3), "a generator cannot say where it is"),
        ({1: 1}.values(), "a dict_values cannot say .* a list of batches"),
    ],
)
def test_what_cannot_say_where_it_is(given: Any, kind: str) -> None:
    batches = passes(given, 1, 2, None)[0]
    next(batches)
    with pytest.raises(TypeError, match=kind):
        batches.state_dict()


def test_an_iterator_that_begins_anew_gives_every_batch() -> None:
    """Its own iterable, as many readers are: two passes of three batches, each of which comes."""

    class Reader(Iterator[int]):
        def __iter__(self) -> Iterator[int]:
            self.i = 0
            return self

        def __next__(self) -> int:
            if self.i == 3:
                raise StopIteration
            self.i += 1
            return self.i

    batches, _ = passes(Reader(), 1, None, 2)
    assert [next(batches, None) for _ in range(7)] == [1, 2, 3, 1, 2, 3, None]


class Drawing:
    """Batches of which a pass draws as it begins, and so does each of them."""

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        torch.rand(1)
        return ([torch.rand(2)] for _ in range(3))


def test_a_pass_begins_when_it_is_asked_for() -> None:
    """Then the state of generators can be set behind it: one draw, and none of the first batch."""
    torch.manual_seed(0)
    batches = cast(Drawing(), torch.float64)
    begun = torch.get_rng_state()
    torch.manual_seed(0)
    torch.rand(1)
    assert torch.equal(begun, torch.get_rng_state())
    assert len(list(batches)) == 3


def test_a_list_that_draws_is_skipped_at_once() -> None:
    class Drawn(list[int]):
        def __iter__(self) -> Iterator[float]:
            return (i + torch.rand(1).item() for i in super().__iter__())

    torch.manual_seed(0)
    left = located(Drawn(range(4)), 100, 3).batches
    at = torch.get_rng_state()
    torch.manual_seed(0)
    torch.rand(1), torch.rand(1), torch.rand(1)
    assert torch.equal(at, torch.get_rng_state())
    assert len(list(left)) == 1
