"""Commands of benchmarks are listed, and answer `--help` before they measure or write anything."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

import benchmarks

FOLDER = Path(benchmarks.__file__).parent
RUN = sorted(p for p in FOLDER.rglob("*.py") if 'if __name__ == "__main__":' in p.read_text())
COMMANDS = [
    ".".join(p.relative_to(FOLDER.parent).with_suffix("").parts).removesuffix(".__main__")
    for p in RUN
    # what benchmarks.speed starts beside itself has one line of JSON to read, not a person's words
    if p.parent.name not in ("peers", "upstream") or p.stem == "__main__"
]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_all_that_it_gives(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    for module in (name, f"{name}.__main__"):  # which other tests may have imported
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(name, run_name="__main__", alter_sys=False)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_every_command_is_listed() -> None:
    listed = benchmarks.__doc__ or ""
    own = [name for name in COMMANDS if name.count(".") == 1]
    assert len(own) > 15
    assert [name for name in own if f"python -m {name} " not in listed] == []
