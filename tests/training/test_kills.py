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
def test_killed_runs_end_as_if_they_had_not_been(tmp_path: Path) -> None:
    """Four kills in a run of 60 steps, 12 checkpoints: bitwise equal, and no file is left over."""
    output = tmp_path / "found.json"
    command = [sys.executable, str(SCRIPT), "--kills", "4", "--steps", "60"]
    subprocess.run([*command, "--output", str(output)], check=True, timeout=300)
    found = json.loads(output.read_text())
    assert (found["kills"], found["different"]) == (4, 0)
    assert all(name.startswith("step-") for name in found["files"])
    assert 2 <= len(found["files"]) <= 3
