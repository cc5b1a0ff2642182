"""Compilation in another process, beside the training that waits for it and meanwhile goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.graph import _custom_builtins

from vaezoo.compiler import kept
from vaezoo.compiler.orders import Order
from vaezoo.compiler.tracing import flat_graph

__all__ = ["Beside", "ended", "main"]

PROGRAM = "import sys; from vaezoo.compiler.beside import main; main(sys.argv[1])"

_begun_here: ContextVar[weakref.WeakSet[Beside] | None] = ContextVar("begun_here", default=None)


@contextlib.contextmanager
def ended() -> Iterator[None]:
    """Processes that are begun within it are at an end behind it, whoever still waits for them."""
    begun = weakref.WeakSet[Beside]()
    token = _begun_here.set(begun)
    try:
        yield
    finally:
        for each in begun:
            each.close()
        _begun_here.reset(token)


class Beside:
    """A process that compiles a graph and keeps it on disk, where it is found by its key.

    It ends with this object, if not before (see `ended`).

    Args:
        order: the graph.
        inputs: examples of its arguments, of which only the layout is handed over.
        key: of the graph.
    """

    def __init__(self, order: Order, inputs: list[Tensor], key: str) -> None:
        self.order, self.key = order, key
        layouts = [(t.shape, t.stride(), t.dtype, t.requires_grad) for t in inputs]
        file = Path(tempfile.mkdtemp(prefix="vaezoo-"), "order")
        try:
            n = len(order.graph.graph.find_nodes(op="placeholder"))
            torch.save((order.graph.code, n, order.trained, layouts, key, kept.settings()), file)
            self._process = _started(file)
        except Exception:
            shutil.rmtree(file.parent)
            raise
        self._end = weakref.finalize(self, _end, self._process, file)
        if (here := _begun_here.get()) is not None:
            here.add(self)

    @property
    def process(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is at an end: there is a graph, if it could be made and kept."""
        return self._process.poll() is not None

    def close(self) -> None:
        """Stop the process if it is still at work."""
        self._end()


def _started(file: Path) -> subprocess.Popen[bytes]:
    """A process of this Python, which finds what this one finds."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(file)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _end(process: subprocess.Popen[bytes], file: Path) -> None:
    process.kill()
    process.wait()
    shutil.rmtree(file.parent)


def _set(settings: list[Any]) -> None:
    """Have what `kept.settings` of another process are hold here."""
    threads, dtype, deterministic, precision, mkldnn, changed = settings
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch.use_deterministic_algorithms(deterministic)
    torch.set_float32_matmul_precision(precision)
    torch.backends.mkldnn.set_flags(mkldnn)
    if changed:
        from torch._inductor import config  # slow to import

        for name, value in changed.items():
            setattr(config, name, value)


def main(file: str) -> None:
    """Compile the order in a file, and keep what comes of it."""
    code, n, trained, layouts, key, settings = torch.load(file, weights_only=False)
    _set(settings)
    inputs = [
        torch.empty_strided(shape, stride, dtype=dtype).zero_().requires_grad_(requires_grad)
        for shape, stride, dtype, requires_grad in layouts
    ]
    Order(_graph(code, inputs[:n]), trained, "inductor").compile(inputs, key)


def _graph(code: str, inputs: list[Tensor]) -> GraphModule:
    """The graph of a text: torch would read one by tracing, and take draws for constants."""
    scope: dict[str, Any] = {name: each.obj for name, each in _custom_builtins.items()}
    exec(code, scope)
    return flat_graph(lambda inputs: scope["forward"](None, *inputs), inputs)
