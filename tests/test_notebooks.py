"""The notebooks as committed; that they run is tested by running them (`pytest --nbmake`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_committed_with_its_pictures(path: Path) -> None:
    """Under 15 cells, run from top to bottom, with pictures, without errors, below half a megabyte."""
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert len(cells) < 15
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [o for o in outputs if o["output_type"] in ("error",) or o.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert path.stat().st_size < 500_000


def test_both_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["01_the_vae", "02_swap_the_prior"]
