"""Runs that are resumed by calls of another order, and folders in which others put files too."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from own_pair import OwnPair
from several import in_processes
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler
from zoo import fixed, member, swapping_at

from vaezoo import Bound, Step, fit, models, training
from vaezoo.data.batches import columns_of
from vaezoo.data.files import write_whole
from vaezoo.training import Checkpoints, EarlyStopping, KeepBest, Log, ResumeError
from vaezoo.training.loaders import LoaderShare
from vaezoo.training.processes import World

X = fixed(16)


def run(folder: Any, steps: int, *, model: Any = None, **options: Any) -> Any:
    torch.manual_seed(2)
    settings = {"log_every": 2, "every": 2, "progress": False, "compile": False} | options
    if isinstance(folder, Checkpoints):
        del settings["every"]
    return fit(model or member("VAE"), [X[:8], X[8:]], steps=steps, checkpoint=folder, **settings)


def square() -> models.VAE:
    """Two hidden layers of 4: weights of one shape."""
    torch.manual_seed(0)
    return models.VAE((1, 4, 4), 3, hidden=(4, 4))


def decayed(model: nn.Module, *, turned: bool) -> torch.optim.Optimizer:
    """An optimizer that decays matrices alone, given in an order or in its reverse."""
    matrices, others = (
        [p for p in model.parameters() if (p.dim() > 1) == of] for of in (True, False)
    )
    groups = [matrices[::-1], others[::-1]] if turned else [matrices, others]
    options = ({"weight_decay": 0.1}, {"weight_decay": 0.0})
    named = [{"params": g, **o} for g, o in zip(groups, options, strict=True)]
    return torch.optim.AdamW(named, lr=0.01)


@pytest.mark.parametrize("average", [None, 0.9])
def test_the_order_of_an_optimizers_parameters_is_free(average: Any, tmp_path: Path) -> None:
    """Theirs are the moments that they had: weights bitwise as without a break."""
    first, whole, again = square(), square(), square()
    options: dict[str, Any] = {"average": average}
    run(tmp_path / "a", 4, model=first, optimizer=decayed(first, turned=False), **options)
    run(tmp_path / "a", 9, model=again, optimizer=decayed(again, turned=True), **options)
    run(tmp_path / "b", 9, model=whole, optimizer=decayed(whole, turned=False), **options)
    assert all(map(torch.equal, again.parameters(), whole.parameters()))


def _turned_on_rank_1(rank: int, folder: str) -> torch.Tensor:
    for steps in (4, 8):
        model = square()
        run(folder, steps, model=model, optimizer=decayed(model, turned=rank == 1))
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_processes_may_have_other_orders(tmp_path: Path) -> None:
    first, second = in_processes(_turned_on_rank_1, str(tmp_path / "run"))
    assert torch.equal(first, second)


def test_groups_of_others_are_refused(tmp_path: Path) -> None:
    """By name: as many parameters in each group are not the same ones."""

    def one_apart(model: nn.Module, name: str) -> torch.optim.Optimizer:
        alone = dict(model.named_parameters())[name]
        rest = [p for p in model.parameters() if p is not alone]
        return torch.optim.AdamW([{"params": [alone]}, {"params": rest}], lr=0.01)

    first, other = square(), square()
    names = [name for name, p in first.named_parameters() if p.shape == (4,)][:2]
    run(tmp_path, 4, model=first, optimizer=one_apart(first, names[0]))
    said = f"group 0 of the optimizer trained {names[0]}, got {names[1]} in its place"
    with pytest.raises(ResumeError, match=said):
        run(tmp_path, 8, model=other, optimizer=one_apart(other, names[1]))


class WithMore(torch.optim.SGD):
    """An optimizer whose state is of its own kind."""

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"more": 3}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert state_dict.pop("more") == 3
        super().load_state_dict(state_dict)


def test_a_state_of_ones_own_goes_on_in_its_order_alone(tmp_path: Path) -> None:
    for steps in (4, 8):
        vae = member("VAE")
        run(tmp_path, steps, model=vae, optimizer=WithMore(vae.parameters(), lr=0.1, momentum=0.5))
    other = member("VAE")
    turned = WithMore([*other.parameters()][::-1], lr=0.1, momentum=0.5)
    with pytest.raises(ResumeError, match=r"in another order .* and a state of its own kind"):
        run(tmp_path, 12, model=other, optimizer=turned)


class WithAll(torch.optim.SGD):
    """An optimizer that has a state of no parameter."""

    def step(self, closure: Any = None) -> Any:
        self.state["all"] = {"n": self.state.get("all", {"n": 0})["n"] + 1}
        return super().step(closure)


def test_a_state_of_no_parameter_goes_on_in_any_order(tmp_path: Path) -> None:
    for steps, turn in ((4, 1), (8, -1)):
        vae = member("VAE")
        optimizer = WithAll([*vae.parameters()][::turn], lr=0.1, momentum=0.5)
        run(tmp_path, steps, model=vae, optimizer=optimizer)
    assert optimizer.state["all"] == {"n": 8}


class WithOutside(OwnPair):
    """A pair that has two numbers in Pyro's store, which differ in nothing but what they do."""

    def scale(self, h: torch.Tensor) -> torch.Tensor:
        one, other = (pyro.param(name, torch.zeros(1).to(h)) for name in ("one", "other"))
        return h + one + 2 * other**2 + other


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_what_is_outside_a_model_goes_on_by_name(old: bool, turned: bool) -> None:
    """A state that says no names, as older files do, is of the order that the optimizer has."""

    def begun(turn: int) -> Any:
        pyro.clear_param_store()
        torch.manual_seed(1)
        pair = WithOutside()
        frozen = [pair.encoder.bias.requires_grad_(False), pair.decoder.bias.requires_grad_(False)]

        def sgd(parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
            return torch.optim.SGD([*parameters, *frozen][::turn], lr=0.01, momentum=0.9)

        options: dict[str, Any] = {"optimizer": sgd, "average": 0.5, "compile": False}
        return training.steps(pair, [fixed(8)[:, 0, :2, :3].flatten(1)], steps=9, **options)

    def ended(taking: Any) -> list[torch.Tensor]:
        list(taking)
        return [t.detach().clone() for t in (*taking.bound.model.parameters(), *stored())]

    def stored() -> list[torch.Tensor]:
        return [pyro.param("one"), pyro.param("other")]

    first, second = -1, 1 if turned else -1
    whole = ended(begun(first))
    taking = begun(first)
    state = next(copy.deepcopy(taking.state_dict()) for taken in taking if taken.step == 4)
    if old and not turned:
        del state["trained"], state["averaged"]
        state["others"] = state["others"][::-1]
    again = begun(second)
    again.load_state_dict(state)
    assert all(map(torch.equal, ended(again), whole))


def test_a_model_that_grows_back_goes_on(tmp_path: Path) -> None:
    """By a hook of its own that makes the buffer which a callback had made."""

    class Growing(models.VAE):
        def __init__(self) -> None:
            super().__init__((1, 4, 4), 3, hidden=(4,))
            self.register_load_state_dict_pre_hook(Growing.grow)

        @staticmethod
        def grow(self: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
            if f"{prefix}seen" in state and not hasattr(self, "seen"):
                self.register_buffer("seen", torch.zeros(2))

    for steps in (4, 6):
        torch.manual_seed(0)
        vae = Growing()
        seen = lambda record, vae=vae: vae.register_buffer("seen", torch.ones(2))  # noqa: E731
        run(tmp_path, steps, model=vae, callback=seen if steps == 4 else None)
    assert vae.seen.tolist() == [1, 1]


class Counting:
    """A callback of one's own, which may say whose state one is."""

    def __init__(self, name: str) -> None:
        self.name, self.seen = name, 0

    def __call__(self, record: dict[str, float]) -> None:
        self.seen += 1

    def fits(self) -> bool:
        return self.seen > 3

    def state_dict(self) -> dict[str, Any]:
        return {"name": self.name, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


class Named(Counting):
    def fits_state(self, state: dict[str, Any]) -> bool:
        return bool(state["name"] == self.name)


@pytest.mark.parametrize(("kind", "seen"), [(Counting, (4, 2)), (Named, (2, 4))])
def test_states_of_ones_own_go_by_order_or_by_what_they_say(
    kind: type[Counting], seen: tuple[int, int], tmp_path: Path
) -> None:
    run(tmp_path, 4, callback=kind("a"))
    given = [kind("b"), kind("a")]
    run(tmp_path, 8, callback=given)
    assert (given[0].seen, given[1].seen) == seen


def test_a_buffer_that_is_trained_has_a_name(tmp_path: Path) -> None:
    for steps in (4, 8):
        vae = member("VAE")
        vae.register_buffer("extra", torch.zeros(2, requires_grad=True))
        run(tmp_path, steps, model=vae, optimizer=torch.optim.Adam([*vae.parameters(), vae.extra]))


def test_a_model_that_was_changed_on_the_way_is_refused(tmp_path: Path) -> None:
    vae, optimizer, swap = swapping_at(2)
    run(tmp_path, 6, model=vae, optimizer=optimizer, callback=swap)
    again = member("VAE")
    sgd = torch.optim.SGD(again.parameters(), lr=0.1)
    with pytest.raises(ResumeError, match=r"2 groups of parameters, got 1: without prior\.loc, "):
        run(tmp_path, 8, model=again, optimizer=sgd)
    before = copy.deepcopy(again.state_dict())
    given = lambda record: vae.register_buffer("seen", torch.ones(2))  # noqa: E731
    vae = member("VAE")
    run(tmp_path / "b", 4, model=vae, callback=given)
    with pytest.raises(ResumeError, match="changed on the way, by seen: "):
        run(tmp_path / "b", 8, model=again)
    assert all(torch.equal(t, before[name]) for name, t in again.state_dict().items())


def test_a_history_is_the_one_that_the_run_began_with(tmp_path: Path) -> None:
    """Given once more it is where the run began; another one was passed over without a word."""
    first = run(None, 4)
    whole = run(tmp_path / "whole", 6, history=first)
    assert whole["step"] == [2, 4, 6, 8, 10]
    run(tmp_path / "a", 3, history=first)
    found = run(tmp_path / "a", 6, history=json.loads(json.dumps(first)))
    assert (found["step"], found["loss"]) == (whole["step"], whole["loss"])
    assert run(tmp_path / "a", 6) == found
    slower = {**first, "seconds": [s + 1 for s in first["seconds"]]}  # a script that is run again
    assert run(tmp_path / "a", 6, history=slower) == found
    before = Checkpoints(tmp_path / "a").files()
    strange = {"step": [3, 4], "seconds": [1.0, 2.0], "loss": [9.0, 8.0]}
    for other, last in ((found, 10), ({n: v[:1] for n, v in first.items()}, 2), (strange, 4)):
        said = f"history= ends at step {last}, and is not what this run began with, at step 4: to"
        with pytest.raises(ResumeError, match=said):
            run(tmp_path / "a", 8, history=other)
    run(tmp_path / "b", 2)
    with pytest.raises(ResumeError, match=r"history= ends at step 4, .* at step 0"):
        run(tmp_path / "b", 8, history=first)
    assert Checkpoints(tmp_path / "a").files() == before


def test_callbacks_of_a_class_know_their_states(tmp_path: Path) -> None:
    """By term, or file: one more in front takes nobody's, and exchanged ones keep their own."""
    first = member("VAE")
    log = tmp_path / "a.csv"
    before = [KeepBest(first, term="loss"), Log(log)]
    history = run(
        tmp_path / "run", 6, model=first, callback=[*before, stopping("loss"), stopping("kl")]
    )
    assert (before[0].best.value, before[0].best.step) == lowest(history["loss"], history["step"])
    second = member("VAE")
    new, old = KeepBest(second, term="kl", higher=True), KeepBest(second, term="loss")
    others = [stopping("kl"), stopping("loss")]
    given = [new, Log(tmp_path / "b.jsonl"), *others, old, Log(log)]
    history = run(tmp_path / "run", 10, model=second, callback=given)
    later = history["kl"][3:]
    assert (new.best.value, new.best.step) == (max(later), 8 + 2 * int(np.argmax(later)))
    for of, name in ((old, "loss"), (others[0], "kl"), (others[1], "loss")):
        assert (of.best.value, of.best.step) == lowest(history[name], history["step"]), name
    assert [row.partition(",")[0] for row in log.read_text().split()] == ["step", *"2468", "10"]
    assert len((tmp_path / "b.jsonl").read_text().splitlines()) == 2
    with pytest.raises(ResumeError, match=r"KeepBest, whose state would be lost \(term='loss', "):
        run(
            tmp_path / "run", 12, callback=[new, *others, *(g for g in given if isinstance(g, Log))]
        )


def stopping(term: str) -> EarlyStopping:
    return EarlyStopping(99, term=term)


def lowest(values: list[float], steps: list[float]) -> tuple[float, float]:
    place = int(np.argmin(values))
    return values[place], steps[place]


def test_a_log_may_go_on_under_another_name(tmp_path: Path) -> None:
    """As one of another rank has it; who has the name comes before."""
    run(tmp_path / "run", 4, callback=Log(tmp_path / "a.csv"))
    (tmp_path / "a.csv").rename(tmp_path / "b.csv")
    run(tmp_path / "run", 8, callback=Log(tmp_path / "b.csv"))
    run(tmp_path / "run", 10, callback=[Log(tmp_path / "a.csv"), Log(tmp_path / "b.csv")])
    steps = [row.partition(",")[0] for row in (tmp_path / "b.csv").read_text().split()]
    assert steps == ["step", *"2468", "10"]
    assert len((tmp_path / "a.csv").read_text().split()) == 2


def test_a_log_that_was_emptied_begins_anew(tmp_path: Path) -> None:
    for name in ("log.csv", "log.jsonl"):
        run(tmp_path / name, 4, callback=Log(tmp_path / "of" / name))
        (tmp_path / "of" / name).write_text("")
        run(tmp_path / name, 8, callback=Log(tmp_path / "of" / name))
        lines = (tmp_path / "of" / name).read_text().splitlines()
        assert len(lines) == 2 + name.endswith("csv")


@pytest.mark.parametrize(
    "name",
    ["step-2-before.safetensors", "step-best.safetensors", "step-000000002 (copy).safetensors"],
)
def test_files_of_other_names_are_somebody_elses(name: str, tmp_path: Path) -> None:
    run(Checkpoints(tmp_path, 2, last=1), 2)
    (tmp_path / name).write_bytes((tmp_path / "step-000000002.safetensors").read_bytes())
    run(Checkpoints(tmp_path, 2, last=1), 8)
    assert (tmp_path / name).exists()
    assert Checkpoints(tmp_path, 2).files()[-1].name == "step-000000008.safetensors"
    assert run(Checkpoints(tmp_path, 2, last=1), 10)["step"] == [2, 4, 6, 8, 10]


def test_more_steps_than_nine_digits_come_last(tmp_path: Path) -> None:
    for step in ("1000000000", "999999999"):
        (tmp_path / f"step-{step}.safetensors").touch()
    assert [p.stem for p in Checkpoints(tmp_path).files()] == ["step-999999999", "step-1000000000"]


def full_at(step: int) -> Any:
    def full(path: Path, content: Any) -> None:
        if f"{step:09}" in path.name:
            raise OSError(28, "No space left on device")
        write_whole(path, content)

    return full


def test_a_disk_that_is_full_at_the_end_costs_no_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor has the next run to do with it, by the same `Checkpoints`."""
    kept = Checkpoints(tmp_path, 4)
    monkeypatch.setattr("vaezoo.training.checkpointing.write_whole", full_at(6))
    with pytest.raises(OSError, match="No space left") as caught:
        run(kept, 6)
    assert caught.value.history["step"] == [2, 4, 6]  # type: ignore[attr-defined]

    def interrupt(record: dict[str, float]) -> None:
        if record["step"] == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr("vaezoo.training.checkpointing.write_whole", full_at(4))
    with pytest.raises(KeyboardInterrupt):
        run(Checkpoints(tmp_path / "b", 4), 8, callback=interrupt)
    other = Checkpoints(tmp_path / "c", 4)
    with pytest.raises(KeyboardInterrupt):
        run(other, 8, callback=interrupt)
    monkeypatch.setattr("vaezoo.training.checkpointing.write_whole", write_whole)
    assert run(other, 8)["step"] == [2, 4, 6, 8]


def _full_at_the_end(rank: int, folder: str) -> tuple[str, Any]:
    from vaezoo.training import checkpointing

    checkpointing.write_whole = full_at(6)  # type: ignore[assignment]
    try:
        run(folder, 6, every=4)
    except Exception as error:
        return type(error).__name__, error.history["step"]  # type: ignore[attr-defined]
    return "", []


def test_all_processes_have_the_history_of_a_run_whose_end_is_not_kept(tmp_path: Path) -> None:
    found = in_processes(_full_at_the_end, str(tmp_path))
    assert found == [("OSError", [2, 4, 6]), ("RankFailed", [2, 4, 6])]


def test_a_training_that_is_over_loads_no_state() -> None:
    taking = training.steps(member("VAE"), [X], steps=5)
    state = next(copy.deepcopy(taking.state_dict()) for taken in taking if taken.step == 2)
    assert [taken.step for taken in taking] == [3, 4, 5]
    with pytest.raises(RuntimeError, match="this training is over: begin another"):
        taking.load_state_dict(state)
    assert taking.recorder.step == 5


def test_a_sampler_behind_one_of_batches_is_told_the_pass() -> None:
    rows = DistributedSampler(range(12), num_replicas=2, rank=0)
    data = [torch.full((1,), float(i)) for i in range(12)]
    loader = DataLoader(data, batch_sampler=BatchSampler(rows, 3, drop_last=False))
    share = LoaderShare(loader, World(0, 2), 0, columns_of, lambda key: False)
    passes = [torch.cat([x for (x,) in share]).flatten().tolist() for _ in range(3)]
    assert len({tuple(order) for order in passes}) == 3
    for epoch, order in enumerate(passes):
        rows.set_epoch(epoch)
        assert order == list(rows)


def test_a_step_takes_no_optimizer_that_needs_a_closure() -> None:
    bound = Bound(member("VAE"))
    with pytest.raises(
        ValueError, match=r"LBFGS evaluates the loss itself.*optimizer.step\(closure\)"
    ):
        Step(bound, torch.optim.LBFGS(bound.parameters()))
