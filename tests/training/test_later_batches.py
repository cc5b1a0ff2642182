"""Later batches that `fit` holds against supports, however programs make what they observe of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from vaezoo import fit, likelihoods, models, training
from vaezoo.programs.derivations import Derivations

NAN = float("nan")


def flags(r: Tensor) -> dist.TorchDistribution:
    return dist.Bernoulli(logits=r).to_event(1)


def ten(r: Tensor) -> dist.TorchDistribution:
    return dist.Binomial(10, logits=r).to_event(1)


def columns(r: Tensor) -> dist.TorchDistribution:
    return dist.Binomial(torch.tensor([1.0, 10, 10, 10]), logits=r).to_event(1)


class Pair(nn.Module):
    """A pair that observes what `make` makes of x, by the distribution that `law` makes."""

    def __init__(self, make: Callable[[Tensor], Tensor], law: Callable[[Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(2, 4)
        self.make, self.law, self.runs = make, law, 0

    def model(self, x: Tensor) -> None:
        self.runs += 1
        with pyro.plate("rows", len(x)):
            r = self.decoder(pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1)))
            seen = self.make(x)
            pyro.sample("x", self.law(r[..., : seen.shape[-1]]), obs=seen)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("rows", len(x)):
            loc, raw = self.encoder(x.nan_to_num()).chunk(2, -1)
            q = dist.Normal(loc, nn.functional.softplus(raw))
            pyro.sample("z", q.to_event(1))


def filled(x: Tensor) -> Tensor:
    seen = x.clone()
    seen[x.isnan()] = 0
    return seen


def in_inference(x: Tensor) -> Tensor:
    with torch.inference_mode():
        seen = x + 0
    return seen.clone()


def by_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(x.numpy().copy())


MADE: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Any]]] = {
    "columns": (lambda x: x[:, :2], flags),
    "flipped": (lambda x: x.flip(1).chunk(2, -1)[1], flags),
    "where": (lambda x: torch.where(x.isnan(), torch.zeros_like(x), x), flags),
    "another dtype": (lambda x: x.double().float(), flags),
    "doubled": (lambda x: x * 2, lambda r: dist.Binomial(2, logits=r).to_event(1)),
    "in place": (filled, flags),
    "inference": (in_inference, flags),
    "another library": (by_numpy, flags),
    "a total": (lambda x: x, ten),
    "a total for each column": (lambda x: x, columns),
    "a total for each row": (
        lambda x: x,
        lambda r: dist.Binomial(1 + torch.arange(len(r))[:, None], logits=r).to_event(1),
    ),
    "Geometric": (lambda x: x, lambda r: dist.Geometric(logits=r).to_event(1)),
}  # fmt: skip


GOOD = torch.arange(24.0).reshape(6, 4) // 2 % 2
BAD = torch.full((6, 4), -2.5).where(torch.eye(6, 4) > 0, GOOD)


def trained(pair: Any, *data: Tensor) -> Any:
    return fit(pair, data, steps=len(data), progress=False, compile=False)


@pytest.mark.parametrize("amount", [6, 4])
@pytest.mark.parametrize("case", MADE)
def test_a_later_batch_outside_is_refused_before_its_step(case: str, amount: int) -> None:
    pair = Pair(*MADE[case])
    steps = iter(training.steps(pair, [GOOD, GOOD, BAD[:amount]], steps=3, compile=False))
    next(steps), next(steps)
    before, generator = pair.decoder.weight.clone(), torch.get_rng_state()
    with pytest.raises(ValueError, match="within the support"):
        next(steps)
    assert torch.equal(pair.decoder.weight, before)
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("case", MADE)
def test_later_batches_inside_are_trained_and_cost_a_run_where_it_takes_one(case: str) -> None:
    """Two more runs where torch alone does not say what is observed, or where bounds differ."""
    pair = Pair(*MADE[case])
    trained(pair, GOOD, GOOD, GOOD[:, [1, 0, 3, 2]])
    unsure = case in ("in place", "inference", "another library", "a total for each row")
    assert pair.runs == 4 + 2 * unsure  # once to find what there is to train


def test_a_random_observation_moves_no_generator() -> None:
    found = []
    for known in (False, True):
        pair = Pair(lambda x: torch.bernoulli(x / 2), flags)
        law = flags if known else (lambda r: dist.Bernoulli(logits=r, validate_args=False).to_event(1))  # fmt: skip
        pair.law = law
        found.append(trained(pair, *[GOOD] * 4)["bound"])
    assert found[0] == found[1]


def test_what_is_missing_is_no_doubt_and_hides_none() -> None:
    """NaN where it is filled in; beside it, what is outside is refused."""
    gaps = GOOD.clone()
    gaps[0, 0] = NAN
    for make in (MADE["where"][0], filled):
        assert trained(Pair(make, flags), GOOD, gaps)["step"] == [2]
    both = BAD.clone()
    both[2, 3] = NAN
    for make in (MADE["where"][0], lambda x: x):
        with pytest.raises(ValueError, match="within the support"):
            trained(Pair(make, flags), GOOD, both)


class Own(likelihoods.Likelihood):
    """A likelihood of one's own without a `check`."""

    law: Any = staticmethod(flags)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        return self.law(self._decode(z, y))


@pytest.mark.parametrize("law", [flags, ten, lambda r: dist.Geometric(logits=r).to_event(1)])
@pytest.mark.parametrize("kind", ["VAE", "SSVAE"])
def test_members_with_a_likelihood_of_ones_own(kind: str, law: Any) -> None:
    classes = {"classes": 2} if kind == "SSVAE" else {}
    torch.manual_seed(0)
    own = Own(2, (4,), hidden=(8,), **classes)
    own.law = law
    model = getattr(models, kind)((4,), 2, hidden=(8,), likelihood=own, **classes)
    labels = torch.arange(6) % 2
    good, bad = ([x, GOOD, labels] if classes else [x] for x in (GOOD, BAD))
    options: dict[str, Any] = {"progress": False, "compile": False, "steps": 2}
    assert fit(model, [good, good], **options)["step"] == [2]
    for data in ([bad, good], [good, bad]):
        with pytest.raises(ValueError, match="within the support"):
            fit(model, data, **options)


def test_a_tensor_that_is_changed_behind_its_making_has_no_derivation() -> None:
    x = torch.zeros(2, 3)
    with Derivations([x]) as derivations:
        kept, base = x + 1, x + 2
        part = base[:, :1]
        part.add_(5)
        assert derivations.of(kept) is not None
        assert derivations.of(base) is None
        assert derivations.of(torch.zeros(3)) is None
        named = torch.stack([kept, kept], dim=-1).max(-1).values
        derivation = derivations.of(named)
    assert derivation is not None
    assert torch.equal(derivation.of([x - 1]), x)
