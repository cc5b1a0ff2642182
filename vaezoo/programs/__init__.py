"""A pair of Pyro programs, a model and its guide: what it is, and what one run of it says."""

from vaezoo.programs.pair import Pair, required_arguments
from vaezoo.programs.run import run
from vaezoo.programs.terms import Terms

__all__ = ["Pair", "Terms", "required_arguments", "run"]
