"""Networks: plain torch modules from one shape to another, with any leading dimensions."""

from vaezoo.networks.activations import positive, signed_log1p
from vaezoo.networks.conv import Conv
from vaezoo.networks.mlp import MLP
from vaezoo.networks.pair_mlp import PairMLP

__all__ = ["MLP", "Conv", "PairMLP", "positive", "signed_log1p"]
