"""Saving: the whole file or none, whoever else saves to the same path."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from vaezoo.models.checkpoints.describing import describe, unstorable

__all__ = ["FORMAT", "location", "save"]

FORMAT = "1"


def save(model: nn.Module, path: str | os.PathLike[str]) -> Path:
    """Write a member's weights, description and frozen flags to one file `*.safetensors`.

    The file is written beside its place, forced to disk and moved there: a reader finds the old or
    the new one whole, and several processes may save to one path. The mode of an older file is
    kept, a new one follows the umask. A symbolic link is replaced, and what it led to is left.

    Args:
        model: the model, or any part of one.
        path: where to; `~` is your home, and folders that are missing are made.

    Returns:
        The path, once the file is whole.

    Raises:
        TypeError: one of vaezoo's parts has an argument that no file can hold, such as a function;
            or a part from elsewhere has a state that is no tensor.
        OSError: the file cannot be written; nothing is left then.

    Example:
        >>> import tempfile
        >>> from vaezoo import load, models
        >>> vae = models.VAE(z_dim=3, hidden=(8, 8))
        >>> path = save(vae, Path(tempfile.mkdtemp()) / "vae.safetensors")
        >>> load(path)
        p(z) = StandardNormal(3)   p(x|z) = Bernoulli(1×28×28)   q(z|x) = DiagonalNormal(3)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"save(model, path) takes a model first, got a {type(model).__name__}")
    path, description = location(path), describe(model)
    for where, what in unstorable(description):
        raise TypeError(
            f"{where} is {what}, which no file can hold: write a class of torch.nn such as nn.ELU, "
            f"or functools.partial(nn.LeakyReLU, 0.2), or plain numbers; set {where} of this model "
            "to one that does the same, and save again"
        )
    frozen = [n for n, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad]
    header = {"vaezoo": FORMAT, "model": json.dumps(description, indent=1)}
    header["frozen"] = json.dumps(frozen)
    weights = dict(_weights(model))
    content = safetensors.torch.save(weights, metadata=header)
    path.parent.mkdir(parents=True, exist_ok=True)
    return _write(path, content)


def _weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and copies of weights; copies, because tied weights share memory and a file cannot."""
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name} is a {type(value).__name__}, which no file can hold: let get_extra_state "
                "return a tensor"
            )
        yield name, value.detach().clone().contiguous()


def location(path: str | os.PathLike[str]) -> Path:
    """The path, with `~` expanded.

    Example:
        >>> location("~/vae.safetensors") == Path.home() / "vae.safetensors"
        True
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"expected a path, got a {type(path).__name__}")
    return Path(os.path.expanduser(path))  # Path's own fails for unknown users


def _write(path: Path, content: bytes) -> Path:
    if path.exists() and not path.is_file():
        number = errno.EISDIR if path.is_dir() else errno.EINVAL
        raise OSError(number, "cannot save to what is no file", str(path))
    # a name of its own, made here and now: nobody can have put a link in its place
    partial = path.with_name(f".vaezoo-{secrets.token_hex(8)}.partial")
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _mode(path))
    try:
        with open(file, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        if path.is_file() and not path.is_symlink():
            partial.chmod(stat.S_IMODE(path.stat().st_mode))
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return path


def _mode(path: Path) -> int:
    """The mode of the unfinished file: its owner's alone, where an older one may be private."""
    return 0o600 if path.is_file() and not path.is_symlink() else 0o666


def _sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk, on systems where folders can be opened."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
