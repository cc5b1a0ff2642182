"""What is maximised: one run of a Pyro pair, and how the terms of an image combine.

An objective is a Pyro ELBO that also works in a torch loop. It runs the pair once
(`vaezoo.programs`) and says in `bound` how the terms combine. With
w(y, k) = p(x|y, z_k) p(z_k) / q(z_k|x, y), and sums over y only where the guide marks y with
infer={"enumerate": "parallel"} (of a label that is given, log p(y) remains):

    ELBO(β)   = mean_k Σ_y q(y|x) [ rec - β kl + log p(y) - log q(y|x) ]
    IWELBO(K) =        Σ_y q(y|x) [ log mean_k w(y, k) + log p(y) - log q(y|x) ]
    Renyi(α)  =        Σ_y q(y|x) [ log mean_k w(y, k)^(1-α) / (1-α) + log p(y) - log q(y|x) ]

Everything reported is in nats per image (a sum over pixels, a mean over images): neither β, nor
the batch size, nor the number of particles changes the unit. In `pyro.infer.SVI` an objective's
loss is therefore 1/N of that of Pyro's own, which sums over images: a learning rate of SGD, or a
norm to clip gradients at, does not transfer from one to the other. Beside the objectives:

    base            what they share: from a run to a loss and what is reported
    schedules       numbers that change in training, such as β
    usual           which of them is taken where none is named
    pyro_adapter    Pyro's own, per image

`SemiSupervised` combines two runs of one of them, of unlabelled and of labelled images, and may add
a `Consistency` of what the classifier reads.
"""

from vaezoo.objectives.base import Objective
from vaezoo.objectives.consistency import Consistency
from vaezoo.objectives.elbo import ELBO
from vaezoo.objectives.iwelbo import IWELBO
from vaezoo.objectives.renyi import Renyi
from vaezoo.objectives.schedules import Cyclical, Schedule, WarmUp
from vaezoo.objectives.semi_supervised import SemiSupervised

__all__ = [
    "ELBO",
    "IWELBO",
    "Consistency",
    "Cyclical",
    "Objective",
    "Renyi",
    "Schedule",
    "SemiSupervised",
    "WarmUp",
]
