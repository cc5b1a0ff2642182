"""Run the notebooks, each in a fresh kernel, and write their outputs: `make notebooks`.

One thread and no times, so that the same versions give the same file on every machine but for
rounding. tests/house/test_notebooks.py runs them again and compares.
"""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TIMEOUT = 3600  # seconds for a cell: longer than any slow machine takes
# the vaezoo beside the notebooks, whichever is installed
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(FOLDER.parent)}


def executed(path: Path, kernel: AsyncKernelManager | None = None) -> nbformat.NotebookNode:
    """A notebook with the outputs that it has now; the file is left alone.

    Args:
        path: of the notebook.
        kernel: one that runs already, and is ended; by default one is begun.

    Raises:
        CellExecutionError: a cell raised.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        startup_timeout=TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # a kernel sends what is printed in pieces, cut by the clock
        resources={"metadata": {"path": str(FOLDER)}},
        km=kernel,
    )
    client.execute(env=os.environ | ENVIRONMENT, cleanup_kc=True)
    # the version of Python at hand is no part of the notebook
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main() -> None:
    """Write all of them."""
    for path in NOTEBOOKS:
        nbformat.write(executed(path), path)
        print(path)


if __name__ == "__main__":
    main()
