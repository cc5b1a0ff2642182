"""What Inductor made of a graph, as a text that runs without Inductor.

It is a function of Python that asks for memory and calls operators of torch and kernels of C++. The
modules of Inductor that its text imports are for compiling these kernels, and slow to import.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any

import torch

__all__ = ["portable"]

BUILDER = "async_compile"  # by which a text has its kernels compiled
INDUCTOR = "torch._inductor"
OPERATORS = "extern_kernels"  # functions of torch, as Inductor's
BY_TORCH = {"_alloc_from_pool"}  # of torch.ops.inductor, there without Inductor


def portable(source: str, operators: Any) -> tuple[str, list[str]]:
    r"""The text of a function ``call``, and the names of the kernels that it is to find as globals.

    Args:
        source: of a graph, as Inductor writes it for a CPU.
        operators: that Inductor offers to the text as `extern_kernels`; here it is `torch`.

    Raises:
        ValueError: the function needs more of Inductor than that; the message says what.

    Example:
        >>> text = "from torch._inductor import f\ndef call(args):\n    return args"
        >>> portable(text, torch)
        ('def call(args):\n    return args', [])
    """
    needed, kept, kernels = {"call"}, list[ast.stmt](), list[str]()
    for node in reversed(ast.parse(source).body):
        names = needed.intersection(_bound(node))
        if not names:
            continue
        if _is_kernel(node):
            kernels += names
            continue
        _check(node, operators)
        if not _is_of_inductor(node):
            kept.append(node)
        needed |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return "\n".join(map(ast.unparse, reversed(kept))), kernels


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names that a statement binds."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from (a.asname or a.name.partition(".")[0] for a in node.names)
    elif isinstance(node, ast.Assign):
        yield from (t.id for t in node.targets if isinstance(t, ast.Name))


def _is_kernel(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and BUILDER in ast.unparse(node.value).partition("(")[0]


def _is_of_inductor(node: ast.stmt) -> bool:
    """Whether a statement imports from Inductor, by name or as a part of torch."""
    if isinstance(node, ast.Import):
        return all(a.name.startswith(INDUCTOR) for a in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").startswith(INDUCTOR)


def _check(node: ast.stmt, operators: Any) -> None:
    if _is_of_inductor(node) and set(_bound(node)) - {OPERATORS, "torch"}:
        raise ValueError(f"it needs {ast.unparse(node)}")
    for owner, name in _attributes(ast.walk(node)):
        ours = getattr(torch, name, None)
        if owner == OPERATORS and (ours is None or getattr(operators, name) is not ours):
            raise ValueError(f"it needs {owner}.{name}")
        theirs = owner in ("torch.ops.inductor", "inductor_ops") and name not in BY_TORCH
        if theirs or f"{owner}.{name}" == INDUCTOR:
            raise ValueError(f"it needs {owner}.{name}")


def _attributes(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    return ((ast.unparse(n.value), n.attr) for n in nodes if isinstance(n, ast.Attribute))
