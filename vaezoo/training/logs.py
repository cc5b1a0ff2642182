"""A log of the records of training, as a file that is written while it runs."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

from vaezoo.data.files import write_whole

__all__ = ["Log"]


class Log:
    """Writes each record to a file as it comes: a line of JSON, or of a table.

    The first record begins the file anew, unless a checkpoint goes on with it. A table gets
    another column where a term comes up later; what was missing is empty there.

    Args:
        path: `*.jsonl` for JSON, one object a line; `*.csv` for a table.

    Raises:
        ValueError: the name ends otherwise.
        OSError: when it is called, the file cannot be written.

    Example:
        >>> import tempfile
        >>> log = Log(Path(tempfile.mkdtemp()) / "runs" / "vae.csv")
        >>> log({"step": 100, "loss": 9.0})
        >>> log({"step": 200, "loss": 8.0, "validation_loss": 8.5})
        >>> log.path.read_text().split()
        ['step,loss,validation_loss', '100,9.0,', '200,8.0,8.5']
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise TypeError(f"path must be a path, got {path!r}")
        self.path = Path(os.path.expanduser(path)).absolute()
        if self.path.suffix not in (".csv", ".jsonl"):
            raise ValueError(f"a log is a file *.csv or *.jsonl, got {self.path.name}")
        self._records = 0
        self._columns: list[str] = []

    def __call__(self, record: dict[str, float]) -> None:
        """Add a record."""
        if not self._records:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(b"")
            self._columns = []
        if self.path.suffix == ".jsonl":
            self._add(json.dumps(record) + "\n")
        else:
            self._add_row(record)
        self._records += 1

    def _add(self, line: str) -> None:
        with self.path.open("ab") as stream:
            stream.write(line.encode())

    def _add_row(self, record: dict[str, float]) -> None:
        if new := [name for name in record if name not in self._columns]:
            rows = self._rows()
            self._columns += new
            self._write([self._columns, *(row + [""] * len(new) for row in rows[1:])])
        self._add(_line([record.get(name, "") for name in self._columns]))

    def _rows(self) -> list[list[str]]:
        return list(csv.reader(io.StringIO(self.path.read_text(encoding="utf-8"))))

    def _write(self, rows: list[list[str]]) -> None:
        write_whole(self.path, ["".join(map(_line, rows)).encode()])

    def begin_anew(self) -> None:
        """Another training: its first record begins the file anew."""
        self._records = 0

    def state_dict(self) -> dict[str, Any]:
        """How many records there are, and the name of the file."""
        return {"records": self._records, "file": self.path.name}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind as many records; those that an interrupted run wrote after them go."""
        self._records = state["records"]
        if not self._records or not self.path.exists() or not self.path.stat().st_size:
            self._records = 0
        elif self.path.suffix == ".jsonl":
            lines = self.path.read_bytes().splitlines(keepends=True)
            write_whole(self.path, lines[: self._records])
        else:
            rows = self._rows()[: 1 + self._records]
            self._columns = rows[0]
            self._write(rows)

    def fits_state(self, state: dict[str, Any]) -> bool | None:
        """True for a state of a file of this name; others it takes where they are nobody's."""
        return True if state.get("file") == self.path.name else None


def _line(values: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
