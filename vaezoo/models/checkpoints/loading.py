"""Loading: everything about a file is checked before memory is taken or a model is touched."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vaezoo.models.checkpoints.building import build
from vaezoo.models.checkpoints.changes import by_hand
from vaezoo.models.checkpoints.describing import describe
from vaezoo.models.checkpoints.differences import difference
from vaezoo.models.checkpoints.errors import CheckpointError, blamed_on
from vaezoo.models.checkpoints.layers import another_layer, layers, torch_release
from vaezoo.models.checkpoints.saving import FORMAT, location
from vaezoo.models.checkpoints.sharing import SCHEME, fetched_from_hub
from vaezoo.models.checkpoints.ties import check_ties, tie
from vaezoo.scopes import own_generator

__all__ = ["load"]

# bytes and letters, a hundred times what models have
_LONGEST_HEADER, _LONGEST_DESCRIPTION = 2**22, 2**20
_FLOATS = {
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64
}  # fmt: skip
_MOVED = {  # classes by the names that version 0.1.0 wrote
    "vaezoo.posteriors.MLP": "vaezoo.networks.MLP",
    "vaezoo.bare._Distribution": "vaezoo.priors.bare._Distribution",
    "vaezoo.bare._Module": "vaezoo.priors.bare._Module",
}


def load(path: str | os.PathLike[str], model: nn.Module | None = None) -> nn.Module:
    """Read a checkpoint: a new model built from the description, or weights into `model`.

    Parameters that were frozen when the model was saved are frozen again, and what it held in
    several places, such as one network of two parts, is held in them again.

    A model that is given is compared with the one in the file: the classes and arguments of its
    parts, and the classes of modules from elsewhere inside them, with the arguments of torch's
    own. Those are compared where the file was written under the same release of torch, such as
    2.7, and by a vaezoo that wrote them. Modes, devices, dtypes and rates of dropout are not.

    Args:
        path: a file written by `save`, `~` being your home; or "hf://owner/name[/file]", one that
            `push` uploaded to the Hugging Face Hub.
        model: the model to fill, for parts that vaezoo cannot build by itself. What is frozen in
            it stays frozen.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, is no checkpoint of vaezoo's, describes parts from
            elsewhere and no model is given, or describes another model than the one given. A
            given model is then left as it was.
        OSError: the file cannot be read, or not be fetched.
    """
    if not isinstance(model, nn.Module | None):
        raise TypeError(f"load(path, model) takes a model second, got a {type(model).__name__}")
    remote = isinstance(path, str) and path.startswith(SCHEME)
    path = fetched_from_hub(str(path)) if remote else location(path)
    _check_file(path)
    with blamed_on(path, "is damaged or no safetensors file"):
        file = safetensors.safe_open(path, "pt")
    with blamed_on(path, "is damaged"), file:
        header = file.metadata() or {}
        if header.get("vaezoo") != FORMAT:
            raise CheckpointError(f"was not written by vaezoo.save (format {FORMAT})")
        weights = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        if model is None:
            filled = _built(header, weights)
        else:
            _check_description(header, filled := model)
        frozen = _frozen(header, filled)
        _check_weights(weights, filled)
        check_ties(filled, _ties(header), file.get_tensor)
        with _all_or_none(filled, header) if model is not None else contextlib.nullcontext():
            filled.load_state_dict({name: file.get_tensor(name) for name in weights})
    for parameter in frozen:
        parameter.requires_grad_(False)
    return filled


def _check_file(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}")
    if not path.is_file():
        raise CheckpointError(
            f"{path} is no file; a checkpoint is one, by convention *.safetensors"
        )
    with path.open("rb") as stream:
        if int.from_bytes(stream.read(8), "little") > _LONGEST_HEADER:
            raise CheckpointError(
                f"{path} is damaged or no safetensors file: its header is too long"
            )


def _parsed(header: dict[str, str], key: str) -> Any:
    text = header.get(key)
    if text is None or (key == "model" and len(text) > _LONGEST_DESCRIPTION):
        raise CheckpointError(
            f"is damaged: its {key} is {'missing' if text is None else 'too long'}"
        )
    try:
        return json.loads(text, object_hook=_named_as_today)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"is damaged: its {key} is no JSON ({error})") from error


def _named_as_today(entry: dict[str, Any]) -> dict[str, Any]:
    """An object of a description, with the name that its class has by now."""
    moved = [new for old, new in _MOVED.items() if entry.get("class") == old]
    return entry | {"class": moved[0]} if moved else entry


def _built(header: dict[str, str], weights: dict[str, Any]) -> nn.Module:
    description = _parsed(header, "model")
    if changed := _changes(header):
        raise CheckpointError(
            f"has parts that were changed by hand, {changed}: build the model, change it so, and "
            "pass it, load(path, model)"
        )
    elements = sum(math.prod(w.get_shape()) for w in weights.values())
    try:
        with own_generator(None):  # what a model draws to begin with is not wanted
            model = build(description, elements=elements, tensors=len(weights))
    except CheckpointError:
        raise
    except Exception as error:
        what = f"describes a model that cannot be built: {type(error).__name__} {error}"
        raise CheckpointError(what.splitlines()[0][:300]) from error
    dtypes = (w.get_dtype() for w in weights.values())
    model = model.to(next((_FLOATS[d] for d in dtypes if d in _FLOATS), None))
    tie(model, _ties(header))
    return model


def _ties(header: dict[str, str]) -> Any:
    """Which places hold the same object: none, where an older file does not say."""
    return _parsed(header, "ties") if "ties" in header else []


def _changes(header: dict[str, str]) -> Any:
    """What was done to the model by hand: nothing, where an older file does not say."""
    return _parsed(header, "changes") if "changes" in header else {}


def _check_description(header: dict[str, str], model: nn.Module) -> None:
    if place := difference(_parsed(header, "model"), describe(model)):
        raise CheckpointError(
            f"holds another model: {place}; load it without a model, or build the one it describes"
        )
    if "changes" in header and (saved := _changes(header)) != (given := by_hand(model).layers):
        raise CheckpointError(
            f"holds a model whose parts were changed by hand otherwise: {saved} in the file and "
            f"{given} in the model given"
        )


def _check_layers(header: dict[str, str], model: nn.Module) -> None:
    """Refuse a model with other modules from elsewhere; an older file does not say its own."""
    if "layers" not in header:
        return
    match _parsed(header, "layers"):
        case {"torch": str(release), "modules": dict(said)}:
            place = another_layer(said, layers(model)) if release == torch_release() else None
        case _:
            raise CheckpointError("is damaged: its layers are no modules by their places")
    if place:
        raise CheckpointError(
            f"holds another model: {place}; build the one it holds, or, where both compute the "
            "same, model.load_state_dict(safetensors.torch.load_file(path))"
        )


def _check_weights(weights: dict[str, Any], model: nn.Module) -> None:
    """Refuse other names, shapes or kinds of numbers; other floats will be converted.

    A lazy layer that has not run takes any shape, and what numbers the file has.
    """
    held = {name: (tuple(w.get_shape()), _kind_named(w.get_dtype())) for name, w in weights.items()}
    own = model.state_dict()
    lazy = {name: held.get(name) for name, t in own.items() if is_lazy(t)}
    wanted = lazy | {n: (tuple(t.shape), _kind_of(t)) for n, t in own.items() if n not in lazy}
    if names := sorted(n for n in {*wanted, *held} if wanted.get(n, ()) != held.get(n, ())):
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise CheckpointError(f"has other weights than the model: {', '.join(names[:5])}{more}")


def _kind_named(dtype: str) -> str:
    return "float" if dtype in _FLOATS else dtype


def _kind_of(t: Tensor) -> str:
    """The dtype of a tensor as a file names it, all floats being one kind."""
    if t.dtype in _FLOATS.values():
        return "float"
    names = {torch.bool: "BOOL", torch.uint8: "U8", torch.complex64: "C64"}
    return names.get(t.dtype, f"I{8 * t.element_size()}")


def _frozen(header: dict[str, str], model: nn.Module) -> list[nn.Parameter]:
    """The parameters to freeze: none, where an older file does not say."""
    names = _parsed(header, "frozen") if "frozen" in header else []
    parameters = dict(model.named_parameters(remove_duplicate=False))
    if not isinstance(names, list) or any(not isinstance(n, str) for n in names):
        raise CheckpointError("is damaged: its frozen is no list of names")
    if unknown := [n for n in names if n not in parameters]:
        raise CheckpointError(f"freezes what the model does not have: {', '.join(unknown[:5])}")
    return [parameters[n] for n in names]


@contextlib.contextmanager
def _all_or_none(model: nn.Module, header: dict[str, str]) -> Iterator[None]:
    """Within it an error puts all of a model's weights back, also those loaded before it.

    So do other layers than the header's, which are compared last.
    """
    own = model.state_dict()
    lazy = {name: type(t) for name, t in own.items() if is_lazy(t)}
    before = {name: t.detach().clone() for name, t in own.items() if name not in lazy}
    try:
        yield
        _check_layers(header, model)
    except BaseException:
        with torch.no_grad():
            for name, t in before.items():
                own[name].copy_(t)
            for name, kind in lazy.items():
                own[name].data = own[name].data.new_empty(0)
                own[name].__class__ = kind
        raise
    torch.clear_autocast_cache()  # which has weights from before, inside an outer autocast
