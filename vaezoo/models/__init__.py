"""The members of the zoo, one file each: the maths, then `model` and `guide`.

    base                          what members share
    parts, swapping, replacing    the slots of a member; new parts in them; programs of your own
    trials                        trying a part before it is taken
    batches, naming               what a member is given or assigned, taken or refused
    drawing                       `sample` and `encode`
    decoding, scoring             `decode`, `traverse` and `interpolate`; `score` and `cluster`
    by_hand                       a member as a function of `closed_form`, for `crosscheck`
    checkpoints                   `save` and `load`
    pretrained                    members that ship trained

The programs observe x. `pyro.infer.Predictive` therefore gives back the x that it was given, until
`poutine.uncondition` frees the program of it:

    >>> import torch
    >>> from pyro import infer, poutine
    >>> vae, x = VAE(), torch.zeros(5, 1, 28, 28)
    >>> free = poutine.uncondition(vae.model)
    >>> drawn = infer.Predictive(free, guide=vae.guide, num_samples=3)(x)["x"]
    >>> drawn.shape, torch.equal(drawn[0], x)
    (torch.Size([3, 5, 1, 28, 28]), False)

`pyro.render_model(vae.model, model_args=(x,))` is a diagram, drawn by graphviz's program `dot`,
which pip does not install; its `.source` is text, and needs the Python package only.
"""

from vaezoo.models.adgm import ADGM
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.fsvae import FSVAE
from vaezoo.models.gmvae import GMVAE
from vaezoo.models.hierarchical import HierarchicalVAE
from vaezoo.models.iwae import IWAE
from vaezoo.models.m1m2 import M1M2
from vaezoo.models.parts import Part
from vaezoo.models.pretrained import pretrained
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
    "pretrained",
]
