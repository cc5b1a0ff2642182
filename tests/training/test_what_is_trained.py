"""All that a loss depends on is trained, or it is said; and what a failed step changed comes back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer
from torch import Tensor, nn
from zoo import X_SHAPE, BadCall, images, member, refused

from vaezoo import fit, likelihoods, models, priors
from vaezoo.objectives import Renyi
from vaezoo.training import EarlyStopping, NonFiniteLoss, TrainingWarning, one_cycle, steps

QUIET: dict[str, Any] = {"progress": False, "compile": False}
SIZES: dict[str, Any] = {"x_shape": X_SHAPE, "z_dim": 3, "hidden": (8,)}


def offset() -> Tensor:
    """A parameter of Pyro's, 0 at first."""
    b: Tensor = pyro.param("b", lambda: torch.zeros(3))
    return b


class Program(models.VAE):
    """A member whose model draws codes about a parameter of Pyro's."""

    def model(self, x: Tensor) -> None:
        """Bernoulli pixels."""
        with self.images(x):
            z = pyro.sample("z", dist.Normal(offset(), 1.0).expand([len(x), 3]).to_event(1))
            pyro.sample("x", self.likelihood(z), obs=x)


class Prior(priors.StandardNormal):
    """Codes about a parameter of Pyro's."""

    def forward(self) -> Any:
        """A Normal."""
        return dist.Normal(offset(), 1.0).to_event(1)


class Listed(likelihoods.Bernoulli):
    """Logits with what a network adds that is in a list, where torch does not see it."""

    def __init__(self) -> None:
        super().__init__(3, X_SHAPE, hidden=(8,))
        torch.manual_seed(1)
        self.unseen = [nn.Linear(3, 16)]

    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        """Of both."""
        logits = self._decode(z, y) + self.unseen[0](z).unflatten(-1, X_SHAPE)
        return dist.Bernoulli(logits=logits).to_event(3)


UNSEEN: dict[str, tuple[Callable[[], models.VAE], Callable[[models.VAE], Tensor]]] = {
    "a program": (lambda: Program(**SIZES), lambda _: offset()),
    "a prior": (lambda: models.VAE(**SIZES, prior=Prior(3)), lambda _: offset()),
    "a likelihood": (
        lambda: models.VAE(**SIZES, likelihood=Listed()),
        lambda vae: vae.likelihood.unseen[0].weight,  # type: ignore[union-attr, index]
    ),
}


@pytest.mark.parametrize(
    "objective",
    [None, infer.Trace_ELBO(), infer.RenyiELBO(num_particles=2, vectorize_particles=True)],
    ids=["own", "Trace_ELBO", "RenyiELBO"],
)
@pytest.mark.parametrize("kind", UNSEEN)
def test_parts_of_ones_own_are_trained_with_all_that_they_use(kind: str, objective: Any) -> None:
    pyro.clear_param_store()
    torch.manual_seed(0)
    make, of = UNSEEN[kind]
    vae = make()
    before = of(vae).detach().clone()
    fit(vae, [images()], objective, steps=3, lr=0.1, **QUIET)
    assert ((of(vae) - before).abs() > 0.01).float().mean() > 0.9
    pyro.clear_param_store()


def test_what_is_thawed_on_the_way_is_said() -> None:
    vae = member("VAE")
    vae.likelihood.requires_grad_(False)

    def thaw(record: dict[str, float]) -> None:
        vae.likelihood.requires_grad_(record["step"] >= 2)

    with pytest.warns(TrainingWarning, match=r"step 3: the optimizer does not know likelihood\."):
        fit(vae, [images()], steps=4, log_every=1, callback=thaw, **QUIET)


def test_what_is_swapped_on_the_way_is_said() -> None:
    vae = member("VAE")
    training = steps(vae, [images()], steps=4, log_every=1, **QUIET)
    for taken in training:
        if taken.step == 2:
            break
    vae.prior = priors.MixtureOfGaussians(3, k=4)
    with pytest.warns(TrainingWarning, match=r"does not know prior\.loc.* fit\(…, history=history"):
        list(training)


class Sometimes(nn.Module):
    """A pair that uses a parameter of Pyro's for bright images only."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Linear(16, 1)

    def model(self, x: Tensor) -> None:
        """Pixels about a mean."""
        mean = pyro.param("bright", lambda: torch.zeros(())) if x.mean() > 1 else torch.zeros(())
        with pyro.plate("n", len(x)):
            z = pyro.sample("z", dist.Normal(mean, 1.0))
            loc = z[..., None, None, None].expand(*z.shape, *X_SHAPE)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(3), obs=x)

    def guide(self, x: Tensor) -> None:
        """A Normal."""
        with pyro.plate("n", len(x)):
            pyro.sample("z", dist.Normal(self.code(x.flatten(1))[:, 0], 1.0))


def test_a_parameter_that_comes_up_later_is_said() -> None:
    pyro.clear_param_store()
    with pytest.warns(TrainingWarning, match="does not know bright"):
        fit(Sometimes(), [images(), images() + 5], steps=2, log_every=1, **QUIET)
    pyro.clear_param_store()
    fit(Sometimes(), [images() + 5, images()], steps=2, log_every=1, **QUIET)
    pyro.clear_param_store()


class Moving(Sometimes):
    """A running mean, which is another tensor after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(16))

    def guide(self, x: Tensor) -> None:
        """With the running mean taken off."""
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.flatten(1).mean(0).detach()
        super().guide(x - self.mean.reshape(X_SHAPE))


def test_a_buffer_that_is_assigned_anew_comes_back() -> None:
    torch.manual_seed(0)
    x, pair = images(), Moving()
    with pytest.raises(NonFiniteLoss):
        fit(pair, [x, x, x * math.nan], steps=3, **QUIET)
    mean = x.flatten(1).mean(0)
    assert torch.allclose(pair.mean, 0.19 * mean, atol=1e-6)


def test_a_true_of_torch_stops_training() -> None:
    history = fit(
        *(member("VAE"), [images()]),
        steps=5,
        log_every=1,
        callback=lambda record: torch.tensor(record["step"] == 2),
        **QUIET,
    )
    assert history["step"] == [1, 2]


def test_the_history_has_a_step_behind_which_the_rate_failed() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        fit(member("VAE"), [images()], steps=5, log_every=1, lr=lambda s: 1e-3 / (2 - s), **QUIET)
    assert raised.value.history["step"] == [1, 2]


def trained(**options: Any) -> Any:
    return fit(member("VAE"), [images()], steps=1, **QUIET | options)


def store_pair() -> Any:
    """A pair that trains a parameter of Pyro's too, and an optimizer of the module's own alone."""
    pyro.clear_param_store()
    pair = Sometimes()
    adam = torch.optim.Adam(pair.parameters())
    return fit(pair, [images() + 5], steps=1, optimizer=adam, **QUIET)


ONE_LOSS: dict[str, Any] = {"num_particles": 3, "vectorize_particles": True}
BAD_CALLS: list[BadCall] = [
    (store_pair, ValueError, "parameter 0 .* of a program: it is no parameter of the model's; give a class"),
    (lambda: fit(member("VAE"), [images()], infer.ReweightedWakeSleep(**ONE_LOSS), steps=1, **QUIET), ValueError, "ReweightedWakeSleep has no single loss"),
    (lambda: fit(member("VAE"), [images()], infer.TraceTailAdaptive_ELBO(**ONE_LOSS), steps=1, **QUIET), ValueError, "TraceTailAdaptive_ELBO has no single loss"),
    (lambda: EarlyStopping(3, least=math.nan), ValueError, "least must be a number of at least 0, got nan"),
    (lambda: EarlyStopping(3, least=-1.0), ValueError, "least must be a number of at least 0, got -1"),
    (lambda: EarlyStopping(3, least=None), TypeError, "least must be a number of at least 0, got None"),
    (lambda: trained(max_grad_norm="1"), TypeError, "max_grad_norm must be a number above 0, got '1'"),
    (lambda: trained(max_grad_norm=True), TypeError, "max_grad_norm must be a number above 0, got True"),
    (lambda: Renyi("a"), TypeError, "alpha must be a number, got 'a'"),
    (lambda: one_cycle(0.1, 5, warm_up="a"), ValueError, "warm_up must be a share from 0 to 1, got 'a'"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
