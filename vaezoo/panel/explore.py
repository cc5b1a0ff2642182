"""`explore`, the function that shows a model in a panel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vaezoo.data.passes import Data
from vaezoo.models import LatentVariableModel
from vaezoo.panel.session import Session

if TYPE_CHECKING:
    from vaezoo.panel.panel import Panel

__all__ = ["explore"]


def explore(
    model: LatentVariableModel,
    data: Data,
    *,
    validation: Data | None = None,
    parts: Iterable[Any] = (),
    images: int = 500,
    **options: Any,
) -> Panel:
    """A panel in which a model is trained, swapped, decoded and drawn at, in a notebook.

    The kernel stays free meanwhile: `panel.model` is the present model, in any cell. What is
    assigned to it there (`panel.model.prior = …`) is trained, and shown, with the next steps.

        panel = vaezoo.explore(vae, data.digits("train"), validation=data.digits("test"))
        panel

    Args:
        model: a member of the zoo; it is trained and changed in place.
        data: what it is trained on, as in `fit`.
        validation: images to look at and to compare on; by default the first ones of the data.
        parts: parts, objectives or members of your own to be offered, or classes of them.
        images: how many are looked at.
        options: `lr`, `batch_size` and others of `training.steps`, but for those that say where
            training ends and what is recorded of it.

    Returns:
        A widget of ipywidgets, to be shown as the last line of a cell; `panel.session` does by
        methods what the panel does by hand.

    Raises:
        ImportError: ipywidgets or anywidget is missing.
        TypeError, ValueError: as `fit`, of the model and the data; a part fits no place, an option
            is none.

    Example:
        >>> from vaezoo import data, models
        >>> panel = explore(models.VAE(z_dim=2), data.digits("test"))
        >>> panel.session.swap("prior", "MixtureOfGaussians", "k=5")
        >>> panel.model.prior, panel.toolbar.undo.tooltip
        (MixtureOfGaussians(2, k=5), 'Undo prior: MixtureOfGaussians(k=5)')
    """
    try:
        from vaezoo.panel.panel import Panel
    except ModuleNotFoundError as error:
        if error.name not in ("anywidget", "ipywidgets", "traitlets"):
            raise
        raise ImportError(
            f"vaezoo.explore needs {error.name}, which is not installed: "
            "pip install 'vaezoo[notebooks]'"
        ) from error
    session = Session(model, data, validation=validation, parts=parts, images=images, **options)
    return Panel(session)
