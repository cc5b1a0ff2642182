"""Compiled graphs on disk: what they are known by, what is loaded of them, and what is not kept."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from zoo import images, member

from vaezoo import ELBO, Bound
from vaezoo.compiler import kept, onednn
from vaezoo.compiler.inductor import GRAPHS, _settings
from vaezoo.compiler.orders import Order
from vaezoo.compiler.portable import portable
from vaezoo.compiler.tracing import TracedStep

INPUTS = [torch.randn(3, 4), torch.randn(4), torch.zeros(3, 4)]
TEXT = """
import torch
from torch._inductor.select_algorithm import extern_kernels
from torch._inductor.async_compile import AsyncCompile
from torch._inductor.utils import helper
import torch._inductor.graph
async_compile = AsyncCompile()
kernel_0 = async_compile.cpp_pybinding(["float*"], "C++")
kernel_1 = async_compile.cpp_pybinding(["float*"], "C++")
alias = torch.ops.aten
async_compile.wait(globals())
def call(args):
    {}
def benchmark():
    helper()
"""


def function(x: Tensor, b: Tensor, total: Tensor) -> list[Tensor]:
    """Of a product, noise, a sum, an input that is changed, and two that are handed on."""
    noise = torch.randn_like(x)
    total.add_(x * b + noise)
    return [(x @ x.T).exp().sum(0), total.tanh().mean(), noise, b, x.T]


def graph() -> GraphModule:
    made = make_fx(lambda *a: function(*a))(*(t.clone() for t in INPUTS))
    made.graph.set_codegen(torch.fx.graph.CodeGen())
    made.recompile()
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nothing is kept yet."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    return tmp_path


def outputs(call: Callable[..., Any]) -> list[Tensor]:
    """Of two calls from one seed, and the input that they change."""
    torch.manual_seed(3)
    inputs = [t.clone() for t in INPUTS]
    return [t.clone() for _ in range(2) for t in (*call(*inputs), inputs[2])]


def test_what_is_loaded_is_what_was_compiled(folder: Path) -> None:
    """To 1e-6 the function itself, noise and changed input included; broken files are as none."""
    order = Order(graph(), None, "inductor")
    key = order.key(INPUTS)
    assert key is not None
    assert kept.load(key) is None
    found = outputs(order.compile(INPUTS, key))
    for a, b in zip(found, outputs(function), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    loaded = kept.load(key)
    assert loaded is not None
    assert all(map(torch.equal, outputs(loaded), found))
    file = folder / "vaezoo" / f"{key}.json"
    text = file.read_text()
    record = json.loads(text)
    assert record["kernels"]
    moved = {
        name: (f"{path}.none", f"x{module}") for name, (path, module) in record["kernels"].items()
    }
    for broken in (text[: len(text) // 2], "{}", json.dumps(record | {"kernels": moved})):
        file.write_text(broken)
        assert kept.load(key) is None


def test_the_header_of_torch_is_compiled_once_it_pays(folder: Path) -> None:
    """With five graphs there; a machine that compiles one or two would wait for it in vain."""
    name, config = "cpp_cache_precompile_headers", torch._inductor.config
    assert _settings(config)[name] is False
    (folder / "vaezoo").mkdir()
    for i in range(GRAPHS):
        assert _settings(config)[name] is False
        (folder / "vaezoo" / f"{i}.json").touch()
    assert name not in _settings(config)


def private(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's, as this one sees it: a superuser may read everything."""

    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("exists", "mkdir", "touch", "read_text"):
        monkeypatch.setattr(Path, name, refuses)


def nowhere(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder for temporary files."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", list)


@pytest.mark.parametrize("trouble", [private, nowhere])
def test_a_folder_that_cannot_be_read_has_nothing(
    trouble: Callable[[Path, pytest.MonkeyPatch], None],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept.note("steps")
    assert kept.is_noted("steps")
    trouble(folder, monkeypatch)
    kept.note("steps")
    assert not kept.is_noted("steps")
    assert kept.load("0") is None


def test_files_are_for_whom_the_umask_says(folder: Path) -> None:
    """A folder that several users share is of use to all of them."""
    before = os.umask(0o002)
    try:
        kept.keep("0", "def call(args):\n    return args", {})
    finally:
        os.umask(before)
    (file,) = (folder / "vaezoo").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o664
    loaded = kept.load("0")
    assert loaded is not None
    assert loaded(*INPUTS) == INPUTS


def transposed() -> list[Tensor]:
    return [INPUTS[0].T.contiguous().T, *INPUTS[1:]]


def shared() -> list[Tensor]:
    return [INPUTS[0], INPUTS[0][0], INPUTS[2]]


def trained() -> list[Tensor]:
    return [INPUTS[0].clone().requires_grad_(), *INPUTS[1:]]


@pytest.mark.parametrize("inputs", [transposed, shared, trained])
def test_a_key_tells_inputs_apart(inputs: Callable[[], list[Tensor]]) -> None:
    """By their strides, by whose memory is whose, and by which are trained."""
    assert kept.key_of(graph(), inputs()) != kept.key_of(graph(), INPUTS)


def moved() -> list[Tensor]:
    """The same numbers, further back in their memory."""
    return [torch.cat([t.flatten(), t.flatten()])[t.numel() :].view(t.shape) for t in INPUTS]


def test_a_key_is_the_same_wherever_a_batch_lies_in_its_data() -> None:
    """A run whose first batch is the second of a pass finds the graph of one that began with it."""
    assert all(t.storage_offset() for t in moved())
    assert kept.key_of(graph(), moved()) == kept.key_of(graph(), INPUTS)
    sharing = [INPUTS[0], INPUTS[0][1], INPUTS[2]]
    assert kept.key_of(graph(), sharing) != kept.key_of(graph(), shared())


def test_a_key_is_the_same_after_settings_were_changed_and_put_back() -> None:
    """As they are by each compilation: a run in the same process found no graph of the one before."""
    import torch._inductor.config as config

    before = kept.key_of(graph(), INPUTS)
    names = ("size_asserts", "cpp.simdlen", "post_grad_custom_post_pass")
    with config.patch(dict.fromkeys(names, 16)):
        assert kept.key_of(graph(), INPUTS) != before
    assert not config._is_default("size_asserts")
    assert kept.key_of(graph(), INPUTS) == before


@pytest.fixture
def _another_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    leads = onednn.onednn_leads()
    monkeypatch.setattr(onednn, "onednn_leads", lambda: not leads)


@pytest.fixture
def _more_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def _another_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CPP_SIMDLEN", "0")


@pytest.fixture
def _another_setting() -> Iterator[None]:
    import torch._inductor.config

    with torch._inductor.config.patch({"cpp.simdlen": 0}):
        yield


def test_a_key_is_of_the_graph() -> None:
    """The same for the same graph, made anew; another for another, and with an update behind it."""
    assert kept.key_of(graph(), INPUTS) == kept.key_of(graph(), INPUTS)
    other = graph()
    next(
        n for n in other.graph.nodes if n.target is torch.ops.aten.mul.Tensor
    ).target = torch.ops.aten.add.Tensor
    other.recompile()
    assert kept.key_of(other, INPUTS) != kept.key_of(graph(), INPUTS)
    assert kept.key_of(graph(), INPUTS, "Adam") != kept.key_of(graph(), INPUTS)


def test_a_key_is_of_the_numbers_of_an_objective() -> None:
    """Another β is another graph."""
    x, vae = images(), member("VAE")

    def key(beta: float) -> str | None:
        traced = TracedStep(Bound(vae, ELBO(beta=beta)), (x,))
        return kept.key_of(traced.graph, traced.inputs((x,)))

    assert key(1.0) == key(1.0) != key(3.0)
    assert key(3.0) is not None


@pytest.mark.parametrize(
    "change", ["_another_processor", "_more_threads", "_another_flag", "_another_setting"]
)
def test_a_key_is_of_the_machine_and_its_settings(
    change: str, request: pytest.FixtureRequest
) -> None:
    before = kept.key_of(graph(), INPUTS)
    request.getfixturevalue(change)
    assert kept.key_of(graph(), INPUTS) != before


def test_where_graphs_are_not_kept() -> None:
    """As Inductor is told, and not for tensors that are more than their numbers."""
    import torch._inductor.config

    for setting in ({"fx_graph_cache": False}, {"force_disable_caches": True}):
        with torch._inductor.config.patch(setting):
            assert kept.key_of(graph(), INPUTS) is None

    class More(Tensor):
        pass

    assert kept.key_of(graph(), [INPUTS[0].as_subclass(More), *INPUTS[1:]]) is None
    assert kept.key_of(graph(), [t.to("meta") for t in INPUTS]) is None


def test_a_program_without_inductor() -> None:
    """Of a text, what `call` needs; kernels by their names, and operators that are torch's."""
    torchs = types.SimpleNamespace(mm=torch.mm)
    text, kernels = portable(TEXT.format("return kernel_1(extern_kernels.mm(alias))"), torchs)
    assert text == (
        "import torch\nalias = torch.ops.aten\n"
        "def call(args):\n    return kernel_1(extern_kernels.mm(alias))"
    )
    assert kernels == ["kernel_1"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return helper(args)", "it needs from torch._inductor.utils import helper"),
        ("return extern_kernels.mm(args)", r"it needs extern_kernels\.mm"),
        ("return extern_kernels.own(args)", r"it needs extern_kernels\.own"),
        ("return torch.ops.inductor.seed(1)", r"it needs torch\.ops\.inductor\.seed"),
        ("return torch._inductor.graph.f(1)", r"it needs torch\._inductor"),
        ("return async_compile.later()", "it needs .*AsyncCompile"),
    ],
)
def test_a_program_that_needs_inductor(body: str, message: str) -> None:
    """It is refused, with what it needs, rather than fail in another process."""
    theirs = types.SimpleNamespace(mm=len, own=len)
    with pytest.raises(ValueError, match=message):
        portable(TEXT.format(body), theirs)


HALFWAY = """
import importlib, sys, threading, time
import torch.utils._config_module as config
from vaezoo.compiler import kept

usual = config.install_config_module
config.install_config_module = lambda module: (time.sleep(0.3), usual(module))
name = "torch._inductor.config"
thread = threading.Thread(target=importlib.import_module, args=(name,))
thread.start()
while name not in sys.modules:
    time.sleep(0.001)
kept.is_noted("steps"), kept.settings()
thread.join()
"""


def test_inductor_is_waited_for_where_another_thread_imports_it() -> None:
    """Its settings were read before they were all there, now and then, of two evaluations at once."""
    done = subprocess.run([sys.executable, "-c", HALFWAY], capture_output=True, text=True)
    assert not done.stderr
