"""Processes whose batches are shares already, and objectives that say more of some rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from several import in_processes, one_draw
from torch import Tensor
from zoo import CLASSES, X_SHAPE, member, swapping_at, widen

from vaezoo import fit, objectives
from vaezoo.training.processes import alone

UNLABELLED, LABELLED = (slice(0, 5), slice(5, 7)), (slice(0, 1), slice(1, 4))


def _images(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return (torch.rand(n, *X_SHAPE, generator=generator) > 0.5).double()


def _seeded(step: int) -> float:
    torch.manual_seed(step)
    return 0.05


def _fitted(name: str, batches: Any, shares: dict[int, tuple[int, int]]) -> tuple[Tensor, Any]:
    torch.manual_seed(0)
    model, objective = widen(member(name)).double(), objectives.SemiSupervised(alpha=3.0)
    objective.labelled_fraction = 0.2
    options: dict[str, Any] = {"lr": _seeded, "log_every": 1, "steps": 5, "progress": False}
    with one_draw(shares):
        history = fit(model, batches, objective, optimizer=torch.optim.SGD, **options)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return weights, [history[n] for n in ("loss", "bound", "kl", "log_qy")]


def _of_other_ratios(rank: int) -> dict[str, float]:
    """How far training is from that of one process, which has the batches as wholes."""
    x, few, y = _images(7), _images(4), torch.arange(4) % CLASSES
    rows, labelled = UNLABELLED[rank], LABELLED[rank]
    sizes = {len(x[rows]): (7, rows.start), len(few[labelled]): (4, labelled.start)}
    found = {}
    for name in ("SSVAE", "M1M2"):
        weights, terms = _fitted(name, [(x[rows], few[labelled], y[labelled])], sizes)
        with alone():
            expected, of_one = _fitted(name, [(x, few, y)], {7: (7, 0), 4: (4, 0)})
        found[f"{name}, weights"] = (weights - expected).abs().max().item()
        found[f"{name}, terms"] = (torch.tensor(terms) - torch.tensor(of_one)).abs().max().item()
    return found


def test_shares_of_other_ratios_of_labels_are_one_batch() -> None:
    """Five images and one label, two images and three labels: five steps of both, to 1e-9."""
    for found in in_processes(_of_other_ratios):
        assert len(found) == 4
        assert all(off < 1e-9 for off in found.values()), found


class _OfSome(objectives.ELBO):
    """An ELBO with a term of images whose first pixel is black, and many of all."""

    def estimate(self, model: Any, guide: Any, *batch: Any) -> dict[str, Tensor]:
        terms = super().estimate(model, guide, *batch)
        more = {f"part {i}": terms["kl"].detach() * 0 + i for i in range(40)}
        black = batch[0][..., 0, 0, 0] == 0
        some = {"black": 5 + black.double().mean()} if black.any() else {}
        return {"loss": terms["loss"]} | some | more | terms


def _with_terms_of_some(rank: int) -> Any:
    """Records of five steps; black are an image of rank 0 and both of rank 1, from step 3 on."""
    batches = [torch.ones(n, *X_SHAPE) for n in (3, 2)]
    later = [x.clone() for x in batches]
    later[0][:1], later[1][:] = 0, 0
    model = member("VAE")
    data = [batches[rank]] * 2 + [later[rank], later[rank] if rank else batches[rank]]
    options: dict[str, Any] = {"lr": 0.0, "optimizer": torch.optim.SGD, "progress": False}
    first = fit(model, data, _OfSome(), steps=2, log_every=1, **options)
    both = fit(model, data, _OfSome(), steps=3, log_every=3, **options)
    one = fit(model, data[3:], _OfSome(), steps=1, log_every=1, **options)
    return [{n: v for n, v in dict(h).items() if n != "seconds"} for h in (first, both, one)]


def test_terms_of_some_rows_are_means_over_those() -> None:
    """Of the rows that a process with such a term has; 48 numbers of 32 go in two exchanges."""
    histories, others = in_processes(_with_terms_of_some)
    assert histories == others
    first, both, one = histories
    assert "black" not in first
    assert both["black"] == [pytest.approx((3 * (5 + 1 / 3) + 2 * 6) / 5)]
    assert one["black"] == [6.0]
    assert all(history["part 39"][-1] == 39 for history in histories)
    for history in histories:
        bound = torch.tensor(history["rec"]) - torch.tensor(history["kl"])
        assert torch.allclose(torch.tensor(history["bound"]), bound, atol=1e-4)


def _with_another_prior(rank: int) -> str:
    vae, optimizer, swap = swapping_at(2)
    data = [torch.ones(4, *X_SHAPE)]
    options: dict[str, Any] = {"steps": 6, "log_every": 2, "progress": False}
    with pytest.raises(ValueError, match=r"given prior\.loc, ") as refused:
        fit(vae, data, optimizer=optimizer, callback=swap, **options)
    return f"{refused.value} {refused.value.history['step']}"  # type: ignore[attr-defined]


def test_what_comes_to_the_optimizer_on_the_way_is_refused() -> None:
    """Nobody would average its gradients, and the processes would go apart."""
    for said in in_processes(_with_another_prior):
        assert "make such changes between two calls of fit" in said
        assert said.endswith("[2]")
