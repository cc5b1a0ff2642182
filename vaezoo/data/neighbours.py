"""Each row's nearest rows, how alike they are, and what spreads among them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vaezoo.data.bars import bar
from vaezoo.data.full_precision import full_precision

__all__ = ["nearest", "similarities", "spread"]

ENTRIES = 2**25  # distances at once: 128 MiB in float32
DOUBT = 1e3  # of the rounding of a product, below which a distance is not told by it
SCALE = 7  # the neighbour whose distance is a row's scale
PRECISION, MOST = 1e-10, 10_000  # of a solution, relative; steps to it


def nearest(features: Tensor, k: int, *, progress: bool = False) -> tuple[Tensor, Tensor]:
    """The k nearest other rows of each row, nearest first, in time that grows as N² D.

    Of twice as many that products of rows say are near, exact distances choose. Rows whose products
    round too much for that are looked at in float64 as well.

    Args:
        features: finite, (N, D).
        k: below N.
        progress: show a bar.

    Returns:
        Their indices (N, k), and their squared Euclidean distances (N, k), in units of a power of 2
        above all features.

    Example:
        >>> indices, squared = nearest(torch.tensor([[0.0], [1.0], [3.0]]), 1)
        >>> indices.flatten().tolist(), (16 * squared).flatten().tolist()
        ([1, 0, 1], [1.0, 1.0, 4.0])
    """
    # a power of 2, which rounds nothing
    x = torch.ldexp(features, -features.abs().max().frexp().exponent.clamp(-120, 120))
    numbers = torch.arange(len(x), device=x.device)
    indices, squared = _nearest(x, numbers, k, progress=progress)
    if x.dtype != torch.float64:
        lengths = (x - x.mean(0)).square().sum(1)
        rounding = torch.finfo(x.dtype).eps * (lengths + lengths.mean())
        doubtful = numbers[squared[:, -1] < DOUBT * rounding]
        if len(doubtful):
            again, far = _nearest(x.double(), doubtful, k, progress=False)
            indices[doubtful], squared[doubtful] = again, far.to(x.dtype)
    return indices, squared


def _nearest(x: Tensor, rows: Tensor, k: int, *, progress: bool) -> tuple[Tensor, Tensor]:
    """`nearest`, of some rows."""
    centred = x - x.mean(0)  # the differences below lose least about 0
    lengths = centred.square().sum(1)
    found = []
    parts = rows.split(max(1, min(ENTRIES // len(x), ENTRIES // (2 * k * max(1, x.shape[1])))))
    shown = bar(len(rows), "row", shown=progress, name="neighbours")
    for part in parts:
        with full_precision(x.device):
            squared = torch.addmm(lengths, centred[part], centred.T, alpha=-2)
        squared[torch.arange(len(part), device=x.device), part] = torch.inf
        near = squared.topk(min(2 * k, len(x) - 1), largest=False).indices
        exact = (x[near] - x[part][:, None]).square().sum(2)
        exact, order = exact.sort(stable=True, dim=1)
        found.append((near.gather(1, order[:, :k]), exact[:, :k]))
        shown.update(len(part))
    shown.close()
    return torch.cat([i for i, _ in found]), torch.cat([s for _, s in found])


def similarities(indices: Tensor, squared: Tensor) -> Tensor:
    """How alike each row and its neighbours are: a_ij = exp(-d_ij² / (σ_i σ_j)).

    σ_i is the distance from i to its seventh neighbour, or to its last where it has fewer.

    Args:
        indices, squared: (N, k), as of `nearest`.

    Returns:
        In [0, 1], (N, k).

    References:
        Zelnik-Manor, Perona. Self-Tuning Spectral Clustering. 2004, section 2.1.

    Example:
        >>> similarities(torch.tensor([[1], [0]]), torch.tensor([[4.0], [4.0]])).log()
        tensor([[-1.],
                [-1.]])
    """
    scale = squared[:, min(SCALE, squared.shape[1]) - 1].sqrt()
    product = (scale[:, None] * scale[indices]).clamp_min(torch.finfo(squared.dtype).tiny)
    return (-squared / product).exp()


def spread(indices: Tensor, similar: Tensor, y: Tensor, *, alpha: float) -> Tensor:
    """F = (1 - α) (I - αS)⁻¹ Y, where S = D^-½ W D^-½, and D has the sums of the rows of W.

    W is symmetric: w_ij = (a_ij + a_ji) / 2, with a of 0 where j is no neighbour of i. F is solved
    for by conjugate gradients, until (I - αS) F is (1 - α) Y to 1e-10, or to what rounding allows.

    Args:
        indices: of each row's neighbours, (N, k).
        similar: a, at least 0, (N, k).
        y: Y (N, K), one-hot rows, or rows of 0.
        alpha: in (0, 1).

    Raises:
        RuntimeError: alpha is too near 1 for that.

    References:
        Zhou, Bousquet, Lal, Weston, Schölkopf. Learning with Local and Global Consistency. 2004,
        section 2.

    Example:
        >>> pair, y = torch.tensor([[1], [0]]), torch.tensor([[1.0], [0.0]])
        >>> spread(pair, torch.ones(2, 1), y, alpha=0.5)
        tensor([[0.6667],
                [0.3333]])
    """

    def averaged(f: Tensor, weights: Tensor) -> Tensor:
        there, back = torch.zeros_like(f), torch.zeros_like(f)
        for neighbour, weight in zip(indices.T, weights.T.unsqueeze(2), strict=True):
            there.addcmul_(weight, f[neighbour])
            back.index_add_(0, neighbour, weight * f)
        return there.add_(back).div_(2)

    degrees = averaged(torch.ones_like(y[:, :1]), similar)[:, 0]
    tiny = torch.finfo(y.dtype).tiny
    normed = similar / (degrees[:, None] * degrees[indices]).sqrt().clamp_min(tiny)
    return _solved(lambda f: f - alpha * averaged(f, normed), (1 - alpha) * y)


def _solved(product: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
    """Conjugate gradients for a symmetric, positive product, each column by itself."""
    solution, rest = torch.zeros_like(right), right
    direction, size = rest, rest.square().sum(0)
    numbers = torch.finfo(right.dtype)
    goal, tiny = max(PRECISION, numbers.eps) ** 2 * size, numbers.tiny
    for _ in range(MOST):
        if bool((size <= goal).all()):
            return solution
        along = product(direction)
        step = size / (direction * along).sum(0).clamp_min(tiny)
        solution, rest = solution + step * direction, rest - step * along
        size, last = rest.square().sum(0), size
        direction = rest + size / last.clamp_min(tiny) * direction
    raise RuntimeError(
        f"what spreads was not found in {MOST:,} steps: take an alpha that is further from 1"
    )
