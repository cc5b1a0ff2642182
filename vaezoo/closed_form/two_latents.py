"""Members with two latents: the hierarchical VAE, M1+M2 and the auxiliary model.

In each, the latent that the guide draws first has a prior that depends on the other one, so that
its KL is log q - log p at the sample; the second one's is in closed form, at the first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vaezoo.closed_form.densities import (
    kl_normal,
    log_bernoulli_with_logits,
    log_normal,
    sample_gaussian,
)
from vaezoo.closed_form.terms import Decoder, Encoder, LogLikelihood, Terms, every_class, sum_out

__all__ = ["adgm", "adgm_labelled", "hierarchical_vae", "m1m2", "m1m2_labelled"]

Noise = tuple[Tensor | None, Tensor | None]  # ε of each latent, drawn where it is None


def hierarchical_vae(
    x: Tensor,
    encode: Encoder,
    encode_upper: Encoder,
    decode: Decoder,
    conditional_prior: Encoder,
    *,
    log_likelihood: LogLikelihood = log_bernoulli_with_logits,
    noise: Noise | None = None,
) -> Terms:
    """The negative ELBO of two layers: log q(z1|x) - log p(z1|z2) at the sample, KL of z2.

    Args:
        x: images (N, …).
        encode: of q(z1|x).
        encode_upper: of q(z2|z1).
        decode: of p(x|z1).
        conditional_prior: means and variances of p(z1|z2).
        log_likelihood: log p of images given what the decoder puts out, both flattened.
        noise: ε of z1 and of z2, shapes (N, z1_dim) and (N, z2_dim).

    Example:
        >>> x, one = torch.ones(1, 784), torch.ones(1, 2)
        >>> standard = lambda v: (0 * one, one)
        >>> terms = hierarchical_vae(x, standard, standard, lambda z1: 0 * x, standard)
        >>> terms.kl.item(), round(terms.rec.item(), 2)
        (0.0, 543.43)
    """
    noise1, noise2 = noise or (None, None)
    m1, v1 = encode(x)
    z1 = sample_gaussian(m1, v1, noise1)
    m2, v2 = encode_upper(z1)
    z2 = sample_gaussian(m2, v2, noise2)
    rec = -log_likelihood(x.flatten(1), decode(z1).flatten(1))
    kl1 = log_normal(z1, m1, v1) - log_normal(z1, *conditional_prior(z2))
    zero, one = torch.zeros_like(m2), torch.ones_like(v2)
    kl = kl1 + kl_normal(m2, v2, zero, one)
    log_w = -rec - kl1 + log_normal(z2, zero, one) - log_normal(z2, m2, v2)
    return Terms(rec + kl, kl, rec, log_w)


def m1m2_labelled(
    x: Tensor,
    y: Tensor,
    encode: Encoder,
    encode_upper: Encoder,
    decode: Decoder,
    conditional_prior: Encoder,
    *,
    log_likelihood: LogLikelihood = log_bernoulli_with_logits,
    noise: Noise | None = None,
) -> Terms:
    """M1+M2's negative ELBO with labels y (N,): -ELBO of log p(x|y), without log p(y).

    Given its label it is a hierarchical VAE with q(z2|z1, y) and p(z1|y, z2).
    """
    return hierarchical_vae(
        x,
        encode,
        lambda z1: encode_upper(z1, y),
        decode,
        lambda z2: conditional_prior(z2, y),
        log_likelihood=log_likelihood,
        noise=noise,
    )


def m1m2(
    x: Tensor,
    encode: Encoder,
    encode_upper: Encoder,
    decode: Decoder,
    conditional_prior: Encoder,
    classify: Decoder,
    *,
    log_likelihood: LogLikelihood = log_bernoulli_with_logits,
    noise: Noise | None = None,
) -> Terms:
    """M1+M2's negative ELBO without labels: one z1, and a copy of x and z1 for every class.

    `classify` returns the logits of q(y|z1). `noise` has shapes (N, z1_dim) and, class by class,
    (classes · N, z2_dim).
    """
    m, v = encode(x)
    noise1, noise2 = noise or (None, None)
    noise1 = torch.randn_like(m) if noise1 is None else noise1
    log_q = classify(sample_gaussian(m, v, noise1)).log_softmax(-1)
    y, x, noise1 = every_class(log_q, x, noise1)
    parts = encode, encode_upper, decode, conditional_prior
    each = m1m2_labelled(x, y, *parts, log_likelihood=log_likelihood, noise=(noise1, noise2))
    return sum_out(log_q, each)


def adgm_labelled(
    x: Tensor,
    y: Tensor,
    encode_auxiliary: Encoder,
    encode: Encoder,
    decode: Decoder,
    auxiliary: Encoder,
    *,
    log_likelihood: LogLikelihood = log_bernoulli_with_logits,
    noise: Noise | None = None,
) -> Terms:
    """The ADGM's negative ELBO with labels y (N,): -ELBO of log p(x|y), without log p(y).

    Args:
        x: images (N, …).
        y: their classes (N,).
        encode_auxiliary: of q(a|x).
        encode: of q(z|x, a, y), called with x, a and y.
        decode: of p(x|z, y).
        auxiliary: means and variances of p(a|x, z, y), called with x, z and y.
        log_likelihood: log p of images given what the decoder puts out, both flattened.
        noise: ε of a and of z, shapes (N, a_dim) and (N, z_dim).
    """
    noise_a, noise_z = noise or (None, None)
    m_a, v_a = encode_auxiliary(x)
    a = sample_gaussian(m_a, v_a, noise_a)
    m, v = encode(x, a, y)
    z = sample_gaussian(m, v, noise_z)
    rec = -log_likelihood(x.flatten(1), decode(z, y).flatten(1))
    kl_a = log_normal(a, m_a, v_a) - log_normal(a, *auxiliary(x, z, y))
    zero, one = torch.zeros_like(m), torch.ones_like(v)
    kl = kl_a + kl_normal(m, v, zero, one)
    log_w = -rec - kl_a + log_normal(z, zero, one) - log_normal(z, m, v)
    return Terms(rec + kl, kl, rec, log_w)


def adgm(
    x: Tensor,
    encode_auxiliary: Encoder,
    encode: Encoder,
    decode: Decoder,
    auxiliary: Encoder,
    classify: Decoder,
    *,
    log_likelihood: LogLikelihood = log_bernoulli_with_logits,
    noise: Noise | None = None,
) -> Terms:
    """The ADGM's negative ELBO without labels: one a, and a copy of x and a for every class.

    `classify` returns the logits of q(y|x, a), called with x and a. `noise` has shapes (N, a_dim)
    and, class by class, (classes · N, z_dim).
    """
    m, v = encode_auxiliary(x)
    noise_a, noise_z = noise or (None, None)
    noise_a = torch.randn_like(m) if noise_a is None else noise_a
    log_q = classify(x, sample_gaussian(m, v, noise_a)).log_softmax(-1)
    y, x, noise_a = every_class(log_q, x, noise_a)
    parts = encode_auxiliary, encode, decode, auxiliary
    each = adgm_labelled(x, y, *parts, log_likelihood=log_likelihood, noise=(noise_a, noise_z))
    return sum_out(log_q, each)
