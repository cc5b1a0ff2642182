"""The members of the zoo, one file each: the maths, then `model` and `guide`."""

from vaezoo.models.base import LatentVariableModel
from vaezoo.models.fsvae import FSVAE
from vaezoo.models.gmvae import GMVAE
from vaezoo.models.iwae import IWAE
from vaezoo.models.ssvae import SSVAE
from vaezoo.models.vae import VAE

__all__ = ["FSVAE", "GMVAE", "IWAE", "SSVAE", "VAE", "LatentVariableModel"]
