"""Numbers of a model on held-out data, a question a file, each with its standard error.

    bounds          evaluate, accuracy: NELBO and its terms, NIWAE-k, labels guessed right
    evidence        evidence: log p(x) by importance sampling, and whether to trust its weights
    annealing       annealed, sandwiched: log p(x) without a good q, and from both sides
    gaps            gaps: what the bound loses by amortisation, and by the family of q
    rate            rate: rate, distortion, and what the rate is made of
    units           units: KL and activity of each number of a code, and what has collapsed
    clustering      clusters: whether the components of a mixture prior are the classes
    classification  calibration: whether classes are right, and whether their probabilities are
    disentanglement disentanglement: whether known factors have numbers of the code to themselves
    sample_quality  sample_quality: whether pictures look like data, and show what they should
    report          report: bounds, evidence, rate, units and classes, in one table and one JSON

Behind them:

    visiting        one visit to every image, and what is found there; each question goes this way
    aggregate       q(h), the mean over images of q(h|x), for the rate
    pareto          Pareto's k̂ of importance weights, for evidence
    paths, hmc      the way from r(h) to p(x, h), and the steps on it, for annealing
    refining        a guide refined image by image, for gaps

Questions down to units work for any pair of programs, the others for members. They read data batch
by batch, decode a bounded number of images at a time, draw from generators of their own, and leave
the model in the mode that it was in; `rate` keeps the images that it takes.
"""

from vaezoo.estimates import Estimate
from vaezoo.evaluation.annealing import annealed, sandwiched
from vaezoo.evaluation.bounds import accuracy, evaluate
from vaezoo.evaluation.classification import Calibration, calibration
from vaezoo.evaluation.clustering import Clusters, clusters
from vaezoo.evaluation.disentanglement import Disentanglement, disentanglement
from vaezoo.evaluation.evidence import evidence
from vaezoo.evaluation.gaps import gaps
from vaezoo.evaluation.rate import rate
from vaezoo.evaluation.report import Report, report
from vaezoo.evaluation.sample_quality import frechet, sample_quality
from vaezoo.evaluation.units import Units, units

__all__ = [
    "Calibration",
    "Clusters",
    "Disentanglement",
    "Estimate",
    "Report",
    "Units",
    "accuracy",
    "annealed",
    "calibration",
    "clusters",
    "disentanglement",
    "evaluate",
    "evidence",
    "frechet",
    "gaps",
    "rate",
    "report",
    "sample_quality",
    "sandwiched",
    "units",
]
