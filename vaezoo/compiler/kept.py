"""Compiled graphs on disk, loaded by later processes without Inductor.

To import Inductor, and have it find a graph in its own caches, takes a second and more (`python -m
benchmarks.compiling`). So the function that it made of a graph is kept beside those caches, as a
text that does without it, with the names of the libraries where its kernels are. The key is all
that the graph was made from. What is missing, or does not load, is compiled anew.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import hashlib
import importlib.machinery
import importlib.util
import itertools
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

# programs on disk call operators of these
from vaezoo.compiler import fused_adam, onednn, rows  # noqa: F401
from vaezoo.data.files import write_whole

__all__ = ["are_many", "is_noted", "keep", "key_of", "load", "note", "settings"]

OFF = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", "TORCHINDUCTOR_FX_GRAPH_CACHE": "0"}
Call = Callable[..., Sequence[Tensor]]


def key_of(graph: GraphModule, inputs: list[Tensor], more: object = None) -> str | None:
    """What a graph is known by on disk; None where it is not to be kept.

    Args:
        graph: of flat arguments, without tensors of its own.
        inputs: examples of its arguments.
        more: what else is compiled with it, which its text tells.
    """
    plain = all(type(t) in (Tensor, torch.nn.Parameter) and t.device.type == "cpu" for t in inputs)
    if not plain or not _is_wanted():
        return None
    facts = (graph.code, more, _layouts(inputs), *_here(), onednn.onednn_leads())
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def load(key: str) -> Call | None:
    """The function of a graph; None if it is not on disk, or its libraries are not."""
    try:
        record = json.loads(_file(key).read_text())
        kernels = {name: _kernel(*where) for name, where in record["kernels"].items()}
        scope: dict[str, Any] = {"extern_kernels": torch, **kernels}
        exec(compile(record["program"], str(_file(key)), "exec"), scope)
        call: Callable[[list[Tensor]], Sequence[Tensor]] = scope["call"]
    except Exception:  # whatever there is, it is of no use
        return None
    return lambda *inputs: call([*inputs])


def keep(key: str, program: str, kernels: dict[str, Any]) -> None:
    """Keep the function of a graph.

    Args:
        key: of the graph.
        program: the text of ``call``, as `portable.portable` has it.
        kernels: the functions that it calls, by their names in it.
    """
    modules = {name: kernel.__self__ for name, kernel in kernels.items()}
    places = {n: (os.path.relpath(m.__file__, _folder()), m.__name__) for n, m in modules.items()}
    file = _file(key)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, [json.dumps({"program": program, "kernels": places}).encode()])


def are_many(number: int) -> bool:
    """Whether so many graphs are there at least."""
    return len([*itertools.islice(_folder().glob("vaezoo/*.json"), number)]) == number


def note(what: str) -> None:
    """Note that graphs of something are there."""
    with contextlib.suppress(OSError):
        _note(what).parent.mkdir(parents=True, exist_ok=True)
        _note(what).touch()


def is_noted(what: str) -> bool:
    """Whether graphs of something are there, in all likelihood: to be sure takes tracing.

    Args:
        what: its text.
    """
    try:
        return _is_wanted() and _note(what).exists()
    except OSError:  # such as a folder that is another user's
        return False


def _note(what: str) -> Path:
    key = hashlib.sha256(repr((what, *_here())).encode()).hexdigest()
    return _folder() / "vaezoo" / f"{key}.note"


def _folder() -> Path:
    """Where Inductor keeps what it makes."""
    if given := os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        return Path(given)
    try:
        name = re.sub(r'[\\/:*?"<>|]', "_", getpass.getuser())
    except (KeyError, ImportError, OSError):  # a user without a name, as in a container
        name = f"uid_{os.getuid()}"
    return Path(tempfile.gettempdir(), f"torchinductor_{name}")


def _file(key: str) -> Path:
    return _folder() / "vaezoo" / f"{key}.json"


def _kernel(path: str, name: str) -> Callable[..., None]:
    """The function of a library with Python modules, of the module of that name."""
    if name not in sys.modules:
        pointer = torch._C._dynamo.guards._torchinductor_pyobject_tensor_data_ptr  # type: ignore[attr-defined]
        os.environ["_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR"] = str(pointer)  # read by the library
        loader = importlib.machinery.ExtensionFileLoader(name, str(_folder() / path))
        spec = importlib.util.spec_from_loader(name, loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        sys.modules[name] = module
    function: Callable[..., None] = getattr(sys.modules[name], name.rpartition(".")[-1])
    return function


def _is_wanted() -> bool:
    inductor = _settings_of_inductor()
    if inductor is None:
        return not any(os.environ.get(name) == value for name, value in OFF.items())
    return bool(inductor.fx_graph_cache) and not inductor.force_disable_caches


def _settings_of_inductor() -> Any:
    """None where nobody has imported them; where another thread is at it, that is waited for."""
    if "torch._inductor.config" not in sys.modules:
        return None
    return importlib.import_module("torch._inductor.config")


def _layouts(inputs: list[Tensor]) -> list[tuple[Any, ...]]:
    """What a graph depends on of its inputs: which share memory is a part of it, and how."""
    memory = [t.untyped_storage().data_ptr() for t in inputs]
    first = [memory.index(where) for where in memory]
    # from the first in that memory: where a batch lies in its data is nothing to a graph
    offsets = [
        t.storage_offset() - inputs[i].storage_offset() for t, i in zip(inputs, first, strict=True)
    ]
    return [
        (t.shape, t.stride(), t.dtype, t.requires_grad, i, offset)
        for t, i, offset in zip(inputs, first, offsets, strict=True)
    ]


def settings() -> list[Any]:
    """What can be set in a process, and what is compiled in it depends on.

    Threads, default dtype, whether algorithms are deterministic, precision of products, whether
    oneDNN is in use, and the settings of Inductor that somebody has changed, by name.
    """
    return [
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.mkldnn.enabled,
        _changed(_settings_of_inductor()),
    ]


def _changed(config: Any) -> dict[str, Any]:
    """Settings that are not the default, by name; one that was set back to it is not among them."""
    if config is None:
        return {}
    own = {n: getattr(config, n) for n in config._config if not config._is_default(n)}
    return {n: value for n, value in own.items() if value != config._config[n].default}


def _here() -> tuple[object, ...]:
    """What graphs depend on of this process and machine."""
    variables = {n: v for n, v in os.environ.items() if n.startswith(("TORCHINDUCTOR_", "CXX"))}
    variables.pop("TORCHINDUCTOR_CACHE_DIR", None)
    return sorted(variables.items()), settings(), _machine()


@functools.cache
def _machine() -> list[str]:
    """Versions of torch, Python and this room, and what the processor can do."""
    here = Path(__file__).parent
    texts = b"".join(path.read_bytes() for path in sorted(here.rglob("*.py")))
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else [platform.processor()]
    known = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    python = str(sys.implementation.cache_tag)
    return [
        torch.__version__,
        python,
        hashlib.sha256(texts).hexdigest(),
        platform.machine(),
        *known,
    ]
