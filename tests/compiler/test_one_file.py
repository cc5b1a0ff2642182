"""Several kernels in one C++ file: what they compute, how many files are made, and where it fails."""

from __future__ import annotations

import types
import uuid
from typing import Any

import pytest
import torch
from torch._inductor.async_compile import AsyncCompile
from torch._inductor.cpp_builder import CppBuilder
from torch._inductor.cpu_vec_isa import VecISA

from vaezoo.compiler.inductor import flags_are_known, instructions_of_the_cpu
from vaezoo.compiler.one_file import several_kernels_in_a_file

SOURCE = """
#include <torch/csrc/inductor/cpp_prefix.h>
{before}
static float amount() {{ return {amount}; }}
extern "C" void kernel(const float* in_ptr0, float* out_ptr0, int64_t n) {{
    for (int64_t i = 0; i < n; i++) out_ptr0[i] = in_ptr0[i] + amount();
}}
"""
ONLY_ALONE = "struct Mine {}; template <> struct std::hash<Mine> {};"  # not in a namespace


def compiled(monkeypatch: pytest.MonkeyPatch, n: int, before: str = "") -> tuple[list[Any], int]:
    """Kernels of one graph that add 0, 1, …; and how many files were compiled without an error."""
    build, made = CppBuilder.build, []

    def counted(self: CppBuilder) -> Any:
        built = build(self)
        made.append(self)
        return built

    monkeypatch.setattr(CppBuilder, "build", counted)
    new = f"// {uuid.uuid4()}"  # to a cache on disk
    with several_kernels_in_a_file():
        graph, of = AsyncCompile(), ["const float*", "float*", "int64_t"]
        scope = {
            str(i): graph.cpp_pybinding(of, SOURCE.format(amount=i, before=before + new))
            for i in range(n)
        }
        graph.wait(scope)
    # the header that all share is not one of them
    return [*scope.values()], sum(".main" in str(b.get_target_file_path()) for b in made)


@pytest.mark.parametrize(
    ("n", "before", "files"), [(9, "", 2), (2, ONLY_ALONE, 2)], ids=["together", "only alone"]
)
def test_kernels(monkeypatch: pytest.MonkeyPatch, n: int, before: str, files: int) -> None:
    functions, made = compiled(monkeypatch, n, before)
    for amount, function in enumerate(functions):
        x, y = torch.arange(5.0), torch.zeros(5)
        function(x, y, 5)
        assert y.equal(x + amount)
    assert made == files


def test_inductor_is_left_as_it_was() -> None:
    kept = AsyncCompile.cpp_pybinding, VecISA.check_build
    with pytest.raises(KeyError), several_kernels_in_a_file(), instructions_of_the_cpu():
        raise KeyError
    assert (AsyncCompile.cpp_pybinding, VecISA.check_build) == kept


@pytest.mark.parametrize(("flags", "known"), [("", True), ("-mwarp-drive", False)])
def test_instructions_need_a_compiler_that_knows_them(flags: str, known: bool) -> None:
    assert flags_are_known(types.SimpleNamespace(build_arch_flags=lambda: flags), "") is known
