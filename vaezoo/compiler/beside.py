"""Compilation in another process, beside the training that waits for it and meanwhile goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
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

# nothing but `sys` is found before the path is this process's
PROGRAM = """
import sys
_, file, parent, *sys.path = sys.argv
from vaezoo.compiler.beside import main
main(file, int(parent))
"""
FLAGS = {"isolated": "-I", "ignore_environment": "-E", "no_user_site": "-s", "no_site": "-S"}
SECONDS = 0.5  # between looks at whether the training is still there

_begun_here: ContextVar[weakref.WeakSet[Beside] | None] = ContextVar("begun_here", default=None)


@contextlib.contextmanager
def ended() -> Iterator[None]:
    """Processes that are begun within it are at an end behind it, whoever still waits for them."""
    begun = weakref.WeakSet[Beside]()
    token = _begun_here.set(begun)
    try:
        yield
    finally:
        _begun_here.reset(token)
        for each in begun:
            each.close()


class Beside:
    """A process that compiles a graph and keeps it on disk, where it is found by its key.

    It ends with this object, if not before (see `ended`).

    Args:
        order: the graph.
        inputs: examples of its arguments, of which only the layout is handed over.
        key: of the graph; None where it is not to be kept.

    Raises:
        RuntimeError: it is not to be kept.
        OSError: no process can be started, or there is no room for the order.
    """

    def __init__(self, order: Order, inputs: list[Tensor], key: str | None) -> None:
        if key is None:
            raise RuntimeError("graphs are not kept on disk, where another process would leave it")
        self.key = key
        layouts = [(t.shape, t.stride(), t.dtype, t.requires_grad) for t in inputs]
        file = Path(tempfile.mkdtemp(prefix="vaezoo-"), "order")
        try:
            n = len(order.graph.graph.find_nodes(op="placeholder"))
            torch.save((order.graph.code, n, order.trained, layouts, key, kept.settings()), file)
            self._process = _started(file)
        except BaseException:
            shutil.rmtree(file.parent, ignore_errors=True)
            raise
        self._end = weakref.finalize(self, _end, self._process, file, os.getpid())
        if (here := _begun_here.get()) is not None:
            here.add(self)

    @property
    def process(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def left(self) -> int | None:
        """What it ended with; None while it is at work."""
        return self._process.poll()

    def close(self) -> None:
        """Stop the process if it is still at work."""
        self._end()


def _started(file: Path) -> subprocess.Popen[bytes]:
    """A process of this Python, which finds what this one finds.

    It is in no group with it: a Ctrl-C, or a notebook's stop button, is for all of a group.
    """
    flags = [flag for name, flag in FLAGS.items() if getattr(sys.flags, name)]
    flags += ["-P"] if hasattr(sys.flags, "safe_path") else []
    path = [entry for entry in sys.path if isinstance(entry, str)]  # others are not searched
    return subprocess.Popen(
        [sys.executable, *flags, "-W", "ignore", "-c", PROGRAM, str(file), str(os.getpid()), *path],
        env={name: v for name, v in os.environ.items() if name != "PYTHONOPTIMIZE"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def _end(process: subprocess.Popen[bytes], file: Path, owner: int) -> None:
    if os.getpid() != owner:  # a fork of the training has a copy
        return
    with contextlib.suppress(OSError):
        process.kill()
        process.wait()
    shutil.rmtree(file.parent, ignore_errors=True)


def _end_with(parent: int, folder: Path) -> None:
    """End this process when that one, which was killed, is no longer there."""
    while os.getppid() == parent:
        time.sleep(SECONDS)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


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


def main(file: str, parent: int) -> None:
    """Compile the order in a file, and keep what comes of it.

    Args:
        file: alone in its folder, which is removed.
        parent: the number of the process that waits for it.
    """
    folder = Path(file).parent
    threading.Thread(target=_end_with, args=(parent, folder), daemon=True).start()
    try:
        code, n, trained, layouts, key, settings = torch.load(file, weights_only=False)
    except FileNotFoundError:  # the folder is gone, with the training or by a cleaner
        sys.exit(1)
    shutil.rmtree(folder, ignore_errors=True)
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
