"""Where the KL of two distributions is a closed form, and where it is that of the draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import kl, kl_divergence

from vaezoo.programs import Terms, run


class Laplacian(dist.Normal):
    """A class of one's own, made from a Normal, whose density is another."""

    def log_prob(self, value: Tensor) -> Tensor:
        density: Tensor = dist.Laplace(self.loc, self.scale).log_prob(value)
        return density


class Named(dist.Normal):
    """A Normal by another name."""


@pytest.fixture
def registered() -> Iterator[Any]:
    """A KL of 7 for Laplacians."""
    before = dict(kl._KL_REGISTRY)
    kl.register_kl(Laplacian, dist.Normal)(lambda q, p: torch.full_like(q.loc, 7.0))
    yield
    kl._KL_REGISTRY.clear()
    kl._KL_REGISTRY.update(before)
    kl._KL_MEMOIZE.clear()


def terms_of(q: type[dist.Normal], p: type[dist.Normal]) -> Terms:
    class Own(nn.Module):
        def model(self, x: Tensor) -> None:
            with pyro.plate("images", len(x)):
                z = pyro.sample("z", p(x.new_zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        def guide(self, x: Tensor) -> None:
            with pyro.plate("images", len(x)):
                pyro.sample("z", q(0.3 * x, 0.5).to_event(1))

    pair = Own()
    return run(pair.model, pair.guide, torch.linspace(-1, 1, 6).reshape(3, 2))


@pytest.mark.parametrize(("q", "p"), [(Laplacian, dist.Normal), (dist.Normal, Laplacian)])
def test_a_density_of_its_own_is_taken_at_the_draw(q: Any, p: Any) -> None:
    """The closed form would be that of the class it is made from."""
    terms = terms_of(q, p)
    z = terms.value("z")
    given = terms.distribution("z"), terms.distribution("z", of="model")
    expected = given[0].log_prob(z) - given[1].log_prob(z)
    torch.testing.assert_close(terms.kl.squeeze(0), expected.reshape(1, 3))


def test_a_class_with_the_density_it_inherits_keeps_the_closed_form() -> None:
    terms = terms_of(Named, Named)
    expected = kl_divergence(terms.distribution("z"), terms.distribution("z", of="model"))
    torch.testing.assert_close(terms.kl.squeeze(0), expected.reshape(1, 3))


@pytest.mark.usefixtures("registered")
def test_a_closed_form_of_ones_own_is_taken() -> None:
    assert terms_of(Laplacian, dist.Normal).kl.flatten().tolist() == [14.0] * 3
