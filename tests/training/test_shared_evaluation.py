"""Evaluation in several processes: every image once, in order, and the numbers of one process."""

from __future__ import annotations

from typing import Any

import torch
from several import in_processes
from zoo import CLASSES, X_SHAPE, labels, linear_gaussian, member

from vaezoo import accuracy, compare, evaluate, evaluation
from vaezoo.data import Images
from vaezoo.training.processes import alone


def _evaluations(rank: int) -> dict[str, Any]:
    """Estimates of two processes, and of one; where q is exact, they do not depend on noise."""
    torch.manual_seed(0)
    exact, x, _ = linear_gaussian()
    several = [torch.cat([x, 2 * x, x[:3] - 1]), x[:1] + 1, 3 * x]  # of 11, 1 and 4 images
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (31, *X_SHAPE), generator=generator, dtype=torch.uint8)
    images = Images(pixels, torch.arange(31) % CLASSES, binarisation="dynamic")
    classifier = member("SSVAE")
    state = torch.get_rng_state()
    both = {
        "exact": evaluate(exact, several, particles=(1, 3), progress=False),
        "accuracy": {"accuracy": accuracy(classifier, images, batch_size=7, seed=5)},
        "images": evaluate(classifier, images, particles=1, batch_size=7, progress=False),
    }
    unchanged = torch.equal(state, torch.get_rng_state())
    with alone():
        one = {
            "exact": evaluate(exact, several, particles=(1, 3), progress=False),
            "accuracy": {"accuracy": accuracy(classifier, images, batch_size=7, seed=5)},
            "images": evaluate(classifier, images, particles=1, batch_size=7, progress=False),
        }
    # of the last batch a process has labelled images, and none without
    ten = several[0][:10]
    few = [(ten[:9], ten, labels(10)), (ten[9:], ten, labels(10))]
    exact_n = [evaluate(exact, few, particles=1, progress=False)["nelbo"].n]
    evidence = evaluation.evidence(exact, few, particles=25, progress=False)
    exact_n += [estimate.n for estimate in evidence.values()]
    differences = compare(both["images"], one["images"])  # refuses other images, or another order
    return {"both": both, "one": one, "differences": differences, "unchanged": unchanged} | {
        "n": exact_n
    }


def test_every_image_counts_once() -> None:
    first, second = in_processes(_evaluations)
    assert first["unchanged"]
    assert {*first["n"], *second["n"]} == {10}
    both, one = first["both"], first["one"]
    for name in ("niwae-1", "niwae-3"):
        a, b = both["exact"][name], one["exact"][name]
        assert a.n == b.n == 16
        assert abs(a.mean - b.mean) < 1e-12 * abs(b.mean)
        assert abs(a.stderr - b.stderr) < 1e-12
        torch.testing.assert_close(a.values, b.values, rtol=1e-12, atol=0)
    for case in ("accuracy", "images"):
        a, b = both[case]["accuracy"], one[case]["accuracy"]
        assert a == b, case
        assert torch.equal(a.values, b.values), case
    assert both["images"]["nelbo"].n == 31
    assert set(first["differences"]) == set(one["images"])
    for case, estimates in both.items():
        for name, estimate in estimates.items():
            assert tuple(estimate) == tuple(second["both"][case][name]), name
