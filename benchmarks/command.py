"""The command line of a benchmark that takes no arguments."""

from __future__ import annotations

import argparse

__all__ = ["without_arguments"]


def without_arguments(description: str | None) -> None:
    """Answer `--help`, and refuse all else, before anything is measured."""
    formatter = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=description, formatter_class=formatter).parse_args()
