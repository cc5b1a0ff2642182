"""`torchrun` as people type it: a run that goes on on two machines and is stopped; and an example.

`torchrun` is given this file, which trains and leaves in its folder what came of it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from several import in_processes
from zoo import fixed, member

from vaezoo import data, fit
from vaezoo.training import processes

ROOT = Path(__file__).parents[2]
LAST = 10**6  # steps, which nobody waits for


def train(folder: Path, steps: int) -> dict[str, Any]:
    """What comes of a run, which takes ten milliseconds a step where it has to be stopped."""

    def rate(step: int) -> float:
        time.sleep(0.01 if steps == LAST else 0)
        return 1e-2

    torch.manual_seed(0)
    images = data.Images((255 * fixed(31)).byte(), binarisation="dynamic")
    vae, kept = member("VAE"), {"checkpoint": folder / "checkpoints", "every": 5}
    history = fit(vae, images, steps=steps, batch_size=8, lr=rate, progress=False, **kept)
    weights = torch.cat([p.detach().flatten() for p in vae.parameters()]).tolist()
    found = {"stopped": history.stopped, "world": history.world, "weights": weights}
    return found | {"loss": history["loss"], "step": history["step"]}


def _partly(rank: int, folder: Path) -> dict[str, Any]:
    return train(folder, 5)


def _whole(rank: int, folder: Path, steps: int) -> list[dict[str, Any]]:
    return [train(folder, steps), train(folder / "unbroken", steps)]


def _launch(line: str, folder: Path) -> subprocess.Popen[str]:
    name, *torchrun, _ = line.split()
    assert name == "torchrun"
    command = [sys.executable, "-m", "torch.distributed.run", *torchrun, __file__, str(folder)]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_a_run_goes_on_on_two_machines_and_is_stopped(tmp_path: Path) -> None:
    """By the command of docs/several_processes.md, once for each; gone on with, it is as unbroken."""
    text = (ROOT / "docs" / "several_processes.md").read_text()
    line = next(row.strip() for row in text.splitlines() if "--rdzv-endpoint" in row)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"localhost:{free.getsockname()[1]}"
    in_processes(_partly, tmp_path)
    machines = [_launch(line.replace("first-machine:29400", address), tmp_path) for _ in range(2)]
    while len(list(tmp_path.glob("checkpoints/step-*"))) < 2 and machines[0].poll() is None:
        time.sleep(0.01)
    machines[0].send_signal(signal.SIGTERM)
    files = [tmp_path / f"{rank}.json" for rank in (0, 1)]
    end = time.monotonic() + 150
    # a signal of its own would end the other process, were it to come when training has ended
    while not all(map(Path.exists, files)) and time.monotonic() < end:
        time.sleep(0.01)
    machines[1].send_signal(signal.SIGTERM)
    said = "".join(machine.communicate(timeout=150)[1] for machine in machines)
    assert "UserWarning" not in said
    assert all(map(Path.exists, files)), said
    found = [json.loads(file.read_text()) for file in files]
    assert [(each["stopped"], each["world"]) for each in found] == [(True, [0, 2]), (True, [1, 2])]
    step = found[0]["step"][-1]
    assert sorted((tmp_path / "checkpoints").iterdir())[-1].name == f"step-{step:09}.safetensors"
    for ended, unbroken in in_processes(_whole, tmp_path, step + 7):
        assert ended["step"][-1] == step + 7
        assert ended == unbroken


def _example(rank: int, folder: Path) -> str:
    sys.argv = ["vae_mnist.py", "--smoke", "--output", str(folder)]
    sys.path.insert(0, str(ROOT / "examples"))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        runpy.run_path(str(ROOT / "examples" / "vae_mnist.py"), run_name="__main__")
    return said.getvalue()


def test_an_example(tmp_path: Path) -> None:
    """One process speaks and writes."""
    first, second = in_processes(_example, tmp_path)
    assert (second, "samples.png" in first) == ("", True)
    assert json.loads((tmp_path / "metrics.json").read_text())["steps"] == 5


if __name__ == "__main__":
    with processes.launched() as world:
        result = train(Path(sys.argv[1]), LAST)
    file = Path(sys.argv[1]) / f"{world.rank}.json"
    file.with_suffix(".part").write_text(json.dumps(result))
    file.with_suffix(".part").rename(file)
