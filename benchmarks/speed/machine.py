"""The machine that is measured."""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path
from typing import Any

import pyro
import torch

__all__ = ["describe", "set_threads"]


def set_threads(n: int) -> None:
    """Threads of torch, and cores of what has no number of threads to set."""
    torch.set_num_threads(n)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if n < len(cores):  # for JAX
        os.sched_setaffinity(0, cores[:n])


def describe(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": arguments.threads,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "quick": arguments.quick,
    }
