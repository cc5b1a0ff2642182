"""What every part of the zoo keeps to, as a test in one line for parts of your own.

    check_prior(MyPrior(2))
    check_posterior(MyPosterior((12,), 2), x)
    check_likelihood(MyLikelihood(2, (12,), classes=3), z, y)
    check_classifier(MyClassifier((12,), 3), x)

Each raises `ContractError`, an AssertionError that says which clause is broken, what was expected,
what came and how to mend it. A copy is tried, with a seed of its own: the part, the generator and
every setting are as before. The clauses:

    copies       deepcopy works, before and after a draw, and gives the same densities
    one line     repr is one line and names the class
    dtypes       draws, but for labels, and densities are in the part's dtype, float64 or float32
    shapes       event and batch shapes, of draws and densities too
    rsample      a posterior is reparametrised, and its draws have the density they claim
    outcomes     a likelihood's `check` takes its own draws, and the distribution has a mean
    means        which is that of its density
    labels       a classifier's probabilities are of 0, 1, …, as `log_prob` has them
    leading      plates, particles and every label on the left; no input changes another's density
    rebuilds     from the constructor arguments, kept as attributes, and the state in a safetensors
                 file, as by `vaezoo.save`
    gradients    reach every parameter: of the density, and of a posterior's draw
    differences  the gradient of the density is the derivative of its value, by parameters, inputs,
                 and the code
    normalises   the density integrates (or sums) to 1
    samples      draws of `sample` and of `rsample` are distributed as the density says: the means
                 of all numbers, and of eight of them the whole distribution
    independent  draws for two inputs, of two calls, and numbers whose density is a product
    pathwise     the gradient of a posterior's draws is that of the density they have

Means, integrals, samples and pathwise judge the first input only. Integrals over each scalar of an
`Independent`, and over one or two dimensions, are by quadrature to 1e-3, others, and those of
clusters in a plane that fall between the points of a grid, by 20,000 importance samples; draws are
20,000, tested against the density with a p-value. Together they reject a correct part for fewer
than one seed in 10,000, and the seed is fixed. What has no density over all vectors of its size, as
on a simplex, and outcomes that are vectors are refused as what cannot be judged. Let sizes be
small: two or three latent dimensions show what ten do, and sooner.
"""

from vaezoo.contract.case import ContractError
from vaezoo.contract.check import (
    check_classifier,
    check_likelihood,
    check_part,
    check_posterior,
    check_prior,
)

__all__ = [
    "ContractError",
    "check_classifier",
    "check_likelihood",
    "check_part",
    "check_posterior",
    "check_prior",
]
