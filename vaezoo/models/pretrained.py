"""Members that ship trained, to look at, to compare with, and to go on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vaezoo.models.base import LatentVariableModel

__all__ = ["card", "pretrained", "pretrained_names"]

FOLDER = Path(__file__).with_name("weights")


def pretrained(name: str) -> LatentVariableModel:
    """A member with trained weights, from the package: nothing is downloaded.

    =======================  =======================================================================
    name                     what
    =======================  =======================================================================
    ``vae-mnist``            `VAE`, the reference networks and 10 units, on the 60,000 of MNIST
    ``gmvae-mnist``          `GMVAE` with k = 500, the same
    ``iwae-mnist``           `IWAE`, trained with 10 draws an image, the same
    ``ssvae-mnist``          `SSVAE` with a convolutional classifier, 100 labels, layers of 128 and
                             12 units, on the 60,000 of MNIST
    ``fsvae-colour-digits``  `FSVAE` with hidden layers of 200 units, on colour digits
    =======================  =======================================================================

    Weights lie in the file in half precision where that moves no bound by 0.05 nats, and are
    float32 in the model. How each was trained, and what it reached, is in its `card`.

    Raises:
        ValueError: there is none of this name.

    Example:
        >>> vae = pretrained("vae-mnist")
        >>> vae.sample(3).shape
        torch.Size([3, 1, 28, 28])
    """
    from vaezoo.models.checkpoints.loading import load  # which knows all members

    model = load(_file(name, "safetensors"))
    assert isinstance(model, LatentVariableModel)
    return model.float()


def pretrained_names() -> list[str]:
    """The names that `pretrained` takes.

    Example:
        >>> "vae-mnist" in pretrained_names()
        True
    """
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def card(name: str) -> dict[str, Any]:
    """How a pretrained member was trained, on what, and what it reached, in nats per image.

    Raises:
        ValueError: there is none of this name.

    Example:
        >>> sorted(card("vae-mnist"))
        ['data', 'metrics', 'recipe', 'rounding', 'versions']
    """
    found: dict[str, Any] = json.loads(_file(name, "json").read_text(encoding="utf-8"))
    return found


def _file(name: str, kind: str) -> Path:
    if name not in (names := pretrained_names()):
        raise ValueError(f"pretrained members are {', '.join(names)}, got {name!r}")
    return FOLDER / f"{name}.{kind}"
