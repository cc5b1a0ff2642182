"""What of a batch programs are handed, however they are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from torch import Tensor, nn
from zoo import refused

from vaezoo import Bound, evaluate, fit, likelihoods, models
from vaezoo.objectives import ELBO
from vaezoo.programs import required_arguments

X = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 3


class HandsOn(models.FSVAE):
    def model(self, *batch: Any) -> Tensor:
        return super().model(*batch)


class Decorated(models.FSVAE):
    @config_enumerate  # type: ignore[untyped-decorator]
    def model(self, x: Tensor, y: Tensor) -> Tensor:
        return super().model(x, y)


class Both(models.FSVAE):
    @config_enumerate  # type: ignore[untyped-decorator]
    @poutine.block(hide=["nothing"])  # type: ignore[untyped-decorator]
    def model(self, x: Tensor, y: Tensor) -> Tensor:
        return super().model(x, y)


def made(kind: type[models.FSVAE]) -> models.FSVAE:
    likelihood = likelihoods.Normal(2, (6,), hidden=(4,), classes=3)
    return kind((6,), 2, classes=3, hidden=(4,), likelihood=likelihood)


@pytest.mark.parametrize("kind", [HandsOn, Decorated, Both])
def test_a_program_that_hands_its_arguments_on_takes_what_the_one_below_takes(
    kind: type[models.FSVAE],
) -> None:
    member = made(kind)
    assert required_arguments(member.model) == 2
    plain = made(models.FSVAE)
    plain.load_state_dict(member.state_dict())
    ours, theirs = (
        evaluate(m, [(X, Y)], particles=3, progress=False)["nelbo"].values for m in (member, plain)
    )
    assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))
    fit(member, [(X, Y)], steps=2, progress=False)
    with pytest.raises(ValueError, match="say which classes to draw"):
        member.sample()
    with pytest.raises(ValueError, match="is given labels: pass y"):
        member.reconstruct(X)


def test_a_program_of_any_arguments_in_place_of_a_members_takes_what_that_took() -> None:
    member = made(models.FSVAE)
    member.model = lambda *batch: models.FSVAE.model(member, *batch)
    fit(member, [(X, Y)], steps=2, progress=False)
    assert evaluate(member, [(X, Y)], progress=False)["nelbo"].n == 6


class Masked(nn.Module):
    """A pair whose second argument may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 2), nn.Linear(2, 6)

    def model(self, x: Tensor, mask: Tensor | None = None) -> None:
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            seen = True if mask is None else mask
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).mask(seen).to_event(1), obs=x)

    def guide(self, x: Tensor, mask: Tensor | None = None) -> None:
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), 1.0).to_event(1))


class Labelled(Masked):
    """One whose second argument is a label that it can do without."""

    def model(self, x: Tensor, y: Tensor | None = None) -> None:
        assert y is None
        super().model(x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> None:
        super().guide(x)


class Scaled(Masked):
    """One whose second argument is no tensor of a batch."""

    def model(self, x: Tensor, scale: float = 1.0) -> None:
        assert scale == 1.0
        super().model(x)

    def guide(self, x: Tensor, scale: float = 1.0) -> None:
        super().guide(x)


class OneSided(Masked):
    """One whose guide takes no mask."""

    def guide(self, x: Tensor) -> None:  # type: ignore[override]
        super().guide(x)


class Targets(Labelled):
    """Labels by another name."""

    def model(self, x: Tensor, targets: Tensor | None = None) -> None:
        assert targets is None
        super().model(x)

    def guide(self, x: Tensor, targets: Tensor | None = None) -> None:
        super().guide(x)


class WithRest(Masked):
    """One that does not ask what else there is."""

    def model(self, x: Tensor, *rest: Any) -> None:
        super().model(x)

    def guide(self, x: Tensor, *rest: Any) -> None:
        super().guide(x)


class OfAny(Masked):
    """One that takes whatever a batch holds."""

    def model(self, *batch: Tensor) -> None:
        super().model(*batch)

    def guide(self, *batch: Tensor) -> None:
        super().guide(*batch)


class Behind(Masked):
    """One whose mask comes behind a label that it can do without."""

    def model(self, x: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> None:
        super().model(x, mask)

    def guide(self, x: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> None:
        super().guide(x)


class MaskedVAE(models.VAE):
    """A member that may be told which numbers are there."""

    def model(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        with self.images(x):
            density = self.likelihood(pyro.sample("z", self.prior()))
            seen = True if mask is None else mask
            return pyro.sample("x", density.base_dist.mask(seen).to_event(1), obs=x)

    def guide(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        with self.images(x):
            return pyro.sample("z", self.posterior(x if mask is None else x * mask))


class Shifted(models.VAE):
    """A member that has to be told where its images lie."""

    def model(self, x: Tensor, c: Tensor) -> Tensor:
        return super().model(x - c)

    def guide(self, x: Tensor, c: Tensor) -> Tensor:
        return super().guide(x - c)


class MaskedFSVAE(models.FSVAE):
    """One with labels and masks."""

    def model(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().model(x, y)

    def guide(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().guide(x, y)


def of_rows(kind: type[models.VAE]) -> models.VAE:
    return kind((6,), 2, hidden=(4,), likelihood=likelihoods.Normal(2, (6,), hidden=(4,)))


def assigned() -> models.VAE:
    """A VAE with the programs of a masked one."""
    vae, other = of_rows(models.VAE), of_rows(MaskedVAE)
    other.load_state_dict(vae.state_dict())
    vae.model = lambda x, mask=None: other.model(x, mask)
    vae.guide = lambda x, mask=None: other.guide(x, mask)
    return vae


@pytest.mark.parametrize(("make", "compiled"), [(lambda: of_rows(MaskedVAE), True), (assigned, False)])  # fmt: skip
def test_a_member_is_handed_a_mask(make: Callable[[], models.VAE], compiled: bool) -> None:
    """Of its subclass, or of programs assigned: what is not there counts nothing."""
    vae, none_seen = make(), torch.zeros(6, 6, dtype=torch.bool)
    assert evaluate(vae, [(X, none_seen)], progress=False)["rec"].mean == 0
    assert evaluate(vae, [X], progress=False)["rec"].mean != 0
    history = fit(vae, [(X, none_seen)], steps=3, progress=False, compile=compiled)
    assert history["rec"] == [0]


class Tempered(MaskedVAE):
    """Its mask is something else that may be left out."""

    def model(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        assert mask is None
        return super().model(x)


class MaskedSSVAE(models.SSVAE):
    """A member that infers labels, with a mask before them."""

    def model(self, x: Tensor, mask: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        assert mask is None
        return super().model(x, y)

    def guide(self, x: Tensor, mask: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        return super().guide(x, y)


def test_labels_are_no_mask() -> None:
    """A column of whole numbers, one for each image, of members that do without."""
    assert evaluate(of_rows(Tempered), [(X, Y)], progress=False)["nelbo"].n == 6
    likelihood = likelihoods.Normal(2, (6,), hidden=(4,), classes=3)
    ssvae = MaskedSSVAE((6,), 2, classes=3, hidden=(4,), likelihood=likelihood)
    assert evaluate(ssvae, [(X, Y)], progress=False)["accuracy"].n == 6


def test_a_member_is_handed_a_covariate() -> None:
    torch.manual_seed(0)
    vae, shifted = of_rows(models.VAE), of_rows(Shifted)
    shifted.load_state_dict(vae.state_dict())
    plain = evaluate(vae, [X], particles=3, progress=False)["nelbo"]
    moved = evaluate(shifted, [(X + 2, torch.full((6, 6), 2.0))], particles=3, progress=False)
    assert moved["nelbo"].mean == pytest.approx(plain.mean, rel=1e-5)
    fit(shifted, [(X, X)], steps=2, progress=False)


def test_a_mask_that_a_pair_may_do_without_is_handed_over() -> None:
    pair, none_seen = Masked(), torch.zeros(6, 6, dtype=torch.bool)
    assert evaluate(pair, [(X, none_seen)], progress=False)["rec"].mean == 0
    before = pair.decoder.weight.detach().clone()
    history = fit(pair, [(X, none_seen)], steps=2, progress=False)
    assert history["rec"] == [0]
    assert torch.equal(pair.decoder.weight, before)
    assert evaluate(pair, [X], progress=False)["rec"].mean < -5


@pytest.mark.parametrize(
    ("pair", "batch", "handed"),
    [
        (Masked, (X, X > 0.5), 2),
        (Masked, (X,), 1),
        (Masked, X, 1),
        (Masked, (X, X > 0.5, Y), 2),
        (Labelled, (X, Y), 1),
        (Behind, (X, Y), 1),
        (Targets, (X, Y), 1),
        (Scaled, (X, Y), 1),
        (OneSided, (X, X > 0.5), 1),
        (WithRest, (X, Y, ["a"] * 6), 1),
        (OfAny, (X, X > 0.5), 2),
        (OfAny, X, 1),
        (models.VAE, (X, Y), 1),
        (models.SSVAE, (X, Y), 1),
    ],
)
def test_how_much_of_a_batch_is_handed_over(
    pair: Callable[[], nn.Module], batch: Any, handed: int
) -> None:
    objective = None if pair is not models.SSVAE else ELBO()
    assert len(Bound(pair(), objective).arguments(batch)) == handed


test_what_would_not_reach_an_argument = refused(
    [
        (lambda: evaluate(Behind(), [(X, Y, X > 0.5)], progress=False), ValueError, "Behind.model takes mask behind a label that it can infer, where none of a batch of 3"),
        (lambda: fit(made(MaskedFSVAE), [(X, Y, X > 0.5)], steps=1, progress=False), ValueError, "takes more than images and labels, which a batch of 3 tensors cannot tell apart"),
    ]
)  # fmt: skip
