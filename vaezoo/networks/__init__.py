"""Networks: torch modules from one shape to another, with any leading dimensions.

A part takes any module as its `network`; those here also take labels, and broadcast. Beside them
are two functions of the numbers that networks are shown and put out.
"""

from vaezoo.networks.conv import Conv
from vaezoo.networks.elementwise import positive, signed_log1p
from vaezoo.networks.mlp import MLP
from vaezoo.networks.pair_mlp import PairMLP

__all__ = ["MLP", "Conv", "PairMLP", "positive", "signed_log1p"]
