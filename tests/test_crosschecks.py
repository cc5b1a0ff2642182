"""The closed forms, exact in themselves, and the Pyro programs beside them, in float64.

Statistical rows state n and accept |z| < 4, which a right estimator fails once in 16,000 runs; all
are seeded.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from zoo import (
    CLASSES,
    SEVERAL_LATENTS,
    X_SHAPE,
    Z_DIM,
    BadCall,
    images,
    labels,
    member,
    refused,
    widen,
)

import vaezoo
from vaezoo import __main__ as command
from vaezoo import (
    closed_form,
    crosscheck,
    evaluate,
    likelihoods,
    models,
    networks,
    posteriors,
    priors,
)
from vaezoo.__main__ import MEMBERS
from vaezoo.crosschecks import Crosscheck, Row, _compare
from vaezoo.models import ADGM, FSVAE, M1M2, SSVAE, HierarchicalVAE, LatentVariableModel
from vaezoo.models.by_hand import ByHand

SAME = [f"{name}, same noise" for name in ("rec", "KL", "NELBO", "log weight")]
GIVEN = [*SAME, "ELBO", "Trace_ELBO (Pyro's)", "IWELBO(10)", "RenyiELBO(0, 10) (Pyro's)"]
SUMMED = [*SAME, "ELBO", "TraceEnum_ELBO (Pyro's)", "log p(x), 10 draws"]
CASES = [(kind.__name__, labelled) for kind, ways in MEMBERS.items() for labelled in ways]
D = torch.float64


def small(name: str, **parts: Any) -> LatentVariableModel:
    """A small member, with weights wide enough for every term to matter."""
    return widen(member(name, **parts))


def gaussian(x: Tensor, mean: Tensor, variance: float) -> Tensor:
    """log N(x; mean, variance) of single numbers, written out."""
    return -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi * variance)).squeeze(-1)


def of_pixel(x: Tensor, out: Tensor) -> Tensor:
    """log p(x|z) of a linear model: one pixel around the code, with variance 1/2."""
    return gaussian(x, out, 0.5)


def around(variance: float, gain: float = 1.0) -> Callable[..., tuple[Tensor, Tensor]]:
    """N(gain v, variance) of the first argument."""
    return lambda v, *_: (gain * v, torch.full_like(v, variance))


def test_every_member_is_among_the_cases() -> None:
    members = {
        kind
        for name in models.__all__
        if isinstance(kind := getattr(models, name), type) and issubclass(kind, LatentVariableModel)
    }
    assert {*MEMBERS} == members - {LatentVariableModel}
    assert {kind for kind, ways in MEMBERS.items() if len(ways) == 2} == {SSVAE, M1M2, ADGM}
    assert MEMBERS[FSVAE] == (True,)


@pytest.mark.parametrize(("name", "labelled"), CASES)
def test_crosscheck_agrees(name: str, labelled: bool) -> None:
    """Same noise to 1e-10; in expectation, n = 50 estimates a side, |z| < 4."""
    table = crosscheck(small(name), images(), *[labels()] * labelled, repeats=50)
    rows = SUMMED if name in ("SSVAE", "M1M2", "ADGM") and not labelled else GIVEN
    rows = [*rows[:-1], GIVEN[6], rows[-1]] if (name, labelled) == ("SSVAE", False) else rows
    assert [row.name for row in table] == rows
    assert table.agrees(tolerance=1e-10), table


@pytest.mark.parametrize("wrong", [(), ("M1M2",)])
def test_the_command_prints_all_of_them(
    wrong: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`python -m vaezoo`: a table for each, and 1 to the shell where one disagrees."""

    def check(model: LatentVariableModel, x: Tensor, y: Tensor | None = None) -> Crosscheck:
        assert x.shape == (5, *model.x_shape)
        off = float(type(model).__name__ in wrong and y is not None)
        return Crosscheck([Row("given" if y is not None else "not given", off, 0.0, off, None)])

    monkeypatch.setattr(command, "crosscheck", check)
    assert command.main([]) == len(wrong)
    printed = capsys.readouterr().out
    tables = re.findall(r"^(\w+)(, labels given)?: .*\n.*\n(not )?given ", printed, re.MULTILINE)
    assert [(name, bool(labelled), not other) for name, labelled, other in tables] == [
        (name, labelled, labelled) for name, labelled in CASES
    ]
    assert ("every row agrees" in printed) == (not wrong)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], 0, "usage: python -m vaezoo"),
        (["--version"], 0, f"vaezoo {vaezoo.__version__}"),
        (["Explore"], 2, "invalid choice: 'Explore'"),
        (["--fast"], 2, "unrecognized arguments: --fast"),
    ],
)
def test_other_words_check_nothing(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == code
    assert said in "".join(capsys.readouterr())


def test_closed_form_of_two_layers_is_the_evidence_under_exact_posteriors() -> None:
    """z2 ~ N(0, 1), z1 ~ N(z2, 1/4), x ~ N(z1, 1/2): every weight is p(x), to 1e-12."""
    x = torch.randn(50, 1, dtype=D)
    # z1 ~ N(0, 5/4), so that q(z1|x) has precision 4/5 + 2 and q(z2|z1) has 1 + 4
    q1, q2 = around(1 / 2.8, 2 / 2.8), around(1 / 5, 4 / 5)
    terms = closed_form.hierarchical_vae(
        x, q1, q2, lambda z1: z1, around(0.25), log_likelihood=of_pixel
    )
    assert torch.allclose(terms.log_w, gaussian(x, torch.zeros(1), 1.75), rtol=0, atol=1e-12)


def in_quadrature(member: Callable[..., closed_form.Terms], x: Tensor) -> Tensor:
    """log E[weight] of images x (n, 1) over the ε of the latent drawn first, on a grid."""
    grid = torch.linspace(-12, 12, 2001, dtype=D)[:, None]
    weight = gaussian(grid, torch.zeros(1), 1.0) + math.log(24 / 2000)
    found = []
    for pixel in x:
        # the second latent's posterior is exact, and the weight does not depend on its ε
        noise = (grid, torch.randn(CLASSES * len(grid), 1, dtype=D))
        found.append((member(pixel.expand(len(grid), 1), noise=noise).log_w + weight).logsumexp(0))
    return torch.stack(found)


MEANS = torch.tensor([[-2.0], [0.0], [1.5]], dtype=D)
CLASSIFY = torch.tensor([0.3, -1.0, 0.2], dtype=D)


def test_closed_form_of_m1m2_sums_the_label_out_of_the_evidence() -> None:
    """z1 ~ N(z2 + mean of y, 1/4), x ~ N(z1, 1/2): log 1/3 Σ_y N(x; mean, 7/4), to 1e-9."""

    def upper(z1: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return around(1 / 5, 4 / 5)(z1 - MEANS[y])

    def conditional(z2: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return around(0.25)(z2 + MEANS[y])

    path = partial(closed_form.m1m2, log_likelihood=of_pixel, decode=lambda z1: z1)
    path = partial(path, encode=around(0.7, 0.8), encode_upper=upper, conditional_prior=conditional)
    x = torch.randn(4, 1, dtype=D)
    found = in_quadrature(partial(path, classify=lambda z1: z1 * CLASSIFY), x)
    exact = closed_form.log_mean_exp(gaussian(x[:, None], MEANS, 1.75), 1)
    assert torch.allclose(found, exact, rtol=0, atol=1e-9)


def test_closed_form_of_adgm_leaves_the_auxiliary_out_of_the_evidence() -> None:
    """z ~ N(0, 1), x ~ N(z + mean of y, 1/2), p(a|x, y): log 1/3 Σ_y N(x; mean, 3/2)."""

    def encode(x: Tensor, a: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return around(1 / 3, 2 / 3)(x - MEANS[y])

    def auxiliary(x: Tensor, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return around(0.6)(0.2 * x + 0.0 * z + MEANS[y] / 4)

    path = partial(closed_form.adgm, log_likelihood=of_pixel, decode=lambda z, y: z + MEANS[y])
    path = partial(path, encode_auxiliary=around(1.2, 0.1), encode=encode, auxiliary=auxiliary)
    x = torch.randn(4, 1, dtype=D)
    found = in_quadrature(partial(path, classify=lambda x, a: a * CLASSIFY), x)
    exact = closed_form.log_mean_exp(gaussian(x[:, None], MEANS, 1.5), 1)
    assert torch.allclose(found, exact, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["SSVAE", *SEVERAL_LATENTS])
def test_evaluation_estimates_the_closed_forms_evidence(name: str) -> None:
    """NIWAE-5 of three images, no labels given: n = 60 estimates a side, |z| < 4."""
    model, x = small(name).double(), images(3, dtype=D)
    hand, repeats = ByHand(model, [x]), 60
    found = [
        -evaluate(model, [x], particles=(5,), seed=seed, progress=False)["niwae-5"].mean
        for seed in range(repeats)
    ]
    row = _compare("evidence", iter(found).__next__, partial(hand.evidence, 5), repeats)
    assert row.z is not None
    assert abs(row.z) < 4, row


def test_closed_forms_import_nothing_that_they_judge() -> None:
    folder = Path(closed_form.__file__).parent
    found = {
        name
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        if not name.startswith("vaezoo.closed_form.")
    }
    assert found <= {"__future__", "collections.abc", "math", "torch", "torch.nn", "typing"}


class Heteroscedastic(likelihoods.Likelihood):
    """Pixels whose variance depends on the code."""

    def output_shape(self) -> tuple[int, ...]:
        return (2, *X_SHAPE)

    def forward(self, z: Tensor, y: Tensor | None = None) -> dist.TorchDistribution:
        mean, raw = self._decode(z, y).unbind(-4)
        return dist.Normal(mean, networks.positive(raw)).to_event(3)


def vamp(posterior: posteriors.Posterior) -> dict[str, Any]:
    return {"prior": priors.VampPrior(X_SHAPE, Z_DIM, k=4), "posterior": posterior}


WITH_PATH: dict[str, dict[str, Any]] = {
    "learned weights": {"prior": priors.MixtureOfGaussians(3, k=4, learn_weights=True)},
    "learned variance": {
        "likelihood": likelihoods.Normal(3, X_SHAPE, hidden=(8,), learn_variance=True)
    },
    "variance per pixel": {
        "likelihood": likelihoods.Normal(3, X_SHAPE, hidden=(8,), learn_variance="pixel")
    },
    "variance from the code": {"likelihood": Heteroscedastic(3, X_SHAPE, hidden=(8,))},
    "VampPrior": vamp(posteriors.DiagonalNormal(X_SHAPE, Z_DIM, hidden=(8,))),
}


@pytest.mark.parametrize("parts", WITH_PATH.values(), ids=WITH_PATH)
def test_crosscheck_of_swapped_parts(parts: dict[str, Any]) -> None:
    assert crosscheck(small("VAE", **parts), images(), repeats=50).agrees(tolerance=1e-10)


SIZES: dict[str, Any] = {"hidden": (8,), "classes": CLASSES}
WITHOUT_PATH: list[tuple[str, dict[str, Any], str]] = [
    ("VAE", {"posterior": posteriors.FullNormal(X_SHAPE, 3)}, "FullNormal"),
    ("VAE", {"posterior": posteriors.LowRankNormal(X_SHAPE, 3, rank=1)}, "LowRankNormal"),
    ("VAE", {"posterior": posteriors.Flow(X_SHAPE, 3)}, "Flow"),
    ("VAE", {"prior": priors.Flow(3)}, r"Flow\(3, layers=4\): it needs StandardNormal"),
    ("VAE", vamp(posteriors.FullNormal(X_SHAPE, 3)), "VampPrior"),
    ("VAE", {"likelihood": likelihoods.ContinuousBernoulli(3, X_SHAPE)}, "ContinuousBernoulli"),
    ("VAE", {"likelihood": likelihoods.DiscretizedLogistic(3, X_SHAPE)}, "DiscretizedLogistic"),
    ("VAE", {"likelihood": likelihoods.Categorical(3, X_SHAPE, levels=2)}, "Categorical"),
    ("VAE", {"likelihood": likelihoods.Poisson(3, X_SHAPE)}, "Poisson"),
    ("VAE", {"likelihood": likelihoods.NegativeBinomial(3, X_SHAPE)}, "NegativeBinomial"),
    ("SSVAE", {"prior": priors.MixtureOfGaussians(3, k=4)}, "MixtureOfGaussians"),
    ("SSVAE", {"posterior": posteriors.FullNormal(X_SHAPE, 3, **SIZES)}, "FullNormal"),
    ("HierarchicalVAE", {"prior": priors.MixtureOfGaussians(3, k=4)}, "MixtureOfGaussians"),
    ("HierarchicalVAE", {"upper_posterior": posteriors.FullNormal((4,), 3)}, "FullNormal"),
    ("HierarchicalVAE", {"conditional_prior": posteriors.FullNormal((3,), 4)}, "FullNormal"),
    ("M1M2", {"posterior": posteriors.LowRankNormal(X_SHAPE, 4, rank=1)}, "LowRankNormal"),
    ("ADGM", {"auxiliary_posterior": posteriors.Flow(X_SHAPE, 2)}, "Flow"),
]


@pytest.mark.parametrize(("name", "parts", "message"), WITHOUT_PATH, ids=lambda v: str(v)[:40])
def test_crosscheck_refuses_parts_without_a_closed_form(
    name: str, parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"no closed form for {message}"):
        crosscheck(small(name, **parts), images(), repeats=2)


class Halved(dist.Normal):
    """A class made from Normal, with another density."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Half of its parent's."""
        return 0.5 * super().log_prob(value)


@pytest.mark.parametrize("kind", [dist.Laplace, dist.LogNormal, Halved])
def test_crosscheck_refuses_guides_without_a_closed_form(kind: Any) -> None:
    vae = small("VAE").double()

    def guide(x: Tensor) -> Tensor:
        with vae.images(x):
            q = vae.posterior(x).base_dist
            return pyro.sample("z", kind(q.loc, q.scale).to_event(1))

    vae.guide = guide
    with pytest.raises(ValueError, match="no closed form for a guide that draws 'z' from Indep"):
        crosscheck(vae, images(), repeats=2)


def test_crosscheck_refuses_members_with_parts_of_their_own() -> None:
    class Other(HierarchicalVAE):
        parts = {**HierarchicalVAE.parts, "extra": HierarchicalVAE.parts["posterior"]}  # noqa: RUF012

    model = small("HierarchicalVAE")
    model.__class__ = Other
    with pytest.raises(ValueError, match="no closed form for Other, which has parts of its own"):
        crosscheck(model, images())


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("FSVAE", None, "FSVAE is given labels, and got none: pass y"),
        ("HierarchicalVAE", labels(), "HierarchicalVAE has no labels, and the batch holds some"),
        ("VAE", labels(), "VAE has no labels, and the batch holds some"),
    ],
)
def test_crosscheck_says_what_is_wrong_with_labels(
    name: str, y: Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        crosscheck(small(name), images(), y, repeats=2)


WRONG = [
    *[("VAE", "guide", "z"), ("SSVAE", "guide", "z"), ("HierarchicalVAE", "guide", "z1")],
    *[("HierarchicalVAE", "guide", "z2"), ("HierarchicalVAE", "model", "z1")],
    *[("M1M2", "guide", "z1"), ("M1M2", "guide", "z2"), ("M1M2", "model", "z1")],
    *[("ADGM", "guide", "a"), ("ADGM", "guide", "z"), ("ADGM", "model", "a")],
]


@pytest.mark.parametrize(("name", "program", "site"), WRONG)
def test_crosscheck_notices_a_wrong_program(name: str, program: str, site: str) -> None:
    """One that draws a latent from a wider Normal than its part says."""
    model = small(name).double()
    right = getattr(model, program)

    class Wider(Messenger):
        def _pyro_sample(self, msg: Any) -> None:
            if msg["name"] == site:
                q = msg["fn"].base_dist
                msg["fn"] = dist.Normal(q.loc, 1.5 * q.scale).to_event(1)

    def wrong(x: Tensor, y: Tensor | None = None) -> Any:
        with Wider():
            return right(x) if y is None else right(x, y)

    if model.classes == 0:
        setattr(model, program, lambda x: wrong(x))
    else:
        setattr(model, program, wrong)
    table = crosscheck(model, images(), repeats=10)
    assert max(abs(row.difference) for row in table[:4]) > 1e-3
    assert not table.agrees()


def test_crosscheck_sets_dropout_aside_and_puts_modes_and_generators_back() -> None:
    """Also in a model that a program of one's own refers to; a layer frozen by hand stays so."""
    q = posteriors.DiagonalNormal(X_SHAPE, Z_DIM)
    q.network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(1), q.network)
    vae = small("VAE", posterior=q).double()
    vae.posterior.network[1].eval()

    def guide(x: Tensor) -> Tensor:
        with vae.images(x):
            return pyro.sample("z", vae.posterior(x))

    vae.guide = guide
    modes = [m.training for m in vae.modules()]
    buffers = {name: b.clone() for name, b in vae.named_buffers()}
    x, state = images(), torch.get_rng_state()
    assert crosscheck(vae, x, repeats=10).agrees(tolerance=1e-10)
    assert [m.training for m in vae.modules()] == modes
    assert {*modes} == {True, False}
    assert all(torch.equal(buffers[name], b) for name, b in vae.named_buffers())
    assert torch.equal(torch.get_rng_state(), state)


def test_crosscheck_fails_on_nan_and_on_constants() -> None:
    nan, wrong = (
        _compare("a", lambda: float("nan"), lambda: 1.0, 5),
        _compare("b", lambda: 5.0, lambda: 1.0, 5),
    )
    right = _compare("c", lambda: 1.0, lambda: 1.0, 5)
    assert [Crosscheck([row]).agrees() for row in (nan, wrong, right)] == [False, False, True]


def test_closed_form_iwae_at_one_particle_is_the_vae() -> None:
    vae, x = member("VAE").double(), images(dtype=torch.float64)
    noise = torch.randn(6, 3, dtype=torch.float64)

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        q = vae.posterior(x)
        return q.mean, q.variance

    def decode(z: Tensor) -> Tensor:
        return vae.likelihood(z).base_dist.logits

    one = closed_form.iwae(x, encode, decode, particles=1, noise=noise)
    terms = closed_form.vae(x, encode, decode, noise=noise)
    assert one.nelbo.tolist() == pytest.approx((-terms.log_w).tolist(), abs=1e-12)
    four = torch.randn(4, 6, 3, dtype=torch.float64)
    many = closed_form.iwae(x, encode, decode, particles=4, noise=four.reshape(24, 3))
    weights = [closed_form.vae(x, encode, decode, noise=n).log_w.exp() for n in four]
    bound = (sum(weights) / 4).log()
    assert many.nelbo.tolist() == pytest.approx((-bound).tolist(), abs=1e-10)


BAD_CALLS: list[BadCall] = [
    (lambda: crosscheck(member("FSVAE"), images()), ValueError, "FSVAE is given labels, and got none: pass y"),
    (lambda: crosscheck(member("VAE"), images(), repeats=1), ValueError, "at least 2 repeats, got 1"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)
