"""Where two descriptions of models differ, whichever version of vaezoo wrote them."""

from __future__ import annotations

import inspect
from typing import Any

from vaezoo.arguments import without_addresses
from vaezoo.models.checkpoints.describing import class_named, describe

__all__ = ["difference"]

BARE = "vaezoo.priors.bare._Distribution"


def difference(saved: Any, given: Any, where: str = "model") -> str | None:
    """The first place at which two descriptions differ, in words; None where they agree.

    Args:
        saved: of the model in a file, which an older vaezoo may have written.
        given: of the model at hand.
        where: what they describe, for the words.

    Example:
        >>> from vaezoo import priors
        >>> difference(describe(priors.StandardNormal(3)), describe(priors.StandardNormal(2)))
        'model.z_dim is 3 in the file and 2 in the model given'
    """
    saved, given = _completed(_in_old_words(saved)), _completed(_in_old_words(given))
    saved, given = _as_far_as_said(given, saved), _as_far_as_said(saved, given)
    return None if saved == given else _place(saved, given, where)


def _as_far_as_said(saved: Any, given: Any) -> Any:
    """The second without what the first does not say: an older file of a bare distribution.

    Of a lazy layer neither says what it becomes when it runs.
    """
    if not isinstance(saved, dict) or not isinstance(given, dict):
        return given
    if "lazy" in saved or "lazy" in given:
        return {"lazy": None}
    leave = {"distribution"} if saved.get("class") == BARE else set[str]()
    before, now = saved.get("arguments"), given.get("arguments")
    if isinstance(before, dict) and isinstance(now, dict):
        said = {n: v for n, v in now.items() if n not in leave or n in before}
        inside = {n: _as_far_as_said(before.get(n), v) for n, v in said.items()}
        return given | {"arguments": inside}
    return given


def _place(saved: Any, given: Any, where: str) -> str:
    if isinstance(saved, dict) and isinstance(given, dict):
        for key in [*saved, *(k for k in given if k not in saved)]:
            if saved.get(key) != given.get(key):
                place = where if key == "arguments" else f"{where}.{key}"
                return _place(saved.get(key), given.get(key), place)
    return f"{where} is {saved} in the file and {given} in the model given"


def _in_old_words(description: Any) -> Any:
    """A description as older files have it: what JSON lacks is {class: its repr}."""
    if isinstance(description, list):
        return [_in_old_words(v) for v in description]
    if not isinstance(description, dict):
        return description
    if "partial" in description:
        values = [f"<class '{description['partial']}'>", *map(repr, description["arguments"])]
        values += [f"{k}={v!r}" for k, v in description["keywords"].items()]
        return {"class": f"functools.partial({', '.join(values)})", "arguments": {}}
    if "object" in description or "tensor" in description:
        return {"class": description.get("object", "a tensor"), "arguments": {}}
    if "class" in description and not description["arguments"]:
        text = without_addresses(description["class"])
        tensor = text.startswith(("Parameter containing:", "tensor("))
        return description | {"class": "a tensor" if tensor else text}
    return {key: _in_old_words(value) for key, value in description.items()}


def _completed(description: Any) -> Any:
    """A description with the defaults of arguments that there are since it was written."""
    if isinstance(description, list):
        return [_completed(v) for v in description]
    if not isinstance(description, dict):
        return description
    kind = class_named(str(description.get("class")))
    completed = {key: _completed(value) for key, value in description.items()}
    if isinstance(kind, type) and isinstance(completed.get("arguments"), dict):
        parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
        defaults = {p.name: describe(p.default) for p in parameters if p.default is not p.empty}
        completed["arguments"] = defaults | completed["arguments"]
    return completed
