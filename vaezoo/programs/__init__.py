"""A pair of Pyro programs, a model and its guide: what it is, and what one run of it says.

    pair     what a pair is, and all that is known here of members of the zoo
    run      one run: the guide, then the model on what the guide drew
    sites    the sample sites of both, each told apart
    checking whether their terms can be added up; `refusing` says what is no pair at all
    terms    their log-densities, per image; `closed_forms` says where a KL is known
    held     distributions whose parameters get no gradient
    chunked  the terms of more draws than memory holds, and their gradients
    observed what they observe of a batch, and what that may be
    portions what it takes to decode a batch, and portions of it
    outside  what training trains with a pair, and that is not the pair's own
    writes   what programs write into tensors, undone

How the terms of an image combine is said in `vaezoo.objectives`.
"""

from vaezoo.programs.pair import Pair, required_arguments
from vaezoo.programs.run import run
from vaezoo.programs.terms import Terms

__all__ = ["Pair", "Terms", "required_arguments", "run"]
