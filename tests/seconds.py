"""A plugin of pytest that notes the seconds of processors each test took, for `benchmarks.suite`."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest

NOTES = "VAEZOO_SUITE_NOTES"  # names the file where they are noted


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Here, and in the processes that the test started and waited for."""
    before = seconds()
    try:
        return (yield)
    finally:
        took = [now - then for now, then in zip(seconds(), before, strict=True)]
        with Path(os.environ[NOTES]).open("a") as file:
            file.write(json.dumps([item.nodeid, *took]) + "\n")


def seconds() -> tuple[float, float]:
    """Those of this process, and those of its children."""
    t = os.times()
    return t.user + t.system, t.children_user + t.children_system
