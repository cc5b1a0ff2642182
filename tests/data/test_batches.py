"""What people have at hand: it works, with the numbers that tensors give, or one line says why not."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from zoo import X_SHAPE, fixed, labels, member, refused

from vaezoo import ELBO, Bound, SemiSupervised, accuracy, crosscheck, data, evaluate, fit, models
from vaezoo.data.batches import as_tensors
from vaezoo.data.counts import as_count
from vaezoo.diagnostics import component_samples, mixture_diagnostics

N = 12
X, Y = fixed(N), labels(N)
PIXELS = data.Images((255 * X).byte(), Y, binarisation="threshold")


class Frame:
    """What a table of pandas looks like from outside."""

    def __init__(self, values: Tensor) -> None:
        self.values, self.columns = values.numpy(), list("abc")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.values.__array__(*args, **kwargs)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.values)


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        return iter([X, X])


class Pictures(Dataset[Tensor]):
    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Tensor:
        return X[index]


Named = collections.namedtuple("Named", ["x", "y"])


def trained(model: nn.Module, batches: Any, **options: Any) -> list[float]:
    torch.manual_seed(2)
    found = fit(model, batches, **{"steps": 3, "log_every": 1, "progress": False, **options})
    return found["loss"]


def twin(name: str = "VAE", **changes: Any) -> Any:
    torch.manual_seed(1)
    return member(name, **changes)


SAME: dict[str, Callable[[], Any]] = {
    "an array": lambda: [X.numpy()],
    "an array of float64": lambda: [X.double().numpy()],
    "nested lists": lambda: [X.tolist()],
    "nested lists and labels": lambda: [(X.tolist(), Y.tolist())],
    "a list of arrays": lambda: [[X.numpy(), Y.numpy()]],
    "a tuple with labels": lambda: [(X, Y)],
    "a named tuple": lambda: [Named(X, Y)],
    "with names that no one needs": lambda: [(X, ["a"] * N)],
    "a table": lambda: [Frame(X)],
    "a stream of batches": Stream,
    "an iterable of two": lambda: (X, X),
    "an array that is not contiguous": lambda: [np.asfortranarray(X.numpy())],
    "an array that cannot be written to": lambda: [read_only(X.numpy().copy())],
    "a generator": lambda: (X for _ in range(3)),
}


def read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("kind", SAME)
def test_it_is_the_tensor_that_it_holds(kind: str) -> None:
    """The same losses in training, and the same estimates, as with a list of one tensor."""
    expected = trained(twin(), [X])
    assert trained(twin(), SAME[kind]()) == expected
    results = [
        evaluate(twin(), batches, particles=(1, 2), progress=False)["nelbo"].mean
        for batches in ([X], [next(iter(SAME[kind]()))])
    ]
    assert results[0] == results[1]


CALLS: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "a dict batch": (lambda f: f(twin(), [{"x": X, "y": Y}]), ValueError, r'a dict with keys x, y: .*\(b\["x"\], b\["y"\]\)'),
    "a dict of batches": (lambda f: f(twin(), {"x": X}), ValueError, r"iterable of batches, got a dict: .*\[\(x, y\)\]"),
    "a string": (lambda f: f(twin(), "mnist"), ValueError, "iterable of batches, got a str"),
    "strings": (lambda f: f(twin(), ["mnist"]), ValueError, "a batch is a tensor .* got a str"),
    "numbers": (lambda f: f(twin(), [3, 4]), ValueError, "a batch is a tensor .* got a int"),
    "a number": (lambda f: f(twin(), 3), TypeError, "iterable of batches, got a int"),
    "nothing": (lambda f: f(twin(), None), TypeError, "iterable of batches, got a NoneType"),
    "a tensor": (lambda f: f(twin(), X), ValueError, "a tensor is not an iterable of batches: wrap"),
    "an array": (lambda f: f(twin(), X.numpy()), ValueError, r"a ndarray is not .*\(N, \*x_shape\) in a list"),
    "a table": (lambda f: f(twin(), Frame(X)), ValueError, "a Frame is not an iterable of batches"),
    "one batch": (lambda f: f(twin("FSVAE"), (X, Y)), ValueError, r"\(x, y\) is one batch: .*\[\(x, y\)\]"),
    "one batch of arrays": (lambda f: f(twin("FSVAE"), (X, Y.numpy())), ValueError, "is one batch"),
    "a data set": (lambda f: f(twin(), TensorDataset(X, Y)), ValueError, r"TensorDataset yields single images: .*DataLoader\("),
    "a data set of one's own": (lambda f: f(twin(), Pictures()), ValueError, "Pictures yields single"),
    "an empty batch": (lambda f: f(twin(), [[]]), ValueError, "got an empty list"),
    "an empty list": (lambda f: f(twin(), []), ValueError, "batch"),
    "an empty generator": (lambda f: f(twin(), iter([])), ValueError, "batch"),
    "a model's batch of none": (lambda f: f(twin(), [X[:0]]), ValueError, r"got \(0, 1, 4, 4\)"),
    "no labels": (lambda f: f(twin("FSVAE"), [X]), ValueError, r"FSVAE is given 2 tensors, such as \(x, y\), and .* holds 1"),
    "bytes": (lambda f: f(twin(), [(255 * X).byte()]), ValueError, "got torch.uint8: convert .* divide uint8"),
    "bytes of NumPy": (lambda f: f(twin(), [(255 * X).byte().numpy()]), ValueError, "divide uint8"),
    "integers": (lambda f: f(twin(), [X.long()]), ValueError, "got torch.int64: convert"),
    "flat images": (lambda f: f(twin(), [X.flatten(1).numpy()]), ValueError, r"\(N, 1, 4, 4\), got \(12, 16\)"),
    "objects": (lambda f: f(twin(), [np.array([None])]), ValueError, "a batch is a tensor"),
    "words of NumPy": (lambda f: f(twin(), [np.array(["a"])]), ValueError, "a batch is a tensor"),
    "a batch size of 0": (lambda f: f(twin(), PIXELS, batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
    "half an image": (lambda f: f(twin(), PIXELS, batch_size=2.5), ValueError, "batch_size must be a whole number, got 2.5"),
    "a class": (lambda f: f(models.VAE, [X]), TypeError, r"got the class VAE: make an instance, VAE\("),
    "no model": (lambda f: f(nn.Linear(2, 2), [X]), TypeError, "a Linear has no program model and no guide"),
}  # fmt: skip
OF_FIT: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "log_every=0": (lambda: trained(twin(), [X], log_every=0), ValueError, "log_every must be at least 1, got 0"),
    "half a step": (lambda: trained(twin(), [X], steps=1.5), ValueError, "steps must be a whole number, got 1.5"),
    "no number": (lambda: trained(twin(), [X], steps="ten"), TypeError, "steps must be a whole number, got 'ten'"),
    "a digit": (lambda: trained(twin(), [X], steps="10"), TypeError, "got '10'"),
    "endless": (lambda: trained(twin(), [X], steps=float("inf")), ValueError, "got inf"),
    "epochs of none": (lambda: trained(twin(), [X], steps=None, epochs=0), ValueError, "epochs must be at least 1, got 0"),
    "an objective's class": (lambda: trained(twin(), [X], objective=ELBO), TypeError, r"got the class ELBO: make an instance"),
    "drop_last of a list": (lambda: trained(twin(), [X], drop_last=True), ValueError, r"DataLoader\(…, drop_last=True\)"),
    "drop_last of all": (lambda: trained(twin(), PIXELS, drop_last=True), ValueError, "leaves no batch"),
    "validation, a tensor": (lambda: trained(twin(), [X], validation=X), ValueError, "validation data: a tensor is not"),
    "validation, a dict": (lambda: trained(twin(), [X], validation=[{"x": X}]), ValueError, "validation data: .*keys x"),
    "validation, none": (lambda: trained(twin(), [X], validation=3), TypeError, "validation data: .*got a int"),
}  # fmt: skip
OF_EVALUATE: dict[str, tuple[Any, type[Exception], str]] = {
    "no particles": ({"particles": ()}, ValueError, "one or more k of at least 1, got none"),
    "half a particle": ({"particles": (1, 2.5)}, ValueError, "particles must be a whole .* got 2.5"),
    "a word": ({"particles": "all"}, TypeError, "particles must be a whole number, got 'all'"),
    "no decodes": ({"max_decodes": 0}, ValueError, "max_decodes must be at least 1, got 0"),
}  # fmt: skip


OF_OTHERS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a seed of none": (lambda: evaluated(twin(), [X], seed=None), TypeError, "seed must be a whole number, got None"),
    "half a seed": (lambda: accuracy(twin("SSVAE"), [(X, Y)], seed=1.5), ValueError, "got 1.5"),
    "labels of a VAE": (lambda: twin().encode(X, Y), ValueError, "VAE has no labels: leave y out"),
    "no labels": (lambda: twin("FSVAE").encode(X), ValueError, r"is given labels: pass y, shape \(12,\)"),
    "no labels to reconstruct": (lambda: twin("FSVAE").reconstruct(X), ValueError, "is given labels"),
    "labels of a GMVAE": (lambda: mixture_diagnostics(twin("GMVAE"), X, Y), ValueError, "no labels"),
    "half a component": (lambda: component_samples(twin("GMVAE"), [0.5]), ValueError, "components must be"),
    "no component": (lambda: component_samples(twin("GMVAE"), []), ValueError, r"components of 0\.\.4, got \[\]"),
    "half an image of each": (lambda: component_samples(twin("GMVAE"), [0], 1.5), ValueError, "n must be a whole"),
    "half a repeat": (lambda: crosscheck(twin(), X, repeats=2.5), ValueError, "repeats must be a whole"),
    "nothing to train": (lambda: trained(twin().requires_grad_(False), [X]), ValueError, r"all is frozen, model.requires_grad_\(True\)"),
    "a history in a list": (lambda: trained(twin(), [X], history=[1]), TypeError, "a dict of lists, got a list"),
    "four columns": (lambda: trained(twin("SSVAE"), [(X, X, X, Y)]), ValueError, "got 4 tensors|integer classes"),
}  # fmt: skip


test_what_is_no_argument_of_others_is_refused = refused(OF_OTHERS)


def test_numbers_of_numpy_in_other_places() -> None:
    """Seeds, components, images of each, repeats: the same as Python's."""
    expected = evaluated(twin(), [X], seed=3)
    assert evaluated(twin(), [X], seed=np.int64(3)) == expected
    assert list(crosscheck(twin(), X.numpy(), repeats=np.int64(3))) == list(
        crosscheck(twin(), X, repeats=3)
    )
    gmvae, found = twin("GMVAE"), []
    for components, n in (
        ([3, 1], 2),
        (np.array([3, 1]), np.int64(2)),
        (torch.tensor([3, 1]), 2.0),
    ):
        torch.manual_seed(1)
        found.append(component_samples(gmvae, components, n))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def fitted(model: Any, batches: Any, **options: Any) -> Any:
    return fit(model, batches, **{"steps": 2, "progress": False, **options})


def evaluated(model: Any, batches: Any, **options: Any) -> Any:
    return evaluate(model, batches, **{"particles": 1, "progress": False, **options})


@pytest.mark.parametrize("call", [fitted, evaluated])
@pytest.mark.parametrize("kind", CALLS)
def test_what_is_no_data_is_refused(kind: str, call: Any) -> None:
    wrong, error, message = CALLS[kind]
    with pytest.raises(error, match=message):
        wrong(call)


test_what_is_no_argument_of_fit_is_refused = refused(OF_FIT)


@pytest.mark.parametrize("kind", OF_EVALUATE)
def test_what_is_no_argument_of_evaluate_is_refused(kind: str) -> None:
    options, error, message = OF_EVALUATE[kind]
    with pytest.raises(error, match=message):
        evaluated(twin(), [X], **options)


@pytest.mark.parametrize("particles", [3, np.int64(3), 3.0, torch.tensor(3), np.array(3)])
def test_one_number_of_particles(particles: Any) -> None:
    assert list(evaluated(twin(), [X], particles=particles)) == ["nelbo", "rec", "kl", "niwae-3"]


@pytest.mark.parametrize(
    "particles", [[1, 3], (3, 1), range(1, 4, 2), np.array([1, 3]), torch.tensor([3, 1]), {1, 3}]
)
def test_several_numbers_of_particles(particles: Any) -> None:
    expected = evaluated(twin(), [X], particles=(1, 3))
    assert evaluated(twin(), [X], particles=particles) == expected


def test_whole_numbers_of_every_kind() -> None:
    """Steps, epochs, sizes and intervals as floats, of NumPy and of torch."""
    for two in (2, 2.0, np.int64(2), np.float32(2), torch.tensor(2)):
        assert as_count("n", two) == 2
        assert type(as_count("n", two)) is int
        assert len(trained(twin(), [X], steps=two)) == 2
        assert len(trained(twin(), [X], steps=None, epochs=two)) == 2
        assert len(trained(twin(), PIXELS, steps=None, epochs=1, batch_size=two)) == N // 2
        assert len(trained(twin(), [X], steps=4, log_every=two)) == 2
    with pytest.raises(TypeError, match="got None"):
        as_count("n", None)


def test_pixels_follow_a_model_of_float64() -> None:
    """Images are pixels: they come in the model's dtype, and zeros and ones are the same ones."""
    expected = trained(twin().double(), [X.double()])
    torch.manual_seed(1)
    found = trained(twin().double(), in_order(PIXELS), batch_size=N)
    assert found == expected
    expected = evaluated(twin().double(), [X.double()])
    assert evaluated(twin().double(), PIXELS) == expected
    batches, ssvae = data.semi_supervised(PIXELS, PIXELS[:6], batch_size=5), twin("SSVAE").double()
    assert len(trained(ssvae, batches, objective=SemiSupervised(), validation=batches)) == 3
    assert next(ssvae.parameters()).dtype == torch.float64


def in_order(pixels: data.Images) -> data.Images:
    """The same images, in the same order in every pass."""
    batches = pixels.batches
    pixels = pixels[:]
    pixels.batches = lambda *a, **k: batches(*a, **{**k, "shuffle": False})  # type: ignore[method-assign]
    return pixels


def test_dataloaders() -> None:
    """Of tensors, shuffled, with workers, and of a data set of one's own; batches and labels."""
    loaders = [
        DataLoader(TensorDataset(X, Y), batch_size=5, shuffle=True),
        DataLoader(Pictures(), batch_size=5, num_workers=1),
    ]
    for loader in loaders:
        assert len(trained(twin(), loader, steps=None, epochs=1)) == 3
        assert evaluated(twin(), loader)["nelbo"].n == N


def test_a_last_batch_of_one_and_a_batch_norm() -> None:
    """A batch norm cannot train on one image: `drop_last` leaves the last one out."""

    def normed() -> Any:
        found = twin()
        norm = nn.BatchNorm1d(8)
        found.posterior.network.rest[0] = nn.Sequential(norm, nn.ELU())
        return found

    with pytest.raises(ValueError, match="a batch is of one image, on which a batch norm"):
        trained(normed(), PIXELS[:9], steps=None, epochs=1, batch_size=4)
    losses = trained(normed(), PIXELS[:9], steps=None, epochs=2, batch_size=4, drop_last=True)
    assert len(losses) == 4
    batches = data.semi_supervised(PIXELS[:9], PIXELS[:3], batch_size=4)
    options: dict[str, Any] = {"steps": None, "epochs": 2, "drop_last": True}
    assert len(trained(twin("SSVAE"), batches, **options)) == 4
    assert len(trained(twin("SSVAE"), batches, **{**options, "drop_last": False})) == 6


def test_a_batch_of_lists_is_the_numbers_in_them() -> None:
    assert [t.tolist() for t in as_tensors([[1.0, 2.0], [3.0, 4.0]], None)] == [[[1, 2], [3, 4]]]
    assert [t.tolist() for t in as_tensors(([[1.0, 2.0]], [3]), None)] == [[[1, 2]], [3]]
    assert as_tensors((X, Y), None, 1)[0] is X


def test_a_bound_takes_the_same() -> None:
    bound = Bound(twin("FSVAE"))
    x, y = bound.arguments((X.double().numpy(), Y.int().numpy()))
    assert (x.dtype, y.dtype) == (torch.float32, torch.long)
    assert torch.equal(x, X)
    assert torch.equal(y, Y)


def test_codes_of_arrays() -> None:
    """`encode`, `reconstruct` and `classify` of arrays and lists."""
    ssvae = twin("SSVAE")
    for call in (ssvae.encode, ssvae.reconstruct, ssvae.classify):
        assert torch.equal(call(X.numpy()), call(X))
        assert torch.equal(call(X.tolist()), call(X))
    assert ssvae.x_shape == X_SHAPE
