"""Labels: taken as they come where that is unambiguous, refused with the remedy elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from zoo import CLASSES, X_SHAPE, images, member

from vaezoo import ELBO, Bound, accuracy, crosscheck, data, evaluate, fit, networks, plots
from vaezoo.data.labels import Agreement, as_labels
from vaezoo.diagnostics import component_samples, mixture_diagnostics
from vaezoo.models import ADGM, M1M2
from vaezoo.priors import MixtureOfGaussians

N = 6
Y = torch.tensor([0, 1, 2, 2, 1, 0])


def classifying() -> Any:
    """An SSVAE of five classes whose classifier is sure of itself."""
    ssvae = member("SSVAE", classes=5)
    with torch.no_grad():
        ssvae.classifier.network.rest[-2].weight.mul_(30)
    return ssvae


def mixture(name: str) -> Any:
    return member(name, prior=MixtureOfGaussians(3, k=2))


def quick(model: nn.Module, batch: Any, objective: Any = None) -> Any:
    return fit(model, [batch], objective, steps=2, progress=False)


# whatever takes labels, by name: a call of (x, y)
CALLERS: dict[str, Callable[[Tensor, Any], Any]] = {
    "evaluate": lambda x, y: evaluate(member("FSVAE"), [(x, y)], particles=1, progress=False),
    "evaluate, for accuracy": lambda x, y: evaluate(
        member("SSVAE"), [(x, y)], particles=1, progress=False
    ),
    "accuracy": lambda x, y: accuracy(member("SSVAE"), [(x, y)]),
    "fit": lambda x, y: quick(member("FSVAE"), (x, y)),
    "fit, semi-supervised": lambda x, y: quick(member("SSVAE"), (x, x, y)),
    "validation": lambda x, y: fit(
        *(member("FSVAE"), [(x, Y)]), validation=[(x, y)], steps=1, progress=False
    ),
    "validation, semi-supervised": lambda x, y: fit(
        *(member("SSVAE"), [(x, x, Y)]), validation=[(x, x, y)], steps=1, progress=False
    ),
    "sample": lambda x, y: member("FSVAE").sample(N, y=y),
    "sample of M1M2": lambda x, y: M1M2(X_SHAPE, 2, 2, classes=3, hidden=(4,)).sample(N, y=y),
    "encode": lambda x, y: member("FSVAE").encode(x, y),
    "encode of ADGM": lambda x, y: ADGM(X_SHAPE, 2, 2, classes=3, hidden=(4,)).encode(x, y),
    "reconstruct": lambda x, y: member("SSVAE").reconstruct(x, y),
    "reconstruct of M1M2": lambda x, y: M1M2(
        X_SHAPE, 2, 2, classes=3, hidden=(4,)
    ).reconstruct(x, y),
    "decode": lambda x, y: member("FSVAE").decode(torch.zeros(N, 3), y),
    "score": lambda x, y: member("FSVAE").score(x, y),
    "crosscheck": lambda x, y: crosscheck(member("SSVAE"), x, y, repeats=2),
    "plots.samples": lambda x, y: plots.samples(member("FSVAE"), N, y=y),
    "plots.reconstructions": lambda x, y: plots.reconstructions(member("FSVAE"), x, y),
    "plots.latent_scatter": lambda x, y: plots.latent_scatter(member("FSVAE"), x, y),
    "mixture_diagnostics": lambda x, y: mixture_diagnostics(mixture("FSVAE"), x, y),
    "component_samples": lambda x, y: component_samples(mixture("FSVAE"), [1, 0], N // 2, y=y),
}  # fmt: skip
GOOD: dict[str, Callable[[], Any]] = {
    "list": lambda: Y.tolist(),
    "NumPy": lambda: Y.numpy(),
    "uint8 of NumPy": lambda: Y.numpy().astype(np.uint8),
    "uint16 of NumPy": lambda: Y.numpy().astype(np.uint16),
    "int32": lambda: Y.int(),
    "uint8": lambda: Y.byte(),
}
BAD: dict[str, tuple[Any, str]] = {
    "a column": (Y[:, None], r"y \(6,\), got \(6, 1\) .*use y.squeeze\(1\)"),
    "a column of NumPy": (Y[:, None].numpy(), r"got \(6, 1\) .*use y.squeeze\(1\)"),
    "a row": (Y[None], r"got \(1, 6\) .*use y.squeeze\(0\)"),
    "one-hot": (nn.functional.one_hot(Y), r"got \(6, 3\) .*y.argmax\(-1\)"),
    "one-hot floats": (nn.functional.one_hot(Y).float(), r"got \(6, 3\) .*y.argmax\(-1\)"),
    "floats": (Y.float(), r"got \(6,\) of torch.float32: use y.long\(\)"),
    "NaN for no label": (Y / 0, r"without a label .*data.semi_supervised"),
    "truth values": (Y > 0, r"of torch.bool: use y.long\(\)"),
    "from 1": (Y + 1, r"0\.\.2, got 1\.\.3: number the classes from 0, y - 1"),
    "-1": (Y - 1, r"got -1\.\.1: -1 is no class: leave .* data.semi_supervised"),
    "too many classes": (3 * Y, r"0\.\.2, got 0\.\.6: .*classes=7"),
    "too few": (Y[:4], r"y \(6,\), got \(4,\) .*each of the 6 images"),
    "none at all": ([], r"y \(6,\), got \(0,\)"),
    "words": (["a"] * 6, "list"),
    "a ragged list": ([[0], [1, 2]], "list"),
}


@pytest.mark.parametrize("name", CALLERS)
@pytest.mark.parametrize("kind", GOOD)
def test_integers_of_any_kind_are_the_same_labels(name: str, kind: str) -> None:
    """The same model and noise give the same numbers as with labels of torch.long."""
    x, results = images(N), []
    for y in (Y, GOOD[kind]()):
        torch.manual_seed(3)
        results.append(CALLERS[name](x, y))
    assert str(numbers(results[0])) == str(numbers(results[1]))


def numbers(found: Any) -> Any:
    """What a caller returned, without the time it took."""
    if isinstance(found, dict):
        return {k: v for k, v in found.items() if k != "seconds"}
    if hasattr(found, "axes"):
        drawn = [(a.collections, a.images) for a in found.axes]
        return [[c.get_offsets() for c in cs] + [i.get_array() for i in im] for cs, im in drawn]
    return found


@pytest.mark.parametrize("name", CALLERS)
@pytest.mark.parametrize("kind", BAD)
def test_labels_that_could_be_misread_are_refused(name: str, kind: str) -> None:
    y, message = BAD[kind]
    if name == "plots.latent_scatter" and kind in ("-1", "from 1", "too many classes"):
        message = "labels|classes from 0 to 9"
    if name == "plots.samples" and kind in ("a row", "too few", "none at all", "a ragged list"):
        message = "n=6 labels, got . of them"
    with pytest.raises(ValueError, match=message):
        CALLERS[name](images(N), y)


def test_a_single_class_for_all_is_one_for_all_in_drawing_only() -> None:
    """`sample(y=2)`, also of NumPy or torch; a batch has a label for each image."""
    fsvae, z = member("FSVAE"), torch.zeros(4, 3)
    expected = fsvae.sample(y=torch.full((4,), 2), z=z)
    for y in (2, np.int64(2), torch.tensor(2), np.array(2)):
        assert torch.equal(fsvae.sample(y=y, z=z), expected)
    with pytest.raises(ValueError, match=r"y \(6,\), got \(\) .*one class for each"):
        quick(fsvae, (images(N), torch.tensor(1)))
    with pytest.raises(ValueError, match=r"y \(1,\), got \(\) .*y.reshape\(1\)"):
        quick(fsvae, (images(1), torch.tensor(1)))
    with pytest.raises(ValueError, match=r"0\.\.2, got 3\.\.3"):
        fsvae.sample(5, y=3)


@pytest.mark.parametrize("size", [60, 7])
def test_accuracy_is_right_or_refused(size: int) -> None:
    """A classifier against its own guesses in every form: 1, or an error that says what to do."""
    ssvae, x = classifying(), images(60)
    y = ssvae.classify(x).argmax(-1)
    one_hot = nn.functional.one_hot(y, 5)
    for labels in (y, y[:, None], one_hot, one_hot.float(), y + 1, torch.full_like(y, -1)):
        batches = list(zip(x.split(size), labels.split(size), strict=True))
        for measure in (evaluated, accuracy):
            if labels is y:
                assert measure(ssvae, batches).mean == 1
            else:
                with pytest.raises(ValueError, match=r"squeeze|argmax|y - 1|semi_supervised"):
                    measure(ssvae, batches)


def evaluated(model: Any, batches: Any) -> Any:
    return evaluate(model, batches, particles=1, progress=False)["accuracy"]


def test_numbering_from_one_is_noticed_and_not_imagined() -> None:
    """Labels without a 0 pass where they agree with the model, or with nothing."""
    guesses = torch.arange(40) % 4
    assert not Agreement().of(guesses, torch.full((40,), 3), 5)[:3].any()
    assert Agreement().of(guesses[guesses > 0], guesses[guesses > 0], 4).all()
    few = Agreement()
    for guess in guesses[:19]:
        few.of(guess[None], guess[None] + 1, 5)
    with pytest.raises(ValueError, match=r"of 20 labels none is 0, 0 agree .* 20 would as y - 1"):
        few.of(guesses[:1], guesses[:1] + 1, 5)


def test_labels_that_a_model_does_without_may_be_anything() -> None:
    """A loader's second column is left out, and not looked at."""
    x = images(N)
    for y in (Y[:, None], Y - 1, ["a"] * N):
        quick(member("VAE"), (x, y))
        quick(member("SSVAE"), (x, y), ELBO())
        evaluate(member("VAE"), [(x, y)], particles=1, progress=False)


def test_programs_check_labels_too() -> None:
    """A bound called by hand, and networks by themselves."""
    bound, x = Bound(member("FSVAE")), images(N)
    assert torch.isfinite(bound(x, Y.int())["loss"])
    for y, message in (BAD["a column"], BAD["from 1"], BAD["-1"], BAD["floats"]):
        with pytest.raises(ValueError, match=message):
            bound(x, y)
    with pytest.raises(ValueError, match="programs take tensors, got a list"):
        bound(x, Y.tolist())
    network = networks.MLP((2,), (3,), (1,), classes=3)
    assert torch.equal(network(torch.zeros(6, 2), Y.byte()), network(torch.zeros(6, 2), Y))
    with pytest.raises(ValueError, match=r"got torch\.bool"):
        network(torch.zeros(6, 2), Y > 0)


def test_semi_supervised_batches_of_own_making() -> None:
    """Labels as a list or NumPy; images and labels of different numbers are refused."""
    x = images(N)
    for y in (Y.tolist(), Y.numpy().astype(np.int16)):
        assert quick(member("SSVAE"), (x, x, y))["step"] == [2]
    with pytest.raises(ValueError, match=r"y \(5,\), got \(6,\)"):
        quick(member("SSVAE"), (x, x[:5], Y))


def test_labels_of_images_reach_every_caller() -> None:
    """Images hold int64 labels, and a model of fewer classes refuses them."""
    few = data.digits("test")[:30]
    fsvae = member("FSVAE", x_shape=(1, 28, 28), classes=CLASSES)
    for call in (lambda: quick_images(fsvae, few), lambda: evaluate(fsvae, few, progress=False)):
        with pytest.raises(
            ValueError, match=r"labels must lie in 0\.\.2, got 0\.\.9: .*classes=10"
        ):
            call()


def quick_images(model: nn.Module, few: data.Images) -> Any:
    return fit(model, few, steps=1, progress=False)


def test_as_labels_is_exact() -> None:
    """Every integer dtype that torch and NumPy have: the same classes, of torch.long."""
    kinds = [np.dtype(k) for k in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")]
    for kind, wrap in itertools.product(kinds, (np.asarray, torch.as_tensor)):
        found = as_labels(wrap(Y.numpy().astype(kind)), N, CLASSES)
        assert found.dtype == torch.long
        assert torch.equal(found, Y)


def test_labels_of_images_are_all_looked_at_before_the_first_step() -> None:
    """One wrong label among the last of many, which one batch in a hundred would meet."""
    y = torch.zeros(100, dtype=torch.long)
    y[70] = 7
    pixels = data.Images(torch.zeros(100, *X_SHAPE, dtype=torch.uint8), y, binarisation="none")
    batches = data.semi_supervised(pixels, pixels, batch_size=1)
    for model, given in ((member("FSVAE"), pixels), (member("SSVAE"), batches)):
        with pytest.raises(ValueError, match=r"0\.\.2, got 0\.\.7") as caught:
            fit(model, given, batch_size=1, steps=1, progress=False)
        assert not hasattr(caught.value, "history"), "refused before training"
    fit(member("SSVAE"), pixels, ELBO(), batch_size=1, steps=1, progress=False)
