"""The members of the zoo, one file each: the maths, then `model` and `guide`."""

from vaezoo.models.adgm import ADGM
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.fsvae import FSVAE
from vaezoo.models.gmvae import GMVAE
from vaezoo.models.hierarchical import HierarchicalVAE
from vaezoo.models.iwae import IWAE
from vaezoo.models.m1m2 import M1M2
from vaezoo.models.parts import Part
from vaezoo.models.ssvae import SSVAE
from vaezoo.models.vae import VAE

__all__ = [
    "ADGM",
    "FSVAE",
    "GMVAE",
    "IWAE",
    "M1M2",
    "SSVAE",
    "VAE",
    "HierarchicalVAE",
    "LatentVariableModel",
    "Part",
]
