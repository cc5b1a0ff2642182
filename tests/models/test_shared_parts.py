"""Parts in two models, twice in one, copied and pickled; priors that follow a posterior."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import X_SHAPE, Z_DIM, images, member

from vaezoo import ELBO, fit, load, models, save
from vaezoo.posteriors import DiagonalNormal, FullNormal
from vaezoo.priors import StandardNormal, VampPrior


def vamp(**changes: Any) -> VampPrior:
    return VampPrior(**{"x_shape": X_SHAPE, "z_dim": Z_DIM, "k": 4, **changes})


def mixture_of(model: Any, z: Tensor) -> Tensor:
    """log 1/k Σ_i q(z|u_i) by the model's own posterior."""
    q = model.posterior(model.prior.pseudo_inputs())
    log_q = q.expand((len(z), 4)).log_prob(z[:, None].expand(-1, 4, -1))
    return log_q.logsumexp(-1) - torch.tensor(4.0).log()


def test_a_vamp_prior_serves_one_model() -> None:
    """The second is refused, and the first one's prior is as it was; a copy serves it."""
    shared, z = vamp(), torch.randn(5, Z_DIM)
    first = member("VAE", prior=shared)
    before = first.prior().log_prob(z)
    second = member("VAE")
    for assign in (lambda: member("VAE", prior=shared), lambda: setattr(second, "prior", shared)):
        with pytest.raises(ValueError, match=r"another VAE, .*its own, copy\.deepcopy\(prior\)"):
            assign()
    with pytest.raises(ValueError, match="another VAE"):
        member("VAE").double().prior = shared
    assert torch.equal(first.prior().log_prob(z), before)
    second.prior = copy.deepcopy(shared)
    for model in (first, second):
        assert torch.allclose(model.prior().log_prob(z), mixture_of(model, z), atol=1e-5)
    assert torch.equal(first.prior().log_prob(z), before)


def test_one_that_is_free_is_taken() -> None:
    """Once the first model has another prior, or is gone; and again by the one that has it."""
    shared = vamp()
    first = member("VAE", prior=shared)
    first.prior = shared
    first.prior = StandardNormal(Z_DIM)
    second = member("VAE", prior=shared)
    del second
    gc.collect()
    third = member("VAE", prior=shared)
    assert shared.follows() == (third.posterior,)


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_follow_their_own_posterior(twin_of: Callable[[Any], Any]) -> None:
    """And own their prior: it cannot be taken from them, nor can the first one's."""
    model, z = member("VAE", prior=vamp()), torch.randn(5, Z_DIM)
    twin = twin_of(model)
    assert twin.prior.follows() == (twin.posterior,)
    nn.init.normal_(next(twin.posterior.parameters()), std=0.5)
    assert torch.allclose(twin.prior().log_prob(z), mixture_of(twin, z), atol=1e-5)
    assert torch.allclose(model.prior().log_prob(z), mixture_of(model, z), atol=1e-5)
    for each in (model, twin):
        with pytest.raises(ValueError, match="another VAE"):
            member("VAE", prior=each.prior)


def test_a_shallow_copy_leaves_the_prior_where_it_is() -> None:
    model = member("VAE", prior=vamp())
    copy.copy(model)
    gc.collect()
    with pytest.raises(ValueError, match="another VAE"):
        member("VAE", prior=model.prior)


def test_a_refused_assignment_takes_nothing_over() -> None:
    """A prior that fits nowhere keeps following what it followed; a posterior that the prior
    cannot follow is refused, and the old one is still followed."""
    prior, q = vamp(), DiagonalNormal(X_SHAPE, Z_DIM, hidden=(5,))
    prior.follow(q)
    with pytest.raises(ValueError, match="does not fit VAE"):
        member("VAE", z_dim=2).prior = prior
    assert prior.follows() == (q,)
    model = member("VAE", prior=vamp())
    old = model.posterior
    with pytest.raises(ValueError, match=r"prior VampPrior\(3, k=4\) does not fit"):
        model.posterior = Unseeing(X_SHAPE, Z_DIM, hidden=(5,))
    assert model.posterior is old
    assert model.prior.follows() == (old,)


class Unseeing(DiagonalNormal):
    """A posterior that cannot be run on four images at once."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        if len(x) == 4:
            raise RuntimeError("four")
        return super().forward(x, y)


MISMATCHES: list[tuple[str, Callable[[], Any], str]] = [
    ("VAE", lambda: vamp(z_dim=5), r"VampPrior with z_dim=5 cannot follow a posterior with z_dim=3"),
    ("VAE", lambda: vamp(x_shape=(1, 5, 5)), r"does not fit VAE\(x_shape=\(1, 4, 4\)"),
    ("VAE", lambda: vamp(classes=3), "classes=3 cannot follow a posterior with classes=0"),
    ("SSVAE", lambda: vamp(), "classes=0 cannot follow a posterior with classes=3"),
    ("SSVAE", lambda: vamp(classes=2), "classes=2 cannot follow a posterior with classes=3"),
    ("SSVAE", lambda: vamp(classes=4), "classes=4 cannot follow a posterior with classes=3"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "prior", "message"), MISMATCHES, ids=range(len(MISMATCHES)))
def test_vamp_priors_of_other_sizes(name: str, prior: Callable[[], Any], message: str) -> None:
    model = member(name)
    kept = model.prior
    for assign in (lambda: member(name, prior=prior()), lambda: setattr(model, "prior", prior())):
        with pytest.raises(ValueError, match=message):
            assign()
    assert model.prior is kept


def test_a_z_dim_that_is_not_the_priors() -> None:
    """A prior of one's own whose attribute and distribution differ."""

    class Own(StandardNormal):
        pass

    prior = Own(Z_DIM)
    prior.z_dim = 5
    with pytest.raises(ValueError, match="its z_dim is 5, and 3 needed"):
        member("VAE", prior=prior)


def test_other_parts_are_shared() -> None:
    """Weights in two models are the same weights; training one moves the other."""
    q = DiagonalNormal(X_SHAPE, Z_DIM, hidden=(5,))
    first, second = member("VAE", posterior=q), member("VAE", posterior=q)
    second.likelihood, second.prior = first.likelihood, first.prior
    x = images()
    before = second.encode(x)
    fit(first, [x], ELBO(), steps=2, progress=False)
    assert torch.equal(second.encode(x), first.encode(x))
    assert not torch.equal(second.encode(x), before)


def test_one_part_twice_in_a_model(tmp_path: Any) -> None:
    """q(z1|x) and q(z2|z1) by one network, where sizes agree: it trains, and a file holds it."""
    q = FullNormal((4,), 4, hidden=(5,))
    model = models.HierarchicalVAE(
        (4,), 4, 4, hidden=(5,), upper_hidden=(5,), posterior=q, upper_posterior=q
    )
    x = (torch.rand(6, 4) > 0.5).float()
    fit(model, [x], ELBO(), steps=2, progress=False)
    twin: Any = load(save(model, tmp_path / "twice.safetensors"))
    assert torch.equal(twin.encode(x), model.encode(x))
    assert twin.upper_posterior is twin.posterior
    assert copy.deepcopy(model).upper_posterior is not q
