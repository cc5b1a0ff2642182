"""Importing and using vaezoo leaves the process as it was, after errors too."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import random
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import is_validation_enabled
from zoo import X_SHAPE, member

import vaezoo
from vaezoo import Bound, Step, contract, cpu, data, diagnostics, training
from vaezoo.data.idx import read_idx
from vaezoo.data.svhn import read_svhn


def settings() -> dict[str, Any]:
    """What belongs to the process and not to vaezoo."""
    root = logging.getLogger()
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": str(torch.get_default_device()),
        "gradients": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomalies": torch.is_anomaly_enabled(),
        "threads": torch.get_num_threads(),
        "denormals": bool(torch.full((1,), 1e-40).mul(1) == 0),
        "matmul": torch.get_float32_matmul_precision(),
        "validation": (is_validation_enabled(), torch.distributions.Distribution._validate_args),
        "Pyro's settings": pyro.settings.get(),
        "Pyro's handlers": list(pyro.poutine.runtime._PYRO_STACK),
        "Pyro's store": sorted(pyro.get_param_store()),
        "logging": (root.level, list(root.handlers), logging.lastResort, logging.root.disabled),
        "warnings": list(warnings.filters),
        "signals": [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)],
        "environment": dict(os.environ),
        "path": list(sys.path),
        "folder": os.getcwd(),
        "recursion": sys.getrecursionlimit(),
        "hooks": (sys.excepthook, sys.displayhook, sys.gettrace(), sys.getprofile()),
        "NumPy": (np.geterr(), np.get_printoptions()["precision"]),
    }


def generators() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002


@pytest.mark.parametrize("torchs", [False, True])
def test_torchs_own_checks_stay_as_they_were_set(torchs: bool) -> None:
    """Beside Pyro's, which are the other way round: its own block sets both alike."""
    validation = torch.distributions.Distribution
    pyro.enable_validation(not torchs)
    validation.set_default_validate_args(torchs)
    try:
        for call in (quick, lambda vae: vaezoo.evaluate(vae, [X], particles=2, progress=False),
                     lambda vae: contract.check_prior(vae.prior), lambda vae: vae.sample(2)):  # fmt: skip
            call(member("VAE"))
            assert validation._validate_args is torchs
            assert is_validation_enabled() is not torchs
    finally:
        pyro.enable_validation(True)


X, Y = torch.zeros(6, *X_SHAPE), torch.arange(6) % 3


made = functools.cache(member)  # which draws weights


@functools.cache
def broken(name: str = "VAE") -> Any:
    """A member whose decoder fails."""

    def fail(*_: Any) -> None:
        raise RuntimeError("no decoder")

    model = member(name)
    model.likelihood.network.register_forward_hook(fail)
    return model


def quick(model: Any, **options: Any) -> Any:
    return vaezoo.fit(model, [X], steps=2, progress=False, **options)


# what is called, the same made to fail, and whether it may draw from the global generators
CALLS: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any], bool]] = {
    "fit": (lambda p: quick(member("VAE")), lambda p: quick(broken()), True),
    "fit, validation": (
        lambda p: quick(member("VAE"), validation=[X], log_every=1),
        lambda p: quick(member("VAE"), validation=[X + 3]),
        True,
    ),
    "fit, bf16": (
        lambda p: quick(member("VAE"), precision="bf16"),
        lambda p: quick(broken(), precision="bf16"),
        True,
    ),
    "Bound": (lambda p: Bound(member("VAE"))(X), lambda p: Bound(broken())(X), True),
    "Step": (lambda p: stepped(made("VAE")), lambda p: stepped(broken()), True),
    "steps, broken off": (
        lambda p: next(iter(training.steps(made("VAE"), [X], steps=3))),
        lambda p: next(iter(training.steps(broken(), [X], steps=3))),
        True,
    ),
    "evaluate": (
        lambda p: vaezoo.evaluate(made("SSVAE"), data_of(), particles=(1, 2), progress=False),
        lambda p: vaezoo.evaluate(broken("SSVAE"), data_of(), particles=(1, 2), progress=False),
        False,
    ),
    "accuracy": (
        lambda p: vaezoo.accuracy(made("SSVAE"), data_of()),
        lambda p: vaezoo.accuracy(made("SSVAE"), [(X, Y + 100)]),
        False,
    ),
    "save, load": (
        lambda p: vaezoo.load(vaezoo.save(made("GMVAE"), p / "a.safetensors")),
        lambda p: vaezoo.load((p / "b").write_bytes(b"\1" * 99) and p / "b"),
        False,
    ),
    "save, load into": (
        lambda p: vaezoo.load(vaezoo.save(made("VAE"), p / "a.safetensors"), made("VAE")),
        lambda p: vaezoo.load(vaezoo.save(made("VAE"), p / "a.safetensors"), made("SSVAE")),
        True,
    ),
    "crosscheck": (
        lambda p: vaezoo.crosscheck(made("VAE"), X, particles=2, repeats=20),
        lambda p: vaezoo.crosscheck(broken(), X, particles=2, repeats=20),
        False,
    ),
    "diagnostics": (
        lambda p: diagnostics.mixture_diagnostics(made("GMVAE"), X),
        lambda p: diagnostics.mixture_diagnostics(made("VAE"), X),
        False,
    ),
    "contract": (
        lambda p: contract.check_prior(made("VAE").prior),
        lambda p: contract.check_prior(torch.nn.Identity()),
        False,
    ),
    "start_from": (
        lambda p: made("GMVAE").prior.start_from(torch.arange(60.0).view(20, 3)),
        lambda p: made("GMVAE").prior.start_from(X),
        False,
    ),
    "swap": (
        lambda p: setattr(made("VAE"), "prior", made("VAE").prior),
        lambda p: setattr(made("VAE"), "prior", 3),
        False,
    ),
    "sample": (lambda p: member("VAE").sample(3), lambda p: broken().sample(3), True),
    "digits": (lambda p: data.digits("test"), lambda p: data.digits("no"), False),
    "colour_digits": (
        lambda p: data.colour_digits("test", n=3)[:3],
        lambda p: data.colour_digits("test", n=0),
        False,
    ),
    "idx": (
        lambda p: (p / "a").write_bytes(b"\0\0\x08\x01\0\0\0\0") and read_idx(p / "a"),
        lambda p: read_idx(p / "b"),
        False,
    ),
    "mat": (lambda p: None, lambda p: read_svhn(Path(__file__)), False),
    "tuned": (lambda p: within(cpu.tuned()), lambda p: within(cpu.tuned(), fails=True), False),
}


def data_of() -> list[tuple[torch.Tensor, ...]]:
    return [(X, Y)]


def stepped(model: Any) -> None:
    step = vaezoo.Step(Bound(model), torch.optim.Adam(model.parameters()))
    for _ in range(2):
        step(X)


def within(block: Any, fails: bool = False) -> None:
    with block:
        if fails:
            raise RuntimeError("within")


@pytest.mark.parametrize("fails", [False, True], ids=["", "fails"])
@pytest.mark.parametrize("name", CALLS)
def test_calls_leave_the_process_as_it_was(name: str, fails: bool, tmp_path: Path) -> None:
    """All settings, and the generators where nothing is drawn or where the call has its own."""
    call, failing, draws = CALLS[name]
    with contextlib.suppress(Exception):  # what is made once, such as models
        (failing if fails else call)(tmp_path)
    before, drawn = settings(), generators()
    if fails:
        with pytest.raises(Exception):  # noqa: B017, PT011
            failing(tmp_path)
    else:
        call(tmp_path)
    after = settings()
    assert {
        name: (before[name], after[name]) for name in before if before[name] != after[name]
    } == {}
    assert draws or generators() == drawn


def test_two_models_never_touch_each_other() -> None:
    """Steps in turns, by seeds of their own, are bitwise the steps of each alone."""

    def trained(*names: str) -> list[torch.Tensor]:
        models = []
        for name in names:
            torch.manual_seed(0)
            models.append(member(name))
        steps = [
            Step(Bound(m, vaezoo.ELBO()), torch.optim.Adam(m.parameters(), lr=0.01)) for m in models
        ]
        for i in range(5):
            for step, name in zip(steps, names, strict=True):
                torch.manual_seed(i)
                step(*((X, Y) if name == "SSVAE" else (X,)))
                pyro.sample("elsewhere", pyro.distributions.Normal(0.0, 1.0))
        return [torch.cat([p.detach().flatten() for p in m.parameters()]) for m in models]

    alone = [*trained("VAE"), *trained("SSVAE"), *trained("VAE")]
    assert all(map(torch.equal, alone, trained("VAE", "SSVAE", "VAE")))
    assert alone[0].equal(alone[2])


def test_importing_changes_nothing() -> None:
    """In a process of its own, with what torch and Pyro do by themselves done before."""
    code = """
import os, signal, sys, warnings, logging, random
import numpy as np, torch, pyro, pyro.infer, tqdm.auto, safetensors, platformdirs, torch.optim
root = logging.getLogger()
def state():
    return dict(
        dtype=torch.get_default_dtype(), threads=torch.get_num_threads(),
        validation=(pyro.distributions.is_validation_enabled(), torch.distributions.Distribution._validate_args),
        denormals=bool(torch.full((1,), 1e-40).mul(1) == 0), grad=torch.is_grad_enabled(),
        pyro=pyro.settings.get(), store=sorted(pyro.get_param_store()),
        logging=(root.level, list(root.handlers)), warnings=list(warnings.filters),
        signals=[signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
        environment=dict(os.environ), path=list(sys.path), folder=os.getcwd(),
        torch=torch.get_rng_state().tolist(), numpy=np.random.get_state()[1].tolist(),
        python=random.getstate(), hooks=(sys.excepthook, sys.displayhook),
    )
before = state()
import vaezoo
vaezoo.plots
after = state()
print(sorted(name for name in before if before[name] != after[name]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout == "[]\n", done.stderr
