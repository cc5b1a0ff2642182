"""Strays: what a model's programs compute with, and no file of it holds, as it is kept elsewhere.

Training takes what a program gets by `pyro.param`, or from a network outside of the model, along
with the model's own parameters. A file has the model's own alone.
"""

from __future__ import annotations

import contextlib
import copy
import re
import sys
import warnings
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from vaezoo.autograd import leaves
from vaezoo.components import outside_param_store
from vaezoo.models import drawing
from vaezoo.models.base import LatentVariableModel
from vaezoo.programs.outside import besides, noted
from vaezoo.programs.pair import is_closed, required_arguments
from vaezoo.scopes import in_mode, one_thread, own_generator, unchecked

__all__ = ["strays", "warn_of_strays"]

FEW = 3  # that are named


def warn_of_strays(model: nn.Module) -> None:
    """Warn, at the line outside of vaezoo that led here, where a model has strays."""
    if found := strays(model):
        frame, level = sys._getframe(1), 2
        while frame.f_back is not None and _is_own(frame):
            frame, level = frame.f_back, level + 1
        warnings.warn(found, stacklevel=level)


def _is_own(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).startswith("vaezoo.")


def strays(model: nn.Module) -> str:
    """What a model computes with and does not hold, in words; "" if nothing is known of it.

    A member's programs are run on images that it draws itself, except those of a member of
    vaezoo's classes alone. Of another pair, or where they cannot be run so, it is what its last
    training by `fit` or `steps` in this process has trained besides.

    Example:
        >>> from vaezoo.models import VAE
        >>> strays(VAE())
        ''
    """
    if is_closed(model):
        return ""
    if not isinstance(model, LatentVariableModel):
        return _as_noted(model)
    try:
        # a copy: a guide of Pyro's makes its parameters when it is first run
        twin = copy.deepcopy(model)
        with _apart(model, twin):
            sites, again = _sites(twin), _sites(twin)
    except Exception:
        return _as_noted(model)
    held = {*model.parameters(), *twin.parameters()}
    lasting = {*_used(again)} - held  # and none that is made in each run
    used = {t: tuple(t.shape) for t in _used(sites) if t in lasting}
    params = {name: site for name, site in sites if site["type"] == "param"}
    # pyro.module may hold a copy of a weight, which nothing is computed with
    named = [name for name, site in params.items() if any(t in used for t in _ends(site))]
    if named:
        return _of_the_store(type(model).__name__, named)
    return _of_elsewhere(type(model).__name__, list(used.values())) if used else ""


def _as_noted(model: nn.Module) -> str:
    """What is said of what training has noted."""
    others = besides(model, noted(model).values()).values()
    used = {id(t): tuple(t.shape) for t in others if t.requires_grad}
    named = [name for name, t in pyro.get_param_store().named_parameters() if id(t) in used]
    if named:
        return _of_the_store(type(model).__name__, named)
    return _of_elsewhere(type(model).__name__, list(used.values())) if used else ""


def _of_the_store(kind: str, names: list[str]) -> str:
    """What is said of parameters that programs get by name."""
    called: dict[str, str] = {}  # and what to keep in its place
    for name in names:
        first, _, inside = name.partition("$$$")
        attribute = "self." + re.sub(r"\W", "_", first)
        if inside:
            called[f"pyro.module({first!r}, …)"] = f"{attribute} = its module"
        else:
            called[f"pyro.param({first!r}, …)"] = f"{attribute} = nn.Parameter(…)"
    return (
        f"{kind} uses {_listed(list(called))}, which no file of the model holds: keep it in the "
        f"model, {_listed(list(called.values()))}, and let the programs use that"
    )


def _of_elsewhere(kind: str, shapes: list[tuple[int, ...]]) -> str:
    """What is said of parameters without a name."""
    return (
        f"{kind} computes with parameters that it does not hold, of shape "
        f"{_listed(list(map(str, shapes)))}, and no file of the model holds them: keep their "
        "module in an attribute of the model or of a part, several in an nn.ModuleList, "
        "or freeze them, requires_grad_(False), if they are saved apart"
    )


def _listed(words: list[str]) -> str:
    more = len(words) - FEW
    return ", ".join(words[:FEW]) + (f" and {more} more" if more > 0 else "")


def _sites(model: Any) -> list[tuple[str, dict[str, Any]]]:
    """The sites of both programs, run on two images that are drawn."""
    y = [0, 0] if required_arguments(model.model) > 1 else None
    x = drawing.sample(model, 2, y=y, mean=False)
    batch = [x] if y is None else [x, x.new_tensor(y, dtype=torch.long)]
    guide = poutine.trace(model.guide).get_trace(*batch)
    trace = poutine.trace(poutine.replay(model.model, trace=guide)).get_trace(*batch)
    return [*guide.nodes.items(), *trace.nodes.items()]


def _used(sites: list[tuple[str, dict[str, Any]]]) -> list[Tensor]:
    """The parameters that the samples are computed from."""
    return [t for _, site in sites if site["type"] == "sample" for t in _ends(site)]


def _ends(site: dict[str, Any]) -> list[Tensor]:
    """The parameters that a value at a site, and its density, are computed from."""
    ends = leaves(site["value"])
    if site["type"] == "sample":
        with contextlib.suppress(Exception), unchecked():
            ends += leaves(site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]))
    return ends


@contextlib.contextmanager
def _apart(*models: nn.Module) -> Iterator[None]:
    """Within it programs leave no mark: modes, random numbers and Pyro's store come back."""
    store = pyro.get_param_store()
    before = set(store.keys())
    blocks = (one_thread(), own_generator(0), unchecked(), outside_param_store())
    with contextlib.ExitStack() as stack:
        for block in (*blocks, *(in_mode(model, training=False) for model in models)):
            stack.enter_context(block)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(warnings.catch_warnings(action="ignore"))
        try:
            yield
        finally:
            for name in set(store.keys()) - before:
                del store[name]
