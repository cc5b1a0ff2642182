"""Whether each known factor of an image has a number of the code to itself.

    mig              mean over factors of [I(z_a; v) - I(z_b; v)] / H(v), a and b being the two
                     units that tell most about v: 1 where one unit alone tells all of it
    disentanglement  1 - H(factors | unit): whether a unit is about one factor
    completeness     1 - H(units | factor): whether a factor is in one unit
    informativeness  R², how well all units together tell the factor

Units are means E_q[z|x]. For the first, codes and factors of many values are put into 20 bins of
equal width. The other three (DCI) are of the importance |w| of each standardised unit in a linear
regression on each factor, a factor of classes being one column a class, with |w| the root of their
mean square, so that two classes weigh as much as a number of two values; the paper takes a lasso or
a forest. The regression is fitted to every other image, and R² is that of the rest.

Information is too high by about (bins - 1) (values - 1) / 2N nats: take thousands of images.

References:
    Chen, Li, Grosse, Duvenaud. Isolating Sources of Disentanglement in Variational Autoencoders.
    2018. arXiv:1802.04942, equation 6.
    Eastwood, Williams. A Framework for the Quantitative Evaluation of Disentangled Representations.
    2018. ICLR.
    Locatello et al. Challenging Common Assumptions in the Unsupervised Learning of Disentangled
    Representations. 2019. arXiv:1811.12359, appendix C, for the bins.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from vaezoo.data.batches import from_array
from vaezoo.data.passes import Data
from vaezoo.estimates import Estimate
from vaezoo.evaluation.visiting import visit
from vaezoo.programs.refusing import check_evaluable, described
from vaezoo.tables import table

__all__ = ["Disentanglement", "disentanglement"]

BINS = 20


@dataclasses.dataclass(frozen=True)
class Disentanglement:
    """How units and factors go together.

    Attributes:
        factors: their names.
        information: I(unit; factor) / H(factor), shape (units, factors).
        importance: |w| of each unit for each factor, shape (units, factors).
        mig: with its standard error over images, by the delta method.
        disentanglement, completeness, informativeness: between 0 and 1.
    """

    factors: list[str]
    information: Tensor
    importance: Tensor
    mig: Estimate
    disentanglement: float
    completeness: float
    informativeness: float

    def __repr__(self) -> str:
        return (
            f"MIG {self.mig}, disentanglement {self.disentanglement:.2f}, "
            f"completeness {self.completeness:.2f}, informativeness {self.informativeness:.2f}"
        )

    def _repr_html_(self) -> str:
        rows = [[f"unit {i}", *(f"{v:.2f}" for v in row)] for i, row in enumerate(self.information)]
        caption = f"{self!r}; I(unit; factor) / H(factor)"
        return table(caption, ["", *self.factors], rows)


def disentanglement(
    model: nn.Module,
    data: Data,
    factors: Mapping[str, Tensor],
    *,
    seed: int = 0,
    batch_size: int = 1000,
    progress: bool = True,
) -> Disentanglement:
    """MIG and DCI of a member's codes, on images whose factors are known.

    Args:
        model: a member; its codes are those of `encode`.
        data: `Images`, binarised once by `seed`, or an iterable of batches.
        factors: by name, values of every image in the order of the data, shape (N,), or (N, m) for
            m factors; integers are classes, floats are numbers. Those of `data.Sprites` will
            do, and of `data.ColourDigits`, but for `source`, which is no factor.
        seed: of binarisation.
        batch_size: images at a time, where data are `Images`.
        progress: show a progress bar.

    Raises:
        TypeError: the model has no `encode`, or factors are no mapping.
        ValueError: a factor is not of as many values as there are images, has but one, or is not
            of finite numbers; the data are shares of several processes.

    Example:
        >>> from vaezoo import data, models
        >>> scenes = data.colour_digits("test", n=500)
        >>> known = {"scale": scenes.factors["scale"], "ink": scenes.factors["foreground"]}
        >>> found = disentanglement(models.FSVAE(), scenes, known, progress=False)
        >>> found.factors, found.information.shape
        (['scale', 'ink 0', 'ink 1', 'ink 2'], torch.Size([10, 4]))
    """
    if not hasattr(model, "encode"):
        raise TypeError(f"disentanglement needs a member with codes, got {described(model)}")
    check_evaluable(model)
    known = _known(factors)
    pair: Any = model

    def look(batch: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
        for j, unit in enumerate(pair.encode(*batch).unbind(-1)):
            yield str(j), unit

    options: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "progress": progress}
    found = visit(model, data, look, in_order=True, **options)
    codes = torch.stack([e.values for e in found.values() if e.values is not None], 1)
    return _of(codes, _columns(known, len(codes)), found["0"])


def _of(codes: Tensor, columns: dict[str, Tensor], like: Estimate) -> Disentanglement:
    information, values = _information(codes, [*columns.values()])
    importance, informativeness = _regressed(codes, [*columns.values()])
    return Disentanglement(
        [*columns],
        information,
        importance,
        like.of_same_images(values),
        _concentration(importance, by_weight=True),
        _concentration(importance.T, by_weight=False),
        informativeness,
    )


def _known(factors: Mapping[str, Any]) -> dict[str, Tensor]:
    """The values of each factor."""
    if not isinstance(factors, Mapping):
        raise TypeError(f'factors must be a dict, {{"scale": …}}, got a {type(factors).__name__}')
    if not factors:
        raise ValueError("expected one factor or more, by name, got none")
    return {name: _numbers(name, values) for name, values in factors.items()}


def _columns(factors: Mapping[str, Tensor], n: int) -> dict[str, Tensor]:
    """Each factor (n,), those of several numbers one by one."""
    columns: dict[str, Tensor] = {}
    for name, factor in factors.items():
        if factor.shape[:1] != (n,) or factor.dim() > 2:
            raise ValueError(
                f"expected factor {name!r} ({n},) or ({n}, m), a row for each image, got "
                f"{tuple(factor.shape)}"
            )
        each = factor.unbind(1) if factor.dim() == 2 else (factor,)
        columns |= {name if factor.dim() == 1 else f"{name} {i}": c for i, c in enumerate(each)}
    for name, column in columns.items():
        if len(column.unique()) < 2:
            raise ValueError(f"factor {name!r} has one value, {column[0].item()}: leave it out")
    return columns


def _numbers(name: str, values: Any) -> Tensor:
    """The values of a factor, on the CPU."""
    try:
        factor = from_array(values).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"factor {name!r} must be of numbers or classes, got {error}") from error
    if not factor.isfinite().all():
        raise ValueError(
            f"factor {name!r} must be of finite numbers, got {factor[~factor.isfinite()][0]}: "
            "leave out images of which it is not known"
        )
    return factor


def _information(codes: Tensor, columns: list[Tensor]) -> tuple[Tensor, Tensor]:
    """I(unit; factor) / H(factor), (units, factors), and values (n,) whose mean is the MIG."""
    binned = [_binned(unit) for unit in codes.unbind(1)]
    shares, gaps = [], []
    for column in columns:
        factor = _binned(column)
        # pointwise log p(j, v) / p(j) p(v), the mean of which is the information
        each = torch.stack([_pointwise(unit, factor) for unit in binned])
        surprise = -_log_share(factor)
        share = each.mean(1) / surprise.mean()
        first, second = share.topk(2).indices.tolist() if len(share) > 1 else (0, 0)
        apart = each[first] - (each[second] if len(share) > 1 else 0)
        gap = apart.mean() / surprise.mean()
        gaps.append(gap + (apart - gap * surprise) / surprise.mean())
        shares.append(share)
    return torch.stack(shares, 1), torch.stack(gaps).mean(0)


def _binned(values: Tensor) -> Tensor:
    """Bins of numbers, or classes as they are, numbered from 0."""
    if values.is_floating_point() and len(values.unique()) > BINS:
        low, high = values.min(), values.max()
        values = ((values - low) / (high - low) * BINS).long().clamp(max=BINS - 1)
    return values.unique(return_inverse=True)[1]


def _pointwise(a: Tensor, b: Tensor) -> Tensor:
    both = a * (int(b.max()) + 1) + b
    return _log_share(both) - _log_share(a) - _log_share(b)


def _log_share(values: Tensor) -> Tensor:
    """log of the share of images that have an image's own value, (n,)."""
    counts = torch.bincount(values).double()
    return (counts / len(values)).log()[values]


def _regressed(codes: Tensor, columns: list[Tensor]) -> tuple[Tensor, float]:
    """|w| of each standardised unit for each factor, (units, factors), and R² elsewhere."""
    # in any order but the data's: of a grid every other image may have one value of a factor
    order = torch.randperm(len(codes), device="cpu", generator=Generator("cpu").manual_seed(0))
    x = _standardised(codes.double())[order]
    weights, shares = [], []
    for column in columns:
        classes = not column.is_floating_point()
        target = functional.one_hot(_binned(column)) if classes else column[:, None]
        y = _standardised(target.double())[order]
        w = torch.linalg.lstsq(x[::2], y[::2], driver="gelsd").solution
        weights.append(w.square().mean(1).sqrt())
        shares.append(1 - (y[1::2] - x[1::2] @ w).square().sum() / y[1::2].square().sum())
    return torch.stack(weights, 1), torch.stack(shares).mean().clamp(0, 1).item()


def _standardised(values: Tensor) -> Tensor:
    """Of mean 0 and variance 1; what does not vary is 0."""
    centred = values - values.mean(0)
    return centred / centred.std(0).clamp(min=1e-9)


def _concentration(importance: Tensor, *, by_weight: bool) -> float:
    """1 less the entropy of each row's shares, 0 of none: a mean over rows, or by their sums."""
    totals = importance.sum(1)
    entropy = torch.special.entr(importance / totals.clamp(min=1e-12)[:, None]).sum(1)
    each = torch.where(totals > 0, 1 - entropy / math.log(max(2, importance.shape[1])), 0)
    rows = totals if by_weight else torch.ones_like(totals)
    return ((each * rows).sum() / rows.sum().clamp(min=1e-12)).item()
