"""Variational auto-encoders as Pyro programs: every part to swap, every number checked.

    models (priors, posteriors, likelihoods, networks)        pairs of programs, and their parts
    objectives (programs)                                     what is maximised, from one run
    bound, training, evaluation (chunks, estimates)           using a pair
    compiler                                                  making it fast
    contract, closed_form, crosschecks, diagnostics, plots    judging and showing
    panel                                                     `explore`, in a notebook

The other files and folders are the ground that these stand on.
"""

from typing import TYPE_CHECKING, Any

from vaezoo import (
    closed_form,
    contract,
    data,
    diagnostics,
    likelihoods,
    models,
    networks,
    objectives,
    posteriors,
    priors,
)
from vaezoo.bound import Bound
from vaezoo.crosschecks import crosscheck
from vaezoo.estimates import compare
from vaezoo.evaluation import accuracy, evaluate
from vaezoo.models.checkpoints import CheckpointError, load, push, save
from vaezoo.objectives import ELBO, IWELBO, Renyi, SemiSupervised
from vaezoo.training import NonFiniteLoss, fit
from vaezoo.training.step import Step

if TYPE_CHECKING:
    from vaezoo import plots
    from vaezoo.panel import explore

__version__ = "0.2.0"

__all__ = [
    "ELBO",
    "IWELBO",
    "Bound",
    "CheckpointError",
    "NonFiniteLoss",
    "Renyi",
    "SemiSupervised",
    "Step",
    "accuracy",
    "closed_form",
    "compare",
    "contract",
    "crosscheck",
    "data",
    "diagnostics",
    "evaluate",
    "explore",
    "fit",
    "likelihoods",
    "load",
    "models",
    "networks",
    "objectives",
    "plots",
    "posteriors",
    "priors",
    "push",
    "save",
]


def __getattr__(name: str) -> Any:
    # plots imports matplotlib, which costs half a second that training does not need; explore needs
    # widgets, which not everyone has
    if name == "plots":
        import importlib

        return importlib.import_module("vaezoo.plots")
    if name == "explore":
        from vaezoo.panel import explore

        return explore
    raise AttributeError(f"module 'vaezoo' has no attribute {name!r}")
