"""Clusters of points by k-means, from which a mixture starts."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

__all__ = ["k_means"]

ROUNDS = 100


def k_means(points: Tensor, k: int, *, seed: int = 0) -> Tensor:
    """The cluster, 0 to k - 1, of each point (N, D), shape (N,); no cluster is empty.

    Centres start far apart (Arthur, Vassilvitskii. k-means++: The Advantages of Careful Seeding.
    2007, section 2.2); then Lloyd's rounds follow until no point moves, at most 100. Sums are taken
    in float64. PyTorch's global generator is left alone.

    Raises:
        ValueError: fewer than k points differ.

    Example:
        >>> a, b, c, d = k_means(torch.tensor([[0.0], [5.0], [0.1], [5.1]]), 2).tolist()
        >>> a == c, b == d, a == b
        (True, True, False)
    """
    if (different := len(points.unique(dim=0))) < k:
        raise ValueError(f"{k} clusters need as many points that differ, got {different}")
    points = points.double()
    centres = _far_apart(points, k, Generator().manual_seed(seed))
    clusters = torch.full((len(points),), -1, device=points.device)
    for _ in range(ROUNDS):
        distances = torch.cdist(points, centres)
        nearest = _none_empty(distances.argmin(1), distances.amin(1), k)
        if nearest.equal(clusters):
            break
        clusters = nearest
        sums = torch.zeros_like(centres).index_add_(0, clusters, points)
        centres = sums / clusters.bincount(minlength=k).unsqueeze(1)
    return clusters


def _far_apart(points: Tensor, k: int, generator: Generator) -> Tensor:
    """k of the points, each drawn by its squared distance from the nearest one before."""
    first = torch.randint(len(points), (), device="cpu", generator=generator)
    chosen = [points[first]]
    squared = torch.full((len(points),), torch.inf, dtype=points.dtype, device="cpu")
    for _ in range(k - 1):
        squared = squared.minimum((points - chosen[-1]).square().sum(1).cpu())
        chosen.append(points[torch.multinomial(squared, 1, generator=generator)[0]])
    return torch.stack(chosen)


def _none_empty(clusters: Tensor, distances: Tensor, k: int) -> Tensor:
    """Clusters where each that was empty has the point that lay farthest from its own centre."""
    sizes = clusters.bincount(minlength=k)
    for empty in (sizes == 0).nonzero().flatten().tolist():
        farthest = distances.where(sizes[clusters] > 1, -1.0).argmax()
        sizes[clusters[farthest]] -= 1
        sizes[empty] += 1
        clusters[farthest], distances[farthest] = empty, -1.0
    return clusters
