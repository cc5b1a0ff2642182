"""The page on long runs: its code runs, twice, as it says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "long_runs.md").read_text()


def test_its_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped by fewer steps, gone on with, and complete: one log, one history, no step more."""
    monkeypatch.chdir(tmp_path)
    first, *others = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert (len(others), "steps=200" in first) == (3, True)
    logs = []
    for steps in (50, 90, 90):
        script = first.replace("steps=200", f"steps={steps}").replace("every=50,", "every=30,")
        script = script.replace('digits("train")', 'digits("train")[:500]')
        found: dict[str, object] = {}
        exec(script, found)
        logs.append(Path("runs/vae.csv").read_text())
        assert found["history"]["step"][-1] == steps  # type: ignore[index]
    assert [len(log.splitlines()) for log in logs] == [4, 6, 6]
    assert logs[1].splitlines()[:3] == logs[0].splitlines()[:3]
    for code in others:
        exec(code, found)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("KeepBest(term='validation_loss'), best ")
    assert printed[3:5] == ["20", "40"]
    assert len(found["steps"].history["step"]) == 3  # type: ignore[attr-defined]
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(ModuleNotFoundError, match="tensorboard"):
            found["tensorboard"]("runs/board")  # type: ignore[operator]
