"""Questions to a model in several processes: every image once, in order."""

from __future__ import annotations

from typing import Any

import torch
from linear import Linear
from several import in_processes

from vaezoo.evaluation import evidence, units
from vaezoo.training.processes import alone


def _found(rank: int) -> dict[str, Any]:
    """What does not depend on noise: log p(x) by an exact posterior, and its units."""
    torch.manual_seed(0)
    linear = Linear()
    x = linear.draw(13).split(5)
    with alone():
        one = evidence(linear.vae, x, 25, progress=False)["log_px"]
    both = evidence(linear.vae, x, 25, progress=False)["log_px"]
    return {"one": one, "both": both, "units": units(linear.vae, x, progress=False)["z"].variance}


def test_two_processes_find_what_one_does() -> None:
    first, second = in_processes(_found)
    for found in (first, second):
        torch.testing.assert_close(found["both"].values, found["one"].values, rtol=1e-12, atol=0)
    assert torch.equal(first["units"], second["units"])
