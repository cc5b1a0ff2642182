"""Why a step could not be compiled, in one line."""

from __future__ import annotations

__all__ = ["reason_of"]


def reason_of(error: Exception) -> str:
    r"""The kind of an error and what it says first, and with what the C++ compiler says first.

    Example:
        >>> reason_of(ValueError("no such op: view\nin frame 3"))
        'ValueError: no such op: view'
        >>> reason_of(OSError("C++ compile error\n\nCommand:\ng++\n\nOutput:\ng++: no input"))
        'OSError: C++ compile error: g++: no input'
    """
    said, _, output = str(error).strip().partition("\nOutput:\n")  # as Inductor tells of a compiler
    lines = (text.strip().partition("\n")[0] for text in (said, output))
    return ": ".join([type(error).__name__, *filter(None, lines)])
