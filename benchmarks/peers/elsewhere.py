"""Peers in processes of their own.

    python -m benchmarks.peers.elsewhere VAE "vaezoo, compiled" 100 cpu 2

takes n, n, … in, a line each, and prints losses. So run those that `fit` would run inside
`vaezoo.cpu.tuned`, since the process would keep memory for the others too, and NumPyro, since JAX's
threads take time from torch's while they idle.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyro
import torch

from benchmarks.peers.building import OURS, TUNED, build
from benchmarks.peers.handwritten import Peer
from vaezoo.cpu import tuned

__all__ = ["ROOT", "Elsewhere", "placed", "serve"]

ROOT = Path(__file__).parents[2]


def placed(task: str, name: str, size: int, device: str, threads: int) -> Peer:
    """A peer where it belongs: in this process, or in one of its own."""
    if name == "NumPyro":
        return Elsewhere("benchmarks.peers.with_numpyro", task, str(size))
    if name in (*OURS, TUNED):
        return Elsewhere("benchmarks.peers.elsewhere", task, name, str(size), device, str(threads))
    return build(task, name, size, device)


class Elsewhere:
    """A peer in a process of its own, which is ready once this is made."""

    def __init__(self, module: str, *arguments: str) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, "-m", module, *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, **pipes)
        self._read()

    def __call__(self, n: int) -> float:
        """Take n steps there."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{n}\n")
        self.process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self.process.stdout is not None
        line: str = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} has ended")
        return line

    def __del__(self) -> None:
        self.process.kill()
        self.process.communicate()


def serve(peer: Peer) -> None:
    """Take as many steps as each line says, and print the last loss."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(peer(int(line)), flush=True)


def main(task: str, name: str, size: str, device: str, threads: str) -> None:
    """Build a peer and serve it."""
    torch.set_num_threads(int(threads))
    with tuned(), pyro.validation_enabled(False):
        serve(build(task, name, int(size), device))


if __name__ == "__main__":
    main(*sys.argv[1:])
