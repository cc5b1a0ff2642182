"""What is frozen, thawed or looked at between steps, and what a resumed run makes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from several import in_processes
from torch import Tensor, nn

from vaezoo import fit, models, posteriors, training

SEEDED = torch.Generator().manual_seed(5)
X = [(torch.rand(7, 12, generator=SEEDED) > 0.5).float() for _ in range(3)]
OPTIONS: dict[str, Any] = {"progress": False, "compile": False}


def made() -> models.VAE:
    """A member with a dropout."""
    torch.manual_seed(0)
    layers = nn.Linear(12, 8), nn.Dropout(0.5), nn.Linear(8, 4), nn.Unflatten(-1, (2, 2))
    network = nn.Sequential(*layers)
    vae = models.VAE((12,), 2, hidden=(8,))
    vae.posterior = posteriors.DiagonalNormal((12,), 2, network=network)
    return vae


def freeze(vae: models.VAE) -> None:
    vae.posterior.requires_grad_(False)


def thaw(vae: models.VAE) -> None:
    vae.likelihood.requires_grad_(True)


def without_dropout(vae: models.VAE) -> None:
    vae.posterior.network[1].eval()


def weights(vae: models.VAE) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in vae.named_parameters()}


def evaluating(vae: models.VAE) -> None:
    vae.eval()


@pytest.mark.parametrize("change", [freeze, thaw, without_dropout, evaluating])
@pytest.mark.parametrize("again", [True, False])
def test_a_resumed_run_goes_on_as_it_was_on_the_way(
    change: Callable[[models.VAE], None], again: bool, tmp_path: Path
) -> None:
    def run(folder: Path, steps: int) -> dict[str, Tensor]:
        vae = made()
        vae.likelihood.requires_grad_(change is not thaw)

        def at_five(record: dict[str, float]) -> None:
            if record["step"] == 5 or (again and record["step"] > 5):
                change(vae)

        optimizer = torch.optim.SGD(vae.parameters(), lr=0.1)
        fit(
            *(vae, X),
            steps=steps,
            optimizer=optimizer,
            log_every=5,
            checkpoint=folder,
            every=5,
            callback=at_five,
            **OPTIONS,
        )
        assert vae.training or change is evaluating  # at the last record
        return weights(vae)

    whole = run(tmp_path / "whole", 12)
    run(tmp_path / "halves", 5)
    halves = run(tmp_path / "halves", 12)
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


@pytest.mark.parametrize("where", ["before", "between", "within"])
def test_a_state_of_a_model_in_evaluation_mode_is_one_of_training(where: str) -> None:
    vae = made()
    begun = training.steps(vae, X, steps=6, compile=False)
    state = begun.state_dict() if where == "before" and vae.eval() else None
    for taken in begun:
        if taken.step == 3:
            state = begun.state_dict() if where == "within" and vae.eval() else state
            break
    state = begun.state_dict() if where == "between" and vae.eval() else state
    assert state is not None
    other = made().eval()
    resumed = training.steps(other, X, steps=6, compile=False)
    resumed.load_state_dict(state)
    assert {other.training for _ in resumed} == {True}


def test_somebody_who_looks_in_evaluation_mode_leaves_training_as_it_was() -> None:
    modes = []

    def run(look: Callable[[models.VAE], Any]) -> dict[str, Tensor]:
        vae = made()
        for _ in training.steps(vae, X, steps=6, compile=False):
            modes.append((vae.training, vae.posterior.network[1].training))
            look(vae)
        assert vae.training
        return weights(vae)

    plain, looked_at = run(lambda _: None), run(lambda vae: vae.eval())
    assert modes == [(True, True)] * 12
    assert all(torch.equal(plain[name], looked_at[name]) for name in plain)


def test_a_part_that_is_thawed_on_the_way_is_averaged_too() -> None:
    vae = made()
    vae.likelihood.requires_grad_(False)
    optimizer, decay = torch.optim.SGD(vae.parameters(), lr=0.3), 0.9
    expected = weights(vae)
    steps = training.steps(vae, X, steps=30, average=decay, compile=False, optimizer=optimizer)
    for t, _ in enumerate(steps, 1):
        share = 1 - min(decay, (1 + t) / (10 + t))
        expected = {n: torch.lerp(expected[n], p, share) for n, p in weights(vae).items()}
        if t == 10:
            thaw(vae)
    for name, average in weights(vae).items():
        torch.testing.assert_close(average, expected[name], rtol=0, atol=1e-6)


def _thawed(rank: int) -> list[Tensor]:
    vae = made()
    vae.likelihood.requires_grad_(False)
    optimizer = torch.optim.SGD(vae.parameters(), lr=0.1)

    def at_two(record: dict[str, float]) -> None:
        vae.likelihood.requires_grad_(record["step"] < 6)

    fit(vae, X, steps=8, log_every=2, optimizer=optimizer, callback=at_two, progress=False)
    return list(weights(vae).values())


def test_a_part_that_is_thawed_on_the_way_has_one_gradient_in_all_processes() -> None:
    first, second = in_processes(_thawed)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    frozen = list(weights(made()).values())
    assert not any(torch.equal(a, b) for a, b in zip(first, frozen, strict=True))


CHANGED: dict[str, tuple[nn.Module, str]] = {
    "an activation": (nn.Tanh(), r"layer posterior.network.1=Dropout\(p=0.5, inplace=False\), got"),
    "a rate": (nn.Dropout(0.9), r"got Dropout\(p=0.9, inplace=False\): to go on with it give the"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_another_layer_is_another_run(case: str, tmp_path: Path) -> None:
    layer, message = CHANGED[case]
    fit(made(), X, steps=3, checkpoint=tmp_path, **OPTIONS)
    other = made()
    other.posterior.network[1] = layer
    before = weights(other)
    with pytest.raises(training.ResumeError, match=message):
        fit(other, X, steps=5, checkpoint=tmp_path, **OPTIONS)
    assert all(torch.equal(before[name], p) for name, p in weights(other).items())


@pytest.mark.parametrize("size", [2, 7])
def test_other_numbers_of_a_prior_are_another_run(size: int, tmp_path: Path) -> None:
    def vae(scale: float) -> models.VAE:
        prior = dist.Normal(torch.zeros(size), torch.full((size,), scale)).to_event(1)
        return models.VAE((12,), size, hidden=(8,), prior=prior)

    first = vae(1.0)
    for steps in (3, 5):  # the same one, trained as it is by now
        fit(first, X, steps=steps, checkpoint=tmp_path, **OPTIONS)
    fit(vae(1.0), X, steps=6, checkpoint=tmp_path, **OPTIONS)
    with pytest.raises(training.ResumeError, match="layer prior="):
        fit(vae(5.0), X, steps=7, checkpoint=tmp_path, **OPTIONS)


class Spectral(nn.Module):
    """A layer of Fourier coefficients, whose weights are complex."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.ones(7, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x) * self.filter, n=12)


def test_complex_weights_are_trained_clipped_averaged_and_go_on(tmp_path: Path) -> None:
    def run(folder: Path, steps: int) -> dict[str, Tensor]:
        torch.manual_seed(0)
        vae, layers = (
            models.VAE((12,), 2, hidden=(8,)),
            (nn.Linear(12, 4), nn.Unflatten(-1, (2, 2))),
        )
        vae.posterior = posteriors.DiagonalNormal(
            (12,), 2, network=nn.Sequential(Spectral(), *layers)
        )
        fit(
            *(vae, X),
            steps=steps,
            max_grad_norm=1.0,
            average=0.9,
            checkpoint=folder,
            every=3,
            **OPTIONS,
        )
        return weights(vae)

    whole = run(tmp_path / "whole", 8)
    run(tmp_path / "halves", 3)
    halves = run(tmp_path / "halves", 8)
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    trained = whole["posterior.network.0.filter"]
    assert trained.dtype == torch.cfloat
    assert trained.imag[1:6].abs().min() > 0  # 0 and 6 have none


def test_a_folder_is_the_same_one_wherever_a_callback_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    log = training.Log("logs/run.csv")

    def go(record: dict[str, float]) -> None:
        monkeypatch.chdir(tmp_path / "elsewhere")

    fit(
        *(made(), X),
        steps=4,
        log_every=2,
        every=1,
        checkpoint="runs/x",
        callback=[go, log],
        **OPTIONS,
    )
    assert len(list((tmp_path / "runs/x").glob("step-*.safetensors"))) == 2
    assert (tmp_path / "logs/run.csv").exists()
    assert not list((tmp_path / "elsewhere").iterdir())
