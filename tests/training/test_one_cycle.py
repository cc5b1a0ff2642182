"""`one_cycle`: its shape, what `fit` makes of it, and bad input."""

import copy

import pytest
import torch
from zoo import images, member

from vaezoo import Bound, fit
from vaezoo.training import one_cycle


@pytest.mark.parametrize(
    ("steps", "warm_up"), [(1, 0.1), (2, 0.0), (7, 1.0), (100, 0.3), (1e3, 0.1)]
)
def test_it_rises_in_a_line_and_falls_to_nothing(steps, warm_up):
    rate = one_cycle(0.5, steps, warm_up=warm_up)
    steps = int(steps)
    rates = [rate(i) for i in range(steps)]
    rising = max(round(warm_up * steps), 1)
    assert rates[:rising] == pytest.approx([0.5 * (i + 1) / rising for i in range(rising)])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)
    assert min(rates) > 0
    assert (rate(steps), rate(3 * steps)) == (0.0, 0.0)


def test_halfway_down_is_half():
    rate = one_cycle(1.0, 111, warm_up=10 / 111)  # done 10 at the top, 112 at nothing
    assert rate(60) == pytest.approx(0.5, abs=1e-12)


def test_fit_follows_it():
    """The weights are those of an Adam that is given each rate by hand."""
    rate, batch = one_cycle(0.01, 6), images(8)
    torch.manual_seed(0)
    by_fit = member("VAE")
    by_hand = copy.deepcopy(by_fit)
    torch.manual_seed(1)
    fit(by_fit, [batch], steps=6, lr=rate, progress=False)
    torch.manual_seed(1)
    bound, optimizer = Bound(by_hand), torch.optim.Adam(by_hand.parameters())
    for step in range(6):
        optimizer.param_groups[0]["lr"] = rate(step)
        optimizer.zero_grad()
        bound(batch)["loss"].backward()
        optimizer.step()
    for ours, theirs in zip(by_fit.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 10), "peak must be a number above 0, got 0.0"),
        ((-1.0, 10), "peak must be a number above 0, got -1.0"),
        (("a", 10), "peak must be a number above 0, got 'a'"),
        ((1.0, 0), "steps must be"),
        ((1.0, 2.5), "steps must be"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        one_cycle(*arguments)
    with pytest.raises(ValueError, match="warm_up must be a share from 0 to 1, got 2"):
        one_cycle(1.0, 10, warm_up=2)
