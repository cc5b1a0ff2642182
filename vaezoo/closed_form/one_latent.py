"""Members with one latent, and a label that is given, summed out, or not there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaezoo.closed_form.densities import (
    duplicate,
    kl_normal,
    log_bernoulli_with_logits,
    log_normal,
    log_normal_mixture,
    sample_gaussian,
)
from vaezoo.closed_form.terms import (
    Decoder,
    Encoder,
    LogLikelihood,
    Terms,
    every_class,
    importance_weighted,
    sum_out,
)

__all__ = ["fsvae", "gmvae", "iwae", "ssvae", "ssvae_importance_weighted", "ssvae_labelled", "vae"]


def vae(
    x: Tensor,
    encode: Encoder,
    decode: Decoder,
    *,
    beta: float = 1.0,
    log_likelihood: LogLikelihood = log_bernoulli_with_logits,
    noise: Tensor | None = None,
) -> Terms:
    """The VAE's negative ELBO: closed-form KL to N(0, I), one sample for the rest.

    Example:
        >>> x = torch.ones(1, 784)
        >>> terms = vae(x, lambda x: (torch.zeros(1, 2), torch.ones(1, 2)), lambda z: 0 * x)
        >>> terms.kl.item(), round(terms.rec.item(), 2)
        (0.0, 543.43)
    """
    m, v = encode(x)
    z = sample_gaussian(m, v, noise)
    rec = -log_likelihood(x.flatten(1), decode(z).flatten(1))
    zero, one = torch.zeros_like(m), torch.ones_like(v)
    kl = kl_normal(m, v, zero, one)
    log_w = -rec + log_normal(z, zero, one) - log_normal(z, m, v)
    return Terms(rec + beta * kl, kl, rec, log_w)


def gmvae(
    x: Tensor,
    encode: Encoder,
    decode: Decoder,
    means: Tensor,
    variances: Tensor,
    *,
    log_weights: Tensor | None = None,
    beta: float = 1.0,
    log_likelihood: LogLikelihood = log_bernoulli_with_logits,
    noise: Tensor | None = None,
) -> Terms:
    """The GMVAE's negative ELBO: log q(z|x) - log p(z) at the sample stands for the KL.

    `means` and `variances` of the prior's components have shape (k, z_dim).
    """
    m, v = encode(x)
    z = sample_gaussian(m, v, noise)
    rec = -log_likelihood(x.flatten(1), decode(z).flatten(1))
    kl = log_normal(z, m, v) - log_normal_mixture(z, means, variances, log_weights)
    return Terms(rec + beta * kl, kl, rec, -rec - kl)


def iwae(
    x: Tensor,
    encode: Encoder,
    decode: Decoder,
    *,
    particles: int,
    noise: Tensor | None = None,
) -> Terms:
    """The IWAE's negative bound; kl and rec are means over the particles, log_w is the bound."""

    def member(x: Tensor, *, noise: Tensor | None) -> Terms:
        return vae(x, encode, decode, noise=noise)

    if noise is None:
        noise = torch.randn_like(duplicate(encode(x)[0], particles))
    bound = importance_weighted(member, x, particles=particles, noise=noise)
    terms = member(duplicate(x, particles), noise=noise)
    kl, rec = (t.reshape(particles, len(x)).mean(0) for t in (terms.kl, terms.rec))
    return Terms(-bound, kl, rec, bound)


def ssvae(
    x: Tensor,
    encode: Encoder,
    decode: Decoder,
    classify: Decoder,
    *,
    log_likelihood: LogLikelihood = log_bernoulli_with_logits,
    noise: Tensor | None = None,
) -> Terms:
    """The SSVAE's negative ELBO without labels: a copy of x for every class, weighted by q(y|x).

    `classify` returns logits (N, classes); kl holds both KLs, of z and of y. `noise` has shape
    (classes · N, z_dim), class by class.
    """
    log_q = classify(x).log_softmax(-1)
    y, copies = every_class(log_q, x)
    each = ssvae_labelled(copies, y, encode, decode, log_likelihood=log_likelihood, noise=noise)
    return sum_out(log_q, each)


def ssvae_importance_weighted(
    x: Tensor,
    encode: Encoder,
    decode: Decoder,
    classify: Decoder,
    *,
    particles: int,
    log_likelihood: LogLikelihood = log_bernoulli_with_logits,
) -> Tensor:
    """Σ_y q(y|x) [ L_m(x|y) + log p(y) - log q(y|x) ], label by label in a loop."""
    log_q = classify(x).log_softmax(-1)

    def member(x: Tensor, y: Tensor, *, noise: Tensor | None) -> Terms:
        return ssvae_labelled(x, y, encode, decode, log_likelihood=log_likelihood, noise=noise)

    bound = torch.zeros_like(log_q[:, 0])
    for label in range(classes := log_q.shape[-1]):
        y = torch.full((len(x),), label, device=x.device)
        each = importance_weighted(member, x, y, particles=particles)
        log_qy = log_q[:, label]
        q = log_qy.exp()
        bound = bound + q * torch.where(q == 0, 0.0, each - math.log(classes) - log_qy)
    return bound


def ssvae_labelled(
    x: Tensor,
    y: Tensor,
    encode: Encoder,
    decode: Decoder,
    *,
    log_likelihood: LogLikelihood = log_bernoulli_with_logits,
    noise: Tensor | None = None,
) -> Terms:
    """The SSVAE's negative ELBO with labels y (N,): -ELBO of log p(x|y), without log p(y)."""
    return vae(
        x,
        lambda x: encode(x, y),
        lambda z: decode(z, y),
        log_likelihood=log_likelihood,
        noise=noise,
    )


def fsvae(
    x: Tensor,
    y: Tensor,
    encode: Encoder,
    decode: Decoder,
    *,
    variance: float | Tensor = 0.1,
    noise: Tensor | None = None,
) -> Terms:
    """The FSVAE's negative conditional ELBO, pixels Normal around the decoder's output."""

    def log_likelihood(x: Tensor, mean: Tensor) -> Tensor:
        return log_normal(x, mean, torch.as_tensor(variance, dtype=x.dtype, device=x.device))

    return ssvae_labelled(x, y, encode, decode, log_likelihood=log_likelihood, noise=noise)
