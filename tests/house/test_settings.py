"""Settings of calls: numbers of any kind that are as good, and what the rest is told."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from zoo import BadCall, fixed, member, refused

from vaezoo import (
    ELBO,
    IWELBO,
    Bound,
    contract,
    crosscheck,
    data,
    evaluate,
    evaluation,
    fit,
    models,
    plots,
)
from vaezoo.data.labels import as_labels
from vaezoo.training import Checkpoints, EarlyStopping, KeepBest, Log

X = fixed(9)
X8 = (255 * X).byte()
QUIET: dict[str, Any] = {"progress": False}


def trained(**options: Any) -> torch.Tensor:
    torch.manual_seed(1)
    vae = member("VAE")
    fit(vae, [X], steps=2, **QUIET, **options)
    return torch.cat([p.detach().flatten() for p in vae.parameters()])


@pytest.mark.parametrize("kind", [np.array, np.float32, Fraction, Decimal, torch.tensor])
def test_rates_and_norms_are_numbers_of_any_kind(kind: Callable[[float], Any]) -> None:
    if kind is not torch.tensor:
        assert torch.equal(trained(lr=kind(0.125)), trained(lr=0.125))
    assert torch.equal(trained(max_grad_norm=kind(0.5)), trained(max_grad_norm=0.5))


@pytest.mark.parametrize(
    "ask",
    [
        lambda seed: evaluate(member("VAE"), [X], particles=2, seed=seed, **QUIET)["niwae-2"],
        lambda seed: evaluation.units(member("VAE"), [X], seed=seed, **QUIET)["z"].variance[0],
        lambda seed: evaluation.rate(member("VAE"), [X], seed=seed, **QUIET)["rate"],
        lambda seed: crosscheck(member("VAE"), X, particles=2, repeats=5, seed=seed),
        lambda seed: contract.check_prior(member("VAE").prior, seed=seed),
    ],
    ids=["evaluate", "units", "rate", "crosscheck", "contract"],
)
def test_seeds_are_whole_numbers_of_any_kind(ask: Callable[[Any], Any]) -> None:
    found = []
    for seed in (3, 3.0, np.int64(3)):
        torch.manual_seed(0)
        found.append(repr(ask(seed)))
    assert len(set(found)) == 1
    with pytest.raises((TypeError, ValueError), match="seed"):
        ask("three")


@pytest.mark.parametrize("given", [True, np.True_, 1])
def test_whatever_says_yes_compiles(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, usual = [], Bound.compile
    monkeypatch.setattr(Bound, "compile", lambda self, **k: asked.append(usual(self, "eager", **k)))
    evaluate(member("VAE"), [X], particles=2, compile=given, **QUIET)
    assert len(asked) == 1


def test_the_contract_takes_arrays() -> None:
    q = member("VAE").posterior
    contract.check_posterior(q, X[:3].numpy())
    contract.check_part(q, X[:3].tolist())


CALLS: dict[str, BadCall] = {
    "a norm of several": (
        lambda: trained(max_grad_norm=[1.0]),
        TypeError,
        r"max_grad_norm must be a number above 0, got \[1.0\]",
    ),
    "precisions": (
        lambda: Bound(member("VAE"), precision=["bf16"]),
        ValueError,
        "precision must be one of",
    ),
    "a word to compile": (
        lambda: trained(compile="max-autotune"),
        TypeError,
        "compile must be True, False, or None .* got 'max-autotune'",
    ),
    "a word for evaluation": (
        lambda: evaluate(member("VAE"), [X], compile="no", **QUIET),
        TypeError,
        "compile must be True, False, or None",
    ),
    "a rate of refinement": (
        lambda: evaluation.gaps(member("VAE"), [X], lr="1e-3", **QUIET),
        TypeError,
        "lr must be a number",
    ),
    "one without end": (
        lambda: evaluation.gaps(member("VAE"), [X], lr=float("inf"), **QUIET),
        ValueError,
        "lr must be a number",
    ),
    "checkpoints, yes": (
        lambda: trained(checkpoint=True),
        TypeError,
        r"checkpoint must be a folder or Checkpoints\(folder, …\), got True",
    ),
    "a folder": (lambda: Checkpoints(None), TypeError, "folder must be a path, got None"),
    "a file": (lambda: Log(5), TypeError, "path must be a path, got 5"),
    "weights of a text": (
        lambda: KeepBest("text"),
        TypeError,
        "keeps the weights of a module, got 'text'",
    ),
    "a factor of nothing": (
        lambda: evaluation.disentanglement(member("VAE"), [X], {"f": None}, **QUIET),
        ValueError,
        "factor 'f' must be of numbers or classes",
    ),
    "one number to scatter": (
        lambda: plots.latent_scatter(member("VAE"), 3.0),
        ValueError,
        "a scatter needs at least two images, got",
    ),
    "one number to film": (
        lambda: plots.LatentFilm(member("VAE"), 3.0),
        ValueError,
        "a film needs at least two images, got",
    ),
    "nothing to write": (
        lambda: data.write_shards("never", None),
        TypeError,
        "batches must be several of images, such as a list, got None",
    ),
    "classes that are no int64": (
        lambda: as_labels(np.array([2**63 + 1], np.uint64), 1, 3),
        ValueError,
        r"expected integer classes y \(1,\), got one of 2\^63 or more",
    ),
    "a term": (lambda: EarlyStopping(2, term=5), TypeError, "name of a term of the records, got 5"),
}


test_others_are_told = refused(CALLS)


YES: dict[str, Callable[[Any], object]] = {
    "steps": lambda yes: fit(member("VAE"), [X], steps=yes, **QUIET),
    "particles": lambda yes: evaluate(member("VAE"), [X], particles=yes, **QUIET),
    "seed": lambda yes: evaluate(member("VAE"), [X], seed=yes, **QUIET),
    "lr": lambda yes: trained(lr=yes),
    "max_grad_norm": lambda yes: trained(max_grad_norm=yes),
    "z_dim": lambda yes: models.VAE(z_dim=yes),
    "beta": lambda yes: ELBO(beta=yes),
    "chunk": lambda yes: IWELBO(5, chunk=yes),
    "seed of images": lambda yes: data.Images(X8, seed=yes, binarisation="static"),
    "seed of a draw": lambda yes: data.Images(X8, binarisation="threshold").tensors(seed=yes),
    "shift": lambda yes: data.Moves(shift=yes),
    "shard_size": lambda yes: data.write_shards("never", [X], shard_size=yes),
}


@pytest.mark.parametrize("yes", [True, np.True_, torch.tensor(True)], ids=["", "NumPy", "torch"])
@pytest.mark.parametrize("name", YES)
def test_yes_is_no_number(name: str, yes: Any) -> None:
    """Of any library: 1 step, 1 particle or a norm of 1 would be a slip that nobody sees."""
    with pytest.raises(TypeError, match=rf"{name.split()[0]} must be .*, got .*[Tt]rue"):
        YES[name](yes)
