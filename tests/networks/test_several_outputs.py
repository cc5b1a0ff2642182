"""A network that puts several tensors out, in another precision than the rest."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vaezoo.networks.precision import networks_lowered_to

Out = namedtuple("Out", ["loc", "rest"])
OUTPUTS: dict[str, Callable[[Tensor], Any]] = {
    "a tensor": lambda t: t,
    "a tuple": lambda t: (t, t.exp()),
    "a list": lambda t: [t],
    "names": lambda t: {"loc": t, "deep": (t, [t])},
    "a named tuple": lambda t: Out(t, [t]),
    "others beside": lambda t: (t, t > 0, t.argmax(-1), None, "text"),
}


class Encoder(nn.Module):
    def __init__(self, put_out: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.index = nn.Parameter(torch.arange(3), requires_grad=False)
        self.line, self.put_out = nn.Linear(4, 4), put_out

    def forward(self, x: Tensor) -> Any:
        return self.put_out(self.line(x))


def tensors(value: Any) -> list[Tensor]:
    return [t for t in torch.utils._pytree.tree_leaves(value) if isinstance(t, Tensor)]


@pytest.mark.parametrize("case", OUTPUTS)
def test_floating_ones_come_back_in_the_dtype_of_the_weights(case: str) -> None:
    torch.manual_seed(0)
    encoder, x = Encoder(OUTPUTS[case]), torch.rand(5, 4)
    with networks_lowered_to(nn.ModuleList([encoder]), torch.bfloat16):
        lowered = encoder(x)
    plain = encoder(x)
    assert type(lowered) is type(plain)
    for ours, theirs in zip(tensors(lowered), tensors(plain), strict=True):
        assert ours.dtype == theirs.dtype
        if ours.is_floating_point():
            torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)
            assert not torch.equal(ours, theirs)
