"""Checkpoints: weights as safetensors, with a JSON description of the model in the file's header.

Nothing is pickled, so a file from a stranger can hold wrong numbers but cannot run code. The
description names each part's class and constructor arguments, which every part keeps as
attributes of the same name; `load` builds the model from it, and allocates no more than the file's
own weights account for. A model with parts from outside vaezoo, or with a replaced program, is
built by you and handed to `load`.

    saving         `save`: description and weights, as one whole file
    describing     a model as its description
    layers         what lies within modules from elsewhere
    strays         what a model computes with, and does not hold
    loading        `load`: a file checked, and its weights put into a model
    building       a model from its description, within an `allowance` of memory
    ties           what a model holds in several places, tied again
    sharing        `push`, and files of the Hugging Face Hub
    differences    where another model differs from the one in the file
    errors         `CheckpointError`

Format "1", all in the header's `__metadata__`, each value a text:

========  ==========================================================================================
key       value
========  ==========================================================================================
vaezoo    1
model     JSON: {"class", "arguments"} of a part, recursively; {"type"} of a class of torch.nn;
          {"partial", "arguments", "keywords"} of a functools.partial of one; numbers and lists;
          {"lazy"} of a layer that has not run
frozen    JSON: names of parameters with `requires_grad=False`; older files have no such list
layers    JSON: {"torch": its release, "modules": by their places, those from elsewhere as
          {"class", "arguments"}, and vaezoo's in these as "model" has them, null for a lazy
          one}; older files have none
ties      JSON: lists of names of modules, parameters or buffers that are one; older files have none
========  ==========================================================================================
"""

from vaezoo.models.checkpoints.errors import CheckpointError
from vaezoo.models.checkpoints.loading import load
from vaezoo.models.checkpoints.saving import save
from vaezoo.models.checkpoints.sharing import push

__all__ = ["CheckpointError", "load", "push", "save"]
