"""SIGKILL at random moments, by the script that does it at length."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from several import run_script

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kills.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
@pytest.mark.parametrize(("kills", "processes"), [(4, 1), (2, 2)])
def test_killed_runs_end_as_if_they_had_not_been(
    kills: int, processes: int, tmp_path: Path
) -> None:
    """In a run of 60 steps, 12 checkpoints: bitwise equal in each process, and no file left over."""
    output = tmp_path / "found.json"
    options = ["--kills", str(kills), "--processes", str(processes), "--steps", "60"]
    options += ["--output", str(output)]
    done = run_script(SCRIPT, *options, folder=tmp_path, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert (found["kills"], found["different"]) == (kills, 0)
    assert all(name.startswith("step-") for name in found["files"])
    assert 2 <= len(found["files"]) <= 3
