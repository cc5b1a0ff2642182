"""Checkpoints: weights as safetensors, with a JSON description of the model in the file's header.

Nothing is pickled, so a file from a stranger can hold wrong numbers but cannot run code. The
description names each part's class and constructor arguments, which every part keeps as
attributes of the same name; `load` builds the model from it. A model with parts from outside
vaezoo, or with a replaced program, is built by you and handed to `load`.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from vaezoo import likelihoods, models, networks, posteriors, priors

__all__ = ["CheckpointError", "load", "save"]

_HOMES = (models, priors, posteriors, likelihoods, networks)
_FORMAT = "1"


class CheckpointError(ValueError):
    """A file that is no checkpoint, or one of another model than the one at hand."""


def save(model: nn.Module, path: str | Path) -> Path:
    """Write a member's weights and description to one file, by convention `*.safetensors`.

    Returns:
        The path, once the file is whole: it is written beside its place and moved there.

    Example:
        >>> import tempfile
        >>> vae = models.VAE(z_dim=3, hidden=(8, 8))
        >>> path = save(vae, Path(tempfile.mkdtemp()) / "vae.safetensors")
        >>> load(path)
        p(z) = StandardNormal(3)   p(x|z) = Bernoulli(1×28×28)   q(z|x) = DiagonalNormal(3)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"vaezoo": _FORMAT, "model": json.dumps(_describe(model), indent=1)}
    # copies, because tied weights share memory, and a file cannot
    weights = {name: t.detach().clone().contiguous() for name, t in model.state_dict().items()}
    partial = path.with_name(path.name + ".partial")
    # save_file would make a file that only its owner may read
    partial.write_bytes(safetensors.torch.save(weights, metadata=header))
    return partial.replace(path)


def load(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """Read a checkpoint: a new model built from the description, or weights into `model`.

    Args:
        path: a file written by `save`.
        model: the model to fill, for parts that vaezoo cannot build by itself.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, is no checkpoint of vaezoo's, describes parts from
            elsewhere and no model is given, or describes another model than the one given. A
            given model is then left as it was.
    """
    description, weights = _read(Path(path))
    if model is None:
        model = _build(description, str(path))
        assert isinstance(model, nn.Module)
        model.to(next((t.dtype for t in weights.values() if t.is_floating_point()), None))
    elif (found := _describe(model)) != description:
        raise CheckpointError(
            f"{path} holds another model: {_difference(description, found)}; load it without a "
            "model, or build the one it describes"
        )
    wanted = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    if wanted != (held := {name: tuple(t.shape) for name, t in weights.items()}):
        names = sorted(n for n in {*wanted, *held} if wanted.get(n) != held.get(n))
        raise CheckpointError(f"{path} has other weights than the model: {', '.join(names)}")
    model.load_state_dict(weights)
    return model


def _read(path: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {error}") from error
    if header.get("vaezoo") != _FORMAT:
        raise CheckpointError(f"{path} was not written by vaezoo.save (format {_FORMAT})")
    return json.loads(header["model"]), weights


def _describe(value: Any) -> Any:
    """A part as {class, arguments}, recursively; other values as JSON has them."""
    if isinstance(value, nn.Module):
        names = inspect.signature(type(value).__init__).parameters
        arguments = {n: _describe(getattr(value, n)) for n in names if hasattr(value, n)}
        replaced = {n: "a program" for n in ("model", "guide") if n in vars(value)}
        return {"class": _class_name(type(value)), "arguments": arguments, **replaced}
    if isinstance(value, type):
        return {"type": f"{value.__module__}.{value.__qualname__}"}
    if isinstance(value, tuple):
        return list(value)
    plain = value is None or isinstance(value, bool | int | float | str)
    return value if plain else {"class": repr(value), "arguments": {}}


def _class_name(kind: type) -> str:
    for home in _HOMES:
        if getattr(home, kind.__name__, None) is kind:
            return f"{home.__name__}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__qualname__}"


def _build(description: Any, path: str) -> Any:
    if isinstance(description, dict) and "type" in description:
        return _find(description["type"], [("torch.nn.modules.activation", nn)], path)
    if isinstance(description, dict):
        if "model" in description or "guide" in description:
            raise CheckpointError(f"{path} has a replaced program: build the model and pass it")
        kind = _find(description["class"], [(h.__name__, h) for h in _HOMES], path)
        return kind(**{n: _build(v, path) for n, v in description["arguments"].items()})
    return tuple(description) if isinstance(description, list) else description


def _find(name: str, homes: list[tuple[str, Any]], path: str) -> Any:
    """The class of that name, from a known module only: a header never imports anything."""
    home, _, leaf = name.rpartition(".")
    for known, module in homes:
        if home == known and isinstance(getattr(module, leaf, None), type):
            return getattr(module, leaf)
    raise CheckpointError(
        f"{path} has a part from outside vaezoo, {name}: build the model and pass it, "
        "load(path, model)"
    )


def _difference(saved: Any, found: Any, where: str = "model") -> str:
    """The first place at which two descriptions differ, in words."""
    if isinstance(saved, dict) and isinstance(found, dict):
        for key in [*saved, *(k for k in found if k not in saved)]:
            if saved.get(key) != found.get(key):
                place = where if key == "arguments" else f"{where}.{key}"
                return _difference(saved.get(key), found.get(key), place)
    return f"{where} is {saved} in the file and {found} in the model given"
