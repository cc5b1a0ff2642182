"""`disentanglement`: codes whose scores are known, and factors of a grid and of colour digits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from linear import D
from torch import Generator, Tensor, nn
from zoo import EACH_PART, MEMBERS, X_SHAPE, BadCall, images, labels, member, refused, with_parts

from vaezoo import data, likelihoods, models, posteriors
from vaezoo.evaluation import Disentanglement, disentanglement
from vaezoo.evaluation.disentanglement import _information

QUIET: dict[str, Any] = {"progress": False}
# every combination of two factors of five values and one of two
GRID = torch.cartesian_prod(torch.arange(5), torch.arange(5), torch.arange(2)).double()
FACTORS = {"a": GRID[:, 0], "b": GRID[:, 1], "c": GRID[:, 2].long()}


class Codes(nn.Module):
    """An encoder whose codes are linear in the first few pixels."""

    def __init__(self, mix: Tensor) -> None:
        super().__init__()
        self.mix = nn.Parameter(mix)

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1)[:, : len(self.mix)] @ self.mix
        return torch.stack([z, torch.zeros_like(z)], -2)


def found_of(
    mix: Tensor, factors: dict[str, Tensor] = FACTORS, values: Tensor = GRID
) -> Disentanglement:
    """The scores of codes values @ mix."""
    n = mix.shape[1]
    vae = models.VAE(
        X_SHAPE,
        n,
        posterior=posteriors.DiagonalNormal(X_SHAPE, n, network=Codes(mix)),
        likelihood=likelihoods.Normal(n, X_SHAPE, hidden=(8,)),
    ).double()
    x = torch.zeros(len(values), 16, **D)
    x[:, : values.shape[1]] = values
    return disentanglement(vae, x.reshape(-1, *X_SHAPE).split(1007), factors, **QUIET)


def test_a_unit_for_each_factor() -> None:
    """Factors scaled, in another order, beside a unit that is none of them: all scores are 1."""
    mix = torch.tensor([[0, 3.0, 0, 0], [0, 0, 0, -2.0], [0.5, 0, 0, 0]], **D)
    found = found_of(mix)
    assert found.mig.mean == pytest.approx(1, abs=1e-12)
    assert found.mig.stderr == pytest.approx(0, abs=1e-12)
    for score in (found.disentanglement, found.completeness, found.informativeness):
        assert score == pytest.approx(1, abs=1e-6)
    assert found.information.argmax(0).tolist() == [1, 3, 0]
    assert "MIG 1.00" in repr(found)
    assert "unit 3" in found._repr_html_()


def test_the_order_of_images_does_not_matter() -> None:
    """In the grid's own order every other image has one value of c; informativeness is 1 anyway."""
    assert found_of(torch.eye(3, **D)).informativeness > 0.999


def test_two_classes_weigh_as_a_number_of_two_values() -> None:
    mix = torch.randn(3, 3, generator=Generator().manual_seed(0), **D)
    as_classes, as_number = found_of(mix), found_of(mix, {**FACTORS, "c": FACTORS["c"].double()})
    assert torch.allclose(as_classes.importance, as_number.importance, rtol=1e-9)
    assert as_classes.disentanglement == pytest.approx(as_number.disentanglement, abs=1e-9)


def test_codes_that_say_nothing() -> None:
    found = found_of(torch.zeros(3, 2, **D))
    scores = found.disentanglement, found.completeness, found.informativeness
    assert (*scores, found.mig.mean) == (0, 0, 0, 0)


def test_factors_that_are_mixed() -> None:
    """Sum and difference of a and b: two units each that tell as much of both.

    P(a + b = s) is 1, 2, 3, 4, 5, 4, … of 25, and each tells H(s) - log 5 of a. DCI: shares of ½.
    """
    mix = torch.tensor([[1.0, 1.0], [1.0, -1.0], [0, 0]], **D)
    found = found_of(mix, {"a": FACTORS["a"], "b": FACTORS["b"]})
    shares = torch.tensor([1, 2, 3, 4, 5, 4, 3, 2, 1], **D) / 25
    information = (torch.special.entr(shares).sum().item() - math.log(5)) / math.log(5)
    expected = torch.full((2, 2), information, **D)
    assert (found.information - expected).abs().max() < 1e-12
    assert found.mig.mean == pytest.approx(0, abs=1e-12)
    assert found.disentanglement == pytest.approx(0, abs=1e-2)
    assert found.completeness == pytest.approx(0, abs=1e-2)
    assert found.informativeness == pytest.approx(1, abs=1e-6)


def test_factors_of_sprites() -> None:
    """Of 10,000: 1 for the factors as code, and less for the same turned in five dimensions.

    One unit tells three classes by a line only: R² of ¾, 0 and ¾, so that of all factors is 0.9.
    By chance a unit tells a little of other factors too: 19 · 19 / 20,000 nats, at most.
    """
    factors = data.sprites(n=10_000, size=16).factors
    values = torch.stack([f.double() for f in factors.values()], 1)
    values = (values - values.mean(0)) / values.std(0)
    found = found_of(torch.eye(5, **D), factors, values)
    assert found.factors == ["shape", "scale", "orientation", "x", "y"]
    assert found.information.diagonal().sub(1).abs().max() < 1e-12
    assert 0.99 < found.mig.mean < 1
    assert found.disentanglement > 0.95
    assert found.completeness > 0.95
    turn = torch.linalg.qr(torch.randn(5, 5, generator=Generator().manual_seed(0), **D))[0]
    turned = found_of(turn, factors, values)
    assert turned.mig.mean < 0.2
    assert turned.disentanglement < 0.2
    assert turned.completeness < 0.2
    for each in (found, turned):
        assert each.informativeness == pytest.approx(0.9, abs=0.01)


def test_sprites_in_a_line() -> None:
    images, vae = data.sprites("test", n=50), models.VAE((1, 32, 32), 4, hidden=(8,))
    found = disentanglement(vae, images, images.factors, **QUIET)
    assert found.information.shape == (4, 5)


def test_errors_of_the_gap() -> None:
    """200 repeats of 3,000 images: 90 to 99 % of the 95 % intervals hold that of all combinations.

    A unit that is a in 9 of 10 images, else chance; its information is that of the joint law.
    """
    torch.manual_seed(0)
    h, noise = math.log(5), 0.1
    conditional = torch.full((5,), noise / 5, **D)
    conditional[0] += 1 - noise
    truth = (h - torch.special.entr(conditional).sum().item()) / h
    hits = 0
    for _ in range(200):
        a = torch.randint(5, (3000,))
        unit = torch.where(torch.rand(3000) < noise, torch.randint(5, (3000,)), a)
        # of a constant unit nothing is told, without the bias of chance
        codes = torch.stack([unit.double(), torch.zeros(3000, **D)], 1)
        _, values = _information(codes, [a])
        hits += bool((values.mean() - truth).abs() < 1.96 * values.std() / math.sqrt(3000))
    assert 0.9 <= hits / 200 <= 0.99


@pytest.mark.parametrize("name", MEMBERS)
def test_any_member_will_do(name: str) -> None:
    torch.manual_seed(0)
    model, x = member(name), images(40)
    batches = [(x, labels(40))] if name == "FSVAE" else [(x,)]
    known = {"class": labels(40), "place": torch.rand(40, 2)}
    found = disentanglement(model, batches, known, **QUIET)
    assert found.factors == ["class", "place 0", "place 1"]
    assert found.information.shape == (model.z_dim, 3)
    assert 0 <= found.disentanglement <= 1
    assert 0 <= found.completeness <= 1


@pytest.mark.parametrize("parts", EACH_PART)
def test_any_parts_will_do(parts: tuple[str, str, str]) -> None:
    torch.manual_seed(0)
    found = disentanglement(with_parts("VAE", *parts), [images(20)], {"y": labels(20)}, **QUIET)
    assert found.mig.n == 20
    assert found.importance.isfinite().all()


BAD_CALLS: list[BadCall] = [
    (lambda: disentanglement(member("VAE"), [images()], {"a": torch.rand(5)}, **QUIET), ValueError, r"factor 'a' \(6,\) or \(6, m\), a row for each image, got \(5,\)"),
    (lambda: disentanglement(member("VAE"), [images()], {"a": torch.zeros(6)}, **QUIET), ValueError, "factor 'a' has one value, 0.0: leave it out"),
    (lambda: disentanglement(member("VAE"), [images()], {"a": [0.0, math.nan, 1, 2, 3, 4]}, **QUIET), ValueError, "factor 'a' must be of finite numbers, got nan: leave out"),
    (lambda: disentanglement(member("VAE"), [images()], {"a": torch.arange(6.0).log()}, **QUIET), ValueError, "finite numbers, got -inf"),
    (lambda: disentanglement(member("VAE"), [images()], {"a": ["red"] * 6}, **QUIET), ValueError, "factor 'a' must be of numbers or classes, got "),
    (lambda: disentanglement(member("VAE"), [images()], [torch.rand(6)], **QUIET), TypeError, "factors must be a dict, .* got a list"),
    (lambda: disentanglement(nn.Linear(2, 2), [images()], {}, **QUIET), TypeError, "a member with codes, got a Linear"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
