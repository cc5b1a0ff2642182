"""`evaluate`, `accuracy` and `compare`: values per image, pairs of them, data that are streamed."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from compiling import Pair
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm.auto import tqdm
from zoo import BadCall, batch_for, fixed, images, labels, member, refused

from vaezoo import Bound, accuracy, compare, data, evaluate, fit, likelihoods, models
from vaezoo.chunks import Draws
from vaezoo.compiler import choice
from vaezoo.estimates import Estimate
from vaezoo.evaluation import evidence
from vaezoo.programs.pair import required_arguments
from vaezoo.scopes import own_generator
from vaezoo.training.loaders import of_loaders

N = 24
X, Y = fixed(N), labels(N)
PIXELS = data.Images((180 * X).byte(), Y, binarisation="dynamic")


def evaluated(model: Any, batches: Any, **options: Any) -> dict[str, Estimate]:
    return evaluate(model, batches, **{"particles": (1, 4), "progress": False, **options})


def member_of(seed: int, name: str = "VAE") -> Any:
    torch.manual_seed(seed)
    return member(name)


@pytest.mark.parametrize("name", ["VAE", "SSVAE", "FSVAE"])
def test_values_are_what_the_means_are_of(name: str) -> None:
    """Mean and standard error from the values, to 1e-12; nelbo = kl - rec for each image."""
    found = evaluated(member_of(1, name), [(X, Y)])
    for estimate in found.values():
        assert estimate.values is not None
        assert estimate.values.shape == (N,)
        assert estimate.values.dtype == torch.float64
        assert estimate.mean == pytest.approx(estimate.values.mean().item(), abs=1e-12)
        error = estimate.values.std().item() / math.sqrt(N)
        assert estimate.stderr == pytest.approx(error, abs=1e-12)
    gap = found["nelbo"].values - (found["kl"].values - found["rec"].values)
    assert gap.abs().max() < 1e-5
    if name == "SSVAE":
        assert set(found["accuracy"].values.tolist()) <= {0.0, 1.0}


def test_rec_is_one_number_with_one_sign() -> None:
    """In training, validation and evaluation: E_q[log p(x|z)], within 4 standard errors; n = 24.

    Each is a mean over draws of the same model: a rate of 0 leaves it as it is.
    """
    model = member_of(1)
    history = fit(model, [X], steps=200, lr=0.0, log_every=200, validation=[X], progress=False)
    found = evaluated(model, [X], particles=1000)
    spread = evaluated(model, [X], particles=1, seed=1)["rec"].stderr * math.sqrt(N)
    for name in ("rec", "validation_rec"):
        draws = 200 * N if name == "rec" else N
        assert history[name][0] < 0
        assert abs(history[name][0] - found["rec"].mean) < 4 * spread / math.sqrt(draws) + 1e-3
    assert found["nelbo"].mean == pytest.approx(found["kl"].mean - found["rec"].mean, abs=1e-5)
    assert history["bound"][0] == pytest.approx(history["rec"][0] - history["kl"][0], abs=1e-4)


@pytest.mark.parametrize("stderr", [math.nan, math.inf])
def test_an_estimate_without_a_finite_error_is_printed(stderr: float) -> None:
    """As of -log q(y|x) where q of a label rounds to 0: its mean is infinite."""
    assert str(Estimate(math.inf, stderr, 5)) == f"inf ± {stderr}"


def test_an_estimate_is_the_tuple_that_it_was() -> None:
    """It unpacks, compares, prints and serialises as (mean, stderr, n); copies keep the values."""
    found = evaluated(member_of(1), [X])["nelbo"]
    mean, stderr, n = found
    assert found == (mean, stderr, n)
    assert found == Estimate(mean, stderr, n)
    assert repr(found) == f"Estimate(mean={mean!r}, stderr={stderr!r}, n={n})"
    assert str(found) == str(Estimate(mean, stderr, n))
    assert found._asdict() == {"mean": mean, "stderr": stderr, "n": n}
    assert json.loads(json.dumps(found)) == [mean, stderr, n]
    for twin in (copy.copy(found), copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert twin == found
        assert torch.equal(twin.values, found.values)
    assert Estimate(1.0, 0.1, 5).values is None


def test_compare_is_the_paired_difference() -> None:
    """Against means and standard errors of differences by hand, to 1e-12; -(a - b) is b - a."""
    a, b = (evaluated(member_of(seed), PIXELS) for seed in (1, 2))
    found, other = compare(a, b), compare(b, a)
    assert list(found) == ["nelbo", "rec", "kl", "niwae-1", "niwae-4"]
    for name, difference in found.items():
        each = a[name].values - b[name].values
        assert difference.mean == pytest.approx(a[name].mean - b[name].mean, abs=1e-10)
        assert difference.mean == pytest.approx(each.mean().item(), abs=1e-12)
        assert difference.stderr == pytest.approx(each.std().item() / math.sqrt(N), abs=1e-12)
        assert difference.n == N
        assert other[name].mean == -difference.mean
    same = compare(a, a)["nelbo"]
    assert (same.mean, same.stderr) == (0, 0)


def test_compare_takes_what_both_have() -> None:
    """Other particles, other batches, a member that classifies, and `accuracy` by itself."""
    a = evaluated(member_of(1), PIXELS, batch_size=5)
    b = evaluated(member_of(2, "SSVAE"), PIXELS, particles=(4, 8), batch_size=7)
    assert list(compare(a, b)) == ["nelbo", "rec", "kl", "niwae-4"]
    right = [{"accuracy": accuracy(member_of(s, "SSVAE"), PIXELS)} for s in (1, 2)]
    difference = compare(*right)["accuracy"]
    assert difference.mean == pytest.approx(right[0]["accuracy"].mean - right[1]["accuracy"].mean)
    double = evaluated(member_of(1).double(), PIXELS)
    assert compare(a, double)["kl"].mean == pytest.approx(0, abs=1e-5)


def with_one_pixel_changed() -> Tensor:
    x = X.clone()
    x[7, 0, 3, 3] = 1 - x[7, 0, 3, 3]
    return x


def test_compare_refuses_other_images() -> None:
    """Fewer, others, in another order, or drawn by another seed; one pixel is enough."""
    a = evaluated(member_of(1), [X])
    for other in ([X.flip(0)], [images(N)], [with_one_pixel_changed()]):
        with pytest.raises(ValueError, match=r"nelbo is over different images: .*same seed"):
            compare(a, evaluated(member_of(2), other))
    with pytest.raises(ValueError, match="nelbo is over 24 and 12 images"):
        compare(a, evaluated(member_of(2), [X[:12]]))
    drawn = [evaluated(member_of(1), PIXELS, seed=seed) for seed in (0, 1)]
    with pytest.raises(ValueError, match="binarised by the same seed"):
        compare(*drawn)
    assert compare(a, evaluated(member_of(2), X.split(7)))["nelbo"].n == N


@pytest.mark.parametrize("question", [evaluate, evidence], ids=["evaluate", "evidence"])
def test_weights_of_a_narrow_dtype_are_warned_of(question: Any) -> None:
    model = member_of(1).bfloat16()
    with pytest.warns(UserWarning, match=r"torch.bfloat16, in which sums over pixels") as said:
        question(model, [X.bfloat16()], particles=30, progress=False)
    assert {w.filename for w in said if "sums over" in str(w.message)} == {__file__}


def test_compare_refuses_other_labels() -> None:
    """Accuracy of the first half against that of the second, or against other labels."""
    model, early = member_of(1, "SSVAE"), torch.arange(N) < 12
    ys = (Y, torch.where(early, Y, -1), torch.where(early, -1, Y), (Y + 1) % 3)
    every, *parts = (data.Images(255 * X.byte(), y, binarisation="threshold") for y in ys)
    whole, first = evaluated(model, every), evaluated(model, parts[0])
    for a, other in ((first, parts[1]), (whole, parts[2])):
        with pytest.raises(ValueError, match="accuracy is over different images"):
            compare(a, evaluated(model, other))
        with pytest.raises(ValueError, match="accuracy is over different images"):
            compare({"accuracy": a["accuracy"]}, {"accuracy": evaluated(model, other)["accuracy"]})
    assert compare(first, first)["accuracy"].n == 12
    alone = accuracy(model, [(X, Y)])
    assert compare({"accuracy": alone}, whole)["accuracy"].mean == 0
    assert compare(evaluated(model, [X]), whole)["nelbo"].n == N


def test_compare_takes_grey_images_of_either_precision() -> None:
    grey = torch.arange(N * 16).reshape(N, *X.shape[1:]) % 256
    model = member_of(1)
    model.likelihood = likelihoods.Normal(model.z_dim, model.x_shape, hidden=(4,))
    single = evaluated(model, [grey.float() / 255])
    double = evaluated(copy.deepcopy(model).double(), [grey.double() / 255])
    assert compare(single, double)["nelbo"].n == N
    with pytest.raises(ValueError, match="different images"):
        compare(single, evaluated(model, [(grey + (grey == 7)).float() / 255]))


test_what_is_nothing_to_evaluate = refused(
    [
        (lambda: evaluated(member_of(1), [X], seed=2**64), ValueError, r"seed must be below 2\*\*64, got 18446744073709551616"),
        (lambda: evaluated(Pair(nn.Linear(16, 2)), [X, X[:0]]), ValueError, r"a batch needs at least one image, got \(0, 1, 4, 4\)"),
    ]
)  # fmt: skip


def test_compare_refuses_what_is_no_evaluation() -> None:
    a = evaluated(member_of(1), [X])
    bare = {"nelbo": Estimate(*a["nelbo"])}
    with pytest.raises(ValueError, match="nelbo has no values per image: compare what evaluate"):
        compare(a, bare)
    with pytest.raises(ValueError, match=r"nothing to compare: one has nelbo.* the other nothing"):
        compare(a, {})
    for wrong in (a["nelbo"], 3, {"nelbo": 3.0}, fit(member_of(1), [X], steps=1, progress=False)):
        with pytest.raises(TypeError, match="two dicts of estimates"):
            compare(a, wrong)


def test_images_come_batch_by_batch_as_they_did_at_once() -> None:
    """The draw of a seed is that of `tensors`, whatever the size of batches; grey levels too."""
    for binarisation in ("dynamic", "static", "threshold", "none"):
        pixels = data.Images((180 * X).byte(), Y, binarisation=binarisation)
        model = member("VAE", likelihood=likelihoods.Normal(3, (1, 4, 4), hidden=(8,)))
        for size in (1, 7, 100):
            x = pixels.tensors(seed=3)[0]
            streamed = evaluated(model, pixels, seed=3, batch_size=size)
            assert streamed == evaluated(model, list(x.split(size)), seed=3)


def test_an_iterable_is_read_once_and_as_it_goes() -> None:
    """A generator is a data set; a batch is taken when the one before it is done with."""
    seen, model = [], member_of(1)

    def stream() -> Iterator[Tensor]:
        for part in X.split(6):
            seen.append(sum(len(v) for v in sums))
            yield part

    sums: list[list[float]] = []
    classify = model.posterior.register_forward_hook(lambda *_: sums.append([0.0]))
    found = evaluated(model, stream())
    classify.remove()
    assert found == evaluated(model, list(X.split(6)))
    assert seen == sorted(set(seen)), "the encoder ran between any two batches"


def test_a_loader_draws_by_the_seed_and_the_global_generator_stays() -> None:
    """A shuffled loader: the batches and the numbers of a list of them that is made by the seed."""
    loader = DataLoader(TensorDataset(X), batch_size=5, shuffle=True)
    model, results = member_of(1), []
    with own_generator(of_loaders(0)):
        batches = list(loader)
    for these in (loader, batches):
        torch.manual_seed(4)
        results.append((evaluated(model, these), torch.rand(2).tolist()))
    assert results[0] == results[1]


def test_decodes_count_outputs() -> None:
    """Each label that is summed out is one more decode, and so is each level of a categorical."""
    levels = likelihoods.Categorical(3, (1, 4, 4), hidden=(8,), levels=16)
    assert Draws(member("VAE")).size_of([X]) == (1, 1)
    assert Draws(member("SSVAE")).size_of([X]) == (3, 1)
    assert Draws(member("FSVAE")).size_of(list(batch_for("FSVAE"))) == (1, 1)
    assert Draws(member("VAE", likelihood=levels)).size_of([X]) == (1, 16)
    found = evaluated(member("VAE", likelihood=levels), [X], particles=8, max_decodes=64)
    assert found["nelbo"].n == N


def test_evaluation_of_an_mnist_like_set_is_what_it_was() -> None:
    """Numbers of the version before data were streamed: the same seed, to 5e-3."""
    torch.manual_seed(0)
    vae = models.VAE(hidden=(20,), z_dim=4)
    found = evaluate(vae, data.digits("test")[:50], particles=(1, 10), seed=3, progress=False)
    expected = {"nelbo": 552.788, "rec": -552.603, "kl": 0.185, "niwae-1": 552.836}
    expected["niwae-10"] = 547.501
    assert {name: e.mean for name, e in found.items()} == pytest.approx(expected, abs=5e-3)


def test_required_arguments_of_every_kind_of_program() -> None:
    """Methods, functions and modules, again and again, and also after one was replaced."""
    vae, fsvae = member("VAE"), member("FSVAE")

    class Program(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x

    def bare(*batch: Tensor) -> Tensor:
        return batch[0]

    vae.bare = bare.__get__(vae)
    kinds = [
        *((vae.model, 1), (fsvae.model, 2), (lambda x, y=None: x, 1), (lambda x, y, z: x, 3)),
        *((type(vae).model, 2), (Program(), 2), (bare, 0), (vae.bare, 0)),
    ]
    for _ in range(2):
        assert [required_arguments(program) for program, _ in kinds] == [n for _, n in kinds]
    fsvae.model = lambda x, y: x
    assert required_arguments(fsvae.model) == 2


BAD_CALLS: list[BadCall] = [
    (lambda: evaluate(member("VAE"), [], progress=False), ValueError, "at least one batch"),
    (lambda: evaluate(member("VAE"), [images(1)], progress=False), ValueError, "at least 2 images, got 1"),
    (lambda: evaluate(member("VAE"), [images()], particles=(0,), progress=False), ValueError, "particles must be at least 1, got 0"),
    (lambda: accuracy(member("VAE"), data.digits("test")[:5]), TypeError, "a model with classify, got a VAE"),
]  # fmt: skip


test_bad_calls = refused(BAD_CALLS)


@pytest.mark.parametrize("known", [True, False])
def test_evaluation_compiles_where_it_pays(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same values in float64 to 1e-12, of a list and of a stream; a short one stays eager."""
    words: list[str] = []
    monkeypatch.setattr(tqdm, "set_postfix_str", lambda self, text, **_: words.append(text))
    model, batches = member_of(1).double(), [X.double()] * 6
    expected = evaluated(model, batches, compile=False)
    assert evaluated(model, batches)["niwae-4"].values.equal(expected["niwae-4"].values)
    assert not words
    monkeypatch.setattr(choice, "OPERATIONS", (0, 0))
    monkeypatch.setattr(choice, "STEPS", 2)
    monkeypatch.setattr(Bound.compile, "__defaults__", ("eager",))
    found = evaluated(model, batches if known else iter(batches))
    assert words[0] == "compiling"
    for name, estimate in expected.items():
        torch.testing.assert_close(found[name].values, estimate.values, rtol=1e-12, atol=1e-12)


def test_evaluation_that_cannot_be_compiled_is_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a warning: a program that reads what it has drawn."""
    monkeypatch.setattr(choice, "OPERATIONS", (0, 0))
    monkeypatch.setattr(choice, "STEPS", 2)
    model = Pair(nn.Linear(16, 2), looks=True)
    expected = evaluated(model, [X] * 6, compile=False)
    assert evaluated(model, [X] * 6)["niwae-4"].values.equal(expected["niwae-4"].values)
