"""Tables in documents, each between two marks: <!-- table NAME --> and <!-- end -->."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["filled", "write"]

PLACE = re.compile(r"(<!-- table ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def write(path: Path, tables: Mapping[str, str]) -> None:
    """Put the tables into a document where they have a place."""
    path.write_text(filled(path.read_text(encoding="utf-8"), tables), encoding="utf-8")


def filled(text: str, tables: Mapping[str, str]) -> str:
    """The text with these tables in their places.

    Raises:
        KeyError: there is a place for a table that there is not.
    """
    return PLACE.sub(lambda found: f"{found[1]}{tables[found[2]]}\n{found[3]}", text)
