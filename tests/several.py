"""Real processes for tests: a function run in a group of them, a script, and the noise of one in all.

The processes are forked from a server that has imported vaezoo once: a launch takes a second.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributions import normal

DEADLINE = 300  # seconds, after which processes that wait for one another are ended
LONGEST = 1200  # of a script, on a machine that is slow
SERVER: Any = mp.get_context("forkserver")
# an optimizer imports the last but one when it is made, which takes more than a training here
SERVER.set_forkserver_preload(
    ["vaezoo", "vaezoo.compiler.cache", "zoo", "torch._dynamo", "matplotlib.figure"]
)


def in_processes(function: Callable[..., Any], *args: Any, size: int = 2) -> list[Any]:
    """What a function of a module returns in each process of a group, or the error it raised.

    None stands for a process that ended without either.
    """
    with TemporaryDirectory() as folder:
        started = [
            SERVER.Process(target=_run, args=(rank, size, folder, function, args))
            for rank in range(size)
        ]
        for process in started:
            process.start()
        end = time.monotonic() + DEADLINE
        for process in started:
            process.join(max(0.0, end - time.monotonic()))
        hung = [process for process in started if process.is_alive()]
        for process in hung:
            process.kill()
        assert not hung, f"{len(hung)} processes wait for one another"
        files = [Path(folder) / f"result {rank}" for rank in range(size)]
        return [torch.load(f, weights_only=False) if f.exists() else None for f in files]


def _run(rank: int, size: int, folder: str, function: Callable[..., Any], args: Any) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", rank=rank, world_size=size, init_method=store)
    try:
        result = function(rank, *args)
    except Exception as error:
        traceback.print_exc()
        result = error
    torch.save(result, f"{folder}/part {rank}")
    (Path(folder) / f"part {rank}").rename(Path(folder) / f"result {rank}")
    dist.destroy_process_group()


def run_script(
    path: Path, *argv: str, folder: Path, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """What `python -W error path …` comes to in a folder, but for the imports before it."""
    with TemporaryDirectory() as kept:
        files = [Path(kept) / name for name in ("out", "error")]
        process = SERVER.Process(target=_script, args=(str(path), argv, str(folder), env, files))
        process.start()
        process.join(LONGEST)
        hung = process.exitcode is None
        process.kill()
        out, error = (f.read_text(encoding="utf-8") for f in files)
        assert not hung, f"{path} did not end: {error}"
        return subprocess.CompletedProcess([str(path), *argv], process.exitcode, out, error)


def run_code(code: str, *argv: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `python -W error -c …` comes to, but for the imports before it."""
    path = folder / "code.py"
    path.write_text(code, encoding="utf-8")
    return run_script(path, *argv, folder=folder, env=dict(os.environ))


def _script(path: str, argv: Any, folder: str, env: dict[str, str], files: list[Path]) -> None:
    for descriptor, file in zip((1, 2), files, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = [path, *argv]
    sys.path.insert(0, str(Path(path).parent))
    warnings.simplefilter("error")
    runpy.run_path(path, run_name="__main__")


@contextmanager
def one_draw(shares: dict[int, tuple[int, int]]) -> Iterator[None]:
    """Within it a draw for some images is cut out of the one for all images of the batch.

    Args:
        shares: by the number of a process's images, that of the whole batch and the first of them.
    """
    usual = normal._standard_normal

    def drawn(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        n, start = shares[shape[-2]]
        whole = usual(torch.Size([*shape[:-2], n, shape[-1]]), dtype, device)
        return whole.narrow(-2, start, shape[-2])

    normal._standard_normal = drawn
    try:
        yield
    finally:
        normal._standard_normal = usual
