"""Numbers of a model on held-out data, a question a file, each with its standard error.

    bounds      evaluate, accuracy: NELBO and its terms, NIWAE-k, the labels that are guessed right
    evidence    evidence: log p(x) by importance sampling, and whether its weights can be trusted
    annealing   annealed, sandwiched: log p(x) without a good q, and from both sides
    gaps        gaps: how far the bound is below log p(x), by amortisation and by the family of q
    rate        rate: rate, distortion, and what the rate is made of
    units       units: KL and activity of each number of a code, and what has collapsed

All work for any pair of programs, read their data batch by batch, decode a bounded number of images
at a time, draw from a generator of their own, and leave the model in the mode that it was in.
"""

from vaezoo.data.passes import Data
from vaezoo.estimates import Estimate
from vaezoo.evaluation.annealing import annealed, sandwiched
from vaezoo.evaluation.bounds import accuracy, evaluate
from vaezoo.evaluation.evidence import evidence
from vaezoo.evaluation.gaps import gaps
from vaezoo.evaluation.rate import rate
from vaezoo.evaluation.units import Units, units

__all__ = [
    "Data",
    "Estimate",
    "Units",
    "accuracy",
    "annealed",
    "evaluate",
    "evidence",
    "gaps",
    "rate",
    "sandwiched",
    "units",
]
