"""Hostile files and arrays, by Hypothesis: read, or refused with the error that is documented."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fuzz import LOADERS, fuzz, outcome

hypothesis = pytest.importorskip("hypothesis", reason="needs hypothesis, of the extra test")
FEW = hypothesis.settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=40,
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.fixture(autouse=True)
def no_folder(tmp_path: Path) -> Iterator[None]:
    """Hypothesis keeps nothing in the folder of the tests."""
    configuration = pytest.importorskip("hypothesis.configuration")
    configuration.set_hypothesis_home_dir(tmp_path / "hypothesis")
    yield
    configuration.set_hypothesis_home_dir(None)


# Hypothesis 6.100 looks for its generator among what the garbage collector is told to leave alone
@pytest.mark.filterwarnings("ignore:It looks like `register_random`")
@pytest.mark.parametrize("name", LOADERS)
def test_hostile_input(name: str, tmp_path: Path) -> None:
    """40 inputs to each loader, the same ones each time; of those that fail the smallest is shown."""
    loader = LOADERS[name]

    @FEW
    @hypothesis.given(hypothesis.strategies.randoms(use_true_random=False))
    def check(rng: random.Random) -> None:
        given = loader.made(rng)
        assert outcome(loader, given, tmp_path) in ("loaded", "refused")

    check()
    assert not Path(".hypothesis").exists()


def test_the_benchmark_counts() -> None:
    found = fuzz("idx", seconds=60.0, most=200, seed=0)
    assert found["inputs"] == found["loaded"] + found["refused"] == 200
    assert found["faults"] == []
    assert min(found["loaded"], found["refused"]) > 0
