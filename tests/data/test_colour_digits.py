"""Coloured scenes of digits, and the factors that they were drawn with."""

import pytest
import torch

from vaezoo.data import (
    ColourDigits,
    colour_digits,
    digits,
)
from vaezoo.data.colour_digits import CONTRAST, LUMINANCE


@pytest.fixture(scope="module")
def scenes():
    return colour_digits("test")


def test_colour_digits_are_deterministic(scenes):
    assert repr(scenes) == "ColourDigits(colour_digits test, 2000 × 3×32×32, none)"
    few = colour_digits("test", n=30)
    assert few.pixels.equal(scenes.pixels[:30])
    assert few.labels.equal(digits("test").labels[:30])
    assert not colour_digits("test", n=30, seed=1).pixels.equal(few.pixels)
    train = colour_digits(n=30)
    assert not train.factors["background"].equal(few.factors["background"])
    torch.set_default_dtype(torch.float64)
    try:
        assert colour_digits("test", n=30).pixels.equal(few.pixels)
    finally:
        torch.set_default_dtype(torch.float32)


def test_more_scenes_than_digits_repeat_the_digits_in_other_styles(scenes):
    more = colour_digits("test", n=2300)
    assert len(more) == 2300
    assert more.pixels[:2000].equal(scenes.pixels)
    assert more.factors["source"][1998:2002].tolist() == [1998, 1999, 0, 1]
    assert more.labels[2000:].equal(more.labels[:300])
    assert not more.pixels[2000].equal(more.pixels[0])


def test_ink_stands_out_from_paper(scenes):
    foreground, background = scenes.factors["foreground"], scenes.factors["background"]
    assert ((foreground - background) @ LUMINANCE).abs().min() > CONTRAST - 1e-5
    for colour in (foreground, background):
        assert colour.min() >= 0
        assert colour.max() <= 1
        assert colour.std(0).min() > 0.15


def test_factors_describe_the_scenes(scenes):
    x, _ = scenes.tensors()
    foreground, background = scenes.factors["foreground"], scenes.factors["background"]
    paper = x.flatten(2).median(-1).values  # most of a scene is paper
    assert (paper - background).abs().mean() < 0.05
    # how far each pixel lies on the way from paper to ink, in the middle of the scene
    way = (foreground - background)[:, :, None, None]
    ink = ((x - background[:, :, None, None]) * way).sum(1) / way.square().sum(1)
    assert ink[:, 8:24, 8:24].amax((1, 2)).median() == pytest.approx(1, abs=0.15)
    rows = torch.arange(32.0)
    profile = ink.clamp(0.3, 1).sub(0.3).sum(-1)
    centre = (profile @ rows) / profile.sum(-1)
    assert torch.corrcoef(torch.stack((centre, scenes.factors["shift"][:, 1])))[0, 1] > 0.6


def test_indexing_keeps_factors_aligned(scenes):
    part = scenes[torch.tensor([5, 1500])]
    assert isinstance(part, ColourDigits)
    assert part.factors["source"].tolist() == [5, 1500]
    for name, factor in scenes.factors.items():
        assert len(factor) == 2000
        assert part.factors[name].equal(factor[[5, 1500]])
    few = scenes.labelled(20)
    assert few.labels.equal(digits("test").labels[few.factors["source"]])
