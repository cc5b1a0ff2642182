"""Kernels that begin at once: forked from a process that has imported torch and Pyro, no more.

Half of the time of a notebook is these imports. Everything else is as in a kernel of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

from jupyter_client.manager import AsyncKernelManager


class _Forked(AsyncKernelManager):
    """Of a kernel that another process has begun."""

    has_kernel = True
    pid = 0

    async def _async_is_alive(self) -> bool:
        return Path(f"/proc/{self.pid}").exists()

    async def _async_shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:
        os.kill(self.pid, signal.SIGTERM)

    is_alive, shutdown_kernel = _async_is_alive, _async_shutdown_kernel


@contextmanager
def server(environment: dict[str, str]) -> Iterator[Callable[[Path], AsyncKernelManager]]:
    """What begins a kernel in a folder, once the last one is over."""
    command, pipes = [sys.executable, __file__], {"stdin": PIPE, "stdout": PIPE, "text": True}
    with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as process:

        def begin(folder: Path) -> AsyncKernelManager:
            manager = _Forked()
            manager.write_connection_file()
            process.stdin.write(json.dumps([manager.connection_file, str(folder)]) + "\n")
            process.stdin.flush()
            manager.pid = int(process.stdout.readline())
            return manager

        try:
            yield begin
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # with a kernel that nobody has ended


def _kernel(connection: str, folder: str) -> None:
    from ipykernel import kernelapp

    for descriptor in (0, 1):
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    os.chdir(folder)
    kernelapp.launch_new_instance(argv=["-f", connection, "--quiet"])


def _serve() -> None:
    for name in ("ipykernel.kernelapp", "pyro", "torch._dynamo"):  # the last by an optimizer
        importlib.import_module(name)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _kernel(*json.loads(line))
            os._exit(0)
        print(pid, flush=True)
        os.wait()


if __name__ == "__main__":
    _serve()
