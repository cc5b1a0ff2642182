"""The hand-written paths: each member's bound in plain torch, to judge the Pyro programs by.

Nothing here imports the rest of vaezoo or Pyro. The style is the one in which these models are
usually taught: variances rather than scales, images flattened, copies of the batch made with
`duplicate` where the programs broadcast. Slow and simple on purpose.

Encoders are functions of x (and of what was drawn before, and of y) that return means and
variances (N, z_dim); decoders are functions of z (and y) that return logits or means, shaped as x;
classifiers return logits (N, classes). Every result is per image, (N,). `noise` is the ε of every
draw: one tensor, or in members with two latents a pair in the order in which they are drawn.

    member             without labels            with labels         importance-weighted
    VAE, FSVAE         vae                       fsvae               importance_weighted
    GMVAE              gmvae                                         importance_weighted
    IWAE               iwae                                          iwae
    SSVAE              ssvae                     ssvae_labelled      ssvae_importance_weighted
    HierarchicalVAE    hierarchical_vae                              importance_weighted
    M1M2               m1m2                      m1m2_labelled       importance_weighted
    ADGM               adgm                      adgm_labelled       importance_weighted

Where a label is summed out, `importance_weighted` gives an estimate of log p(x) that has it summed
out inside the weights, log 1/m Σ_i Σ_y p(y) w(y, z_i), and so needs no q(y|x).

References:
    Kingma, Welling 2014. arXiv:1312.6114, appendix B (the KL of two Gaussians).
    Burda, Grosse, Salakhutdinov 2016. arXiv:1509.00519, equation 8.
    Kingma, Rezende, Mohamed, Welling 2014. arXiv:1406.5298, equations 6 and 7.
    Maaløe, Sønderby, Sønderby, Winther 2016. arXiv:1602.05473, equations 8 to 11.
"""

from vaezoo.closed_form.densities import (
    duplicate,
    gaussian_parameters,
    kl_cat,
    kl_normal,
    log_bernoulli_with_logits,
    log_mean_exp,
    log_normal,
    log_normal_mixture,
    sample_gaussian,
)
from vaezoo.closed_form.one_latent import (
    fsvae,
    gmvae,
    iwae,
    ssvae,
    ssvae_importance_weighted,
    ssvae_labelled,
    vae,
)
from vaezoo.closed_form.terms import Terms, importance_weighted, sum_out
from vaezoo.closed_form.two_latents import (
    adgm,
    adgm_labelled,
    hierarchical_vae,
    m1m2,
    m1m2_labelled,
)

__all__ = [
    "Terms",
    "adgm",
    "adgm_labelled",
    "duplicate",
    "fsvae",
    "gaussian_parameters",
    "gmvae",
    "hierarchical_vae",
    "importance_weighted",
    "iwae",
    "kl_cat",
    "kl_normal",
    "log_bernoulli_with_logits",
    "log_mean_exp",
    "log_normal",
    "log_normal_mixture",
    "m1m2",
    "m1m2_labelled",
    "sample_gaussian",
    "ssvae",
    "ssvae_importance_weighted",
    "ssvae_labelled",
    "sum_out",
    "vae",
]
