"""`report`: the same numbers as one by one, in one table and one JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn
from zoo import MEMBERS, BadCall, batch_for, images, labels, member, refused

from vaezoo import evaluate
from vaezoo.evaluation import calibration, clusters, rate, report, units

FEW: dict[str, Any] = {"particles": 25, "progress": False}


@pytest.mark.parametrize("name", MEMBERS)
def test_it_says_what_each_question_says(name: str) -> None:
    torch.manual_seed(0)
    model, batches = member(name), [(images(9), labels(9))]
    found = report(model, batches, **FEW)
    assert found.numbers["bounds"] == evaluate(model, batches, particles=1, progress=False)
    assert found.numbers["rate"] == rate(model, batches, progress=False)
    alone = units(model, batches, progress=False)
    assert {n: u.variance.tolist() for n, u in alone.items()} == {
        n: u.variance.tolist() for n, u in found.units.items()
    }
    if name == "GMVAE":
        assert found.numbers["clusters"] == clusters(model, batches, progress=False).estimates
    if hasattr(model, "classify"):
        assert found.numbers["classes"] == calibration(model, batches, progress=False).estimates
    assert ("clusters" in found.numbers) == (name == "GMVAE")


def test_it_is_a_table_and_a_json() -> None:
    """A row for each number, and for what is noted, in text, HTML and JSON."""
    torch.manual_seed(0)
    found = report(member("VAE"), [batch_for("VAE", 9)], **FEW)
    record = json.loads(found.json())
    assert list(record) == ["model", "settings", "numbers", "units", "notes"]
    nelbo = found.numbers["bounds"]["nelbo"]
    assert record["numbers"]["bounds"]["nelbo"] == nelbo._asdict()
    assert len(record["units"]["z"]["variance"]) == 3
    assert record["settings"]["particles"] == 25
    for text in (repr(found), found._repr_html_()):
        assert "p(z) = StandardNormal(3)" in text
        assert all(str(e) in text for each in found.numbers.values() for e in each.values())
        assert "units active" in text


def test_what_is_warned_of_is_noted() -> None:
    torch.manual_seed(0)
    model = member("VAE")
    for parameter in model.likelihood.parameters():
        nn.init.normal_(parameter, std=3.0)
    found = report(model, [batch_for("VAE", 9)], **FEW)
    assert len(found.notes) == 1
    assert "too few weights to trust" in found.notes[0]
    assert json.loads(found.json())["notes"] == found.notes
    assert "too few weights to trust" in found._repr_html_()


BAD_CALLS: list[BadCall] = [
    (lambda: report(member("VAE"), iter([images()]), **FEW), ValueError, "reads its data several times: put"),
    (lambda: report(member("VAE"), images(), **FEW), ValueError, "a tensor is not an iterable of batches"),
    (lambda: report(nn.Linear(2, 2), [images()], **FEW), TypeError, "a Linear has no program model"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
