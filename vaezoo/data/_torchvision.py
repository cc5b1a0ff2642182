"""torchvision's datasets, imported late and also where torchvision's compiled half cannot load.

The torchvision wheel on the package index is built for CUDA. Beside a CPU-only torch its compiled
operators do not load, and ``import torchvision`` then fails with ``operator torchvision::nms does
not exist``, because it describes two operators that nobody has declared. The datasets need neither,
so declaring the two schemas is enough. A healthy torchvision declares them itself, and a second
declaration would clash: hence the first, plain attempt.
"""

from __future__ import annotations

from types import ModuleType

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # a schema lives as long as its Library


def datasets() -> ModuleType:
    """The module `torchvision.datasets`.

    Raises:
        ImportError: torchvision is not installed.

    >>> datasets().MNIST.__name__
    'MNIST'
    """
    try:
        import torchvision.datasets
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare_missing()
        import torchvision.datasets
    return torchvision.datasets


def _declare_missing() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            library.define(operator + _SCHEMA)
    _declared.append(library)
