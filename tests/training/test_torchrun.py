"""`torchrun` as people type it: an example in two processes, each of them a machine of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_two_machines(tmp_path: Path) -> None:
    """The command of docs/several_processes.md, once for each machine, which meet at an address."""
    text = (ROOT / "docs" / "several_processes.md").read_text()
    line = next(row.strip() for row in text.splitlines() if "--rdzv-endpoint" in row)
    port, environment = _free_port(), os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = line.replace("first-machine:29400", f"localhost:{port}").split()
    assert command[0] == "torchrun"
    command[:1] = [sys.executable, "-m", "torch.distributed.run"]
    machines = [
        subprocess.Popen(
            [*command, "--smoke", "--output", str(tmp_path / name)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    said = [machine.communicate(timeout=150) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert sum("samples.png" in out for out, _ in said) == 1
    wrote = [f for f in (tmp_path / "one", tmp_path / "two") if (f / "metrics.json").exists()]
    assert len(wrote) == 1
    assert json.loads((wrote[0] / "metrics.json").read_text())["steps"] == 5
    for _, screen in said:
        assert "Warning" not in screen
