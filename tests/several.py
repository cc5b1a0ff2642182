"""Real processes for tests: a function run in a group of them, and the noise of one in all.

The processes are forked from a server that has imported vaezoo once: a launch takes a second.
"""

from __future__ import annotations

import time
import traceback
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


def in_processes(function: Callable[..., Any], *args: Any, size: int = 2) -> list[Any]:
    """What a function of a module returns in each process of a group, or the error it raised.

    None stands for a process that ended without either.
    """
    context: Any = mp.get_context("forkserver")
    # an optimizer imports the last one when it is made, which takes more than a training here
    context.set_forkserver_preload(["vaezoo", "vaezoo.compiler.cache", "zoo", "torch._dynamo"])
    with TemporaryDirectory() as folder:
        started = [
            context.Process(target=_run, args=(rank, size, folder, function, args))
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
