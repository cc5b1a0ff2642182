"""Sites that do not belong to one image each: refused, as Pyro's own ELBO refuses them, or right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer, poutine
from torch import Tensor, nn
from zoo import refused

from vaezoo import ELBO, IWELBO, Bound, evaluate, evaluation
from vaezoo.objectives import Renyi
from vaezoo.programs import run
from vaezoo.programs.closed_forms import closed_form

Program = Callable[[Tensor], None]
X = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([True, False, True])


class Pair(nn.Module):
    def __init__(self, model: Program, guide: Program) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self._model, self._guide = model, guide

    def model(self, x: Tensor) -> None:
        self._model(x)

    def guide(self, x: Tensor) -> None:
        self._guide(x)


def normal(x: Tensor, loc: float = 0.0) -> dist.Normal:
    return dist.Normal(x.new_tensor(loc), 1.0)


def drawn(x: Tensor) -> Tensor:
    z: Tensor = pyro.sample("z", normal(x))
    return z


def of_code(x: Tensor, z: Tensor) -> Any:
    return dist.Normal(z[..., None].expand(*z.shape, 2), 1.0).to_event(1)


def encoded(x: Tensor) -> None:
    with pyro.plate("images", len(x)):
        pyro.sample("z", dist.Normal(x[:, 0], 1.0))


def observing(make: Callable[[Tensor], Tensor]) -> Program:
    def model(x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            pyro.sample("x", dist.Normal(drawn(x), 1.0), obs=make(x))

    return model


def pixels_masked(x: Tensor) -> None:
    with pyro.plate("images", len(x)):
        z = drawn(x)
        with poutine.mask(mask=torch.ones(len(x), 3, dtype=torch.bool)):
            pyro.sample("x", of_code(x, z), obs=x)


def pixels_in_a_plate(x: Tensor) -> None:
    with pyro.plate("images", len(x), dim=-1):
        y = pyro.sample("y", dist.Categorical(x.new_tensor([0.2, 0.8])))
        z = drawn(x)
        with pyro.plate("pixels", 2, dim=-3):
            pyro.sample("x", dist.Normal(z + y, 1.0), obs=x.T[:, None])


def labelled(x: Tensor) -> None:
    with pyro.plate("images", len(x), dim=-1):
        q = dist.Categorical(x.new_tensor([0.6, 0.4]))
        pyro.sample("y", q, infer={"enumerate": "parallel"})
        pyro.sample("z", dist.Normal(x[:, 0], 1.0))


def of_all(size: int) -> tuple[Program, Program]:
    def model(x: Tensor) -> None:
        with pyro.plate("all", size):
            u = pyro.sample("u", normal(x))
        with pyro.plate("images", len(x)):
            pyro.sample("x", of_code(x, drawn(x) + u.sum(-1, keepdim=True)), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("all", size):
            pyro.sample("u", normal(x, 2.0))
        encoded(x)

    return model, guide


def masked_label(program: Program) -> Program:
    def masked(x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            law = dist.Categorical(x.new_tensor([0.2, 0.8])).mask(MASK)
            given = {"infer": {"enumerate": "parallel"}} if program is encoded else {}
            pyro.sample("y", law, **given)
            z = pyro.sample("z", dist.Normal(x[:, 0], 1.0)) if program is encoded else drawn(x)
            if program is not encoded:
                pyro.sample("x", of_code(x, z), obs=x)

    return masked


def plain(x: Tensor) -> None:
    with pyro.plate("images", len(x)):
        pyro.sample("x", of_code(x, drawn(x)), obs=x)


def scaled(program: Program) -> Program:
    def wrapped(x: Tensor) -> None:
        with poutine.scale(scale=torch.tensor([1.0, 2.0, 3.0])):
            program(x)

    return wrapped


SHAPE = (
    r"'x' has (batch shape \({}\), by its value or mask, for 3 images|a distribution of batch shape "
    r"\([^)]*\), and a value or a mask of) .* with to_event"
)
REFUSED: dict[str, tuple[Program, Program, str]] = {
    "pixels of one": (observing(lambda x: x[:, :1]), encoded, SHAPE.format("3, 3")),
    "pixels first": (observing(lambda x: x.T), encoded, SHAPE.format("2, 3")),
    "a mask of pixels": (pixels_masked, encoded, SHAPE.format("3, 3")),
    "a plate over pixels": (pixels_in_a_plate, labelled, "'x' is in the plate 'pixels' besides"),
    "a latent of all": (*of_all(1), "there are plates 'all' of 1 and 'images' of 3, and only one"),
    "latents of all": (*of_all(2), "there are plates 'all' of 2 and 'images' of 3"),
    "a masked label": (masked_label(plain), masked_label(encoded), "'y' is summed out, and is masked"),
    "weights of images": (scaled(plain), scaled(encoded), r"scaled by a tensor of shape \(3,\)"),
}  # fmt: skip
OBJECTIVES = {"ELBO": ELBO(), "IWELBO": IWELBO(4), "Renyi": Renyi(0.5, particles=4)}
test_refused = refused(
    {
        f"{name}, {objective}": (
            lambda m=model, g=guide, o=OBJECTIVES[objective]: o.loss(m, g, X),  # type: ignore[misc]
            ValueError,
            message,
        )
        for name, (model, guide, message) in REFUSED.items()
        for objective in OBJECTIVES
    }
)
test_refused_by_evaluation = refused(
    {
        name: (
            lambda m=model, g=guide: evaluate(Pair(m, g), [X], particles=2, progress=False),  # type: ignore[misc]
            ValueError,
            re.sub(r"\d", r"\\d", message),  # of a few images, which it tries first
        )
        for name, (model, guide, message) in REFUSED.items()
    }
)


@pytest.mark.parametrize("name", ["pixels of one", "pixels first", "a mask of pixels"])
def test_as_pyro_refuses_them(name: str) -> None:
    model, guide, _ = REFUSED[name]
    with pytest.raises(ValueError, match="invalid log_prob shape"):
        infer.Trace_ELBO().loss(model, guide, X)


def test_one_image_is_one() -> None:
    """A mask of its pixels does not make images of them."""
    with pytest.raises(
        ValueError, match=r"'x' has batch shape \(1, 3\), by its value or mask, for 1"
    ):
        run(pixels_masked, encoded, X[:1])


DATA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "of a draw": lambda x, z: x + 0.1 * z[..., None],
    "of a draw without its gradient": lambda x, z: (z[..., None] > 0).double().expand(*z.shape, 2),
    "copied for each draw": lambda x, z: x.expand(*z.shape, 2).clone(),
}


@pytest.mark.parametrize("kind", DATA)
def test_data_of_draws_are_taken(kind: str) -> None:
    """Dequantised images and levels of a latent are other ones for each draw."""

    def model(x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = drawn(x)
            pyro.sample("x", of_code(x, z), obs=DATA[kind](x, z))

    pair = Pair(model, encoded)
    pair.guide = lambda x: encoded(x * pair.weight)  # type: ignore[method-assign]
    assert Bound(pair, IWELBO(5))(X)["loss"].isfinite()


def test_masks_of_images_are_taken() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("images", len(x)), poutine.mask(mask=MASK):
            pyro.sample("x", of_code(x, drawn(x)), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("images", len(x)), poutine.mask(mask=MASK):
            pyro.sample("z", dist.Normal(x[:, 0], 1.0))

    torch.manual_seed(0)
    terms = run(model, guide, X, particles=4)
    assert terms.log_w.shape == (1, 4, 3)
    assert not terms.log_w[..., 1].any()


def test_factors_are_the_same_in_chunks_of_any_size() -> None:
    """What a factor of a latent is has the shape of the draws, and is no data."""

    def model(x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = drawn(x)
            pyro.factor("f", -(z**2))
            pyro.sample("x", of_code(x, z), obs=x)

    losses = []
    for chunk in (None, 2, 5):
        torch.manual_seed(0)
        losses.append(IWELBO(5, chunk=chunk).loss(model, encoded, X))
    assert losses[0] == pytest.approx(losses[2], abs=1e-12)
    assert abs(losses[0] - losses[1]) < 5  # other draws


def test_a_plate_of_the_users_may_have_any_name() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("particles", len(x)):
            pyro.sample("x", of_code(x, drawn(x)), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("particles", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0], 1.0))

    assert run(model, guide, X, particles=3).log_w.shape == (1, 3, 3)


def test_some_of_the_images_are_not_all() -> None:
    """A plate that chooses by itself leaves images out of an evaluation of all."""

    def some(program: Program) -> Program:
        def run_on_some(x: Tensor) -> None:
            with pyro.plate("images", len(x), subsample_size=2) as chosen:
                z = pyro.sample("z", normal(x)) if program is plain else None
                if z is None:
                    pyro.sample("z", dist.Normal(x[chosen][:, 0], 1.0))
                else:
                    pyro.sample("x", of_code(x, z), obs=x[chosen])

        return run_on_some

    pair = Pair(some(plain), some(encoded))
    with pytest.raises(ValueError, match=r"take 2 of 6 images, .*subsample=x\)"):
        evaluate(pair, [torch.cat([X, X])], particles=2, progress=False)


def prior_masked(x: Tensor) -> None:
    with pyro.plate("images", len(x)):
        z = pyro.sample("z", normal(x).mask(False))
        pyro.sample("x", of_code(x, z), obs=x)


def guide_masked(x: Tensor) -> None:
    with pyro.plate("images", len(x)):
        pyro.sample("z", dist.Normal(x[:, 0], 1.0).mask(False))


ANNEALED: dict[str, Any] = {"chains": 64, "temperatures": 50, "progress": False}
test_chains_that_no_density_follows = refused(
    {
        "prior": (
            lambda: evaluation.annealed(Pair(prior_masked, encoded), [X], **ANNEALED),
            ValueError,
            "'z' is masked in the model alone, .*: anneal from start='guide'",
        ),
        "guide": (
            lambda: evaluation.annealed(Pair(plain, guide_masked), [X], start="guide", **ANNEALED),
            ValueError,
            "'z' is masked in the guide alone, .*: anneal from start='prior'",
        ),
    }
)


@pytest.mark.parametrize("start", ["guide", "prior"])
def test_the_other_start_is_right(start: str) -> None:
    """Against quadrature over z; n = 3 images, within 5 of the errors that 64 chains have."""
    masks = {"guide": (prior_masked, encoded), "prior": (plain, guide_masked)}
    pair = Pair(*masks[start])
    found = evaluation.annealed(pair, [X], start=start, **ANNEALED)
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)[:, None]
    log_p = dist.Normal(grid[..., None], 1.0).log_prob(X).sum(-1)
    if start == "prior":
        log_p = log_p + dist.Normal(0.0, 1.0).log_prob(grid)
    exact = log_p.logsumexp(0) + torch.log(grid[1, 0] - grid[0, 0])
    values, errors = found["log_px"].values, found["mc_error"].values
    assert values is not None
    assert errors is not None
    assert ((values - exact).abs() < 5 * errors + 0.05).all()


KLS: dict[str, tuple[Any, Any]] = {
    "beta, uniform": (
        dist.Beta(torch.full((4, 3, 2), 2.0), torch.full((4, 3, 2), 3.0)).to_event(1),
        dist.Uniform(torch.zeros(3, 2), torch.tensor([1.0, 0.5])).to_event(1),
    ),
    "as wide as long": (
        dist.Beta(torch.full((2, 2, 2), 2.0), torch.full((2, 2, 2), 3.0)),
        dist.Uniform(torch.zeros(2, 2), torch.tensor([1.0, 0.5])),
    ),
    "uniform, uniform": (
        dist.Uniform(torch.zeros(3), 1.0),
        dist.Uniform(torch.tensor([[0.0], [0.5]]), 1.0),
    ),
    "uniform, beta": (dist.Uniform(0.2, torch.tensor([0.5, 0.8])), dist.Beta(torch.full((3, 1), 2.0), 3.0)),
    "pareto, exponential": (dist.Pareto(1.0, torch.tensor([0.5, 3.0])), dist.Exponential(torch.ones(3, 1))),
    "normal, normal": (dist.Normal(torch.zeros(4, 3), 1.0), dist.Normal(0.0, 2.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", KLS)
def test_closed_forms_of_other_shapes(name: str) -> None:
    """As each element alone has it, infinite or not."""
    q, p = KLS[name]
    shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    found = closed_form(q, p)
    assert found.shape == shape
    wide_q, wide_p = q.expand(shape), p.expand(shape)
    torch.testing.assert_close(found, torch.distributions.kl_divergence(wide_q, wide_p))


def test_uniform_priors_are_evaluated() -> None:
    def model(x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            z = pyro.sample("z", dist.Uniform(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("images", len(x)):
            law = dist.Beta(0.1 * x.abs() + 1, x.new_ones(2)).to_event(1)
            pyro.sample("z", law)

    found = evaluate(Pair(model, guide), [X], particles=(1, 500), progress=False)
    grid = torch.linspace(0, 1, 5001, dtype=torch.float64)[:, None, None]
    log_px = dist.Normal(grid, 1.0).log_prob(X).exp().mean(0).log().sum(-1)
    assert found["niwae-500"].mean == pytest.approx(-log_px.mean().item(), abs=0.05)
