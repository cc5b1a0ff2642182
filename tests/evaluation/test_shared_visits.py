"""Questions to a model in several processes: every image once, in order."""

from __future__ import annotations

from typing import Any

import torch
from linear import Linear
from several import in_processes
from zoo import fixed, labels, member

from vaezoo.evaluation import disentanglement, evidence, rate, report, units
from vaezoo.training.processes import RankFailed, alone


def _found(rank: int) -> dict[str, Any]:
    """What does not depend on noise: log p(x) by an exact posterior, and its units."""
    torch.manual_seed(0)
    linear = Linear()
    x = linear.draw(13).split(5)
    with alone():
        one = evidence(linear.vae, x, 25, progress=False)["log_px"]
    both = evidence(linear.vae, x, 25, progress=False)["log_px"]
    return {"one": one, "both": both, "units": units(linear.vae, x, progress=False)["z"].variance}


def test_two_processes_find_what_one_does() -> None:
    first, second = in_processes(_found)
    for found in (first, second):
        torch.testing.assert_close(found["both"].values, found["one"].values, rtol=1e-12, atol=0)
    assert torch.equal(first["units"], second["units"])


def _mixed() -> Any:
    torch.manual_seed(0)
    return member("GMVAE"), list(zip(fixed(14).split(4), labels(14).split(4), strict=True))


def _rates(rank: int) -> dict[str, Any]:
    """Of data that are the same, of shares, and of a share that is empty; of one process."""
    model, batches = _mixed()
    given = {
        "the same": (batches, batches, 2000),
        "shares": (batches[rank::2], batches, 2000),
        "a part of shares": (batches[rank::2], batches, 10),
        "an empty share": ([] if rank else batches, batches, 2000),
    }
    found = {}
    for name, (own, whole, n) in given.items():
        found[name] = rate(model, own, images=n, progress=False)
        with alone():
            assert found[name] == rate(model, whole, images=n, progress=False), name
    return {name: each["mutual_information"].n for name, each in found.items()}


def test_a_rate_is_that_of_all_images() -> None:
    """What it is made of depends on their number: to the last digit as one process has it."""
    for found in in_processes(_rates):
        assert found == {"the same": 14, "shares": 14, "a part of shares": 10, "an empty share": 14}


def _reported(rank: int) -> list[Any]:
    model, batches = _mixed()
    found = report(model, [] if rank else batches, particles=25, progress=False)
    numbers = {q: {n: tuple(e) for n, e in each.items()} for q, each in found.numbers.items()}
    return [numbers, *(ask(model, rank) for ask in (_of_few, _held_against_shares))]


def _of_few(model: Any, rank: int) -> str:
    """What is said of one image in all."""
    try:
        rate(model, [] if rank else [fixed(1)], progress=False)
    except ValueError as error:
        return str(error)
    return ""


def _held_against_shares(model: Any, rank: int) -> list[str]:
    said, known = [], {"ink": fixed(14).sum((1, 2, 3))}
    for own in (fixed(14)[7 * rank :][:7].split(4), () if rank else fixed(14).split(4)):
        try:
            disentanglement(model, list(own), known, progress=False)
        except (ValueError, RankFailed) as error:
            said.append(str(error))
    found = disentanglement(model, fixed(14).split(4), known, progress=False)
    return [*said, str(found.factors)]


def test_an_empty_share_asks_what_the_others_ask() -> None:
    """A report of the same questions and numbers, and the same refusals, in both processes."""
    (numbers, few, against), (others, *more) = in_processes(_reported)
    assert numbers == others
    assert list(numbers) == ["bounds", "evidence", "rate", "clusters"]
    assert numbers["rate"]["mutual_information"][2] == numbers["clusters"]["nmi"][2] == 14
    assert few == more[0] == "the aggregated posterior needs at least 2 images, got 1"
    for shares, empty, whole in (against, more[1]):
        assert "each process has images of its own" in shares
        assert "each process has images of its own" in empty
        assert whole == "['ink']"
