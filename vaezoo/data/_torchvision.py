"""torchvision, imported late, and made to work beside a CPU-only torch, for the user too.

The torchvision wheel on the package index is built for CUDA. Beside a CPU-only torch its compiled
operators do not load, and ``import torchvision`` then fails with ``operator torchvision::nms does
not exist``, because it describes two operators that nobody has declared. Datasets and transforms
need neither, so declaring the two schemas is enough. A healthy torchvision declares them itself,
when ``torchvision.extension`` is imported, and a second declaration would clash: so they are
declared right after that import, and only if its operators did not load.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch

__all__ = ["datasets", "watch"]

_EXTENSION = "torchvision.extension"
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # a schema lives as long as its Library


def datasets() -> ModuleType:
    """The module `torchvision.datasets`.

    Raises:
        ImportError: torchvision is not installed.

    Example:
        >>> datasets().MNIST.__name__
        'MNIST'
    """
    watch()
    import torchvision.datasets

    return torchvision.datasets


def watch() -> None:
    """From now on, declare the missing operators when torchvision is imported; costs no import."""
    if extension := sys.modules.get(_EXTENSION):  # of an import that worked, or one that failed
        _declare_missing(extension)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds `torchvision.extension` where the other finders do, and gives it a `_Loader`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _EXTENSION:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Loads `torchvision.extension` as Python would, and then declares what it lacks."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, _Finder)]
        _declare_missing(module)


def _declare_missing(extension: ModuleType) -> None:
    if getattr(extension, "_has_ops", lambda: True)():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(operator + _SCHEMA)
    _declared.append(library)


watch()
