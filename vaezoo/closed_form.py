"""The hand-written paths: each member's bound in plain torch, to judge the Pyro programs by.

Nothing here imports the rest of vaezoo or Pyro. The style is the one in which these models are
usually taught: variances rather than scales, images flattened, copies of the batch made with
`duplicate` where the programs broadcast. Slow and plain on purpose.

Encoders are functions of x (and y) that return means and variances (N, z_dim); decoders are
functions of z (and y) that return logits or means, shaped as x. Every result is per image, (N,).

References:
    Kingma, Welling 2014. arXiv:1312.6114, appendix B (the KL of two Gaussians).
    Burda, Grosse, Salakhutdinov 2016. arXiv:1509.00519, equation 8.
    Kingma, Rezende, Mohamed, Welling 2014. arXiv:1406.5298, equations 6 and 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "Terms",
    "duplicate",
    "fsvae",
    "gaussian_parameters",
    "gmvae",
    "importance_weighted",
    "iwae",
    "kl_cat",
    "kl_normal",
    "log_bernoulli_with_logits",
    "log_mean_exp",
    "log_normal",
    "log_normal_mixture",
    "sample_gaussian",
    "ssvae",
    "ssvae_importance_weighted",
    "ssvae_labelled",
    "vae",
]

Encoder = Callable[..., tuple[Tensor, Tensor]]
Decoder = Callable[..., Tensor]
LogLikelihood = Callable[[Tensor, Tensor], Tensor]


class Terms(NamedTuple):
    """What each image costs, in nats, shape (N,).

    nelbo is rec + β kl, rec is -log p(x|z) at the sample, and log_w is log p(x, z) - log q(z|x)
    there: the log importance weight.
    """

    nelbo: Tensor
    kl: Tensor
    rec: Tensor
    log_w: Tensor


def gaussian_parameters(h: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
    """Split h in two along `dim`: means, and variances softplus(·) + 1e-8.

    Example:
        >>> m, v = gaussian_parameters(torch.zeros(1, 4))
        >>> m.tolist(), v.tolist()
        ([[0.0, 0.0]], [[0.6931471824645996, 0.6931471824645996]])
    """
    m, raw = h.chunk(2, dim)
    return m, F.softplus(raw) + 1e-8


def sample_gaussian(m: Tensor, v: Tensor, noise: Tensor | None = None) -> Tensor:
    """z = m + sqrt(v) ε, with ε ~ N(0, I) unless given.

    Example:
        >>> sample_gaussian(torch.ones(2), 4 * torch.ones(2), torch.tensor([0.0, 1.0])).tolist()
        [1.0, 3.0]
    """
    return m + v.sqrt() * (torch.randn_like(m) if noise is None else noise)


def log_normal(x: Tensor, m: Tensor, v: Tensor) -> Tensor:
    """log N(x; m, diag v), summed over the last dimension.

    Example:
        >>> round(log_normal(torch.zeros(2), torch.zeros(2), torch.ones(2)).item(), 6)
        -1.837877
    """
    return -0.5 * (v.log() + (x - m) ** 2 / v + math.log(2 * math.pi)).sum(-1)


def log_normal_mixture(
    z: Tensor, m: Tensor, v: Tensor, log_weights: Tensor | None = None
) -> Tensor:
    """log Σ_i w_i N(z; m_i, diag v_i) for z (N, d) and k components (k, d); w = 1/k by default.

    Example:
        >>> z, m = torch.zeros(1, 2), torch.zeros(3, 2)
        >>> torch.allclose(log_normal_mixture(z, m, m + 1), log_normal(z, m[:1], m[:1] + 1))
        True
    """
    each = log_normal(z.unsqueeze(-2), m, v)
    if log_weights is None:
        return log_mean_exp(each, -1)
    return torch.logsumexp(each + log_weights.log_softmax(-1), -1)


def log_bernoulli_with_logits(x: Tensor, logits: Tensor) -> Tensor:
    """log Bernoulli(x; sigmoid(logits)), summed over the last dimension.

    Example:
        >>> round(log_bernoulli_with_logits(torch.ones(1), torch.zeros(1)).item(), 6)
        -0.693147
    """
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def kl_normal(qm: Tensor, qv: Tensor, pm: Tensor, pv: Tensor) -> Tensor:
    """KL(N(qm, diag qv) ‖ N(pm, diag pv)), summed over the last dimension.

    Example:
        >>> kl_normal(torch.ones(1), torch.ones(1), torch.zeros(1), torch.ones(1)).item()
        0.5
    """
    return 0.5 * (pv.log() - qv.log() + qv / pv + (qm - pm) ** 2 / pv - 1).sum(-1)


def kl_cat(q: Tensor, log_q: Tensor, log_p: Tensor) -> Tensor:
    """KL(q ‖ p) of categorical distributions, summed over the last dimension.

    Example:
        >>> q, log_q = torch.tensor([1.0, 0.0]), torch.tensor([0.0, -50.0])
        >>> round(kl_cat(q, log_q, torch.full((2,), -math.log(2))).item(), 6)
        0.693147
    """
    return (q * (log_q - log_p)).sum(-1)


def duplicate(x: Tensor, copies: int) -> Tensor:
    """`copies` of a batch, one after the other, along its first dimension.

    Example:
        >>> duplicate(torch.tensor([1, 2]), 3).tolist()
        [1, 2, 1, 2, 1, 2]
    """
    return x.expand(copies, *x.shape).reshape(-1, *x.shape[1:])


def log_mean_exp(x: Tensor, dim: int) -> Tensor:
    """log mean exp(x) over `dim`, without overflow.

    Example:
        >>> log_mean_exp(torch.full((4,), 1000.0), 0).item()
        1000.0
    """
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


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


def importance_weighted(
    member: Callable[..., Terms], *batch: Tensor, particles: int, noise: Tensor | None = None
) -> Tensor:
    """The importance-weighted bound of any member here, by `particles` copies of the batch.

    Args:
        member: one of the functions here with its networks filled in (`functools.partial`).
        batch: x, or x and y.
        particles: copies, m.
        noise: ε, shape (particles · N, z_dim), copy by copy.
    """
    copies = [duplicate(t, particles) for t in batch]
    log_w = member(*copies, noise=noise).log_w
    return log_mean_exp(log_w.reshape(particles, len(batch[0])), 0)


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
    (classes · N, z_dim), class by class. log_w is left at -nelbo: the label is not sampled.
    """
    logits = classify(x)
    classes = logits.shape[-1]
    log_q, log_p = logits.log_softmax(-1), torch.full_like(logits, -math.log(classes))
    y = torch.arange(classes, device=x.device).repeat_interleave(len(x))
    each = ssvae_labelled(
        duplicate(x, classes), y, encode, decode, log_likelihood=log_likelihood, noise=noise
    )
    q = log_q.exp()
    rec, kl_z = ((q.T * t.reshape(classes, len(x))).sum(0) for t in (each.rec, each.kl))
    kl = kl_z + kl_cat(q, log_q, log_p)
    return Terms(rec + kl, kl, rec, -rec - kl)


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
        bound = bound + log_qy.exp() * (each - math.log(classes) - log_qy)
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
