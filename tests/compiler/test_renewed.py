"""Code that is renewed in place, as a reload has it, and code of modules that nobody registered."""

from __future__ import annotations

import functools
import gc
import importlib.util
import runpy
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from own_pair import OwnPair, trained
from torch import Tensor, nn

from vaezoo import Step
from vaezoo.compiler.libraries import is_in_a_library
from vaezoo.compiler.state import State

SOURCE = """
def head(by=1.0, *, at=1.0):
    return by * at

class Net:
    gain = 1.0
    def factor(self):
        return self.gain
    @property
    def half(self):
        return self.gain
    @staticmethod
    def whole():
        return 1.0

class Bare:
    gain = 1.0
"""


class Read(OwnPair):
    """With a factor that `read` finds."""

    def __init__(self, read: Callable[[], float]) -> None:
        super().__init__()
        self.read = read

    def scale(self, h: Tensor) -> Tensor:
        return h * self.read()


def both(make: Callable[[], tuple[Callable[[], float], Callable[[], Any]]]) -> str:
    """How steps run where what is read changes from the fourth on: losses are the eager ones."""
    found, ways = [], ""
    for backend in (None, "eager"):
        read, change = make()

        def between(step: Step, i: int, change: Callable[[], Any] = change) -> None:
            if i == 3:
                change()

        make_pair = functools.partial(Read, read)
        losses, _, ways = trained(make_pair, between, backend=backend, steps=6)
        found.append(losses)
    assert found[1] == pytest.approx(found[0], rel=1e-12)
    return ways


def of_main() -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(SOURCE, scope)
    return scope


def five() -> float:
    return 5.0


def five_of(net: Any) -> float:
    return 5.0


Renewal = Callable[[dict[str, Any]], tuple[Callable[[], float], Callable[[], Any]]]
RENEWED: dict[str, Renewal] = {
    "code": lambda s: (s["head"], lambda: setattr(s["head"], "__code__", five.__code__)),
    "defaults": lambda s: (s["head"], lambda: setattr(s["head"], "__defaults__", (5.0,))),
    "names' defaults": lambda s: (
        s["head"],
        lambda: setattr(s["head"], "__kwdefaults__", {"at": 5.0}),
    ),
    "one default": lambda s: (s["head"], lambda: s["head"].__kwdefaults__.update(at=5.0)),
    "a method": lambda s: (
        s["Net"]().factor,
        lambda: setattr(s["Net"].factor, "__code__", five_of.__code__),
    ),
    "a getter": lambda s: (
        (lambda net: lambda: net.half)(s["Net"]()),
        lambda: setattr(s["Net"].half.fget, "__code__", five_of.__code__),
    ),
    "a static method": lambda s: (
        (lambda net: lambda: net.whole())(s["Net"]()),
        lambda: setattr(s["Net"].whole, "__code__", five.__code__),
    ),
    "a part of a function": lambda s: (
        functools.partial(s["head"], at=1.0),
        lambda: setattr(s["head"], "__defaults__", (5.0,)),
    ),
    "a cached function": lambda s: (
        (lambda cached: lambda: cached(cached.cache_clear()))(
            functools.lru_cache(lambda _: s["head"]())
        ),
        lambda: setattr(s["head"], "__defaults__", (5.0,)),
    ),
    "a decorated function": lambda s: (
        torch.no_grad()(s["head"]),
        lambda: setattr(s["head"], "__defaults__", (5.0,)),
    ),
}


@pytest.mark.parametrize("name", RENEWED)
def test_code_that_is_renewed_in_place_makes_a_new_graph(name: str) -> None:
    """Losses are the eager ones to 1e-12, and steps are compiled before the change and after it."""
    assert both(lambda: RENEWED[name](of_main())) == "ecccec"


def test_code_that_a_program_renews_is_seen_and_put_back() -> None:
    """By the names of what it renews, and as it was: the very objects."""
    head = of_main()["head"]
    state, before = State({"head": head}), (head.__code__, head.__defaults__)
    head.__code__, head.__defaults__ = five.__code__, None
    assert state.changes() == ["__code__ of head", "__defaults__ of head"]
    assert not state.is_current()
    state.restore()
    assert state.is_current()
    assert (head.__code__, head.__defaults__) == before


def test_functions_of_libraries_cost_a_guard_nothing() -> None:
    assert not State({"linear": nn.Linear(1, 1), "f": nn.init.ones_}, only=frozenset())._functions


def unregistered(path: Path, name: str) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def executed(scope: dict[str, Any]) -> dict[str, Any]:
    exec(SOURCE, scope)
    return scope


MODULES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "a file": lambda path: unregistered(path, "mynet"),
    "a file in a package": lambda path: unregistered(path, "mypackage.mynet"),
    "exec": lambda path: executed({}),
    "exec with a name": lambda path: executed({"__name__": "mynet"}),
    "run_path": lambda path: runpy.run_path(str(path)),
    "a module made by hand": lambda path: executed(vars(types.ModuleType("mynet"))),
}
READ: dict[str, Renewal] = {
    "a class": lambda s: (s["Net"]().factor, lambda: setattr(s["Net"], "gain", 5.0)),
    "a class without methods": lambda s: (
        (lambda bare: lambda: bare.gain)(s["Bare"]()),
        lambda: setattr(s["Bare"], "gain", 5.0),
    ),
    "an object": lambda s: (
        (net := s["Net"]()).factor,
        lambda: setattr(net, "gain", 5.0),
    ),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "mynet.py").write_text(SOURCE)
    return tmp_path / "mynet.py"


@pytest.mark.parametrize("module", MODULES)
def test_classes_of_modules_that_nobody_registered_are_ones_own(module: str, path: Path) -> None:
    scope = MODULES[module](path)
    assert not is_in_a_library(scope["Net"])
    assert not is_in_a_library(scope["Bare"])


@pytest.mark.parametrize(
    ("module", "read"),
    [("a file", "a class"), ("exec", "an object"), ("run_path", "a class without methods")],
)
def test_classes_that_nobody_registered_are_watched(module: str, read: str, path: Path) -> None:
    """Losses are the eager ones to 1e-12, and steps are compiled before the change and after it."""
    assert both(lambda: READ[read](MODULES[module](path))) == "ecccec"


def test_a_module_that_nobody_registered_is_watched() -> None:
    """Where it is itself what a program looks into."""

    def make() -> tuple[Callable[[], float], Callable[[], Any]]:
        module = types.ModuleType("mynet")
        exec("GAIN = 1.0", vars(module))
        return lambda: module.GAIN, lambda: setattr(module, "GAIN", 5.0)

    assert both(make) == "ecccec"


def test_a_namesake_of_a_standard_module_is_ones_own(path: Path) -> None:
    """Of a class, where its methods are written says so."""
    assert not is_in_a_library(unregistered(path, "queue")["Net"])
    assert not is_in_a_library(unregistered(path, "random")["Net"])


def test_classes_and_modules_of_libraries_stay_theirs() -> None:
    """All classes that were made so far, by C too, those of functions, and of no known file."""
    gc.collect()  # what other tests made
    found, waiting = set[type](), [object]
    while waiting:
        found.add(cls := waiting.pop())
        waiting += set(type.__subclasses__(cls)) - found
    names = ("torch", "numpy", "pyro", "builtins", "collections", "vaezoo", "time", "pyexpat")
    of_libraries = [c for c in found if str(c.__module__).partition(".")[0] in names]
    assert len(of_libraries) > 1000
    # what Inductor has written is in a folder of its own
    elsewhere = ("builtins", "torch._inductor.runtime.compile_tasks")
    own = {c for c in of_libraries if not is_in_a_library(c)}
    own = {c for c in own if not c.__module__.startswith(elsewhere)}
    assert not own
    for cls in (int, type(None), types.FunctionType, Tensor, nn.Parameter, np.ndarray, np.float32):
        assert is_in_a_library(cls)
    for module in (torch.ops, torch.ops.aten, torch.classes, torch.backends.mkldnn, torch._C, gc):
        assert is_in_a_library(module)
