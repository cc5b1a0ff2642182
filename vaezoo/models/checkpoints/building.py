"""Building a model from its description: known classes only, and within an allowance."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

from vaezoo.likelihoods import Likelihood
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.checkpoints.allowance import Allowance
from vaezoo.models.checkpoints.describing import class_named
from vaezoo.models.checkpoints.errors import CheckpointError
from vaezoo.posteriors import Posterior
from vaezoo.priors import Prior

__all__ = ["build"]

_ABSTRACT = (LatentVariableModel, Likelihood, Posterior, Prior)
_LAYERS = {
    f"torch.nn.modules.{home}"
    for home in ("activation", "batchnorm", "dropout", "instancenorm", "linear", "normalization")
}
_DEEPEST, _LONGEST, _LARGEST = 20, 10_000, 2**53


def build(description: Any, *, elements: int, tensors: int) -> nn.Module:
    """The described model, its weights still to be filled in.

    Args:
        description: as `describe` returns it, from anywhere.
        elements: of all weights in the file.
        tensors: how many weights there are.

    Raises:
        CheckpointError: it describes no model of vaezoo's, or one larger than the weights.
        Exception: whatever a constructor raises for arguments that it does not take.
    """
    with Allowance(elements, tensors):
        model = _value(description, 0)
    if not isinstance(model, nn.Module):
        raise CheckpointError("describes no model")
    return model


def _value(description: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise CheckpointError(f"describes parts nested more than {_DEEPEST} deep")
    match description:
        case {"class": str(name), "arguments": dict(arguments), **programs}:
            if programs:
                raise CheckpointError("has a replaced program: build the model and pass it")
            kind = _part(name)
            return kind(**{n: _value(v, depth + 1) for n, v in arguments.items()})
        case {"type": str(name)}:
            return _torch_class(name)
        case {"partial": str(name), "arguments": list(values), "keywords": dict(named)}:
            keywords = {n: _value(v, depth + 1) for n, v in named.items()}
            return functools.partial(_torch_class(name), *_value(values, depth + 1), **keywords)
        case {"object": str(text)} | {"lazy": str(text)}:
            raise _outside(text)
        case list() if len(description) <= _LONGEST:
            return tuple(_value(v, depth + 1) for v in description)
        case None | bool() | float() | str():
            return description
        case int() if abs(description) <= _LARGEST:
            return description
    raise CheckpointError(f"describes no model: {str(description)[:100]}")


def _part(name: str) -> Any:
    """A class of vaezoo's own, as it is imported already: a header never imports anything."""
    kind = class_named(name)
    if kind in _ABSTRACT or not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise _outside(name)
    return kind


def _torch_class(name: str) -> Any:
    """A layer of torch.nn that keeps its input's shape, named by the module that defines it."""
    home, _, leaf = name.rpartition(".")
    kind = getattr(nn, leaf, None)
    if home not in _LAYERS or getattr(kind, "__module__", None) != home:
        raise _outside(name)
    return kind


def _outside(name: str) -> CheckpointError:
    return CheckpointError(
        f"has a part from outside vaezoo, {name[:200]}: build the model and pass it, "
        "load(path, model)"
    )
