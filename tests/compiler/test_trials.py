"""Compiled programs that read numbers in Python, or keep some: none is wrong, and tracing leaves none."""

from __future__ import annotations

import random
import types
import warnings
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from zoo import images, member

from vaezoo import ELBO, Bound, Step
from vaezoo.compiler import trials
from vaezoo.objectives import Objective

N, D = 6, 16
COUNT = 0


class Pair(nn.Module):
    """Its decoder's logits are moved by what `look` says of the batch."""

    counted = 0

    def __init__(self, look: Callable[[Pair, Tensor], Any]) -> None:
        super().__init__()
        self.encoder, self.decoder, self.look = nn.Linear(D, 3), nn.Linear(3, D), look
        self.mean = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.register_buffer("heat", torch.tensor(0.5))
        self.calls, self.record, self.queue = [0], {"n": 0, "of": [0]}, deque([0, 0], maxlen=2)
        self.array, self.names = np.zeros(2), types.SimpleNamespace(n=0)
        self.generators = random.Random(0), np.random.default_rng(0)
        self.slots = Slots()

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), torch.ones(3)).to_event(1))
            logits = self.decoder(z) + self.look(self, x)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), 1.0).to_event(1))


class Slots:
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


def count_globally(pair: Pair, x: Tensor) -> float:
    global COUNT
    COUNT += 1
    return 0.1 * COUNT


def count_in_a_closure() -> Callable[[Pair, Tensor], float]:
    n = 0

    def look(pair: Pair, x: Tensor) -> float:
        nonlocal n
        n += 1
        return 0.1 * n

    return look


def count_on_the_function(pair: Pair, x: Tensor) -> float:
    count_on_the_function.n = getattr(count_on_the_function, "n", 0) + 1  # type: ignore[attr-defined]
    return 0.1 * count_on_the_function.n  # type: ignore[attr-defined]


def count(owner: Callable[[Pair], Any], key: Any) -> Callable[[Pair, Tensor], float]:
    """Of a container or an object, by a key or an attribute."""

    def look(pair: Pair, x: Tensor) -> float:
        o = owner(pair)
        if isinstance(key, str) and not isinstance(o, dict):
            setattr(o, key, getattr(o, key) + 1)
            return 0.1 * getattr(o, key)
        o[key] += 1
        return 0.1 * float(o[key])

    return look


def push(pair: Pair, x: Tensor) -> float:
    pair.queue.append(pair.queue[-1] + 1)
    return 0.1 * sum(pair.queue)


def every_third(pair: Pair, x: Tensor) -> float:
    pair.calls[0] += 1
    return float(x.numpy().mean()) if pair.calls[0] % 3 == 0 else 0.0


def by_storage(pair: Pair, x: Tensor) -> float:
    return sum(x.untyped_storage().tolist()) / 1000


LOOKS: dict[str, Callable[[], Callable[[Pair, Tensor], Any]]] = {
    "numpy": lambda: lambda pair, x: float(x.numpy().mean()),
    "detach().numpy()": lambda: lambda pair, x: float(x.detach().cpu().numpy().max()),
    "tolist": lambda: lambda pair, x: float(np.mean(x.tolist())),
    "asarray": lambda: lambda pair, x: float(np.asarray(x).mean()),
    "__array__": lambda: lambda pair, x: float(x.__array__().mean()),
    "dlpack": lambda: lambda pair, x: float(np.from_dlpack(x).mean()),
    "float": lambda: lambda pair, x: float(x.sum()) / 96,
    "item": lambda: lambda pair, x: (x - x.mean(1, keepdim=True)).square().sum().item() / 96,
    "weights": lambda: lambda pair, x: float(pair.encoder.weight.detach().numpy().sum()),
    "storage": lambda: by_storage,
    "random": lambda: lambda pair, x: random.random(),
    "np.random": lambda: lambda pair, x: float(np.random.rand()),  # noqa: NPY002
    "a Random": lambda: lambda pair, x: pair.generators[0].random(),
    "a Generator": lambda: lambda pair, x: float(pair.generators[1].normal()),
    "seed": lambda: lambda pair, x: (torch.manual_seed(0), x.mean())[1],
    "list": lambda: count(lambda pair: pair.calls, 0),
    "dict": lambda: count(lambda pair: pair.record, "n"),
    "list in dict": lambda: count(lambda pair: pair.record["of"], 0),
    "deque": lambda: push,
    "array element": lambda: count(lambda pair: pair.array, 0),
    "float attribute": lambda: count(lambda pair: pair.names, "n"),
    "slot": lambda: count(lambda pair: pair.slots, "n"),
    "class": lambda: count(type, "counted"),
    "global": lambda: count_globally,
    "closure": count_in_a_closure,
    "function": lambda: count_on_the_function,
    "every third": lambda: every_third,
    "data set": lambda: (
        lambda pair, x: setattr(pair.mean, "data", pair.mean.data + 0.1) or pair.mean
    ),
}


def run(make: Callable[[], Callable[[Pair, Tensor], Any]], *, compiling: bool) -> list[float]:
    """Losses over six batches of growing light, dark ones first, and the state at the end."""
    global COUNT
    COUNT = Pair.counted = count_on_the_function.n = 0  # type: ignore[attr-defined]
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    pair = Pair(make()).double()
    bound = Bound(pair, ELBO())
    if compiling:
        bound.compile("eager")
    torch.manual_seed(1)
    light = torch.linspace(0, 1, D, dtype=torch.float64).expand(N, D)
    batches = [(light > 1 - t).double() for t in (0.0, 0.0, 0.3, 0.6, 0.9, 1.0)]
    losses = [bound(x)["loss"].item() for x in batches]
    return [*losses, pair.mean.item(), pair.calls[0], COUNT, Pair.counted, *pair.array]


@pytest.mark.parametrize("look", LOOKS)
def test_what_a_program_reads_in_python_is_not_frozen(look: str) -> None:
    """Six losses and what was counted, as eagerly to 1e-12, after one warning."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        eager = run(LOOKS[look], compiling=False)
        with pytest.warns(UserWarning, match="the bound runs eagerly") as seen:
            found = run(LOOKS[look], compiling=True)
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert found == pytest.approx(eager, rel=1e-12)
    assert len(set(eager[:6])) == 6


def keep_a_mean(pair: Pair, x: Tensor) -> Tensor:
    with torch.no_grad():
        pair.mean.mul_(0.5).add_(x.mean())
    return pair.mean


def keep_a_mean_through_data(pair: Pair, x: Tensor) -> Tensor:
    pair.mean.data.mul_(0.5).add_(x.data.mean())
    return pair.mean.data


def outside() -> Callable[[Pair, Tensor], Tensor]:
    """An average in a closure and in a container."""
    mean, pairs = (
        torch.zeros((), dtype=torch.float64),
        {"means": [torch.ones((), dtype=torch.float64)]},
    )

    def look(pair: Pair, x: Tensor) -> Tensor:
        mean.mul_(0.5).add_(x.mean())
        pairs["means"][0].add_(mean)
        with torch.no_grad():
            pair.mean.copy_(pairs["means"][0])
        return mean + pairs["means"][0]

    return look


TRACED: dict[str, Callable[[], Callable[[Pair, Tensor], Any]]] = {
    "mean": lambda: keep_a_mean,
    "data": lambda: keep_a_mean_through_data,
    "outside": outside,
    "x.data": lambda: lambda pair, x: x.data.mean(),
    "constants": lambda: lambda pair, x: sum(torch.arange(3.0).tolist()) * x.mean(),
}


@pytest.mark.parametrize("look", TRACED)
def test_what_a_graph_can_repeat_is_compiled_and_counted_once(
    look: str, recwarn: pytest.WarningsRecorder
) -> None:
    eager = run(TRACED[look], compiling=False)
    assert run(TRACED[look], compiling=True) == pytest.approx(eager, rel=1e-12)
    assert not recwarn
    assert len(set(eager[:6])) == 6


def set_the_global(n: int) -> None:
    global COUNT
    COUNT = n


def bump_the_global(pair: Pair) -> None:
    global COUNT
    COUNT += 1


def read_the_global(pair: Pair, x: Tensor) -> float:
    return 0.1 * COUNT


def bump_the_list(pair: Pair) -> None:
    pair.calls[0] += 1


def swap_the_layer(pair: Pair) -> None:
    pair.record["net"] = nn.Linear(D, D).double()


SEEN: list[tuple[Callable[[Pair], Any], Callable[[Pair, Tensor], Any]]] = [
    (bump_the_global, read_the_global),
    (bump_the_list, lambda pair, x: 0.1 * pair.calls[0]),
    (lambda pair: setattr(pair.names, "n", 3), lambda pair, x: 0.1 * pair.names.n),
    (
        lambda pair: setattr(pair.names, "late", 3),
        lambda pair, x: 0.1 * getattr(pair.names, "late", 0),
    ),
    (lambda pair: setattr(pair.slots, "n", 3), lambda pair, x: 0.1 * pair.slots.n),
    (lambda pair: setattr(Pair, "counted", 3), lambda pair, x: 0.1 * pair.counted),
    (lambda pair: pair.array.fill(2.0), lambda pair, x: 0.1 * float(pair.array.sum())),
    (swap_the_layer, lambda pair, x: pair.record["net"](x) if "net" in pair.record else 0.0),
]


@pytest.mark.parametrize(("change", "look"), SEEN)
def test_what_the_code_names_is_watched(
    change: Callable[[Pair], Any], look: Callable[[Pair, Tensor], Any]
) -> None:
    """A change from outside makes a new graph: as eagerly at the next call and later."""
    global COUNT
    COUNT = Pair.counted = 0
    bound, x = (
        Bound(Pair(look).double(), ELBO()).compile("eager"),
        images(dtype=torch.float64).flatten(1),
    )
    bound(x), bound(x)
    change(bound.model)
    for _ in range(3):
        torch.manual_seed(1)
        expected = bound.eager(x)["loss"].item()
        torch.manual_seed(1)
        assert bound(x)["loss"].item() == pytest.approx(expected, rel=1e-12)
    assert bound.compiled is not None
    assert bound.compiled.made == 2
    COUNT = Pair.counted = 0


class Scaled(Objective):
    """With a number in a dictionary of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = {"scale": 1.0}

    def bound(self, terms: Any) -> Tensor:
        return terms.rec.mean() * self.numbers["scale"]


def test_an_objectives_own_numbers_are_watched() -> None:
    bound, x = Bound(member("VAE"), Scaled()).compile("eager"), images()
    losses = []
    for scale in (1.0, 1.0, 1.0, 3.0, 3.0, 3.0):
        bound.objective.numbers["scale"] = scale
        torch.manual_seed(1)
        losses.append(bound(x)["loss"].item() / scale)
    assert losses == pytest.approx([losses[0]] * 6)
    assert bound.compiled is not None
    assert bound.compiled.made == 2


class Layer(nn.Module):
    """A layer of one's own, which torch calls, as its forward and as a hook."""

    def forward(self, x: Tensor) -> Tensor:
        return x + COUNT

    def __call__(self, *args: Any) -> Any:
        return super().__call__(*args) if len(args) == 1 else args[-1] + COUNT


class Weighted(ELBO):
    """An objective of one's own, which objectives call."""

    def bound(self, terms: Any) -> Tensor:
        return super().bound(terms) + COUNT


def placed(where: str) -> Bound:
    pair, objective = Pair(lambda pair, x: 0.0), Weighted() if where == "an objective" else ELBO()
    if where == "a layer of a network":
        pair.encoder = nn.Sequential(Layer(), nn.Linear(D, 3))
    elif where == "a layer inside another":
        pair.encoder = nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(D, 3), Layer())))
    elif where == "a hook":
        pair.encoder.register_forward_hook(Layer())
    return Bound(pair.double(), objective).compile("eager")


@pytest.mark.parametrize(
    "where", ["a layer of a network", "a layer inside another", "a hook", "an objective"]
)
def test_globals_that_code_of_ones_own_reads_are_watched_wherever_it_is(where: str) -> None:
    """Whoever calls it: the loss under a count is the eager one, to 1e-12."""
    bound, x = placed(where), images(dtype=torch.float64)
    try:
        assert [on_step(bound, x, i) for i in (0, 0, 0, 2, 2, 2, 1)] == [True] * 7
        assert bound.compiled is not None
        assert bound.compiled.made >= 1
    finally:
        set_the_global(0)


def test_where_other_batches_are_refused_the_first_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is watched is found there too."""

    def refuse(batch: Any) -> Any:
        return tuple(t[:, :3] for t in batch)

    monkeypatch.setattr("vaezoo.compiler.cache.altered", refuse)
    bound, x = Bound(Pair(read_the_global), ELBO()).compile("eager"), torch.ones(N, D)
    losses = []
    for count in (0, 0, 0, 5, 5):
        set_the_global(count)
        torch.manual_seed(1)
        losses.append(bound(x)["loss"].item())
    set_the_global(0)
    assert losses[:2] == pytest.approx(losses[1:3])
    assert losses[3] == pytest.approx(losses[4])
    assert losses[3] != losses[2]


def test_a_loops_own_records_make_no_new_graph() -> None:
    """They may be attributes of the model: its programs do not name them."""
    pair = Pair(lambda pair, x: 0.0)
    pair.history = []  # type: ignore[assignment]
    bound, x = Bound(pair, ELBO()).compile("eager"), images().flatten(1)
    for _ in range(5):
        pair.history.append(bound(x)["loss"].item())  # type: ignore[operator, union-attr]
        bump_the_list(pair)
    assert bound.compiled is not None
    assert bound.compiled.made == 1


def on_step(bound: Bound, x: Tensor, i: int) -> bool:
    """Whether the loss under that count is the eager one."""
    global COUNT
    COUNT = i
    losses = []
    for call in (bound.eager, bound):
        torch.manual_seed(1)
        losses.append(call(x.flatten(1))["loss"].item())
    return losses[1] == pytest.approx(losses[0], rel=1e-12)


def test_what_changes_at_each_step_is_not_compiled_for_ever() -> None:
    global COUNT
    bound, x = (
        Bound(Pair(read_the_global).double(), ELBO()).compile("eager"),
        images(dtype=torch.float64),
    )
    with pytest.warns(UserWarning, match="changes between steps: the bound runs eagerly"):
        assert [on_step(bound, x, i) for i in range(30)] == [True] * 30
    assert bound.compiled is not None
    assert bound.compiled.made == 5
    COUNT = 0


HOOKS: dict[str, Callable[[Any, list[Any]], Any]] = {
    "forward": lambda m, seen: m.register_forward_hook(lambda *_: seen.append(1)),
    "before": lambda m, seen: m.register_forward_pre_hook(lambda *_: seen.append(1)),
    "backward": lambda m, seen: m.register_full_backward_hook(lambda *_: seen.append(1)),
    "kept": lambda m, seen: m.register_forward_hook(lambda m, i, out: seen.append(out) or out),
    "everywhere": lambda m, seen: nn.modules.module.register_module_forward_hook(
        lambda one, *_: seen.append(1) if one is m else None
    ),
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", HOOKS)
def test_hooks_with_effects_go_on_running(kind: str, late: bool) -> None:
    """One of a module inside, put there before it is compiled or after."""
    counts = []
    for compiling in (False, True):
        seen: list[Any] = []
        vae, x = member("VAE"), images()
        bound = Bound(vae)
        handle = None if late else HOOKS[kind](vae.likelihood.network, seen)
        if compiling:
            bound.compile("eager")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for i in range(6):
                if late and i == 3:
                    handle = HOOKS[kind](vae.likelihood.network, seen)
                bound(x)["loss"].backward()
        handle.remove()  # type: ignore[union-attr]
        assert len(said) == compiling
        counts.append(len(seen))
    assert counts == [3 if late else 6] * 2


def test_hooks_of_the_bound_run_with_a_step() -> None:
    vae, x, seen = member("VAE"), images(), list[int]()
    bound = Bound(vae)
    bound.register_forward_hook(lambda *_: seen.append(1))
    step = Step(bound, torch.optim.Adam(vae.parameters())).compile("eager")
    for _ in range(4):
        step(x)
    assert len(seen) == 4


class Drifting(Objective):
    """Adds what only it knows to the loss, by an object that no walk sees into."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = iter(range(100))

    def bound(self, terms: Any) -> Tensor:
        return terms.rec.mean() + next(self.numbers)


def test_a_number_from_an_iterator_is_found_by_trial() -> None:
    bound, x = Bound(member("VAE"), Drifting()).compile("eager"), images()
    bound(x)
    with pytest.warns(
        UserWarning, match="on another batch the graph and the program differ in loss"
    ):
        bound(x)


@pytest.mark.parametrize("before", [False, True])
def test_numbers_that_torch_does_not_see_taken_are_found_by_trial(
    monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """On an altered batch, and on the one before where altering says nothing."""
    monkeypatch.setattr("vaezoo.compiler.reads.NUMBERS", ())
    if before:
        monkeypatch.setattr("vaezoo.compiler.cache.altered", lambda batch: batch)
    pair = Pair(lambda pair, x: float(x.numpy().mean()))
    bound, x = Bound(pair, ELBO()).compile("eager"), torch.ones(N, D)
    bound(x * 0 if before else x)
    with pytest.warns(UserWarning, match="on another batch the graph and the program differ"):
        bound(x)


def test_a_trial_leaves_no_mark_where_the_compiler_fails_at_its_first_call() -> None:
    """Weights, moments, statistics and random numbers are as eagerly, after one warning."""

    def backend(graph: Any, inputs: Any) -> Any:
        def call(*given: Tensor) -> Any:
            graph(*given)
            raise NameError("name 's11' is not defined")

        return call

    found = []
    for compiling in (False, True):
        torch.manual_seed(0)
        pair = Pair(keep_a_mean)
        step = Step(Bound(pair, ELBO()), torch.optim.Adam(pair.parameters(), lr=0.1))
        x = images().flatten(1)
        if compiling:
            step.compile(backend)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            losses = [step(x)["loss"].item() for _ in range(4)]
        assert [str(w.message).partition(": ")[2] for w in said] == (
            ["the bound runs eagerly: NameError: name 's11' is not defined"] * compiling
        )
        found.append([*losses, pair.mean.item(), pair.encoder.weight.sum().item()])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize(
    ("t", "expected"),
    [
        (torch.tensor([[0.0, 1.0], [0.0, 0.0]]), [[0, 1], [1, 0]]),
        (torch.zeros(2, 2), [[1, 1], [1, 1]]),
        (torch.full((2,), 7.0), [8, 8]),
        (torch.tensor([0, 2, 1]), [1, 2, 2]),
        (torch.tensor([1, 1]), [1, 1]),
        (torch.tensor([True, False]), [True, False]),
        (torch.zeros(0, 3), []),
    ],
)
def test_altered_batches_stay_within_what_a_program_takes(t: Tensor, expected: Any) -> None:
    (found,) = trials.altered((t,))
    assert found.tolist() == expected
    assert found.dtype == t.dtype
