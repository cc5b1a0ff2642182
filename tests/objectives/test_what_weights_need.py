"""Pairs whose draws cannot be weighed, or held, as they are: refused by name, at the call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions.transforms import AffineTransform, ExpTransform
from torch import Tensor, nn
from zoo import images, member

from vaezoo import Bound, evaluate, evaluation, fit
from vaezoo.objectives import ELBO, IWELBO, Objective, Renyi

N, D = 7, 16


class Pair(nn.Module):
    """p(z) p(x|z) of binary x (N, D), and q(z|x); each test makes one line of it another."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(D, 2), nn.Linear(2, D)
        self.loc, self.raw = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def seen(self, x: Tensor) -> Tensor:
        return x

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = self.prior()
            logits = self.decoder(z)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=self.seen(x))

    def prior(self) -> Any:
        return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.7).to_event(1))


class Redrawn(Pair):
    """It binarises grey images as it runs."""

    def seen(self, x: Tensor) -> Tensor:
        return torch.bernoulli(x.clamp(0.2, 0.8))


class Some(Pair):
    """A plate that takes some of the images."""

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x), subsample_size=3) as index:
            logits = self.decoder(self.prior())
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x[index])

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x), subsample_size=3) as index:
            pyro.sample("z", dist.Normal(self.encoder(x[index]), 0.7).to_event(1))


class ByHand(Pair):
    """A log-normal latent, reparametrised by hand: its density is at a point."""

    def prior(self) -> Any:
        return pyro.sample("z", dist.LogNormal(torch.zeros(2), 1.0).to_event(1))

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            noise = dist.Normal(torch.zeros(2), 1.0).to_event(1)
            u = pyro.sample("u", noise, infer={"is_auxiliary": True})
            log_z = self.loc + self.raw.exp() * u
            density = -(log_z + self.raw).sum(-1)
            pyro.sample("z", dist.Delta(log_z.exp(), density, event_dim=1))


class Unconstrained(ByHand):
    """The same with the parameters in the draw, so that the point depends on nothing else."""

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            normal = dist.Normal(self.loc.expand(2), self.raw.exp()).to_event(1)
            log_z = pyro.sample("u", normal, infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(log_z.exp(), -log_z.sum(-1), event_dim=1))


class Straight(Pair):
    def prior(self) -> Any:
        q = dist.RelaxedBernoulliStraightThrough(torch.tensor(0.5), logits=torch.zeros(2))
        return pyro.sample("z", q.to_event(1))

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            logits = self.encoder(x)
            q = dist.RelaxedBernoulliStraightThrough(torch.tensor(0.5), logits=logits)
            pyro.sample("z", q.to_event(1))


class Masked(Pair):
    """Its label is masked for every other image."""

    def masked(self, x: Tensor) -> Any:
        return poutine.mask(mask=torch.arange(len(x)) % 2 == 0)

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            with self.masked(x):
                y = pyro.sample("y", dist.Categorical(torch.ones(3) / 3))
            logits = self.decoder(self.prior() + y[..., None])
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            enumerated = {"enumerate": "parallel"}
            with self.masked(x):
                pyro.sample("y", dist.Categorical(torch.ones(3) / 3), infer=enumerated)
            pyro.sample("z", dist.Normal(self.encoder(x), 0.7).to_event(1))


class Whole(Masked):
    def masked(self, x: Tensor) -> Any:
        return poutine.mask(mask=torch.ones(len(x), dtype=torch.bool))


class Own(Pair):
    """It draws from a generator of its own, which no run starts again."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            loc = self.encoder(x)
            z = loc + torch.randn(loc.shape, generator=self.generator)
            pyro.sample("z", dist.Normal(z, 0.7).to_event(1))


def x() -> Tensor:
    return (torch.rand(N, D, generator=torch.Generator().manual_seed(1)) > 0.5).float()


CHUNKED: list[Callable[[], Objective]] = [
    lambda: IWELBO(4, chunk=1),
    lambda: IWELBO(4, chunk=3, estimator="stl"),
    lambda: IWELBO(4, chunk=2, estimator="dreg"),
    lambda: Renyi(0.5, particles=4, chunk=2),
]
HELD: list[Callable[[], Objective]] = [
    lambda: IWELBO(1, estimator="stl"),
    lambda: IWELBO(4, estimator="dreg"),
    lambda: IWELBO(4, chunk=2, estimator="dreg"),
]


@pytest.mark.parametrize("objective", CHUNKED)
@pytest.mark.parametrize("pair", [Redrawn, Some])
def test_chunks_of_other_data_are_refused(
    pair: type[Pair], objective: Callable[[], Objective]
) -> None:
    """All at once they are of the same data, and fine."""
    torch.manual_seed(0)
    model = pair()
    Bound(model, IWELBO(4))(x())
    with pytest.raises(ValueError, match="observes other values at 'x' in each chunk"):
        Bound(model, objective())(x())


def test_evaluation_of_other_data_in_each_part_is_refused() -> None:
    model = Redrawn()
    found = evaluate(model, [x()], particles=50, progress=False)
    assert found["niwae-50"].mean <= found["nelbo"].mean
    for question in (
        lambda: evaluate(model, [x()], particles=50, max_decodes=10, progress=False),
        lambda: evaluation.evidence(model, [x()], particles=50, max_decodes=1, progress=False),
    ):
        with pytest.raises(ValueError, match="'x' in each run, and max_decodes=1"):
            question()
    evaluate(Pair(), [x()], particles=50, max_decodes=1, progress=False)


@pytest.mark.parametrize("objective", HELD)
def test_points_whose_density_is_of_parameters_are_not_held(
    objective: Callable[[], Objective],
) -> None:
    Bound(ByHand(), IWELBO(4))(x())
    with pytest.raises(ValueError, match="draws 'z' from a Delta whose log_density is computed"):
        Bound(ByHand(), objective())(x())


def test_points_of_latents_alone_are_held() -> None:
    """Of the same noise the gradients are those of a log-normal, by stl to 1e-5."""

    class LogNormal(ByHand):
        def guide(self, x: Tensor) -> None:
            with pyro.plate("images", len(x)):
                q = dist.LogNormal(self.loc.expand(2), self.raw.exp().expand(2)).to_event(1)
                pyro.sample("z", q)

    found = []
    for pair in (Unconstrained, LogNormal):
        torch.manual_seed(0)
        model = pair()
        torch.manual_seed(1)
        Bound(model, IWELBO(3, estimator="stl"))(x())["loss"].backward()
        found.append(torch.stack([model.loc.grad, model.raw.grad]))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("objective", HELD)
def test_straight_through_draws_are_not_held(objective: Callable[[], Objective]) -> None:
    Bound(Straight(), IWELBO(4))(x())
    with pytest.raises(ValueError, match="draws 'z' straight through"):
        Bound(Straight(), objective())(x())


def test_the_rate_of_straight_through_draws_is_refused() -> None:
    with pytest.raises(ValueError, match="draws 'z' straight through, and of its values"):
        evaluation.rate(Straight(), [x()], progress=False)


class Labelled(Pair):
    """A label of any kind, and a code."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.kind = kind

    def label(self, logits: Tensor) -> Any:
        logits = logits if self.kind is not dist.Bernoulli else logits[..., 1] - logits[..., 0]
        infer = {"enumerate": "parallel"}
        return pyro.sample("y", self.kind(logits=logits), infer=infer)

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            y = self.label(torch.tensor([0.1, -0.2]))
            y = y[..., 1] if self.kind is dist.OneHotCategorical else y
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            logits = self.decoder(z + y[..., None])
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            self.label(self.encoder(x))
            pyro.sample("z", dist.Normal(0.5 * self.encoder(x), 0.7).to_event(1))


def test_the_rate_of_labels_of_any_kind_is_the_same() -> None:
    """A class, a number 0 or 1, one hot: of the same draws, the same parts, to 1e-5."""
    found = []
    for kind in (dist.Categorical, dist.Bernoulli, dist.OneHotCategorical):
        torch.manual_seed(0)
        pair = Labelled(kind)
        parts = evaluation.rate(pair, [x().repeat(60, 1)], images=400, progress=False)
        assert (parts["mutual_information"].mean + parts["marginal_kl"].mean) == pytest.approx(
            parts["rate"].mean, abs=1e-9
        )
        found.append(parts)
    for name, each in found[0].items():
        for other in found[1:]:
            if name in ("rate", "distortion"):
                tolerance = 1e-5
            else:  # draws differ
                tolerance = 4.5 * math.hypot(each.stderr, other[name].stderr)
            assert other[name].mean == pytest.approx(each.mean, abs=tolerance), name


@pytest.mark.parametrize("objective", [ELBO, lambda: IWELBO(4), CHUNKED[0]])
def test_a_label_that_is_masked_away_is_refused(objective: Callable[[], Objective]) -> None:
    """A mask that leaves all is fine."""
    with pytest.raises(ValueError, match="'y' is summed out, and is masked for some images"):
        Bound(Masked(), objective())(x())
    with pytest.raises(ValueError, match="'y' is summed out, and is masked for some images"):
        evaluate(Masked(), [x()], progress=False)
    Bound(Whole(), objective())(x())


class Nothing(nn.Module):
    """No latent but a label, or none at all, of images that are single numbers (N,)."""

    def __init__(self, labelled: bool) -> None:
        super().__init__()
        self.labelled, self.means = labelled, nn.Parameter(torch.tensor([-1.0, 0.5]))

    def model(self, x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            y = pyro.sample("y", dist.Categorical(torch.ones(2) / 2)) if self.labelled else 0
            pyro.sample("x", dist.Normal(self.means[y], 1.0), obs=x)

    def guide(self, x: Tensor) -> None:
        if not self.labelled:
            return
        with pyro.plate("images", len(x)):
            logits = dist.Normal(self.means, 1.0).log_prob(x[:, None])
            pyro.sample("y", dist.Categorical(logits=logits), infer={"enumerate": "parallel"})


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("objective", [ELBO, lambda: IWELBO(4), *CHUNKED])
def test_images_of_one_number_and_no_continuous_latent(
    labelled: bool, objective: Callable[[], Objective]
) -> None:
    """The guide is the exact posterior: bounds and evidence are log p(x), to 1e-5."""
    pair, x = Nothing(labelled), torch.randn(17, generator=torch.Generator().manual_seed(0))
    means = pair.means if labelled else pair.means[:1]
    logs = dist.Normal(means, 1.0).log_prob(x[:, None]).detach()
    exact = (logs.logsumexp(1) - math.log(logs.shape[1])).mean().item()
    assert Bound(pair, objective())(x)["bound"].item() == pytest.approx(exact, abs=1e-5)
    batches = [x[:8], x[8:]]
    found = evaluate(pair, batches, particles=3, progress=False)
    assert {name: each.n for name, each in found.items()} == dict.fromkeys(found, 17)
    assert found["niwae-3"].mean == pytest.approx(-exact, abs=1e-5)
    evidence = evaluation.evidence(pair, batches, particles=30, progress=False)
    assert evidence["log_px"].mean == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("size", [784, 12_288])
def test_draws_from_elsewhere_are_refused_however_large_images_are(size: int) -> None:
    """Of 20 steps each: log-weights of some thousand nats differ by few between draws."""
    torch.manual_seed(0)
    pair = Own()
    pair.encoder, pair.decoder = nn.Linear(size, 2), nn.Linear(2, size)
    bound = Bound(pair, IWELBO(4, chunk=2))
    for seed in range(20):
        pixels = torch.rand(8, size, generator=torch.Generator().manual_seed(seed))
        with pytest.raises(RuntimeError, match="drew other numbers from the same random state"):
            bound((pixels > 0.5).float())


@pytest.mark.parametrize("transform", [ExpTransform(), AffineTransform(1.0, 2.0)])
@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_transforms_that_were_inverted_can_be_held(transform: Any, estimator: str) -> None:
    """As validation does, which comes before the first step and after each record."""

    class Transformed(Pair):
        def prior(self) -> Any:
            return pyro.sample("z", dist.LogNormal(torch.zeros(2), 1.0).to_event(1))

        def guide(self, x: Tensor) -> None:
            with pyro.plate("images", len(x)):
                base = dist.Normal(self.encoder(x), 0.1).expand([len(x), 2])
                if not isinstance(transform, ExpTransform):
                    base = dist.LogNormal(self.encoder(x), 0.1)
                pyro.sample("z", dist.TransformedDistribution(base, [transform]).to_event(1))

    pair, options = Transformed(), {"steps": 3, "log_every": 1, "progress": False}
    evaluate(pair, [x()], particles=2, progress=False)
    assert isinstance(transform.inv.inv, type(transform))
    history = fit(pair, [x()], IWELBO(3, estimator=estimator), validation=[x()], **options)
    assert len(history["validation_loss"]) == 3


@pytest.mark.parametrize("objective", ["RenyiELBO", "TraceGraph_ELBO", "Trace_ELBO"])
def test_hooks_of_parameters_run_once_with_pyros_objectives(objective: str) -> None:
    """On the gradient that is handed out, by `backward`."""
    vae, seen = member("VAE"), list[str]()
    bound = Bound(vae, getattr(pyro.infer, objective)())
    gradients, weight = [], vae.likelihood.network.first[1].weight
    for hooked in (False, True):
        if hooked:
            weight.register_hook(lambda g: 10 * g)
            weight.register_post_accumulate_grad_hook(lambda p: seen.append("accumulated"))
        bound.zero_grad()
        torch.manual_seed(0)
        loss = bound(images())["loss"]
        assert not seen
        loss.backward()
        gradients.append(weight.grad.clone())
    torch.testing.assert_close(gradients[1], 10 * gradients[0])
    assert seen == ["accumulated"]
