"""What programs of one's own look up in roundabout ways: a change of it is seen by compiled steps."""

from __future__ import annotations

import array
import collections
import contextvars
import dataclasses
import multiprocessing
import operator
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from own_pair import D, OwnPair, Z, trained
from torch import Tensor, nn

from vaezoo import Bound, Step
from vaezoo.compiler.names import LISTING, names_in
from vaezoo.compiler.state import State


@dataclasses.dataclass
class Settings:
    alpha: float = 1.0
    beta: float = 1.0


class Slotted:
    __slots__ = ("alpha", "beta")

    def __init__(self) -> None:
        self.alpha = self.beta = 1.0


class Base:
    beta = 1.0


class Derived(Base):
    pass


class Meta(type):
    beta = 1.0


class OfMeta(metaclass=Meta):
    pass


class Mine(collections.UserDict[str, float]):
    pass


class Viewed:
    def __init__(self) -> None:
        self.d = {"beta": 1.0}
        self.view = types.MappingProxyType(self.d)


class Configured(OwnPair):
    """With a constant of its own, of which `read` makes a factor."""

    def __init__(self, constant: Any, read: Callable[[Any], float]) -> None:
        super().__init__()
        self.constant, self.read = constant, read

    def scale(self, h: Tensor) -> Tensor:
        return h * self.read(self.constant)


def product(alpha: float, beta: float) -> float:
    return alpha * beta


def by_names(constant: Any) -> float:
    factor = 1.0
    for name in ("alpha", "beta"):
        factor *= getattr(constant, name)
    return factor


def by_pattern(constant: Any) -> float:
    match constant:
        case Settings(alpha=a, beta=b):
            return a * b
    return 0.0


def by_places(constant: Any) -> float:
    match constant:
        case Settings(a, b):
            return a * b
    return 0.0


GETTER = operator.attrgetter("inner.beta")
VARIABLE = contextvars.ContextVar("beta", default=1.0)


def within(settings: Settings) -> types.SimpleNamespace:
    return types.SimpleNamespace(inner=settings)


def set_beta(constant: Any, value: float) -> None:
    constant.beta = value


def set_item(constant: Any, value: float) -> None:
    constant["beta"] = value


def set_first(constant: Any, value: float) -> None:
    constant[0] = value


Case = tuple[Callable[[], Any], Callable[[Any], Any], Callable[[Any, float], Any]]
CASES: dict[str, Case] = {
    "a tuple of names": (Settings, by_names, set_beta),
    "a pattern": (Settings, by_pattern, set_beta),
    "a pattern by places": (Settings, by_places, set_beta),
    "vars": (Settings, lambda c: product(**vars(c)), set_beta),
    "vars of a namespace": (
        lambda: types.SimpleNamespace(alpha=1.0, beta=1.0),
        lambda c: product(*vars(c).values()),
        set_beta,
    ),
    "vars of a class": (
        lambda: type("Made", (), {"__module__": __name__, "beta": 1.0}),
        lambda c: vars(c)["be" + "ta"],
        set_beta,
    ),
    "slots": (
        Slotted,
        lambda c: product(*(getattr(c, n) for n in c.__slots__)),
        set_beta,
    ),
    "__dict__": (Settings, lambda c: product(**c.__dict__), set_beta),
    "asdict": (Settings, lambda c: product(**dataclasses.asdict(c)), set_beta),
    "astuple": (Settings, lambda c: product(*dataclasses.astuple(c)), set_beta),
    "fields": (
        Settings,
        lambda c: product(*(getattr(c, f.name) for f in dataclasses.fields(c))),
        set_beta,
    ),
    "a dotted name": (
        lambda: within(Settings()),
        lambda c: operator.attrgetter("inner.beta")(c),
        lambda c, value: set_beta(c.inner, value),
    ),
    "a getter": (
        lambda: within(Settings()),
        lambda c: GETTER(c),
        lambda c, value: set_beta(c.inner, value),
    ),
    "a base class": (lambda: None, lambda c: Derived.beta, lambda c, value: set_beta(Base, value)),
    "a metaclass": (lambda: None, lambda c: OfMeta.beta, lambda c, value: set_beta(Meta, value)),
    "UserDict": (lambda: collections.UserDict(beta=1.0), lambda c: c["beta"], set_item),
    "one's own UserDict": (lambda: Mine(beta=1.0), lambda c: c["beta"], set_item),
    "another dictionary in a UserDict": (
        lambda: Mine(beta=1.0),
        lambda c: c["beta"],
        lambda c, value: setattr(c, "data", {"beta": value}),
    ),
    "UserList": (lambda: collections.UserList([1.0]), lambda c: c[0], set_first),
    "ChainMap": (
        lambda: collections.ChainMap({}, {"beta": 1.0}),
        lambda c: c["beta"],
        lambda c, value: c.maps[1].update(beta=value),
    ),
    "OrderedDict": (lambda: collections.OrderedDict(beta=1.0), lambda c: c["beta"], set_item),
    "Counter": (lambda: collections.Counter(beta=1), lambda c: c["beta"], set_item),
    "deque": (lambda: collections.deque([1.0]), lambda c: c[0], set_first),
    "array": (lambda: array.array("d", [1.0]), lambda c: c[0], set_first),
    "bytearray": (lambda: bytearray([1]), lambda c: c[0], lambda c, v: set_first(c, int(v))),
    "a shared number": (
        lambda: multiprocessing.Value("d", 1.0),
        lambda c: c.value,
        lambda c, value: setattr(c, "value", value),
    ),
    "a shared array": (lambda: multiprocessing.Array("d", [1.0]), lambda c: c[0], set_first),
    "a view of a dictionary": (
        lambda: Viewed(),
        lambda c: c.view["beta"],
        lambda c, value: c.d.update(beta=value),
    ),
    "a context's variable": (
        lambda: VARIABLE,
        lambda c: c.get(),
        lambda c, value: c.set(value),
    ),
    "a global variable of a context": (
        lambda: None,
        lambda c: VARIABLE.get(),
        lambda c, value: VARIABLE.set(value),
    ),
    "threads": (
        lambda: local(),
        lambda c: c.beta,
        set_beta,
    ),
}


def local() -> threading.local:
    made = threading.local()
    made.beta = 1.0
    return made


def both(make: Callable[[], nn.Module], change: Callable[[Any, float], Any]) -> str:
    """Which steps run compiled, where what is read is 5 in place of 1 from the fourth on."""

    def between(step: Step, i: int) -> None:
        if i == 3:
            change(step.bound.model, 5.0)

    found = []
    for backend in (None, "eager"):
        losses, _, ways = trained(make, between, backend=backend, steps=6)
        change(make(), 1.0)
        found.append(losses)
    assert found[1] == pytest.approx(found[0], rel=1e-12)
    return ways


@pytest.mark.parametrize("name", CASES)
def test_what_is_looked_up_in_a_roundabout_way_is_watched(name: str) -> None:
    """Losses are the eager ones to 1e-12, and steps are compiled before the change and after it."""
    make, read, change = CASES[name]
    ways = both(lambda: Configured(make(), read), lambda pair, value: change(pair.constant, value))
    assert ways == "ecccec"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`ownpkg.config.BETA`, also by a function, and without `__init__` in `ownspace`."""
    for name in ("ownpkg", "ownspace"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "config.py").write_text(
            "BETA = 1.0\ndef scale():\n    return BETA\nclass Holder:\n    beta = 1.0\n"
        )
    (tmp_path / "ownpkg" / "__init__.py").write_text("from . import config, deep\n")
    (tmp_path / "ownpkg" / "deep" / "__init__.py").write_text("from .. import config\n")
    (tmp_path / "ownpkg" / "deep" / "reading.py").write_text(
        "def relative():\n    from ..config import BETA\n    return BETA\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [n for n in sys.modules if n.partition(".")[0] in ("ownpkg", "ownspace")]:
        del sys.modules[name]


READERS: dict[str, str] = {
    "an attribute of a module of a package": "import ownpkg\nread = lambda c: ownpkg.config.BETA",
    "deeper": "import ownpkg\nread = lambda c: ownpkg.deep.config.BETA",
    "a function there": "import ownpkg\nread = lambda c: ownpkg.config.scale()",
    "a function there, from deeper": "import ownpkg\nread = lambda c: ownpkg.deep.config.scale()",
    "an import": "def read(c):\n    from ownpkg.config import BETA\n    return BETA",
    "an import of a module": "def read(c):\n    import ownpkg.config as m\n    return m.BETA",
    "an import of a package": "def read(c):\n    import ownpkg.config\n    return ownpkg.config.BETA",
    "an import of a function": "def read(c):\n    from ownpkg.config import scale\n    return scale()",
    "an import by name": (
        "def read(c):\n    import importlib\n    return importlib.import_module('ownpkg.config').BETA"
    ),
    "a relative import": "from ownpkg.deep.reading import relative\nread = lambda c: relative()",
    "a folder": "import ownspace.config\nread = lambda c: ownspace.config.BETA",
    "a module that is held": "import ownpkg\nread = lambda c: c.config.BETA",
}


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("name", READERS)
def test_modules_of_packages_and_imports_are_watched(name: str) -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(READERS[name], __file__, "exec"), scope)
    import ownpkg

    def change(pair: Any, value: float) -> None:
        for module in ("ownpkg.config", "ownspace.config"):
            if module in sys.modules:
                sys.modules[module].BETA = value

    holder = types.SimpleNamespace(config=ownpkg.config)
    ways = both(lambda: Configured(holder, scope["read"]), change)
    assert ways == "ecccec"


class Other(OwnPair):
    def scale(self, h: Tensor) -> Tensor:
        return 2 * h


class OtherLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Halved(Settings):
    @property
    def factor(self) -> float:
        return 0.5


class Whole(Settings):
    @property
    def factor(self) -> float:
        return 1.0


CLASSES: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], Any], Any, Any]] = {
    "a model": (OwnPair, lambda pair: pair, OwnPair, Other),
    "a layer": (OwnPair, lambda pair: pair.decoder, nn.Linear, OtherLinear),
    "an object": (
        lambda: Configured(Whole(), lambda c: c.factor),
        lambda pair: pair.constant,
        Whole,
        Halved,
    ),
}


@pytest.mark.parametrize("name", CLASSES)
def test_another_class_makes_a_new_graph(name: str) -> None:
    make, of, first, second = CLASSES[name]

    def change(pair: Any, value: float) -> None:
        of(pair).__class__ = second if value == 5.0 else first

    ways = both(make, change)
    assert ways == "ecccec"


def test_a_class_that_a_program_sets_is_seen_and_put_back() -> None:
    pair = OwnPair()
    state = State({"pair": pair})
    pair.__class__ = Other
    assert state.changes() == ["the class of pair"]
    assert not state.is_current()
    state.restore()
    assert type(pair) is OwnPair
    assert state.is_current()


class Denoising(OwnPair):
    """What is read, and what is to come out."""

    def model(self, x: Tensor, y: Tensor) -> None:  # type: ignore[override]
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(Z), 1.0).to_event(1))
            pyro.sample("y", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=y)

    def guide(self, x: Tensor, y: Tensor) -> None:  # type: ignore[override]
        super().guide(x)


@pytest.mark.parametrize("transposed", [False, True])
def test_one_tensor_given_twice_is_two_arguments(transposed: bool) -> None:
    x = torch.rand(8, D, generator=torch.Generator().manual_seed(0))
    x = x.T.contiguous().T if transposed else x
    found = []
    for compiling in (False, True):
        torch.manual_seed(0)
        pair = Denoising()
        step = Step(Bound(pair), torch.optim.Adam(pair.parameters()))
        if compiling:
            step.compile("eager")
        found.append([step(x, x if i < 3 else x + 3)["loss"].item() for i in range(6)])
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    assert step.compiled is not None
    assert step.compiled.made == 1


NO_NAMES: dict[str, tuple[Callable[..., Any], set[str]]] = {
    "names of arguments": (lambda x: x.clamp(min=-9.0, max=9.0), {"min", "max"}),
    "keys": (lambda x: {"loss": x, "batch": 1}, {"loss", "batch"}),
    "an attribute called fields": (lambda x: x.fields + x.dir, {LISTING}),
    "texts in a tuple": (lambda x: x.kind in ("batch", "step"), {"batch", "step"}),
}
NAMES: dict[str, tuple[Callable[..., Any], set[str]]] = {
    "a tuple": (lambda x: [getattr(x, n) for n in ("loss", "batch")], {"loss", "batch"}),
    "vars": (lambda x: vars(x), {LISTING}),
    "a method of dataclasses": (lambda x: dataclasses.asdict(x), {LISTING}),
    "a dictionary": (lambda x: x.__dict__, {LISTING}),
}


@pytest.mark.parametrize("kind", NO_NAMES)
def test_what_is_no_name(kind: str) -> None:
    code, names = NO_NAMES[kind]
    assert names.isdisjoint(names_in(code.__code__))


@pytest.mark.parametrize("kind", NAMES)
def test_what_is_a_name(kind: str) -> None:
    code, names = NAMES[kind]
    assert names <= names_in(code.__code__)


def test_a_loop_over_what_an_argument_is_called_stays_compiled() -> None:
    """The global `obs` of a script changes at each step, and no program reads it."""
    ways = []

    def between(step: Step, i: int) -> None:
        globals()["obs"] = torch.full((2,), float(i))

    try:
        *_, ways = trained(OwnPair, between, backend="eager")
    finally:
        globals().pop("obs", None)
    assert ways.endswith("ccccc")
