"""Networks of one's own: any torch module of one batch dimension, in any part, under any objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pytest
import torch
import torch.nn.utils.prune
from torch import Tensor, nn
from zoo import CLASSES, X_SHAPE, images, labels

from vaezoo import ELBO, IWELBO, Bound, evaluate, fit, models, networks
from vaezoo.likelihoods import Bernoulli, Likelihood
from vaezoo.networks import PairMLP
from vaezoo.networks.leading import over_leading
from vaezoo.posteriors import Classifier, DiagonalNormal, FullNormal
from vaezoo.programs.run import run

Z = 3
DECODERS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: nn.Sequential(nn.Linear(Z, 16), nn.BatchNorm1d(16), nn.Unflatten(1, X_SHAPE)),
    "convolution": lambda: nn.Sequential(nn.Unflatten(1, (Z, 1, 1)), nn.ConvTranspose2d(Z, 1, 4)),
    "instance norm": lambda: nn.Sequential(nn.Linear(Z, 16), nn.Unflatten(1, (4, 2, 2)), nn.InstanceNorm2d(4), nn.Flatten(1), nn.Unflatten(1, X_SHAPE)),
    "linear": lambda: nn.Sequential(nn.Linear(Z, 16), nn.Unflatten(-1, X_SHAPE)),
    "lazy": lambda: nn.Sequential(nn.LazyLinear(16), nn.LazyBatchNorm1d(), nn.Unflatten(1, X_SHAPE)),
}  # fmt: skip


class WithLabels(nn.Module):
    """f(one-hot y, v) of one batch dimension only."""

    def __init__(self, size: int, out: tuple[int, ...]) -> None:
        super().__init__()
        self.linear = nn.Linear(size + CLASSES, torch.Size(out).numel())
        self.norm, self.out = nn.BatchNorm1d(self.linear.out_features), out

    def forward(self, v: Any, y: Tensor | None = None) -> Tensor:
        pair = torch.cat([t.flatten(1) for t in v], 1) if isinstance(v, tuple) else v.flatten(1)
        if y is None:
            y = torch.zeros(len(pair), dtype=torch.long)
        joined = torch.cat([pair, nn.functional.one_hot(y, CLASSES).to(pair)], 1)
        return self.norm(self.linear(joined)).unflatten(1, self.out)


def vae(decoder: str) -> models.VAE:
    return models.VAE(
        X_SHAPE, Z, hidden=(8,), likelihood=Bernoulli(Z, X_SHAPE, network=DECODERS[decoder]())
    )


def row_by_row(part: Any, *given: Tensor) -> Tensor:
    """Logits of a part in evaluation mode, an element of the leading dimensions at a time."""
    return torch.cat(
        [part(*(t[i : i + 1] for t in given)).base_dist.logits for i in range(len(given[0]))]
    )


@pytest.mark.parametrize("decoder", DECODERS)
def test_decoders_are_run_on_rows(decoder: str) -> None:
    """Codes (K, N, z) give what each gives alone, to 1e-6; the probe leaves no statistic behind."""
    likelihood = vae(decoder).likelihood
    assert not any(b.any() for n, b in likelihood.named_buffers() if n.endswith("tracked"))
    z = torch.randn(5, 7, Z)
    likelihood.eval()
    found = likelihood(z).base_dist.logits
    assert found.shape == (5, 7, *X_SHAPE)
    assert torch.allclose(found.flatten(0, 1), row_by_row(likelihood, z.flatten(0, 1)), atol=1e-6)


@pytest.mark.parametrize("decoder", DECODERS)
def test_decoders_train_and_are_evaluated(decoder: str) -> None:
    model, x = vae(decoder), images(8)
    for objective in (ELBO(), ELBO(particles=3), IWELBO(3)):
        fit(model, [x], objective, steps=2, progress=False)
    found = evaluate(model, [x], particles=(1, 5), progress=False)
    torch.manual_seed(0)
    with torch.no_grad():
        terms = run(model.eval().model, model.guide, x, particles=500)
    draws = (terms.kl - terms.rec)[0].mean(-1)
    error = draws.std() * (1 / 5 + 1 / 500) ** 0.5
    assert abs((found["nelbo"].mean - draws.mean()) / error) < 4


def test_statistics_are_of_all_particles() -> None:
    """Batch norm in training: its mean is over K·N rows, exactly."""
    model, x = vae("batch norm"), images(6)
    linear, norm = model.likelihood.network[0], model.likelihood.network[1]
    seen: list[Tensor] = []
    linear.register_forward_hook(lambda m, i, out: seen.append(out.detach()))
    Bound(model.train(), IWELBO(4))(x)
    assert seen[0].shape == (24, 16)
    assert torch.allclose(norm.running_mean, 0.1 * seen[0].mean(0), atol=1e-7)
    assert norm.num_batches_tracked == 1


def test_networks_that_take_leading_dimensions_give_the_same_numbers() -> None:
    network = DECODERS["linear"]()
    for shape in ((7,), (5, 7), (2, 5, 7), ()):
        z = torch.randn(*shape, Z)
        assert torch.equal(
            over_leading(network, z, None, (Z,)), network(z).reshape(*shape, *X_SHAPE)
        )


def test_labels_and_pairs_broadcast() -> None:
    """Images (N), codes (K, N), labels (Y, 1, 1), of own networks in every kind of part."""
    x, v, y = images(4), torch.randn(5, 4, 2), torch.arange(CLASSES)[:, None, None]
    network = WithLabels(16 + 2, (2, Z)).eval()
    q = DiagonalNormal(X_SHAPE, Z, network=network, classes=CLASSES)((x, v), y)
    assert q.batch_shape == (CLASSES, 5, 4)
    for c, k, n in ((0, 0, 0), (2, 4, 3), (1, 2, 1)):
        alone = network((x[n : n + 1], v[k, n : n + 1]), torch.tensor([c]))
        assert torch.allclose(q.mean[c, k, n], alone[0, 0], atol=1e-6)
    classifier = Classifier(X_SHAPE, CLASSES, network=WithLabels(16 + 2, (CLASSES,)).eval())
    assert classifier((x, v)).logits.shape == (5, 4, CLASSES)
    likelihood = Bernoulli(2, X_SHAPE, network=WithLabels(2, X_SHAPE).eval(), classes=CLASSES)
    assert likelihood(v, y).batch_shape == (CLASSES, 5, 4)


@pytest.mark.parametrize("name", ["SSVAE", "FSVAE", "M1M2", "ADGM"])
def test_members_with_labels(name: str) -> None:
    """Own networks in likelihood, posterior and classifier, trained with K = 2 and evaluated."""
    sizes: dict[str, Any] = {"classes": CLASSES, "hidden": (8,)}
    c: dict[str, Any] = {"classes": CLASSES}
    if name == "ADGM":
        model: Any = models.ADGM(
            X_SHAPE, Z, 2, **sizes,
            posterior=FullNormal(X_SHAPE, Z, network=WithLabels(18, (9,)), **c),
            classifier=Classifier(X_SHAPE, CLASSES, network=WithLabels(18, (CLASSES,))),
            likelihood=Bernoulli(Z, X_SHAPE, network=WithLabels(Z, X_SHAPE), **c),
        )  # fmt: skip
    elif name == "M1M2":
        model = models.M1M2(
            X_SHAPE, 4, Z, upper_hidden=(8,), **sizes,
            conditional_prior=DiagonalNormal((Z,), 4, network=WithLabels(Z, (2, 4)), **c),
            upper_posterior=DiagonalNormal((4,), Z, network=WithLabels(4, (2, Z)), **c),
            likelihood=Bernoulli(4, X_SHAPE, network=WithLabels(4, X_SHAPE)),
        )  # fmt: skip
    else:
        model = getattr(models, name)(
            X_SHAPE, Z, **sizes,
            posterior=DiagonalNormal(X_SHAPE, Z, network=WithLabels(16, (2, Z)), **c),
            likelihood=Bernoulli(Z, X_SHAPE, network=WithLabels(Z, X_SHAPE), **c),
        )  # fmt: skip
    batch = (images(), labels()) if name == "FSVAE" else images()
    fit(model, [batch], ELBO(particles=2), steps=2, progress=False)
    found = evaluate(model, [batch], particles=(1, 4), progress=False)
    assert found["niwae-4"].mean < found["niwae-1"].mean
    y = torch.arange(CLASSES)
    assert model.sample(y=y).shape == (CLASSES, *X_SHAPE)


class OnRowsOnly(Likelihood):
    """A forward of one's own that takes (N, z) and no more."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Any:
        return dist.Bernoulli(logits=self.network(z)).to_event(3)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(16), nn.Flatten(1)], ids=["norm", "flatten"])
def test_a_forward_that_misreads_particles_is_refused(norm: nn.Module) -> None:
    network = nn.Sequential(nn.Linear(Z, 16), norm, nn.Unflatten(1, X_SHAPE))
    with pytest.raises(ValueError, match=r"likelihood OnRowsOnly.*does not fit VAE"):
        models.VAE(X_SHAPE, Z, hidden=(8,), likelihood=OnRowsOnly(Z, X_SHAPE, network=network))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(Z, 16), r"network is to put out \(N, 1, 4, 4\), as by a last nn.Unflatten\(1, \(1, 4, 4,\)\)"),
        (nn.Sequential(nn.Linear(Z, 16), nn.Unflatten(1, (2, 8)), nn.Flatten(0, 1)), r"a row for each of its 2 inputs \(2, 3\), got \(4, 8\)"),
        (nn.LSTM(Z, 16), "got a tuple"),
        (nn.Linear(4, 16), "does not fit"),
    ],
)  # fmt: skip
def test_outputs_of_the_wrong_shape(network: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.VAE(X_SHAPE, Z, likelihood=Bernoulli(Z, X_SHAPE, network=network))


def test_an_empty_sequential_is_a_network() -> None:
    """It is the identity, and has a length of 0."""
    assert isinstance(Bernoulli(Z, (Z,), network=nn.Sequential()).network, nn.Sequential)


PARAMETRIZED: dict[str, Callable[[nn.Module], Any]] = {
    "weight norm": lambda m: nn.utils.parametrizations.weight_norm(m),
    "orthogonal": lambda m: nn.utils.parametrizations.orthogonal(m),
    "spectral norm": lambda m: nn.utils.parametrizations.spectral_norm(m),
    "older spectral norm": lambda m: nn.utils.spectral_norm(m),
    "pruned": lambda m: nn.utils.prune.l1_unstructured(m, "weight", 0.5),
}


def linears(network: nn.Module) -> list[nn.Module]:
    kinds = (nn.Linear, nn.Conv2d)
    return [m for m in network.modules() if isinstance(m, kinds)]


@pytest.mark.parametrize("way", PARAMETRIZED)
def test_parametrized_layers(way: str) -> None:
    """A PairMLP is the MLP on the concatenation, to 1e-12, with its weight from anywhere."""
    net = PairMLP(X_SHAPE, 2, (5, 4), (2, Z), classes=CLASSES).double()
    for layer in linears(net):
        PARAMETRIZED[way](layer)
    net.eval()
    x, v, y = images(4, dtype=torch.float64), torch.randn(3, 4, 2).double(), torch.arange(CLASSES)
    joined = torch.cat([x.flatten(1).expand(3, 4, 16), v], -1)
    every = y[:, None, None]
    assert torch.allclose(net((x, v), every), net(joined, every), atol=1e-12)
    part = DiagonalNormal(X_SHAPE, Z, classes=CLASSES, network=net.train().float())
    model = models.ADGM(X_SHAPE, Z, 2, classes=CLASSES, hidden=(5,), posterior=part)
    before = [p.detach().clone() for p in part.parameters()]
    fit(model, [images()], ELBO(), steps=2, progress=False)
    assert all(not torch.equal(a, b) for a, b in zip(before, part.parameters(), strict=True))


@pytest.mark.parametrize("way", PARAMETRIZED)
def test_parametrized_mlps_and_convolutions(way: str) -> None:
    for kind in (networks.MLP, networks.Conv):
        encoder, decoder = kind(X_SHAPE, (4,), (2, Z)), kind((Z,), (4,), X_SHAPE)
        for layer in (*linears(encoder), *linears(decoder)):
            PARAMETRIZED[way](layer)
        model = models.VAE(
            X_SHAPE, Z,
            posterior=DiagonalNormal(X_SHAPE, Z, network=encoder),
            likelihood=Bernoulli(Z, X_SHAPE, network=decoder),
        )  # fmt: skip
        fit(model, [images()], IWELBO(3), steps=2, progress=False)
        assert evaluate(model, [images()], particles=(2,), progress=False)["nelbo"].mean > 0


def test_the_older_weight_norm() -> None:
    """It warns of its end, and works until then: its weight is there in its call only."""
    net = PairMLP(X_SHAPE, 2, (5,), (2, Z)).double()
    with pytest.warns(FutureWarning, match="weight_norm"):
        nn.utils.weight_norm(net.first[1])
    x, v = images(4, dtype=torch.float64), torch.randn(3, 4, 2).double()
    joined = torch.cat([x.flatten(1).expand(3, 4, 16), v], -1)
    with torch.no_grad():
        net.first[1].weight_g.mul_(2)
    assert torch.allclose(net((x, v)), net(joined), atol=1e-12)
    net((x, v)).sum().backward()
    assert net.first[1].weight_g.grad.any()


@pytest.mark.parametrize("change", ["layer", "hook"])
def test_a_pair_goes_through_what_was_put_before_or_after_its_first_layer(change: str) -> None:
    net = PairMLP(X_SHAPE, 2, (5,), (2, Z))
    if change == "layer":
        net.first.insert(1, nn.Dropout(1.0))
    else:
        net.first[1].register_forward_hook(lambda module, given, out: -out)
    x, v = images(4), torch.randn(3, 4, 2)
    joined = torch.cat([x.flatten(1).expand(3, 4, 16), v], -1)
    assert torch.equal(net((x, v)), net(joined))


class Relative(nn.Module):
    """Of the logarithms, the spread, the sum or the norm of its inputs, none of which 0 has."""

    def __init__(self, size: int, out: tuple[int, ...]) -> None:
        super().__init__()
        self.linear, self.out = nn.Linear(size, torch.Size(out).numel()), out

    def forward(self, v: Tensor) -> Tensor:
        v = v.flatten(1).log()
        v = (v - v.mean(1, keepdim=True)) / v.std(1, keepdim=True)
        v = v / v.norm(dim=1, keepdim=True)
        return self.linear(v / v.abs().sum(1, keepdim=True)).unflatten(1, self.out)


def test_a_network_for_which_zeros_are_no_input_is_taken() -> None:
    q = DiagonalNormal(X_SHAPE, Z, network=Relative(16, (2, Z)))
    decoder = Bernoulli(Z, X_SHAPE, network=Relative(Z, X_SHAPE))
    assert models.VAE(X_SHAPE, Z, posterior=q, likelihood=decoder).posterior is q


class Lowered(nn.Sequential):
    """A network that is run in bfloat16 by itself, and puts out what that gives."""

    def forward(self, v: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(v)


@pytest.mark.parametrize("broadcasts", [False, True])
def test_densities_of_a_lowered_network_are_in_the_models_dtype(broadcasts: bool) -> None:
    """Of 1,600 pixels, against float64 at the same logits, to 1e-6 of it."""
    decoder = Lowered(nn.Linear(Z, 1600))
    decoder.broadcasts = broadcasts
    q = DiagonalNormal(
        (1600,), Z, network=Lowered(nn.Linear(1600, 2 * Z), nn.Unflatten(-1, (2, Z)))
    )
    x = (torch.rand(4, 1600) > 0.5).float()
    model = models.VAE((1600,), Z, posterior=q, likelihood=Bernoulli(Z, (1600,), network=decoder))
    z = model.posterior(x).rsample()
    exact = dist.Bernoulli(logits=decoder(z).double()).log_prob(x.double()).sum(-1)
    assert torch.allclose(model.likelihood(z).log_prob(x).double(), exact, rtol=1e-6)
    fit(model, [x], IWELBO(2), steps=1, progress=False)
