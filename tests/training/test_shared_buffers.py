"""Buffers of all dtypes and strides are those of rank 0 in every process, or refused by name."""

from __future__ import annotations

from typing import Any

import torch
from several import in_processes
from torch import Tensor, nn
from zoo import X_SHAPE, member

from vaezoo import fit, posteriors
from vaezoo.training.processes import RankFailed

DTYPES = (*(torch.int8, torch.int16, torch.int64, torch.bool), *(torch.bfloat16, torch.complex64))


class _Keeping(nn.Module):
    """An encoder that keeps buffers, and counts its calls."""

    def __init__(self, buffers: dict[str, Tensor], *, persistent: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 6)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int16))
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(x.flatten(1)).unflatten(1, (2, 3))


def _trained(buffers: dict[str, Tensor], **options: bool) -> _Keeping:
    network = _Keeping(buffers, **options)
    vae = member("VAE", posterior=posteriors.DiagonalNormal(X_SHAPE, 3, network=network))
    fit(vae, [torch.zeros(4, *X_SHAPE)], steps=2, progress=False)
    return network


def _of_rank(rank: int) -> dict[str, Tensor]:
    one = torch.full((1,), 1.0 + rank)
    buffers = {f"of {str(dtype)[6:]}": torch.arange(3).add(rank).to(dtype) for dtype in DTYPES}
    buffers |= {"expanded": one.expand(2, 3), "strided": torch.arange(9.0).add(rank)[::9]}
    return buffers | {"turned": torch.rand(3, 2).add(rank).T, "none": torch.zeros(0, 3)}


def _buffers(rank: int) -> dict[str, Any]:
    network = _trained(_of_rank(rank))
    at_first = _trained(_of_rank(rank), persistent=False)
    said = []
    for persistent in (True, False):
        try:
            _trained({"few": torch.eye(3).to_sparse()}, persistent=persistent)
        except (ValueError, RankFailed) as error:
            said.append(str(error))
    return {"kept": dict(network.named_buffers()), "once": dict(at_first.named_buffers())} | {
        "said": said
    }


def test_buffers_are_those_of_the_first_process() -> None:
    """Those that no file holds are at the start; sparse ones that a file holds are refused."""
    first, second = in_processes(_buffers)
    expected = _of_rank(0)
    for found in (first, second):
        for kind in ("kept", "once"):
            assert found[kind].pop("calls") >= 2
            assert set(found[kind]) == set(expected)
            same = {n: torch.equal(b, expected[n]) for n, b in found[kind].items() if n != "turned"}
            assert all(same.values()), (kind, same)
            assert torch.equal(found[kind]["turned"], first[kind]["turned"])
        (said,) = found["said"]
        assert "must be dense, got" in said
        assert "network.few of torch.sparse_coo" in said
