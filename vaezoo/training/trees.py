"""Nested states as a file: tensors as safetensors, the rest as JSON in the file's header.

    write, read     a state, and back; nothing is pickled
    pieces          what the file consists of

Tuples, dictionaries whose keys are not texts, and counters come back as they were:

    {"tensor": "name"}   {"tuple": […]}   {"pairs": [[key, value], …]}   {"counter": [[key, n], …]}
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from vaezoo.training.errors import ResumeError

__all__ = ["FORMAT", "packed", "pieces", "read", "unpacked"]

FORMAT = "1"
_KEY = "vaezoo training"
_SUM = "checksum"
_METADATA = "__metadata__"  # which safetensors keeps for itself
_TAGS = {"tensor", "tuple", "pairs", "counter"}
_LONGEST_HEADER = 2**28  # bytes
_DTYPES = {
    torch.float64: "F64", torch.int64: "I64", torch.float32: "F32", torch.int32: "I32",
    torch.float16: "F16", torch.bfloat16: "BF16", torch.int16: "I16",
    torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL", torch.complex64: "C64",
}  # fmt: skip


def packed(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """A state as JSON has it, and copies of its tensors by name.

    Raises:
        TypeError: there is something in it that no file can hold; the message says where.

    Example:
        >>> packed({"a": (1, torch.zeros(2))})
        ({'a': {'tuple': [1, {'tensor': 'a.1'}]}}, {'a.1': tensor([0., 0.])})
        >>> packed({"a": [print]})
        Traceback (most recent call last):
        ...
        TypeError: a.0 is a builtin_function_or_method, which no checkpoint can hold
    """
    tensors: dict[str, Tensor] = {}
    return _packed(state, "", tensors), tensors


def _packed(value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
    def each(items: Any) -> list[Any]:
        return [_packed(v, f"{where}.{i}", tensors) for i, v in enumerate(items)]

    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor) and value.dtype in _DTYPES and not value.is_sparse:
        name = _free_name(where.removeprefix("."), tensors)
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if type(value) is list:
        return each(value)
    if type(value) is tuple:
        return {"tuple": each(value)}
    if type(value) is Counter:
        return {"counter": each(map(list, value.items()))}
    if type(value) in (dict, OrderedDict):
        if any(not isinstance(k, str) for k in value) or (len(value) == 1 and {*value} <= _TAGS):
            return {"pairs": each(map(list, value.items()))}
        return {k: _packed(v, f"{where}.{k}", tensors) for k, v in value.items()}
    what = f"{where.removeprefix('.')} is a {type(value).__name__}"
    raise TypeError(f"{what}, which no checkpoint can hold")


def _free_name(name: str, tensors: Mapping[str, Tensor]) -> str:
    """A name of its own for each place: a key "a.b" and b within a read alike."""
    while name in tensors or name == _METADATA:
        name += "'"
    return name


def unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """A state from what `packed` has made of it.

    Example:
        >>> unpacked(*packed({1: (2, [None])}))
        {1: (2, [None])}
    """
    if isinstance(value, list):
        return [unpacked(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, held),) = value.items()
        if tag == "tensor":
            return tensors[held]
        if tag == "tuple":
            return tuple(unpacked(held, tensors))
        if tag in ("pairs", "counter"):
            entries = {unpacked(k, tensors): unpacked(v, tensors) for k, v in held}
            return Counter(entries) if tag == "counter" else entries
    return {k: unpacked(v, tensors) for k, v in value.items()}


def pieces(tree: Any, tensors: Mapping[str, Tensor]) -> list[Any]:
    """The buffers that make up a safetensors file, one behind the other, none of them copied."""
    about = {_KEY: FORMAT, "state": json.dumps(tree)}
    header: dict[str, Any] = {_METADATA: about | {_SUM: _sum(about["state"], tensors)}}
    sizes = sorted(tensors.items(), key=lambda item: -item[1].element_size())  # keeps all aligned
    buffers, end = [], 0
    for name, t in sizes:
        buffer = t.reshape(-1).view(torch.uint8).numpy()
        offsets = [end, end := end + buffer.nbytes]
        header[name] = {"dtype": _DTYPES[t.dtype], "shape": [*t.shape], "data_offsets": offsets}
        buffers.append(buffer)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little"), text, *buffers]


def read(path: Path) -> Any:
    """The state in a file.

    Raises:
        ResumeError: the file is damaged, or of another format.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        if int.from_bytes(stream.read(8), "little") > _LONGEST_HEADER:
            raise ResumeError(f"{path} is damaged: its header is too long; {_cure(path)}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get(_KEY) != FORMAT:
                raise ResumeError(f"{path} is no checkpoint of training in format {FORMAT}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get(_SUM, found := _sum(metadata["state"], tensors)) != found:
            raise ValueError("its checksum is another")  # older files have none
        return unpacked(json.loads(metadata["state"]), tensors)
    except (ResumeError, OSError):
        raise
    except Exception as error:  # whatever a damaged file makes a reader raise
        reason = f"{type(error).__name__} {error}".splitlines()[0][:200]
        raise ResumeError(f"{path} is damaged ({reason}); {_cure(path)}") from error


def _sum(state: str, tensors: Mapping[str, Tensor]) -> str:
    """A checksum of all that a file holds."""
    layouts = [[name, _DTYPES[t.dtype], [*t.shape]] for name, t in sorted(tensors.items())]
    found = zlib.crc32(json.dumps([state, layouts]).encode())
    for _, t in sorted(tensors.items()):
        found = zlib.crc32(t.reshape(-1).view(torch.uint8).numpy().data, found)
    return str(found)


def _cure(path: Path) -> str:
    return f"delete it, and training goes on from the one before it in {path.parent}"
