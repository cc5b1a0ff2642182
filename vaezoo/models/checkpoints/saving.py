"""Saving: the whole file or none, whoever else saves to the same path."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from vaezoo.data.files import write_whole
from vaezoo.models.checkpoints.changes import by_hand
from vaezoo.models.checkpoints.describing import describe, unstorable
from vaezoo.models.checkpoints.layers import layers, torch_release
from vaezoo.models.checkpoints.strays import warn_of_strays
from vaezoo.models.checkpoints.ties import ties
from vaezoo.programs.refusing import check_run

__all__ = ["FORMAT", "location", "save"]

FORMAT = "1"


def save(model: nn.Module, path: str | os.PathLike[str]) -> Path:
    """Write a member's weights, description and frozen flags to one file `*.safetensors`.

    The file is written beside its place, forced to disk and moved there: a reader finds the old or
    the new one whole, and several processes may save to one path. The mode of an older file is
    kept, a new one follows the umask. A symbolic link is replaced, and what it led to is left.

    A member of your own that computes with what it does not hold, by `pyro.param` or a network
    from outside, is saved without that, after a warning; so is another pair, if `fit` or `steps`
    trained it in this process.

    Args:
        model: the model, or any part of one.
        path: where to; `~` is your home, and folders that are missing are made.

    Returns:
        The path, once the file is whole.

    Raises:
        TypeError: one of vaezoo's parts has an argument that no file can hold, such as a function;
            or a part from elsewhere has a state that is no tensor; or a buffer was written into
            that is no part of a file, such as the weights of a mixture that does not learn them.
        ValueError: it has lazy layers that have not run.
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
    check_run(model)
    path, description = location(path), describe(model)
    for where, what in unstorable(description):
        raise TypeError(
            f"{where} is {what}, which no file can hold: write a class of torch.nn such as nn.ELU, "
            f"or functools.partial(nn.LeakyReLU, 0.2), or plain numbers; set {where} of this model "
            "to one that does the same, and save again"
        )
    changes = _changes(model)
    warn_of_strays(model)
    weights = dict(_weights(model))
    header = _header(model, description, changes)
    content = safetensors.torch.save(weights, metadata=header)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(path, [content])


def _changes(model: nn.Module) -> dict[str, str]:
    changed = by_hand(model)
    if changed.written:
        raise TypeError(
            f"{changed.written} was written into, and no file holds it: make it a parameter or a "
            "buffer of a part of yours"
        )
    return changed.layers


def _header(model: nn.Module, description: Any, changes: dict[str, str]) -> dict[str, str]:
    frozen = [n for n, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad]
    inside = {"torch": torch_release(), "modules": layers(model)}
    header = {"vaezoo": FORMAT, "model": json.dumps(description, indent=1)}
    header |= {"frozen": json.dumps(frozen), "ties": json.dumps(ties(model))}
    return header | {"changes": json.dumps(changes), "layers": json.dumps(inside)}


def _weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and copies of weights; copies, because tied weights share memory and a file cannot."""
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{name} is a {type(value).__name__}, which no file can hold: let get_extra_state "
                "return a tensor"
            )
        if value.dtype == torch.complex128:
            raise TypeError(
                f"{name} is of complex128, which no file can hold: keep torch.view_as_real(…) of it"
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
