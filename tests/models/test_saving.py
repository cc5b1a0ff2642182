"""Saving: the whole file or none, whoever else saves to the same path, and what is at it."""

from __future__ import annotations

import functools
import os
import resource
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from zoo import X_SHAPE, Z_DIM, member, refused

from vaezoo import CheckpointError, likelihoods, load, models, networks, posteriors, save


def with_activation(activation: Any) -> models.VAE:
    network = networks.MLP((Z_DIM,), (4,), X_SHAPE, activation=activation)
    return member("VAE", likelihood=likelihoods.Bernoulli(Z_DIM, X_SHAPE, network=network))


def named() -> nn.Module:
    return nn.LeakyReLU(0.2)


@pytest.mark.parametrize(
    "activation",
    [named, lambda: nn.ELU(), functools.partial(named), functools.partial(nn.Softplus, np.ones(2))],
)
def test_functions_are_refused_at_once(activation: Any, tmp_path: Path) -> None:
    model = with_activation(nn.ELU)
    model.likelihood.network.__dict__["activation"] = activation  # past what is refused when set
    message = r"likelihood\.network\.activation is .*no file can hold: .*partial\(nn.LeakyReLU, 0.2"
    with pytest.raises(TypeError, match=message):
        save(model, tmp_path / "deep" / "a.safetensors")
    assert not list(tmp_path.iterdir())


test_swapped_arguments = refused(
    [
        (lambda: save("a.safetensors", member("VAE")), TypeError, "takes a model first, got a str"),
        (lambda: save(member("VAE"), 3), TypeError, "expected a path, got a int"),
        (lambda: load(member("VAE")), TypeError, "expected a path, got a VAE"),
        (lambda: load("a.safetensors", "b"), TypeError, "takes a model second, got a str"),
    ]
)


def test_a_state_that_is_no_tensor(tmp_path: Path) -> None:
    class Counts(nn.Linear):
        def get_extra_state(self) -> Any:
            return {"calls": 3}

    model = posteriors.Classifier((3,), 2, network=Counts(3, 2))
    with pytest.raises(TypeError, match=r"network._extra_state is a dict, which no file can hold"):
        save(model, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def forked(function: Callable[[], object]) -> int:
    """The number of a child process that runs the function and ends; status 0 if it returns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside pytest's threads
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        function()
        status = 0
    finally:
        os._exit(status)


def test_processes_save_to_one_path(tmp_path: Path) -> None:
    """300 saves by two processes: none fails, and whoever reads meanwhile reads one whole file."""
    path, made = tmp_path / "a.safetensors", []
    for value in (1.0, 2.0):
        made.append(member("VAE"))
        with torch.no_grad():
            for p in made[-1].parameters():
                p.fill_(value)
    save(made[0], path)
    running = {forked(lambda m=m: [save(m, path) for _ in range(150)]) for m in made}
    read = []
    while running:
        read.append({t.flatten()[0].item() for t in load(path, made[0]).state_dict().values()})
        for child in list(running):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                assert status == 0
                running.remove(child)
    assert {frozenset(values) for values in read} <= {frozenset({1.0}), frozenset({2.0})}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_save_that_fails_leaves_nothing(failing: str, tmp_path: Path, monkeypatch: Any) -> None:
    """A full disk at any moment: the older file stays, and no unfinished one."""
    path = save(member("VAE"), tmp_path / "a.safetensors")
    before = path.read_bytes()
    if failing == "write":
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    else:
        owner = os if failing == "fsync" else Path

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(owner, failing, full)
    try:
        with pytest.raises(OSError, match=r"cannot save to .*(space|large)"):
            save(member("VAE"), path)
    finally:
        if failing == "write":
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("folder", "pipe", "link"):
        with pytest.raises(OSError, match="cannot save to what is no file"):
            save(member("VAE"), tmp_path / name)
        with pytest.raises(CheckpointError, match="is no file"):
            load(tmp_path / name)
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "pipe", "link"}


def test_modes(tmp_path: Path) -> None:
    """An older file keeps its mode, a new one follows the umask."""
    path = tmp_path / "a.safetensors"
    before = os.umask(0o027)
    try:
        assert stat.S_IMODE(save(member("VAE"), path).stat().st_mode) == 0o640
        for mode in (0o600, 0o664, 0o444):
            path.chmod(mode)
            assert stat.S_IMODE(save(member("VAE"), path).stat().st_mode) == mode
    finally:
        os.umask(before)


def test_links_are_replaced_and_not_followed(tmp_path: Path) -> None:
    """Neither at the path itself, nor where a name for the unfinished file could be foreseen."""
    other, path = tmp_path / "other", tmp_path / "a.safetensors"
    other.write_text("precious")
    for name in (path.name, f"{path.name}.partial"):
        (tmp_path / name).symlink_to(other)
    assert not save(member("VAE"), path).is_symlink()
    assert other.read_text() == "precious"
    load(path)


def test_home_and_text(tmp_path: Path, monkeypatch: Any) -> None:
    """`~` is the home, a text is a path, and names may be as long as the system takes them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert save(member("VAE"), "~/deep/a.safetensors") == tmp_path / "deep" / "a.safetensors"
    load("~/deep/a.safetensors")
    load(save(member("VAE"), tmp_path / ("a" * 255)))
    with pytest.raises(FileNotFoundError, match="no checkpoint at ~nobody-of-that-name"):
        load("~nobody-of-that-name/a.safetensors")
