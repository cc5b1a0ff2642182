"""Run every script under each interpreter, and write which torch has which fault."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "upstream.json"
VERSION = "import torch; print(torch.__version__)"


def main(interpreters: list[str]) -> None:
    """Run them all."""
    captured: dict[str, Any] = {"capture_output": True, "text": True}
    found = []
    for python in interpreters:
        version = subprocess.run([python, "-c", VERSION], check=True, **captured)
        torch = version.stdout.strip().partition("+")[0]
        for script in sorted(HERE.glob("[!_]*.py")):
            done = subprocess.run([python, script], check=False, **captured)
            if done.returncode not in (0, 1) or "Traceback" in done.stderr:
                raise RuntimeError(f"{script.name} under torch {torch}: {done.stderr}")
            says = done.stderr.strip().splitlines()[-1:] if done.returncode else []
            row = {"torch": torch, "fault": script.stem, "there": bool(says), "says": "".join(says)}
            print(row)
            found.append(row)
    RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upstream", description=__doc__)
    parser.add_argument("interpreters", nargs="*", default=[sys.executable], help="this one")
    main(parser.parse_args().interpreters)
