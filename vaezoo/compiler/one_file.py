"""Several kernels of a graph in one C++ file, where Inductor makes a file of each.

Of the second that a file of one takes to compile, nine tenths go into torch's headers, and a step
has ten to thirty kernels: it takes least in as many files as there are processors. What Inductor
keeps of a graph on disk is the same either way.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch._inductor.async_compile import AsyncCompile, get_compile_threads
from torch._inductor.codecache import CppPythonBindingsCodeCache, LambdaFuture

__all__ = ["several_kernels_in_a_file"]

FEWEST = 5  # kernels in a file, where there are more processors than files
INCLUDE = re.compile(r"^[ \t]*#include.*\n", re.MULTILINE)
Function = Callable[..., Any]


@contextlib.contextmanager
def several_kernels_in_a_file() -> Iterator[None]:
    """Whatever Inductor compiles meanwhile is compiled that way."""
    if get_compile_threads() <= 1:  # then Inductor asks for each kernel at once
        yield
        return
    inductor: Any = AsyncCompile
    alone = inductor.cpp_pybinding
    inductor.cpp_pybinding = _later
    try:
        yield
    finally:
        inductor.cpp_pybinding = alone


def _later(graph: AsyncCompile, argtypes: list[str], source: str) -> LambdaFuture:
    """A kernel, to be compiled with the others of its graph when the first one is asked for."""
    kernels: Kernels = graph.__dict__.setdefault("vaezoo_kernels", Kernels())
    return LambdaFuture(kernels.promise(argtypes, source))


class Kernels:
    """The kernels of one graph."""

    def __init__(self) -> None:
        self._sources: list[tuple[list[str], str]] = []
        self._functions: list[Function] = []

    def promise(self, argtypes: list[str], source: str) -> Callable[[], Function]:
        """What returns this kernel, once all have been promised.

        Args:
            argtypes: the types of its arguments in C.
            source: C++, with a function ``kernel``.
        """
        i = len(self._sources)
        self._sources.append((argtypes, source))
        return lambda: self._compiled()[i]

    def _compiled(self) -> list[Function]:
        if not self._functions:
            try:
                self._functions = _together(self._sources)
            except Exception:  # whatever a later torch makes of it: each by itself, as torch does
                load = CppPythonBindingsCodeCache.load_pybinding
                self._functions = [load(*each) for each in self._sources]
        return self._functions


def _together(sources: Sequence[tuple[list[str], str]]) -> list[Function]:
    n = max(FEWEST, math.ceil(len(sources) / get_compile_threads()))
    starts = range(0, len(sources), n)
    files = [_file(sources[i : i + n]) for i in starts]  # compiled side by side
    return [function for file in files for function in file()]


def _file(sources: Sequence[tuple[list[str], str]]) -> Callable[[], list[Function]]:
    """One file of these kernels, which is being compiled; what returns them waits for that."""
    caches = [_cache_of(i) for i in range(len(sources))]
    code = [cache.bound(*each) for cache, each in zip(caches, sources, strict=True)]
    includes = dict.fromkeys(line for text in code for line in INCLUDE.findall(text))
    spaces = [
        f"namespace of_{cache.entry_function} {{\n{INCLUDE.sub('', text)}\n}}\n"
        for cache, text in zip(caches, code, strict=True)
    ]
    wait = caches[0].load_async("".join((*includes, *spaces)), submit_fn=AsyncCompile.submit)

    def functions() -> list[Function]:
        library = wait()
        modules = [cache._load_library_inner(library.__file__, library.key) for cache in caches]
        return [getattr(m, c.entry_function) for m, c in zip(modules, caches, strict=True)]

    return functions


def _cache_of(i: int) -> Any:
    """Inductor's cache of libraries, for kernel i of a file."""
    return type("Kernel", (_Kernel,), {"entry_function": f"kernel_{i}"})


class _Kernel(CppPythonBindingsCodeCache):
    """A kernel in a file with others: a Python module of its own, in a namespace of its own."""

    @classmethod
    def bound(cls, argtypes: list[str], source: str) -> str:
        """Its source, and the module that calls it."""
        arguments = (
            f"parse_arg<{argtype.replace('const ', '')}>(args, {n})"
            for n, argtype in enumerate(argtypes)
        )
        module = cls.suffix_template.format(
            arg_len=len(argtypes),
            call_entry_func=cls.call_entry_function.format(", ".join(arguments)),
            entry_func=cls.entry_function,
            extra_parse_arg="",
        )
        return source.replace('extern "C"', "") + module
