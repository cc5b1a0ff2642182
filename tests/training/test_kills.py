"""SIGKILL at random moments, by the script that does it at length."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kills.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize(("kills", "processes"), [(4, 1), (2, 2)])
def test_killed_runs_end_as_if_they_had_not_been(
    kills: int, processes: int, tmp_path: Path
) -> None:
    """In a run of 60 steps, 12 checkpoints: bitwise equal in each process, and no file left over."""
    output = tmp_path / "found.json"
    command = [sys.executable, str(SCRIPT), "--kills", str(kills), "--processes", str(processes)]
    options = ["--steps", "60", "--output", str(output)]
    subprocess.run([*command, *options], check=True, timeout=300)
    found = json.loads(output.read_text())
    assert (found["kills"], found["different"]) == (kills, 0)
    assert all(name.startswith("step-") for name in found["files"])
    assert 2 <= len(found["files"]) <= 3
