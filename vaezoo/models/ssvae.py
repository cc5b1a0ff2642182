"""The semi-supervised variational auto-encoder (M2).

    p(y)      = uniform over the classes
    p(z)      = N(0, I)
    p(x|y, z) = Bernoulli(f_θ(y, z))
    q(y, z|x) = q(y|x) q(z|x, y)

    ELBO(x)    = Σ_y q(y|x) [ ELBO(x, y) - log q(y|x) ]                      without a label
    ELBO(x, y) = E_{q(z|x,y)}[log p(x|y, z)] - KL(q(z|x, y) ‖ p(z)) + log p(y)    with its label

    maximise   Σ_x ELBO(x) + Σ_(x,y) ELBO(x, y) + α Σ_(x,y) log q(y|x)

The sum over y is exact: `enumerate` marks y, and vaezoo's objectives (and Pyro's `TraceEnum_ELBO`)
sum it out unless it is given, as an argument or by conditioning both programs on it; conditioned,
the guide still says log q(y|x). `objectives.SemiSupervised` does the latter, and says how the three
sums are weighted in a minibatch. log p(y) is a constant, there because the program observes y too.

References:
    Kingma, Rezende, Mohamed, Welling. Semi-supervised Learning with Deep Generative Models. 2014.
    arXiv:1406.5298, equations 6 to 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vaezoo import arguments
from vaezoo.likelihoods import Bernoulli, Likelihood
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.batches import as_images
from vaezoo.posteriors import Classifier, DiagonalNormal, Posterior
from vaezoo.priors import Prior, StandardNormal
from vaezoo.scopes import in_mode, one_thread

__all__ = ["SSVAE"]


class SSVAE(LatentVariableModel):
    """The semi-supervised VAE: `model(x)` infers the label, `model(x, y)` is given it.

    Args:
        x_shape: shape of one image.
        z_dim: latent size.
        classes: number of classes of y.
        hidden: widths of the layers of encoder and classifier; the decoder mirrors them.
        prior, likelihood, posterior, classifier: your own parts in place of the default ones;
            likelihood and posterior take labels.

    Example:
        >>> print(*SSVAE().equations(), sep=chr(10))
        p(y) = Categorical(10), uniform
        p(z) = StandardNormal(64)
        p(x|z, y) = Bernoulli(1×28×28)
        q(y|x) = Classifier(10)
        q(z|x, y) = DiagonalNormal(64)
    """

    def __init__(
        self,
        x_shape: Sequence[int] = (1, 28, 28),
        z_dim: int = 64,
        *,
        classes: int = 10,
        hidden: Sequence[int] = (300, 300),
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
        posterior: Posterior | None = None,
        classifier: Classifier | None = None,
    ) -> None:
        names = ("x_shape", "z_dim")
        x_shape, z_dim = arguments.shape_first(type(self).__name__, names, x_shape, z_dim)
        hidden = arguments.shape("hidden", hidden)
        classes = arguments.size("classes", classes, least=2)
        encoder: dict[str, Any] = {"hidden": hidden, "log1p": getattr(likelihood, "counts", False)}
        super().__init__(
            x_shape,
            z_dim,
            classes=classes,
            prior=prior or StandardNormal(z_dim),
            likelihood=likelihood
            or Bernoulli(z_dim, x_shape, hidden=hidden[::-1], classes=classes),
            posterior=posterior or DiagonalNormal(x_shape, z_dim, classes=classes, **encoder),
        )
        self.hidden = hidden
        self.classifier = classifier or Classifier(x_shape, classes, **encoder)

    def model(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """y ~ p(y), z ~ p(z), x ~ p(x|y, z), for images (N, *x_shape) and labels (N,)."""
        with self.images(x, y):
            uniform = dist.Categorical(logits=x.new_zeros(self.classes))
            y = pyro.sample("y", uniform, obs=y, infer={"enumerate": "parallel"})
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.likelihood(z, y), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """y ~ q(y|x) unless it is given, z ~ q(z|x, y)."""
        with self.images(x, y):
            if y is None:
                y = pyro.sample("y", self.classifier(x), infer={"enumerate": "parallel"})
            return pyro.sample("z", self.posterior(x, y))

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """The class probabilities q(y|x) of images (N, *x_shape), shape (N, classes)."""
        return self.label_posterior(x).probs

    @torch.no_grad()
    def label_posterior(self, x: Tensor) -> dist.Categorical:
        """q(y|x), whose `logits` are log-probabilities, finite where a probability rounds to 0."""
        with one_thread(), in_mode(self, False):
            q: dist.Categorical = self.classifier(as_images(self, x))
        return q
