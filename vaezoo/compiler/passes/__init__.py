"""Passes, a file each, that rewrite a graph before it is compiled: by device, and in order."""

from collections.abc import Callable

from torch import fx

from vaezoo.compiler.passes.biases import part_biases
from vaezoo.compiler.passes.log1p import shorten_logarithms
from vaezoo.compiler.passes.merging import merge_products
from vaezoo.compiler.passes.routines import choose_routines

__all__ = ["PASSES", "Pass"]

Pass = Callable[[fx.Graph], None]
PASSES: dict[str, tuple[Pass, ...]] = {
    "cpu": (shorten_logarithms, part_biases, merge_products, choose_routines),
}
