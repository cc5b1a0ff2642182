"""Arguments of members and parts: what people have at hand is taken, the rest says what to write."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from zoo import CLASSES, X_SHAPE, Z_DIM, images, member, refused

from vaezoo import ELBO, load, models, save
from vaezoo.bound import default_objective
from vaezoo.likelihoods import Bernoulli, Categorical, DiscretizedLogistic, Normal, Poisson
from vaezoo.models import ADGM, FSVAE, GMVAE, IWAE, M1M2, SSVAE, VAE, HierarchicalVAE
from vaezoo.networks import MLP, Conv, PairMLP
from vaezoo.objectives import WarmUp
from vaezoo.posteriors import Classifier, DiagonalNormal, FullNormal, LowRankNormal
from vaezoo.posteriors import Flow as FlowPosterior
from vaezoo.priors import Flow, MixtureOfGaussians, StandardNormal, VampPrior

N = np.int64
Call = Callable[[], Any]


def assign(name: str, attribute: str, value: Any) -> None:
    setattr(member(name), attribute, value)


def code(n: int = 3) -> torch.Tensor:
    return torch.zeros(n, Z_DIM)


CALLS: list[tuple[Call, type[Exception], str]] = [
    # sizes
    (lambda: VAE(X_SHAPE, 2.0), TypeError, "z_dim must be a whole number, such as 2, got 2.0"),
    (lambda: VAE(X_SHAPE, "3"), TypeError, "z_dim must be a whole number, .* got '3'"),
    (lambda: VAE(X_SHAPE, True), TypeError, "z_dim must be a whole number, .* got True"),
    (lambda: VAE(X_SHAPE, None), TypeError, "z_dim must be a whole number, .* got None"),
    (lambda: VAE(X_SHAPE, 0), ValueError, "z_dim must be at least 1, got 0"),
    (lambda: VAE(X_SHAPE, -3), ValueError, "z_dim must be at least 1, got -3"),
    (lambda: VAE(784), TypeError, r"x_shape must be a sequence of sizes, such as \(784,\), got 784"),
    (lambda: VAE(()), ValueError, r"x_shape must be one or more sizes of at least 1, got \(\)"),
    (lambda: VAE((1, 28.0, 28)), TypeError, r"x_shape must be one or more sizes of at least 1, got \(1, 28.0"),
    (lambda: VAE((1, 0, 28)), ValueError, "x_shape must be one or more sizes of at least 1"),
    (lambda: VAE("1x28x28"), TypeError, "x_shape must be a sequence of sizes"),
    (lambda: VAE(X_SHAPE, hidden=300), TypeError, r"hidden must be a sequence of sizes, such as \(300,\), got 300"),
    (lambda: VAE(X_SHAPE, hidden=()), ValueError, r"hidden must be one or more sizes of at least 1, got \(\)"),
    (lambda: VAE(X_SHAPE, hidden=(30.5,)), TypeError, r"hidden must be one or more sizes .* got \(30.5,\)"),
    (lambda: VAE(X_SHAPE, hidden=("30",)), TypeError, "hidden must be one or more sizes"),
    (lambda: VAE(X_SHAPE, hidden="300"), TypeError, "hidden must be a sequence of sizes"),
    (lambda: VAE(X_SHAPE, hidden=(-3,)), ValueError, "hidden must be one or more sizes of at least 1"),
    (lambda: VAE(X_SHAPE, hidden=None), TypeError, "hidden must be a sequence of sizes"),
    (lambda: Bernoulli(3, X_SHAPE, hidden=8), TypeError, r"hidden .* such as \(8,\)"),
    (lambda: DiagonalNormal(X_SHAPE, 3, hidden=8), TypeError, r"hidden .* such as \(8,\)"),
    (lambda: Classifier(X_SHAPE, 3, hidden=8), TypeError, r"hidden .* such as \(8,\)"),
    (lambda: Flow(3, hidden=8), TypeError, r"hidden .* such as \(8,\)"),
    (lambda: FlowPosterior(X_SHAPE, 3, flow_hidden=8), TypeError, r"flow_hidden .* such as \(8,\)"),
    (lambda: FlowPosterior(X_SHAPE, 3, layers=0), ValueError, "layers must be at least 1, got 0"),
    (lambda: FlowPosterior(X_SHAPE, 3, context=1.5), TypeError, "context must be a whole number"),
    (lambda: LowRankNormal(X_SHAPE, 3, rank=0), ValueError, "rank must be at least 1, got 0"),
    (lambda: HierarchicalVAE(X_SHAPE, upper_hidden=100), TypeError, "upper_hidden must be a sequence"),
    (lambda: HierarchicalVAE(X_SHAPE, 3, 2.5), TypeError, "z2_dim must be a whole number"),
    (lambda: M1M2(X_SHAPE, hidden=600), TypeError, "hidden must be a sequence"),
    (lambda: ADGM(X_SHAPE, 3, 0), ValueError, "a_dim must be at least 1, got 0"),
    (lambda: GMVAE(X_SHAPE, 3, k=2.5), TypeError, "k must be a whole number"),
    (lambda: MixtureOfGaussians(3, k=-1), ValueError, "k must be at least 1, got -1"),
    (lambda: VampPrior(784, 3), TypeError, r"x_shape must be a sequence of sizes, such as \(784,\)"),
    (lambda: Categorical(3, X_SHAPE, levels=1), ValueError, "levels must be at least 2, got 1"),
    (lambda: Normal(3, X_SHAPE, variance=math.nan), ValueError, "variance must be a positive number"),
    (lambda: MLP(784, (3,), (2,)), TypeError, r"in_shape must be a sequence of sizes, such as \(784,\)"),
    (lambda: Conv(X_SHAPE, (3,), 2), TypeError, r"out_shape must be a sequence of sizes, such as \(2,\)"),
    (lambda: MLP((4,), (3,), (2,), activation=nn.ELU()), TypeError, r"activation must be a class of module, such as torch.nn.ELU, got ELU"),
    (lambda: MLP((4,), (3,), (2,), activation="elu"), TypeError, "activation must be a class of module"),
    (lambda: Conv(X_SHAPE, (3,), (2,), activation=nn.ELU()), TypeError, "activation must be a class"),
    (lambda: Bernoulli(3, X_SHAPE, network=nn.Linear), TypeError, "network must be a module, got the class Linear: make one of it"),
    (lambda: DiagonalNormal(X_SHAPE, 3, network=5), TypeError, "network must be a module, got 5"),
    (lambda: Classifier(X_SHAPE, 3, network=MLP), TypeError, "got the class MLP"),
    # classes
    (lambda: SSVAE(X_SHAPE, 3, classes=1), ValueError, "classes must be at least 2, got 1"),
    (lambda: FSVAE(X_SHAPE, 3, classes=-1), ValueError, "classes must be at least 2, got -1"),
    (lambda: M1M2(X_SHAPE, 3, classes=2.5), TypeError, "classes must be a whole number"),
    (lambda: ADGM(X_SHAPE, 3, classes=0), ValueError, "classes must be at least 2, got 0"),
    (lambda: Classifier(X_SHAPE, 1), ValueError, "classes must be at least 2, got 1"),
    (lambda: Bernoulli(3, X_SHAPE, classes=-1), ValueError, "classes must be at least 0, got -1"),
    (lambda: VampPrior(X_SHAPE, 3, classes=2.5), TypeError, "classes must be a whole number"),
    # the other way round
    *((lambda k=k: k(X_SHAPE, 3), TypeError, rf"{k.__name__} takes z_dim first, then x_shape: {k.__name__}\(3, \(1, 4, 4\)\), got") for k in (Bernoulli, Normal, Poisson, Categorical, DiscretizedLogistic)),
    *((lambda k=k: k(3, X_SHAPE), TypeError, rf"{k.__name__} takes x_shape first, then z_dim: {k.__name__}\(\(1, 4, 4\), 3\), got") for k in (DiagonalNormal, FullNormal, LowRankNormal, VampPrior, VAE, GMVAE, IWAE, SSVAE, FSVAE, ADGM)),
    (lambda: FlowPosterior(3, X_SHAPE), TypeError, r"Flow takes x_shape first, then z_dim: Flow\(\(1, 4, 4\), 3\)"),
    (lambda: HierarchicalVAE(3, X_SHAPE), TypeError, "takes x_shape first, then z1_dim"),
    (lambda: M1M2(3, X_SHAPE), TypeError, "takes x_shape first, then z1_dim"),
    (lambda: Classifier(3, X_SHAPE), TypeError, r"takes x_shape first, then classes: Classifier\(\(1, 4, 4\), 3\)"),
    (lambda: PairMLP(3, X_SHAPE, (5,), (2,)), TypeError, "takes x_shape first, then v_dim"),
    # what the default objective takes
    *((lambda b=b: VAE(X_SHAPE, 3, beta=b), ValueError, "beta must be a number of at least 0, got") for b in (-1, math.nan, math.inf, -0.1)),
    *((lambda b=b: VAE(X_SHAPE, 3, beta=b), TypeError, "beta must be a number of at least 0, got") for b in ("4", None, True, (1.0, 2.0))),
    (lambda: assign("VAE", "beta", -1), ValueError, "beta must be a number of at least 0, got -1"),
    (lambda: GMVAE(X_SHAPE, 3, k=2, beta=-1), ValueError, "beta must be a number of at least 0"),
    (lambda: IWAE(X_SHAPE, 3, particles=0), ValueError, "particles must be at least 1, got 0"),
    (lambda: IWAE(X_SHAPE, 3, particles=1.5), TypeError, "particles must be a whole number"),
    (lambda: assign("IWAE", "particles", 0), ValueError, "particles must be at least 1, got 0"),
    # attributes
    (lambda: assign("VAE", "z_dim", 20), ValueError, r"z_dim is 3 .* build a new model, VAE\(…, z_dim=20\)"),
    (lambda: assign("VAE", "x_shape", (1, 5, 5)), ValueError, r"x_shape is \(1, 4, 4\) .* build a new model"),
    (lambda: assign("FSVAE", "classes", 5), ValueError, "classes is 3 .* build a new model"),
    (lambda: assign("VAE", "hidden", (5,)), ValueError, "hidden is .* build a new model"),
    (lambda: assign("GMVAE", "k", 7), ValueError, "k is 5 .* build a new model"),
    (lambda: setattr(HierarchicalVAE(X_SHAPE, 3, 2), "z2_dim", 3), ValueError, "z2_dim is 2 .* build a new"),
    (lambda: assign("VAE", "priors", StandardNormal(3)), ValueError, "VAE has no part 'priors', only .*: did you mean prior?"),
    (lambda: assign("VAE", "likelyhood", Bernoulli(3, X_SHAPE)), ValueError, "did you mean likelihood?"),
    (lambda: assign("VAE", "postrior", nn.Linear(3, 3)), ValueError, "did you mean posterior?"),
    (lambda: assign("SSVAE", "classifer", Classifier(X_SHAPE, 3)), ValueError, "did you mean classifier?"),
    (lambda: assign("VAE", "q", DiagonalNormal(X_SHAPE, 3)), ValueError, "VAE has no part 'q'.*keep it outside"),
    (lambda: assign("VAE", "classifier", Classifier(X_SHAPE, 3)), ValueError, "VAE has no labels, and no use for a classifier"),
    (lambda: assign("VAE", "prior", StandardNormal), TypeError, r"prior must be a Prior, got the class StandardNormal: make one of it, StandardNormal\(…\)"),
    (lambda: member("VAE", posterior=DiagonalNormal), TypeError, "got the class DiagonalNormal: make one"),
    (lambda: member("VAE", likelihood="bernoulli"), TypeError, "likelihood must be a Likelihood, got a str"),
    (lambda: assign("VAE", "prior", None), TypeError, "prior must be a Prior, got a NoneType"),
    (lambda: member("VAE")(images()), TypeError, r"a VAE is a pair of programs .* sample\(n\), encode\(x\), decode\(z\), reconstruct\(x\), score\(x\), or Bound\(model\)\(x\)"),
    (lambda: member("VAE")(), TypeError, "a VAE is a pair of programs"),
    (lambda: assign("VAE", "guide", DiagonalNormal), TypeError, "guide must be a Pyro program or a Posterior, got the class DiagonalNormal"),
    (lambda: assign("VAE", "guide", dist.Normal(code(1)[0], 1.0).to_event(1)), TypeError, r"guide must be .* got a Independent: what depends on an image is .*whose forward\(x\)"),
    (lambda: assign("VAE", "guide", nn.Linear), TypeError, "got the class Linear"),
    (lambda: assign("VAE", "beta", WarmUp), TypeError, "beta must be a number"),
    (lambda: M1M2.from_m1(VAE), TypeError, "M1 must be a VAE, got the class VAE"),
    (lambda: M1M2.from_m1(nn.Linear(1, 1)), TypeError, "M1 must be a VAE, got a Linear"),
    (lambda: M1M2.from_m1(member("VAE"), priors=1), TypeError, "priors"),
    # what is drawn
    (lambda: member("VAE").sample(0), ValueError, "n must be at least 1, got 0"),
    (lambda: member("VAE").sample(-2), ValueError, "n must be at least 1, got -2"),
    (lambda: member("VAE").sample(2.5), TypeError, "n must be a whole number"),
    (lambda: member("VAE").sample(images()), TypeError, "n must be a whole number"),
    (lambda: member("VAE").sample(5, z=code()), ValueError, "n is 5, and there are 3 codes: leave n out"),
    (lambda: member("FSVAE").sample(5, y=[0, 1, 2]), ValueError, r"expected integer classes y \(5,\), got \(3,\)"),
    (lambda: member("FSVAE").sample(y=[0, 1], z=code()), ValueError, r"expected integer classes y \(3,\), got \(2,\)"),
    (lambda: member("FSVAE").sample(y=[0, 3]), ValueError, r"labels must lie in 0\.\.2, got 0\.\.3"),
    (lambda: member("FSVAE").sample(y=-1), ValueError, r"labels must lie in 0\.\.2, got -1\.\.-1"),
    (lambda: member("FSVAE").sample(y=torch.zeros(3)), ValueError, "integer classes y .* of torch.float32: use y.long"),
    (lambda: member("FSVAE").sample(y=[True, False]), ValueError, "integer classes y .* of torch.bool"),
    (lambda: member("FSVAE").sample(y=torch.eye(3).long()), ValueError, r"got \(3, 3\) .*one-hot rows become classes by y.argmax\(-1\)"),
    (lambda: member("FSVAE").sample(y=[]), ValueError, "(integer classes|expected one class)"),
    (lambda: member("FSVAE").sample(y="cat"), ValueError, "a batch is a tensor or array .* got a str"),
    (lambda: member("VAE").sample(y=[0]), ValueError, "VAE has no labels: leave y out"),
    (lambda: member("VAE").sample(z=torch.zeros(3)), ValueError, r"codes z \(n, 3\), got \(3,\): one code is z\[None\]"),
    (lambda: member("VAE").sample(z=torch.zeros(2, 4)), ValueError, r"codes z \(n, 3\), got \(2, 4\)"),
    (lambda: member("VAE").sample(z=torch.zeros(0, 3)), ValueError, r"codes z \(n, 3\), got \(0, 3\)"),
    (lambda: member("VAE").sample(z=code().double()), ValueError, r"dtype torch.float32 .* got torch.float64: convert with z.to\(torch.float32\)"),
    (lambda: member("VAE").sample(z=code().long()), ValueError, "got torch.int64"),
    (lambda: member("VAE").sample(z="code"), TypeError, "codes z must be numbers"),
    (lambda: HierarchicalVAE(X_SHAPE, 3, 2).sample(z2=torch.zeros(4, 3)), ValueError, r"codes z2 \(n, 2\), got \(4, 3\)"),
    (lambda: M1M2(X_SHAPE, 3, 2).sample(z1=torch.zeros(3)), ValueError, r"codes z1 \(n, 3\), got \(3,\)"),
]  # fmt: skip


test_bad_arguments = refused(CALLS)


WITH_NUMPY: dict[str, Call] = {
    "VAE": lambda: VAE(np.array(X_SHAPE), N(3), hidden=np.array([8, 6]), beta=np.float32(2)),
    "GMVAE": lambda: GMVAE([1, 4, 4], N(3), k=N(5), hidden=[N(8)]),
    "IWAE": lambda: IWAE(torch.Size(X_SHAPE), 3, particles=N(4), hidden=(8,)),
    "SSVAE": lambda: SSVAE(X_SHAPE, N(3), classes=N(3), hidden=(8,)),
    "FSVAE": lambda: FSVAE(X_SHAPE, torch.tensor(3), classes=N(3), hidden=(8,)),
    "HierarchicalVAE": lambda: HierarchicalVAE(X_SHAPE, N(4), N(3), hidden=(8,), upper_hidden=(N(5),)),
    "M1M2": lambda: M1M2(X_SHAPE, N(4), N(3), classes=N(3), hidden=(8,), upper_hidden=(5,)),
    "ADGM": lambda: ADGM(X_SHAPE, N(3), N(2), classes=N(3), hidden=(8,)),
    "parts": lambda: VAE(
        X_SHAPE, 3,
        prior=VampPrior(X_SHAPE, N(3), k=N(4), classes=N(0)),
        posterior=LowRankNormal(np.array(X_SHAPE), N(3), rank=N(2), hidden=(N(8),)),
        likelihood=Normal(N(3), X_SHAPE, variance=np.float64(0.2), network=MLP((N(3),), (N(8),), X_SHAPE)),
    ),
    "more parts": lambda: VAE(
        X_SHAPE, 3,
        prior=Flow(N(3), layers=N(2), hidden=(N(8),)),
        posterior=FlowPosterior(X_SHAPE, N(3), layers=N(1), flow_hidden=(N(8),), context=N(2)),
        likelihood=Categorical(N(3), X_SHAPE, levels=N(2)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WITH_NUMPY)
def test_sizes_of_numpy_are_pythons(name: str, tmp_path: Any) -> None:
    """Kept as ints, so that a file describes them; the same model as with Python's."""
    model = WITH_NUMPY[name]()
    for module in model.modules():
        for attribute, value in vars(module).items():
            plain = value if isinstance(value, tuple) else (value,)
            assert not any(isinstance(v, np.generic | np.ndarray) for v in plain), attribute
    twin = load(save(model, tmp_path / "model.safetensors"))
    assert repr(twin) == repr(model)


def test_sizes_can_be_said_again_and_notes_be_kept() -> None:
    vae = member("VAE")
    vae.z_dim, vae.x_shape, vae.hidden = 3, X_SHAPE, (8, 6)
    vae.notes, vae.run, vae.head = "first try", 7, nn.Linear(3, 2)
    assert (vae.notes, vae.run) == ("first try", 7)


def test_a_subclass_keeps_parts_of_its_own() -> None:
    class WithTwo(VAE):
        def __init__(self) -> None:
            super().__init__(X_SHAPE, Z_DIM, hidden=(8,))
            self.second = DiagonalNormal(X_SHAPE, 2)
            self.hidden = (9,)

    assert WithTwo().second.z_dim == 2


def test_weights_of_the_objective() -> None:
    """As given, live, in the objective; a schedule passes through."""
    vae = member("VAE", beta=np.float64(2.5))
    assert type(vae.beta) is float
    vae.beta = N(4)
    assert default_objective(vae).beta == 4
    schedule = WarmUp(10)
    assert default_objective(member("VAE", beta=schedule)).beta is schedule
    iwae = member("IWAE")
    iwae.particles = N(7)
    assert default_objective(iwae).num_particles == 7
    assert isinstance(default_objective(member("VAE")), ELBO)


def test_reprs() -> None:
    """A VAE with β = 1 as ever; β and m where the default objective has them."""
    plain = repr(member("VAE"))
    assert plain.endswith("q(z|x) = DiagonalNormal(3)")
    assert repr(member("VAE", beta=4)) == plain + "   β = 4"
    assert repr(member("VAE", beta=0.5)) == plain + "   β = 0.5"
    assert repr(member("VAE", beta=WarmUp(9))) == plain + "   β = WarmUp(9, start=0, end=1)"
    assert repr(member("IWAE")) == plain + "   m = 4 importance samples"
    assert repr(member("GMVAE", beta=4)).endswith("   β = 4")
    vae = member("VAE")
    vae.beta = 2
    assert repr(vae) == plain + "   β = 2"


def test_what_is_at_hand_is_drawn() -> None:
    """Lists, arrays, NumPy numbers, one code or label for all: the same pictures as tensors."""
    fsvae, z = member("FSVAE"), torch.randn(CLASSES, Z_DIM)
    y = torch.arange(CLASSES)
    expected = fsvae.sample(y=y, z=z)
    for labels in ([0, 1, 2], (0, 1, 2), np.arange(3), np.arange(3, dtype=np.uint8), y.int()):
        assert torch.equal(fsvae.sample(y=labels, z=z), expected)
    for codes in (z.numpy(), z.tolist(), z.double().numpy()):
        assert torch.allclose(fsvae.sample(y=y, z=codes), expected, atol=1e-6)
    assert torch.equal(fsvae.sample(N(3), y=y, z=z), expected)
    assert fsvae.sample(N(4), y=N(1)).shape == (4, *X_SHAPE)
    each = fsvae.sample(y=[1], z=z)
    assert torch.allclose(each, fsvae.sample(y=1, z=z))
    assert torch.allclose(fsvae.sample(4, y=[1], z=z[:1])[3], each[0], atol=1e-6)
    double = member("FSVAE").double()
    assert double.sample(y=0, z=z.numpy()).dtype == torch.float64


def test_a_distribution_without_an_event_shape() -> None:
    class Loose(StandardNormal):
        def forward(self) -> Any:
            return dist.Normal(self.zeros, self.ones)

    with pytest.raises(ValueError, match=r"got \(\(3,\), \(\)\): write .to_event\(1\)"):
        member("VAE", prior=Loose(3))


def test_members_are_built_as_before() -> None:
    """The same weights under the same seed, by sums that the code of before gave."""
    torch.manual_seed(0)
    assert sum(p.sum().item() for p in models.VAE().parameters()) == pytest.approx(
        19.2372, abs=1e-3
    )
