"""The error that says what is wrong with a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["CheckpointError", "blamed_on"]


class CheckpointError(ValueError):
    """A file that is no checkpoint, or one of another model than the one at hand."""


@contextlib.contextmanager
def blamed_on(path: Path, what: str) -> Iterator[None]:
    """Within it every error is a `CheckpointError` that begins with the path, and says what.

    Example:
        >>> with blamed_on(Path("a.safetensors"), "describes no model"):
        ...     int("three")
        Traceback (most recent call last):
        ...
        vaezoo...CheckpointError: a.safetensors describes no model: ValueError ...
    """
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from error
    except Exception as error:  # whatever a damaged file makes a constructor or a reader raise
        reason = f"{type(error).__name__} {error}".splitlines()[0][:200]
        raise CheckpointError(f"{path} {what}: {reason}") from error
