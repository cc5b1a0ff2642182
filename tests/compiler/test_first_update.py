"""Updates that a compiler leaves out: they are found before a weight is changed by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from own_pair import D, OwnPair, Z, trained
from torch import Tensor, nn

KINDS: dict[str, Callable[[Tensor], bool]] = {
    "a weight": lambda t: t.requires_grad,
    "its moments": lambda t: not t.requires_grad,
    "all": lambda t: True,
}


def leaving_out(kind: str) -> Callable[..., Any]:
    """A compiler that leaves the last number of one weight, of its moments or of all as it was."""

    def backend(graph: Any, inputs: Any) -> Callable[..., Any]:
        places = [i for i, t in enumerate(inputs) if t.shape == (D, Z) and KINDS[kind](t)]

        def call(*given: Tensor) -> Any:
            before = [given[i][-1, -1].clone() for i in places]
            outputs = graph(*given)
            for i, value in zip(places, before, strict=True):
                given[i][-1, -1] = value
            return outputs

        return call

    return backend


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_that_leaves_numbers_out_is_refused(kind: str) -> None:
    """One of 18: steps before and after are the eager ones."""
    eager, eager_step, _ = trained(OwnPair)
    with pytest.warns(UserWarning, match="1 of 18 numbers of a weight are not updated as by Adam"):
        found, step, ways = trained(OwnPair, backend=leaving_out(kind))
    assert ways == "eeeeeee"
    assert found == eager
    for a, b in zip(step.bound.parameters(), eager_step.bound.parameters(), strict=True):
        assert torch.equal(a, b)


class Steep(OwnPair):
    """Whose gradients are large, and the more so in one weight."""

    def scale(self, h: Tensor) -> Tensor:
        return 1e3 * h


class Still(OwnPair):
    """Of whose decoder no gradient is other than 0."""

    def scale(self, h: Tensor) -> Tensor:
        return 0 * h


class Twice(OwnPair):
    """Of which two parameters are one memory, and so updated twice; and one has no number."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Parameter(self.decoder.weight.data)
        self.none = nn.Parameter(torch.zeros(0))

    def scale(self, h: Tensor) -> Tensor:
        return h + 0.1 * self.again.sum() + self.none.sum()


class Unused(OwnPair):
    """Of which a number that is not used is NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([0.0, torch.nan]))

    def scale(self, h: Tensor) -> Tensor:
        return h + self.shift[0]


@pytest.mark.parametrize("make", [Steep, Still, Twice, Unused])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_right_updates_are_taken(make: Callable[[], OwnPair], dtype: torch.dtype) -> None:
    """Whatever the gradients are; what was tried leaves the steps as they would have been."""
    eager, compiled = (trained(make, backend=b, dtype=dtype, steps=5) for b in (None, "eager"))
    assert compiled[2] == "ecccc"
    tolerance = 100 * torch.finfo(dtype).eps
    assert compiled[0] == pytest.approx(eager[0], rel=tolerance)
