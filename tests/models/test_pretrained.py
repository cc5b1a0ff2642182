"""Members that ship trained: each gives its committed numbers again, at little size and soon."""

from __future__ import annotations

import re
import time

import pytest
import torch

import vaezoo
from benchmarks.pretrained import RECIPES
from vaezoo import data, models
from vaezoo.models.pretrained import FOLDER, card, pretrained_names

NAMES = pretrained_names()


def test_each_recipe_has_its_files_and_a_line() -> None:
    assert {*NAMES} <= {*RECIPES}
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(
        f"{name}.{kind}" for name in NAMES for kind in ("json", "safetensors")
    )
    named = re.findall(r"``([\w-]+)``", models.pretrained.__doc__ or "")
    assert sorted(named) == NAMES


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10e6


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_its_numbers_again(name: str) -> None:
    """NELBO and its parts on all test images; float32 on another processor moves 1e-4."""
    committed = card(name)
    model = models.pretrained(name)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    test = data.colour_digits("test") if "colour" in name else data.digits("test")
    assert repr(test) == committed["data"]["test"]
    found = vaezoo.evaluate(model, test, particles=(1,), progress=False)
    for metric in found:
        assert found[metric].mean == pytest.approx(committed["metrics"][metric]["mean"], rel=1e-3)
        assert found[metric].stderr == pytest.approx(
            committed["metrics"][metric]["stderr"], rel=1e-2
        )


@pytest.mark.parametrize("name", NAMES)
def test_half_the_precision_costs_little(name: str) -> None:
    assert abs(card(name)["rounding"]) < 0.05


def test_it_loads_in_under_a_second() -> None:
    """The fastest of three, by the processor's clock."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        models.pretrained(NAMES[0])
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1


def test_no_other_name() -> None:
    with pytest.raises(ValueError, match=r"pretrained members are .*vae-mnist, got 'vae'"):
        models.pretrained("vae")
    with pytest.raises(ValueError, match=r"got '\.\./x'"):
        models.pretrained("../x")
