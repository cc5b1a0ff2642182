"""What is asked most often of a model, in one call: one table, one JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.distributions import MixtureSameFamily

from vaezoo.data import Images
from vaezoo.data.counts import as_count, as_seed
from vaezoo.data.passes import Data, check_data, one_pass
from vaezoo.estimates import Estimate
from vaezoo.evaluation.bounds import evaluate
from vaezoo.evaluation.classification import calibration
from vaezoo.evaluation.clustering import clusters, has_prior
from vaezoo.evaluation.evidence import evidence
from vaezoo.evaluation.pareto import FEWEST
from vaezoo.evaluation.rate import rate
from vaezoo.evaluation.units import Units, units
from vaezoo.programs.refusing import check_evaluable
from vaezoo.scopes import in_mode, own_generator
from vaezoo.tables import table
from vaezoo.training.together import together

__all__ = ["Report", "report"]


@dataclasses.dataclass
class Report:
    """What was found, by question.

    Attributes:
        model: its equations.
        settings: seed, particles and images that it was made with, and torch's version.
        numbers: estimates by question and name.
        units: by latent.
        notes: warnings that came up, and what was left out.
    """

    model: str
    settings: dict[str, Any]
    numbers: dict[str, dict[str, Estimate]] = dataclasses.field(default_factory=dict)
    units: dict[str, Units] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([self.model, *lines, *self.notes])

    def _repr_html_(self) -> str:
        rows = [*self._rows(), *(("note", note, "") for note in self.notes)]
        return table(self.model, ["", "", "mean ± standard error"], rows, texts=2)

    def _rows(self) -> list[tuple[str, str, str]]:
        rows = [
            (question, name, f"{estimate}")
            for question, each in self.numbers.items()
            for name, estimate in each.items()
        ]
        return [*rows, *(("units", *repr(u).split(": ", 1)) for u in self.units.values())]  # type: ignore[list-item]

    def json(self) -> str:
        """The same as JSON: means, standard errors and numbers of images, units, notes.

        What is no finite number is null, as JSON has no name for it.

        Example:
            >>> print(Report("VAE", {"seed": 0}, {"bounds": {"kl": Estimate(2.0, 0.5, 9)}}).json())
            {
              "model": "VAE",
              "settings": {
                "seed": 0
              },
              "numbers": {
                "bounds": {
                  "kl": {
                    "mean": 2.0,
                    "stderr": 0.5,
                    "n": 9
                  }
                }
              },
              "units": {},
              "notes": []
            }
        """
        numbers = {
            question: {name: estimate._asdict() for name, estimate in each.items()}
            for question, each in self.numbers.items()
        }
        each = {
            name: {
                "variance": u.variance.tolist(),
                "kl": None if u.kl is None else u.kl.tolist(),
                "active": int(u.active.sum()),
            }
            for name, u in self.units.items()
        }
        record = {"model": self.model, "settings": self.settings, "numbers": numbers}
        whole = _with_null({**record, "units": each, "notes": self.notes})
        return json.dumps(whole, indent=2, allow_nan=False)


def _with_null(record: Any) -> Any:
    """The same, with None in the place of infinity and NaN."""
    if isinstance(record, dict):
        return {name: _with_null(each) for name, each in record.items()}
    if isinstance(record, list | tuple):
        return [*map(_with_null, record)]
    return None if isinstance(record, float) and not math.isfinite(record) else record


def report(
    model: nn.Module,
    data: Data,
    *,
    particles: int = 1000,
    images: int = 2000,
    seed: int = 0,
    batch_size: int = 100,
    progress: bool = True,
) -> Report:
    """Bounds, evidence, rate and units of a model, and its classes where it has some.

    A question that fails, as that of the rate of a pair without latents, is left out, and a note
    says why.

    Args:
        model: a member of the zoo, or any module with programs `model` and `guide`.
        data: `Images`, binarised once by `seed`, or batches that can be iterated over again; with
            labels, clusters of a mixture prior and calibration are asked for too.
        particles: of the evidence, at least 25.
        images: how many to take for the parts of the rate, whose time grows with their square; at
            least 2.
        seed: of binarisation and draws.
        batch_size: images at a time, where data are `Images`.
        progress: show progress bars.

    Raises:
        TypeError: the model is no pair, or data are no iterable.
        ValueError: data can be read only once, or a number is below its least.
        Exception: as the first question, where all of them fail: data are not such as the model
            takes.

    Example:
        >>> from vaezoo import data, models
        >>> vae, test = models.VAE(z_dim=2), data.digits("test")[:20]
        >>> found = report(vae, test, particles=25, progress=False)
        >>> list(found.numbers), found.numbers["evidence"]["log_px"].n
        (['bounds', 'evidence', 'rate'], 20)
    """
    _check(model, data)
    options: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "progress": progress}
    particles = as_count("particles", particles, least=FEWEST)
    images, seed = as_count("images", images, least=2), as_seed(seed)
    settings = {"particles": particles, "images": images, "seed": seed, "torch": torch.__version__}
    found = Report(repr(model), settings)
    with _noted(found):
        errors = [
            _add(found, question, ask, model, data, **given, **options)
            for question, ask, given in _questions(model, data, particles, images)
        ]
    if errors[0] is not None and not found.numbers and not found.units:
        raise errors[0]
    return found


def _check(model: nn.Module, data: Data) -> None:
    check_evaluable(model)
    check_data(data)
    if not isinstance(data, Images) and iter(data) is data:
        raise ValueError("a report reads its data several times: put the batches in a list")


def _add(
    found: Report, question: str, ask: Callable[..., Any], *given: Any, **options: Any
) -> Exception | None:
    """Add the answer, or an error as a note, such as that of an image without a label."""
    try:
        answer = ask(*given, **options)
    except Exception as error:  # of whatever kind: the other answers may have taken hours
        expected = isinstance(error, ValueError | TypeError | ImportError)
        kind = "" if expected else f"{type(error).__name__}: "
        found.notes.append(f"{question}: {kind}{error}")
        return error
    if ask is units:
        found.units = answer
    else:
        found.numbers[question] = getattr(answer, "estimates", answer)
    return None


@contextlib.contextmanager
def _noted(found: Report) -> Iterator[None]:
    """Within it warnings become notes."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
    found.notes += [str(each.message) for each in seen]


def _questions(
    model: Any, data: Data, particles: int, images: int
) -> Iterator[tuple[str, Callable[..., Any], dict[str, int]]]:
    """Their names, the functions that answer them, and what is asked of these."""
    yield "bounds", evaluate, {"particles": 1}
    yield "evidence", evidence, {"particles": particles}
    yield "rate", rate, {"images": images}
    yield "units", units, {}
    if not _has_labels(data):
        return
    if has_prior(model):
        with in_mode(model, False), own_generator(), torch.no_grad():
            has_clusters = isinstance(model.prior(), MixtureSameFamily)
        if has_clusters:
            yield "clusters", clusters, {}
    if hasattr(model, "classify"):
        yield "classes", calibration, {}


def _has_labels(data: Any) -> bool:
    if isinstance(data, Images):
        return data.labels is not None
    with together() as here:  # a process whose share is empty asks what the others do
        with own_generator(), _begun(data) as batches:
            batch = next(batches, None)
        return here.any(isinstance(batch, tuple | list) and len(batch) == 2)


@contextlib.contextmanager
def _begun(data: Any) -> Iterator[Iterator[Any]]:
    """A pass, which is closed again: training may be in the stream that it is over."""
    batches = iter(one_pass(data, 1, seed=0))
    try:
        yield batches
    finally:
        getattr(batches, "close", lambda: None)()
