"""Images with missing pixels compared, and pairs that run on whole batches alone."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn
from zoo import member

from vaezoo import compare, evaluate, fit
from vaezoo.evaluation import evidence, rate
from vaezoo.posteriors import DiagonalNormal


class Masked(nn.Module):
    """A linear model of vectors, whose NaN are missing."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = DiagonalNormal((4,), 2, hidden=(8,)), nn.Linear(2, 4)

    def model(self, x: Tensor) -> None:
        there = ~x.isnan()
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            law = dist.Normal(self.decoder(z), 1.0).mask(there).to_event(1)
            pyro.sample("x", law, obs=torch.where(there, x, 0.0))

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("z", self.encoder(x.nan_to_num()))


def vectors(n: int = 20) -> Tensor:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0))
    x[::3, 1] = torch.nan
    return x


def changed(how: str) -> Tensor:
    x = vectors()
    if how == "another number":
        x[0, 0] += 1e-3
    elif how == "another missing":
        x[0, 1], x[0, 2] = x[0, 2].clone(), torch.nan
    elif how == "one more missing":
        x[1, 1] = torch.nan
    elif how == "none missing":
        x = x.nan_to_num()
    elif how == "infinite":
        x[0, 1] = torch.inf
    return x


def test_the_same_images() -> None:
    a, b = (evaluate(Masked(), [vectors()], particles=5, progress=False) for _ in range(2))
    found = compare(a, b)["nelbo"]
    assert found.n == 20
    assert found.mean == pytest.approx(a["nelbo"].mean - b["nelbo"].mean)


@pytest.mark.parametrize(
    "how", ["another number", "another missing", "one more missing", "none missing", "infinite"]
)
def test_other_images(how: str) -> None:
    a, b = (evaluate(Masked(), [x], progress=False) for x in (vectors(), vectors()))
    b = {k: v for k, v in b.items() if v is not None}
    from vaezoo.estimates import Values

    values = Values()
    values.see(changed(how))
    values.add("nelbo", torch.zeros(20))
    with pytest.raises(ValueError, match="different images"):
        compare(a, values.estimates())


class Automatic(nn.Module):
    """A guide of Pyro's own, which keeps a code for each image of the batch that it saw first."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(2, 4)
        self.guide = AutoNormal(self.program)

    def program(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def model(self, x: Tensor) -> None:
        self.program(x)


@pytest.mark.filterwarnings("ignore:.*have too few weights to trust")
def test_an_autoguide_is_run_on_the_batch_that_it_knows() -> None:
    """All draws of all images at once, or a draw of all at a time: its codes are of whole batches."""
    torch.manual_seed(0)
    model, x = Automatic(), torch.randn(30, 4)
    fit(model, [x], steps=500, lr=0.03, progress=False)
    found = evaluate(model, [x], particles=20, progress=False)
    split = evaluate(model, [x], particles=20, max_decodes=90, progress=False)
    spread = (found["nelbo"].values - split["nelbo"].values).std().item() / 30**0.5  # type: ignore[operator]
    assert abs(found["nelbo"].mean - split["nelbo"].mean) < 4 * spread + 1e-6
    log_px = evidence(model, [x], particles=400, progress=False)["log_px"]
    exact = dist.MultivariateNormal(
        model.decoder.bias, model.decoder.weight @ model.decoder.weight.T + torch.eye(4)
    )
    assert log_px.mean == pytest.approx(exact.log_prob(x).mean().item(), abs=0.1)
    assert rate(model, [x], progress=False)["rate"].n == 30


def test_an_autoguide_on_other_batches() -> None:
    model = Automatic()
    fit(model, [torch.randn(30, 4)], steps=2, progress=False)
    words = (
        r"the plate 'images' is of 12 images in one program and of 30 in the other: an AutoGuide"
    )
    with pytest.raises(ValueError, match=words):
        evaluate(model, [torch.randn(12, 4)], progress=False)


def test_what_takes_parts_is_given_parts() -> None:
    """An error that all batches raise comes as it is, and members are decoded as before."""
    with pytest.raises(ValueError, match="expected images"):
        evaluate(member("VAE"), [torch.zeros(3, 5)], progress=False)


def test_errors_of_programs_are_theirs() -> None:
    """What a guide says of two images is no reason to hand it all of them."""
    masked = Masked()
    guide = masked.guide

    def strict(x: Tensor) -> None:
        if len(x) < 3:
            raise ValueError("too few")
        guide(x)

    masked.guide = strict  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"^too few"):
        evaluate(masked, [vectors()], progress=False)
