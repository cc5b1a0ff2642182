"""Normals that know their noise, in float64 against dense matrices and in float32 where L is ill-conditioned."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from vaezoo.distributions import DiagonalNormal, FullNormal, LowRankNormal

D, RANK = 4, 2
Parameters = tuple[Tensor, ...]


def full(loc: Tensor, raw: Tensor, *_: Tensor) -> dist.TorchDistribution:
    return FullNormal(
        loc, scale_tril=torch.tril(raw, -1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())
    )


def low_rank(loc: Tensor, raw: Tensor, root: Tensor) -> dist.TorchDistribution:
    return LowRankNormal(loc, raw[..., :RANK], root.exp())


def diagonal(loc: Tensor, raw: Tensor, root: Tensor) -> dist.TorchDistribution:
    return DiagonalNormal(loc, root.exp()).to_event(1)


KINDS: dict[str, Callable[..., dist.TorchDistribution]] = {
    "diagonal": diagonal,
    "full": full,
    "low rank": low_rank,
}


def covariance(kind: str, raw: Tensor, root: Tensor) -> Tensor:
    if kind == "full":
        factor = torch.tril(raw, -1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())
        return factor @ factor.mT
    if kind == "low rank":
        return raw[..., :RANK] @ raw[..., :RANK].mT + torch.diag_embed(root.exp())
    return torch.diag_embed(root.exp().square())


@pytest.fixture
def parameters() -> Parameters:
    """Of three distributions: means, matrices, log-variances."""
    shapes = [(3, D), (3, D, D), (3, D)]
    return tuple(torch.randn(*s, dtype=torch.float64).requires_grad_() for s in shapes)


def dense(kind: str, value: Tensor, loc: Tensor, raw: Tensor, root: Tensor) -> Tensor:
    """The density by the inverse and the determinant of Σ."""
    sigma, diff = covariance(kind, raw, root), value - loc
    square = (diff * torch.linalg.solve(sigma, diff.unsqueeze(-1)).squeeze(-1)).sum(-1)
    return -0.5 * (square + torch.logdet(sigma) + D * math.log(2 * math.pi))


def gradients(total: Tensor, *sources: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(total, sources, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(s) if g is None else g for s, g in zip(sources, found, strict=True)]


def close(some: list[Tensor], others: list[Tensor]) -> bool:
    return all(
        torch.allclose(a, b, rtol=1e-9, atol=1e-10) for a, b in zip(some, others, strict=True)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_density_and_gradients_at_any_value(kind: str, parameters: Parameters) -> None:
    """Against the dense formula, to 1e-9."""
    value = torch.randn(5, 3, D, dtype=torch.float64).requires_grad_()
    found = KINDS[kind](*parameters).log_prob(value)
    expected = dense(kind, value, *parameters)
    assert torch.allclose(found, expected, rtol=1e-10)
    assert close(
        gradients(found.sum(), value, *parameters), gradients(expected.sum(), value, *parameters)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_at_a_draw(kind: str, parameters: Parameters) -> None:
    """Total derivatives at the draw itself; partial ones at a view of it; both to 1e-9."""
    q = KINDS[kind](*parameters).expand([5, 3])
    z = q.rsample()
    weights = torch.randn(5, 3, dtype=torch.float64)
    found, expected = (weights * q.log_prob(z)).sum(), (weights * dense(kind, z, *parameters)).sum()
    assert torch.allclose(found, expected, rtol=1e-10)
    assert close(gradients(found, *parameters), gradients(expected, *parameters))
    view = z.detach().requires_grad_()
    branch = z.view_as(z)
    partial = (weights * q.log_prob(branch)).sum()
    by_branch = gradients(partial, branch)
    assert close(by_branch, gradients((weights * dense(kind, view, *parameters)).sum(), view))
    assert close(gradients(partial, *parameters), gradients(expected, *parameters))


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_is_torchs(kind: str, parameters: Parameters) -> None:
    """The same seed draws what torch's own distribution does, to 1e-12."""
    loc, raw, root = (p.detach() for p in parameters)
    q = KINDS[kind](loc, raw, root)
    torchs: Any = {
        "diagonal": lambda: dist.Normal(loc, root.exp()),
        "full": lambda: dist.MultivariateNormal(loc, scale_tril=q.scale_tril),
        "low rank": lambda: dist.LowRankMultivariateNormal(loc, raw[..., :RANK], root.exp()),
    }[kind]()
    torch.manual_seed(1)
    mine = q.rsample((6,))
    torch.manual_seed(1)
    assert torch.allclose(mine, torchs.rsample((6,)), rtol=1e-12)
    moments = (q.mean, q.variance, q.entropy().reshape(3, -1).sum(-1))
    theirs = (torchs.mean, torchs.variance, torchs.entropy().reshape(3, -1).sum(-1))
    assert close(list(moments), list(theirs))


def test_what_was_written_to_is_no_draw() -> None:
    q = DiagonalNormal(torch.zeros(3), torch.ones(3))
    z = q.rsample()
    with torch.no_grad():
        z += 5
    assert torch.equal(q.log_prob(z), dist.Normal(torch.zeros(3), torch.ones(3)).log_prob(z))
    square = FullNormal(torch.zeros(2, 2), scale_tril=torch.eye(2))
    z = square.rsample()
    assert torch.allclose(
        square.log_prob(z.T), dist.MultivariateNormal(torch.zeros(2), torch.eye(2)).log_prob(z.T)
    )


def ill(kind: str, dtype: torch.dtype) -> Any:
    """Eight distributions whose densities do not survive float32."""
    torch.manual_seed(2)
    loc, below = (
        1e3 * torch.randn(8, 10, dtype=torch.float64),
        100 * torch.randn(8, 10, 10, dtype=torch.float64),
    )
    tril = torch.tril(below, -1) + 1e-3 * torch.eye(10, dtype=torch.float64)
    long = 1e3 * torch.randn(8, 10, 1, dtype=torch.float64)
    columns = torch.cat([long, long + 0.1 * torch.randn(8, 10, 1, dtype=torch.float64)], -1)
    small = torch.full((8, 10), 1e-6 if kind == "low rank" else 3e-5, dtype=torch.float64)
    loc, tril, columns, small = (t.to(dtype) for t in (loc, tril, columns, small))
    if kind == "full":
        return FullNormal(loc, scale_tril=tril)
    if kind == "low rank":
        return LowRankNormal(loc, columns, small)
    return DiagonalNormal(loc, small).to_event(1)


@pytest.mark.parametrize("kind", KINDS)
def test_draws_of_ill_conditioned_normals_have_their_density(kind: str) -> None:
    """float32 against -½ |ε|² - log|L| - … by float64 from the same noise, to 1 % of a nat each."""
    q, exact = ill(kind, torch.float32), ill(kind, torch.float64)
    torch.manual_seed(3)
    z = q.rsample()
    found = q.log_prob(z)
    again = q.log_prob(z.clone())
    noise = (q.base_dist if kind == "diagonal" else q)._drawn.noise
    target = exact.base_dist if kind == "diagonal" else exact
    target.rsample()
    target._drawn = target._drawn._replace(noise=tuple(n.double() for n in noise))
    expected = exact.log_prob(target._drawn.value)
    assert torch.allclose(found.double(), expected, atol=0.01 * 10)
    # what the inverse says of the same numbers; orthogonal columns have none to lose
    if kind != "low rank":
        assert (again.double() - expected).abs().max() > 1.0


def test_no_error_of_linear_algebra() -> None:
    """Columns long and parallel in float32: torch's own has no Cholesky factor for them."""
    q = ill("low rank", torch.float32)
    with pytest.raises(torch.linalg.LinAlgError):
        dist.LowRankMultivariateNormal(q.loc, q.cov_factor, q.cov_diag)
    assert q.log_prob(q.rsample()).isfinite().all()
    assert torch.allclose(q.entropy().double(), ill("low rank", torch.float64).entropy(), atol=1e-2)


def test_an_outer_autocast_changes_no_density(parameters: Parameters) -> None:
    """float32 under autocast to bfloat16, against float32 without, to 1e-5."""
    raw = [p.detach().float() for p in parameters]
    for kind in KINDS:
        q = KINDS[kind](*raw)
        torch.manual_seed(1)
        z = q.rsample()
        expected = q.log_prob(z), q.log_prob(z.clone())
        with torch.autocast("cpu", torch.bfloat16):
            q = KINDS[kind](*raw)
            torch.manual_seed(1)
            drawn = q.rsample()
            assert torch.equal(drawn, z)
            assert torch.allclose(q.log_prob(drawn), expected[0], atol=1e-5)
            assert torch.allclose(q.log_prob(drawn.clone()), expected[1], atol=1e-4)
