"""Optimizers, learning rates and schedulers in every form; validation that changes nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro import infer
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)
from torch.utils.data import DataLoader, Dataset, TensorDataset
from zoo import fixed, labels, member

from vaezoo import ELBO, Bound, Renyi, Step, data, fit
from vaezoo.objectives import WarmUp
from vaezoo.training.validation import Validation

X = fixed(12)


def vae() -> Any:
    torch.manual_seed(1)
    return member("VAE")


def train(model: Any, **options: Any) -> Any:
    torch.manual_seed(2)
    batches = options.pop("data", [X])
    return fit(model, batches, **{"steps": 6, "log_every": 2, "progress": False, **options})


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def by_hand(
    optimizer: Callable[[Any], Optimizer], rate: Callable[[int], float] | None = None
) -> Any:
    """Six steps of an optimizer, at rates of one's own."""
    model = vae()
    bound, made = Bound(model), optimizer(model.parameters())
    torch.manual_seed(2)
    for step in range(6):
        for group in made.param_groups:
            group["lr"] = group["lr"] if rate is None else rate(step)
        made.zero_grad()
        bound(X)["loss"].backward()
        made.step()
    return weights(model)


def rate(step: int) -> float:
    return 0.01 / (1 + step)


OPTIMIZERS: dict[str, tuple[dict[str, Any], Any]] = {
    "none": ({}, lambda p: Adam(p, lr=1e-3)),
    "a rate": ({"lr": 0.01}, lambda p: Adam(p, lr=0.01)),
    "a rate of NumPy": ({"lr": np.float64(0.01)}, lambda p: Adam(p, lr=0.01)),
    "a class": ({"optimizer": Adam}, lambda p: Adam(p)),
    "a class and a rate": ({"optimizer": SGD, "lr": 1e-4}, lambda p: SGD(p, lr=1e-4)),
    "a function": ({"optimizer": lambda p: AdamW(p, lr=0.01)}, lambda p: AdamW(p, lr=0.01)),
    "a partial": ({"optimizer": partial(SGD, momentum=0.9, lr=1e-4)}, lambda p: SGD(p, lr=1e-4, momentum=0.9)),
    "a partial and a rate": ({"optimizer": partial(AdamW, weight_decay=0.5), "lr": 0.01}, lambda p: AdamW(p, lr=0.01, weight_decay=0.5)),
    "a partial of a function": ({"optimizer": partial(lambda lr, p: Adam(p, lr), 0.01)}, lambda p: Adam(p, lr=0.01)),
}  # fmt: skip
RATES: dict[str, dict[str, Any]] = {
    "a function": {"lr": rate},
    "a function and a class": {"lr": rate, "optimizer": Adam},
    "a function and a partial": {"lr": rate, "optimizer": partial(Adam, eps=1e-8)},
    "a scheduler's": {"optimizer": Adam, "lr": 0.01, "scheduler": lambda o: LambdaLR(o, lambda s: 1 / (1 + s))},
}  # fmt: skip


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_optimizers_in_every_form(kind: str) -> None:
    """The weights of a loop by hand with the same optimizer, to 1e-6."""
    options, made = OPTIMIZERS[kind]
    model = vae()
    train(model, **options)
    assert (weights(model) - by_hand(made)).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("kind", "compiled"), [*((kind, False) for kind in RATES), ("a function", True)]
)
def test_rates_in_every_form(kind: str, compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of a loop by hand with the same rates, to 1e-6; compiled steps follow them."""
    if compiled:
        compile_eagerly(monkeypatch)
    model = vae()
    train(model, **RATES[kind], compile=compiled)
    assert (weights(model) - by_hand(Adam, rate)).abs().max() < 1e-6


def compile_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs as they are traced, without Inductor, which takes seconds."""
    from vaezoo.training.step import Step

    made = Step.compile
    monkeypatch.setattr(Step, "compile", lambda self, **k: made(self, "eager", **k))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_rate_of_zero_moves_nothing(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiled:
        compile_eagerly(monkeypatch)
    for options in ({"lr": lambda _: 0.0}, {"scheduler": lambda o: LambdaLR(o, lambda _: 0.0)}):
        model = vae()
        before = weights(model)
        train(model, compile=compiled, **options)
        assert torch.equal(weights(model), before)


SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "exponential": lambda o: ExponentialLR(o, 0.5),
    "cosine": lambda o: CosineAnnealingLR(o, 6),
    "one cycle": lambda o: OneCycleLR(o, 0.1, total_steps=7),
    "in sequence": lambda o: SequentialLR(o, [LinearLR(o), ExponentialLR(o, 0.5)], [3]),
    "chained": lambda o: ChainedScheduler([LinearLR(o), ExponentialLR(o, 0.5)], optimizer=o),
}


@pytest.mark.filterwarnings("default:The epoch parameter")  # torch's own, of SequentialLR
@pytest.mark.parametrize("kind", SCHEDULERS)
def test_schedulers_advance_once_a_step(kind: str) -> None:
    """An instance and a function that makes one leave the rate that six steps by hand leave."""
    expected = Adam([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = SCHEDULERS[kind](expected)
    for _ in range(6):
        expected.step()
        scheduler.step()
    for made in (lambda s: s, SCHEDULERS[kind]):
        model = vae()
        optimizer = Adam(model.parameters(), lr=0.1)
        given = SCHEDULERS[kind](optimizer) if made is not SCHEDULERS[kind] else made
        train(model, optimizer=optimizer, scheduler=given)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected.param_groups[0]["lr"])


class Watched(ReduceLROnPlateau):
    """One that notes what it was told."""

    def step(self, metrics: Any, epoch: Any = None) -> None:
        self.told = [*getattr(self, "told", []), metrics]
        super().step(metrics, epoch)


@pytest.mark.parametrize("validation", [None, [X]])
def test_plateaus_are_told_the_loss_of_each_record(validation: Any) -> None:
    """That of validation where there is one, also of a last, shorter record; and they act on it."""
    model = vae()
    optimizer = Adam(model.parameters(), lr=0.1)
    plateau = Watched(optimizer, patience=0, threshold=1e9, threshold_mode="abs")
    history = train(model, optimizer=optimizer, scheduler=plateau, validation=validation, steps=5)
    assert history["step"] == [2, 4, 5]
    assert plateau.told == history["loss" if validation is None else "validation_loss"]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1**3)


other = Adam([torch.zeros(1, requires_grad=True)])
REFUSED: dict[str, tuple[Callable[[Any], dict[str, Any]], type[Exception], str]] = {
    "another's scheduler": (lambda _: {"scheduler": ExponentialLR(other, 0.5)}, ValueError, "ExponentialLR is of another optimizer .*optimizer=scheduler.optimizer"),
    "another's plateau": (lambda m: {"optimizer": Adam(m.parameters()), "scheduler": ReduceLROnPlateau(other)}, ValueError, "of another optimizer"),
    "made for another": (lambda _: {"scheduler": lambda _: ExponentialLR(other, 0.5)}, ValueError, "of another optimizer"),
    "chained for another": (lambda _: {"scheduler": ChainedScheduler([ExponentialLR(other, 0.5)], optimizer=other)}, ValueError, "of another optimizer"),
    "two schedules": (lambda _: {"lr": rate, "scheduler": lambda o: ExponentialLR(o, 0.5)}, ValueError, "a function lr or a scheduler, not both"),
    "two rates": (lambda m: {"lr": 0.1, "optimizer": Adam(m.parameters())}, ValueError, "lr or an optimizer with a rate of its own, not both"),
    "a function and an optimizer": (lambda m: {"lr": rate, "optimizer": Adam(m.parameters())}, ValueError, "not both"),
    "a rate beside a function": (lambda _: {"lr": 0.1, "optimizer": lambda p: Adam(p)}, ValueError, "not both"),
    "a plateau of a bound": (lambda _: {"scheduler": lambda o: ReduceLROnPlateau(o, "max")}, ValueError, "mode must be 'min', got 'max'"),
    "a rate beside a partial's": (lambda _: {"lr": 0.1, "optimizer": partial(Adam, lr=0.1)}, ValueError, r"not both; .* functools.partial\(torch.optim.Adam, eps=1e-6\)"),
    "a rate beside a partial of a function": (lambda _: {"lr": 0.1, "optimizer": partial(lambda p, lr: Adam(p, lr))}, ValueError, "not both"),
    "a name": (lambda _: {"optimizer": "adam"}, TypeError, "got 'adam': write optimizer=torch.optim.Adam$"),
    "a name of SGD": (lambda _: {"optimizer": "sgd"}, TypeError, "write optimizer=torch.optim.SGD$"),
    "an unknown name": (lambda _: {"optimizer": "magic"}, TypeError, r"write optimizer=torch.optim\."),
    "Pyro's": (lambda _: {"optimizer": pyro.optim.Adam({"lr": 0.1})}, TypeError, "optimizer must be one of torch.optim"),
    "a class of something else": (lambda _: {"optimizer": nn.Linear}, TypeError, "got the class Linear"),
    "a function of something else": (lambda _: {"optimizer": lambda _: 3}, TypeError, "got a function that returns a int"),
    "a closure's": (lambda _: {"optimizer": torch.optim.LBFGS}, ValueError, "LBFGS"),
    "a scheduler's name": (lambda _: {"scheduler": "cosine"}, TypeError, "function of the optimizer .* got a str"),
    "schedulers": (lambda _: {"scheduler": [1]}, TypeError, "got a list"),
    "a scheduler's class": (lambda _: {"scheduler": CosineAnnealingLR}, TypeError, "scheduler, made of the optimizer: .*T_max"),
    "a function of no scheduler": (lambda _: {"scheduler": lambda _: 3}, TypeError, "have a method step, got a int"),
    "a rate's name": (lambda _: {"lr": "fast"}, TypeError, "lr must be a number of at least 0.* got 'fast'"),
    "a negative rate": (lambda _: {"lr": -1.0}, ValueError, "lr must be .* got -1.0"),
    "no rate": (lambda _: {"lr": float("nan")}, ValueError, "got nan"),
    "an endless rate": (lambda _: {"lr": float("inf")}, ValueError, "got inf"),
    "a schedule of a weight": (lambda _: {"lr": WarmUp(3)}, TypeError, "or a function of the step"),
    "a function of no rate": (lambda _: {"lr": lambda _: None}, ValueError, r"lr\(0\) must be a number"),
    "a function that ends": (lambda _: {"lr": lambda s: 0.1 if s < 3 else -1.0}, ValueError, r"lr\(3\) must be a number"),
    "of a part alone": (lambda m: {"optimizer": Adam(m.likelihood.parameters())}, ValueError, r"for some parts alone; .*freeze what is to stay, as by model\.posterior\.requires_grad_\(False\)$"),
    "made too early": (lambda _: {"optimizer": Adam(vae().parameters())}, ValueError, "does not train prior|does not train likelihood"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_be_ignored_is_refused(kind: str) -> None:
    make, error, message = REFUSED[kind]
    model = vae()
    before = weights(model)
    with pytest.raises(error, match=message):
        train(model, **make(model))
    if kind != "a function that ends":
        assert torch.equal(weights(model), before)


class Augmented(Dataset[Tensor]):
    """Images under noise of Python's, NumPy's and torch's generators."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        draws = (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002
        return X[index] if sum(draws) > 1.5 else 1 - X[index]


PIXELS = data.Images((255 * X).byte(), labels(12), binarisation="dynamic")
GREY = data.Images((100 * X).byte(), labels(12), binarisation="dynamic")
VALIDATION: dict[str, Any] = {
    "a list": [X],
    "images": GREY,
    "a shuffled loader": DataLoader(TensorDataset(X), batch_size=5, shuffle=True),
    "a loader with workers": DataLoader(TensorDataset(X), batch_size=5, shuffle=True, num_workers=1),
    "an augmented loader": DataLoader(Augmented(), batch_size=5, shuffle=True),
}  # fmt: skip


@pytest.mark.parametrize("kind", VALIDATION)
def test_validation_does_not_change_training(kind: str) -> None:
    """The same seed, the same weights and losses as without, with data that draw as they come."""
    for training in ([X], GREY, VALIDATION["an augmented loader"]):
        found = []
        for validation in (None, VALIDATION[kind]):
            model = vae()
            random.seed(0)
            np.random.seed(0)  # noqa: NPY002
            torch.manual_seed(2)
            history = fit(
                *(model, training), validation=validation, epochs=2, log_every=1, batch_size=5,
                progress=False,
            )  # fmt: skip
            found.append((weights(model), history["loss"]))
        assert torch.equal(found[0][0], found[1][0])
        assert found[0][1] == found[1][1]


@pytest.mark.parametrize("kind", ["a list", "images", "a shuffled loader", "an augmented loader"])
def test_validation_is_under_the_same_noise_each_time(kind: str) -> None:
    """A model that stays as it is has the same validation loss at each record."""
    history = train(vae(), lr=0.0, validation=VALIDATION[kind])
    assert len(set(history["validation_loss"])) == 1
    assert len(set(history["loss"])) == 3
    validation = Validation(Bound(vae()), VALIDATION[kind])
    assert validation() == validation()


def test_a_generator_that_training_and_validation_share() -> None:
    """Training draws from it what it would without validation; validation begins it anew."""
    losses = []
    for validating in (False, True):
        shared, model = torch.Generator().manual_seed(5), vae()
        options: dict[str, Any] = {"batch_size": 5, "shuffle": True, "generator": shared}
        loaders = [DataLoader(TensorDataset(X), **options) for _ in range(2)]
        torch.manual_seed(2)
        history = fit(
            *(model, loaders[0]), validation=loaders[1] if validating else None, epochs=3,
            log_every=1, lr=0.0, progress=False,
        )  # fmt: skip
        losses.append(history["loss"])
    assert losses[0] == losses[1]
    assert len(set(history["validation_loss"])) == 1


@pytest.mark.parametrize(
    ("trains", "workers"),
    [("the loader", 0), ("its stream", 0), ("its stream", 1), ("other images", 0)],
)
def test_a_stream_that_training_and_validation_share(
    trains: str, workers: int, tmp_path: Path
) -> None:
    """Through a loader: the losses of training without validation, and the same noise each time."""
    data.write_shards(tmp_path / "shards", [PIXELS.pixels.numpy()])
    found = []
    for validating in (False, True):
        stream = data.Stream(tmp_path / "shards", binarisation="dynamic", batch_size=5)
        loader = DataLoader(stream, batch_size=None, num_workers=workers)
        training = {"the loader": loader, "its stream": stream}.get(trains, [X])
        options: Any = {"steps": 7, "lr": 0.0}
        validation = loader if validating else None
        model = vae()
        found.append(train(model, data=training, validation=validation, **options))
    assert found[0]["loss"] == found[1]["loss"]
    assert len(set(found[1]["validation_loss"])) == 1
    assert (
        found[1]["validation_loss"] == train(model, validation=loader, **options)["validation_loss"]
    )


def test_workers_that_live_on_are_refused_for_validation() -> None:
    """They go on with random numbers, and would end training's pass if they were its too."""
    loader = DataLoader(TensorDataset(X), num_workers=1, persistent_workers=True)
    with pytest.raises(
        ValueError, match=r"validation data: the workers .* persistent_workers=True"
    ):
        train(vae(), validation=loader)


def test_validation_under_every_kind_of_objective() -> None:
    """Stock objectives and a program of one's own: the losses of training without."""
    for objective in (Renyi(0.5), infer.Trace_ELBO(), infer.RenyiELBO(num_particles=2)):
        losses = [train(vae(), objective=objective, validation=v)["loss"] for v in (None, [X])]
        assert losses[0] == losses[1]
    found = []
    for validation in (None, [X]):
        model = vae()
        model.guide = type(model).guide.__get__(model)
        found.append(train(model, validation=validation)["loss"])
    assert found[0] == found[1]


def test_schedules_of_objectives_still_advance() -> None:
    objective = ELBO(WarmUp(4))
    history = train(vae(), objective=objective, steps=6, log_every=1, validation=[X])
    assert history["beta"] == [0, 0.25, 0.5, 0.75, 1, 1]


def test_streams_as_validation_data_are_refused() -> None:
    def stream() -> Iterator[Tensor]:
        yield X

    with pytest.raises(ValueError, match=r"validation data: .*must not be a generator"):
        train(vae(), validation=stream())


@pytest.mark.parametrize("compiling", [False, True])
def test_a_weight_with_gaps_is_trained_and_nothing_beside_it(
    compiling: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some columns of a wider matrix, as principal components are: torch's fused Adam is not for it."""
    monkeypatch.setattr(Step.compile, "__defaults__", ("eager",))
    vae = member("VAE")
    layer = next(m for m in vae.modules() if isinstance(m, nn.Linear))
    n = layer.in_features
    wide = torch.zeros(layer.out_features, 2 * n)
    wide[:, :n] = layer.weight.data
    layer.weight = nn.Parameter(wide[:, :n])
    before = wide.clone()
    fit(vae, [X], steps=4, compile=compiling, progress=False)
    assert (wide[:, n:] == 0).all()
    assert (wide[:, :n] != before[:, :n]).any(1).all()
