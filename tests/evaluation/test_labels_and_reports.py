"""Labels that some images lack, images that no likelihood makes, and reports that fail in parts."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from zoo import BadCall, fixed, labels, member, refused

from vaezoo import accuracy, data, evaluate, plots
from vaezoo.estimates import Estimate, Values
from vaezoo.evaluation import Report, Units, calibration, report, sample_quality
from vaezoo.evaluation.classification import _calibration
from vaezoo.evaluation.sample_quality import _mean

pytestmark = pytest.mark.filterwarnings("ignore:.*too few weights to trust:UserWarning")
QUIET: dict[str, Any] = {"progress": False}
FEW: dict[str, Any] = {"particles": 25, **QUIET}
X, Y = fixed(30), labels(30)


def images(y: Tensor | None) -> data.Images:
    return data.Images((255 * X).byte(), y, binarisation="threshold")


def some(*labelled: int) -> Tensor:
    """Labels of these images alone."""
    y = torch.full_like(Y, -1)
    y[[*labelled]] = Y[[*labelled]]
    return y


@pytest.mark.parametrize("name", ["SSVAE", "M1M2", "ADGM"])
@pytest.mark.parametrize("loaded", [False, True])
def test_images_without_a_label(name: str, loaded: bool) -> None:
    """Bounds as of images without labels; accuracy is that of the others, batches without any too."""
    torch.manual_seed(0)
    model, known = member(name), [1, 4, 5, 6, 25, 29]
    given: Any = images(some(*known))
    given = DataLoader(given, batch_size=7) if loaded else given
    found = evaluate(model, given, batch_size=7, **FEW)
    plain = evaluate(model, images(None), batch_size=7, **FEW)
    right = found.pop("accuracy")
    assert found == plain
    assert right == accuracy(model, images(Y)[known])
    assert right.n == 6


@pytest.mark.parametrize("known", [(), (4,)])
def test_images_of_which_hardly_one_has_a_label(known: tuple[int, ...]) -> None:
    """One alone has no standard error."""
    found = evaluate(member("SSVAE"), images(some(*known)), **FEW)
    assert list(found) == ["nelbo", "rec", "kl", "niwae-25"]


def test_a_report_on_images_some_of_which_have_no_label() -> None:
    model, given = member("SSVAE"), images(some(1, 4, 5))
    found = report(model, given, **FEW)
    assert found.numbers["bounds"] == evaluate(model, given, particles=1, **QUIET)
    assert found.numbers["bounds"]["accuracy"].n == 3
    assert [*found.numbers] == ["bounds", "evidence", "rate"]
    assert [note.partition(":")[0] for note in found.notes[:1]] == ["classes"]


class Bare(nn.Module):
    """No latents: x ~ N(m, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.m = nn.Parameter(torch.zeros(2))

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("x", dist.Normal(self.m, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pass


def test_a_report_on_a_pair_without_latents() -> None:
    """log p(x) is minus the NELBO: it has no noise."""
    found = report(Bare(), [X[:, 0, 0, :2]], **FEW)
    assert [*found.numbers] == ["bounds", "evidence"]
    assert found.notes == [
        "rate: a rate is that of latents, and this pair has none: evaluate has the rest"
    ]
    log_px, nelbo = found.numbers["evidence"]["log_px"], found.numbers["bounds"]["nelbo"]
    assert log_px.mean == pytest.approx(-nelbo.mean, abs=1e-5)


@pytest.mark.parametrize("question", ["evaluate", "evidence", "rate", "units"])
def test_a_question_that_fails_loses_no_other(
    question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whatever kind the error is; its note says which."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("not enough memory")

    monkeypatch.setattr(sys.modules["vaezoo.evaluation.report"], question, fail)
    found = report(member("VAE"), [X], **FEW)
    name = "bounds" if question == "evaluate" else question
    assert f"{name}: RuntimeError: not enough memory" in found.notes
    assert {*found.numbers} == {"bounds", "evidence", "rate"} - {name}
    assert bool(found.units) == (name != "units")


def test_a_report_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"expected images \(N, 1, 4, 4\), got \(30, 4, 4\)"):
        report(member("VAE"), [X[:, 0]], **FEW)


def test_numbers_that_are_none_are_null() -> None:
    """JSON as any reader takes it: no NaN, no infinity, in whatever part."""
    spread = Units("z", torch.tensor([math.nan, 1.0]), torch.tensor([0.5, math.inf]))
    numbers = {"evidence": {"log_px": Estimate(-math.inf, math.nan, 9)}}
    text = Report("VAE", {"seed": 0}, numbers, {"z": spread}, ["a"]).json()

    def refuse(name: str) -> None:
        raise AssertionError(name)

    record = json.loads(text, parse_constant=refuse)
    assert record["numbers"]["evidence"]["log_px"] == {"mean": None, "stderr": None, "n": 9}
    assert record["units"]["z"] == {"variance": [None, 1.0], "kl": [0.5, None], "active": 1}
    assert record["notes"] == ["a"]


def test_bins_are_those_of_the_figure() -> None:
    """Confidences at the edges of four bins, which binary fractions are exactly, and inside."""
    confidence = torch.tensor([0.5, 0.5, 0.75, 0.625, 1.0, 0.9375], dtype=torch.float64)
    seen = Values()
    seen.see(X[:6])
    for name in ("accuracy", "confidence", "label_nll"):
        seen.add(name, confidence)
    counts = _calibration(seen.estimates(), 4).counts
    p = torch.stack([confidence, 1 - confidence], 1)
    bars = plots.reliability([0] * 6, p, bins=4).axes[0].containers[0]
    assert counts.tolist() == [0, 2, 2, 2]
    assert [round(6 * bar.get_height()) for bar in bars] == counts.tolist()


def test_the_error_of_a_mean_that_has_something_in_common() -> None:
    """Values of correlation 0.6, 20,000 times five of them: the mean of the squared errors, to 3 %."""
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(20_000, 1)), rng.normal(size=(20_000, 5))
    values = math.sqrt(0.6) * shared + math.sqrt(0.4) * own
    said = np.mean([_mean(list(row), 0.6).stderr ** 2 for row in values])
    assert said == pytest.approx(values.mean(1).var(), rel=0.03)
    assert math.isnan(_mean([1.0, 1.0], 1.0).stderr)


MEANS = torch.tensor([0.2, 0.4, 0.6, 0.8])


def drawn(n: int) -> tuple[Tensor, Tensor]:
    """Four kinds of grey, some noise on each."""
    y = torch.randint(4, (n,))
    return (MEANS[y][:, None] + 0.3 * torch.rand(n, 4) - 0.15).reshape(n, 1, 2, 2), y


class Source(nn.Module):
    """A "model" that draws as the images are drawn."""

    def sample(self, n: int, *, mean: bool) -> Tensor:
        return drawn(n)[0]


def test_the_errors_of_distances_where_all_images_are_asked_for() -> None:
    """40 sets of 200 and 60 images: the spread of what is said of each is 0.5 to 1.6 times its error."""
    torch.manual_seed(0)
    found = []
    for _ in range(40):
        (a, ya), (b, yb) = drawn(200), drawn(60)
        sets = [
            data.Images((255 * x).byte(), y, binarisation="none") for x, y in ((a, ya), (b, yb))
        ]
        found.append(sample_quality(Source(), *sets, steps=20))
    for name in ("frechet", "floor"):
        said = torch.tensor([each[name].stderr for each in found]).square().mean().sqrt()
        spread = torch.tensor([each[name].mean for each in found]).std()
        assert 0.5 < spread / said < 1.6, name
        assert min(each[name].stderr for each in found) > 0


GREY, LABELLED = X / 2, member("SSVAE")
OUTSIDE = "pixels that are 0 or 1"
BAD_CALLS: list[BadCall] = [
    (lambda: report(member("VAE"), [X], particles=24, **QUIET), ValueError, "particles must be at least 25, got 24"),
    (lambda: report(member("VAE"), [X], images=1, **FEW), ValueError, "images must be at least 2, got 1"),
    (lambda: evaluate(LABELLED, [(X, some(1, 2))], **FEW), ValueError, "-1 is no class: leave such images out"),
    (lambda: evaluate(LABELLED, images(Y + 1), **FEW), ValueError, r"0\.\.2, got 1\.\.3"),
    *((lambda ask=ask, x=x: ask(LABELLED, [(x, Y)]), ValueError, OUTSIDE) for ask in (accuracy, calibration) for x in (GREY, 10 * X - 99)),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
