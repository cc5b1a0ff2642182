"""Where the seconds of the tests go: `python -m benchmarks.suite`, from this folder's parent.

All tests, as `make test` has them. What is counted are seconds of processors, as the clock on the
wall also has those in which a processor waits: `here`, in the process that ran the test, and
`others`, in processes that it started and waited for. What tests share, such as a trained model, is
counted with the first of them. The sums by folder, and the files that take most, go into
`results/suite.json` and a table beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NOTES = "VAEZOO_SUITE_NOTES"  # where tests/seconds.py notes each test's
MOST = 16  # files in the table


def main() -> None:
    """Run them, and write what was noted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tests", nargs="*", help="some of them; all by default")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    arguments = parser.parse_args()
    with tempfile.NamedTemporaryFile() as notes:
        started, before = time.perf_counter(), _of_children()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "seconds"]
        done = subprocess.run(
            [*command, *arguments.tests], cwd=ROOT, env=os.environ | {NOTES: notes.name}
        )
        wall, spent = time.perf_counter() - started, _of_children() - before
        each = [json.loads(line) for line in Path(notes.name).read_text().splitlines()]
    record = {
        "cores": os.cpu_count(),
        "passed": done.returncode == 0,
        "tests": len(each),
        "wall": round(wall, 1),
        "processors": round(spent, 1),
        "folders": sums(each, lambda file: "/".join(file.split("/")[:2])),
        "files": sums(each, str),
    }
    (arguments.out / "suite.json").write_text(json.dumps(record, indent=1) + "\n")
    (arguments.out / "suite.md").write_text(table(record) + "\n")
    print(table(record))


def _of_children() -> float:
    t = os.times()
    return t.children_user + t.children_system


def sums(each: Iterable[tuple[str, float, float]], kind: Any) -> dict[str, list[float]]:
    """Tests, and seconds here and in others, of each kind of file; those that took most first.

    Example:
        >>> sums([("a/b.py::c[d]", 1.0, 2.0), ("a/e.py::f", 0.5, 0.0)], str)
        {'a/b.py': [1, 1.0, 2.0], 'a/e.py': [1, 0.5, 0.0]}
    """
    found: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    for name, here, others in each:
        values = found[kind(name.partition("::")[0])]
        for i, value in enumerate((1, here, others)):
            values[i] += value
    order = sorted(found.items(), key=lambda item: -sum(item[1][1:]))
    return {name: [n, round(here, 1), round(others, 1)] for name, (n, here, others) in order}


def table(record: dict[str, Any]) -> str:
    """What the tests took in all, by folder, and by file."""
    from benchmarks import markdown

    cores, wall, spent = record["cores"], record["wall"], record["processors"]
    shown = [*record["folders"].items(), *[*record["files"].items()][:MOST]]
    rows = [(f"`{name}`", n, f"{here:.0f}", f"{others:.0f}") for name, (n, here, others) in shown]
    return (
        f"{record['tests']:,} tests, {wall:.0f} s on {cores} cores, {spent:.0f} s of processors, "
        f"which were at work {spent / wall / cores:.0%} of the time.\n\n"
        + markdown.table(("", "tests", "s here", "s in others"), rows)
    )


if __name__ == "__main__":
    main()
