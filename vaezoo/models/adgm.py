"""The auxiliary deep generative model: M2 with a richer posterior and classifier.

    p(y), p(z), p(x|y, z)           as in M2: uniform, N(0, I), Bernoulli(f_θ(y, z))
    p(a|x, y, z) = N(μ_θ(x, y, z), diag σ²_θ(x, y, z))
    q(a, y, z|x) = q(a|x) q(y|x, a) q(z|x, a, y)

    ELBO(x) = E_{q(a|x)} Σ_y q(y|x, a) E_{q(z|x,a,y)}[ log w(y) - log q(y|x, a) ]   without a label
    ELBO(x, y) = E_{q(a|x) q(z|x,a,y)}[ log w(y) ]                                   with its label
    w(y) = p(x|y, z) p(z) p(y) p(a|x, y, z) / q(a|x) q(z|x, a, y)

The auxiliary a comes after x in the generative program: integrated out it leaves p(x, y, z) as it
was. In the guide it comes first, and makes q(z|x, y) and q(y|x) mixtures over a. Since log p(a|…)
depends on the z and y that follow a in the guide, the KL of a is log q - log p of the sample.

As in M1+M2 the sum over y is exact within each draw of a, the importance-weighted bound without a
label is refused, and E_q[Σ_y w(y)] = p(x).

References:
    Maaløe, Sønderby, Sønderby, Winther. Auxiliary Deep Generative Models. 2016. arXiv:1602.05473,
    equations 5 to 13.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.components import Component
from vaezoo.likelihoods import Bernoulli, Likelihood
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.batches import as_images
from vaezoo.models.drawing import mean_of
from vaezoo.models.parts import Part
from vaezoo.networks import PairMLP
from vaezoo.posteriors import Classifier, DiagonalNormal, Posterior
from vaezoo.priors import Prior, StandardNormal
from vaezoo.scopes import in_mode, one_thread, own_generator

__all__ = ["ADGM"]


class ADGM(LatentVariableModel):
    """The semi-supervised VAE with an auxiliary latent a.

    `model(x)` infers y, `model(x, y)` is given it. `encode` gives the mean of z, at the mean of a.

    Args:
        x_shape: shape of one image.
        z_dim: size of z.
        a_dim: size of a.
        classes: number of classes of y.
        hidden: widths of the layers of all networks.
        prior, likelihood: your own p(z) and p(x|y, z) in place of the default ones.
        auxiliary: your own p(a|x, y, z); called on the pair (x, z) and on y.
        auxiliary_posterior: your own q(a|x).
        classifier: your own q(y|x, a); called on the pair (x, a).
        posterior: your own q(z|x, a, y); called on the pair (x, a) and on y. Any class of
            `posteriors` reads a pair by `network=PairMLP(…)`.

    Example:
        >>> print(*ADGM().equations(), sep=chr(10))
        p(y) = Categorical(10), uniform
        p(z) = StandardNormal(100)
        p(x|z, y) = Bernoulli(1×28×28)
        p(a|x, z, y) = DiagonalNormal(100)
        q(a|x) = DiagonalNormal(100)
        q(y|x, a) = Classifier(10)
        q(z|x, a, y) = DiagonalNormal(100)
    """

    parts: ClassVar[Mapping[str, Part]] = {
        "prior": Part(Prior, "z"),
        "likelihood": Part(Likelihood, "x", ("z", "y")),
        "auxiliary": Part(Component, "a", (("x", "z"), "y")),
        "auxiliary_posterior": Part(Posterior, "a", ("x",)),
        "classifier": Part(Classifier, "y", (("x", "a"),)),
        "posterior": Part(Posterior, "z", (("x", "a"), "y")),
    }

    auxiliary: Component
    auxiliary_posterior: Posterior
    classifier: Classifier

    def __init__(
        self,
        x_shape: Sequence[int] = (1, 28, 28),
        z_dim: int = 100,
        a_dim: int = 100,
        *,
        classes: int = 10,
        hidden: Sequence[int] = (500, 500),
        prior: Prior | None = None,
        likelihood: Likelihood | None = None,
        auxiliary: Component | None = None,
        auxiliary_posterior: Posterior | None = None,
        classifier: Classifier | None = None,
        posterior: Posterior | None = None,
    ) -> None:
        names = ("x_shape", "z_dim")
        x_shape, z_dim = arguments.shape_first(type(self).__name__, names, x_shape, z_dim)
        a_dim, hidden = arguments.size("a_dim", a_dim), arguments.shape("hidden", hidden)
        classes = arguments.size("classes", classes, least=2)
        shared: dict[str, Any] = {"hidden": hidden, "classes": classes}
        seen: dict[str, Any] = {"log1p": getattr(likelihood, "counts", False)}
        super().__init__(
            x_shape,
            {"z": z_dim, "a": a_dim},
            classes=classes,
            prior=prior or StandardNormal(z_dim),
            likelihood=likelihood or Bernoulli(z_dim, x_shape, **shared),
            auxiliary=auxiliary or _normal_of_pair(x_shape, z_dim, a_dim, **shared, **seen),
            auxiliary_posterior=auxiliary_posterior
            or DiagonalNormal(x_shape, a_dim, hidden=hidden, **seen),
            classifier=classifier or _classifier_of_pair(x_shape, a_dim, **shared, **seen),
            posterior=posterior or _normal_of_pair(x_shape, a_dim, z_dim, **shared, **seen),
        )
        self.hidden = hidden

    def model(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """y ~ p(y), z ~ p(z), x ~ p(x|y, z), a ~ p(a|x, y, z), for images and labels (N,)."""
        with self.images(x, y):
            uniform = dist.Categorical(logits=x.new_zeros(self.classes))
            y = pyro.sample("y", uniform, obs=y, infer={"enumerate": "parallel"})
            z = pyro.sample("z", self.prior())
            x = pyro.sample("x", self.likelihood(z, y), obs=x)
            pyro.sample("a", self.auxiliary((x, z), y))
            return x

    def guide(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """a ~ q(a|x), y ~ q(y|x, a) unless it is given, z ~ q(z|x, a, y)."""
        with self.images(x, y):
            a = pyro.sample("a", self.auxiliary_posterior(x))
            if y is None:
                y = pyro.sample("y", self.classifier((x, a)), infer={"enumerate": "parallel"})
            return pyro.sample("z", self.posterior((x, a), y))

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """The class probabilities q(y|x, a) at the mean of q(a|x), shape (N, classes).

        Not q(y|x) = E[q(y|x, a)], which only draws could estimate: at the mean an image has one
        class, whenever it is asked for.
        """
        return self.label_posterior(x).probs

    @torch.no_grad()
    def label_posterior(self, x: Tensor) -> dist.Categorical:
        """What `classify` has the probabilities of; its `logits` are log-probabilities."""
        x = as_images(self, x)
        with one_thread(), own_generator(0), in_mode(self, False):  # where there is no known mean
            a = mean_of(self.auxiliary_posterior(x))
            q: dist.Categorical = self.classifier((x, a))
        return q


def _normal_of_pair(
    x_shape: Sequence[int],
    v_dim: int,
    out_dim: int,
    *,
    hidden: tuple[int, ...],
    classes: int,
    log1p: bool,
) -> DiagonalNormal:
    network = PairMLP(x_shape, v_dim, hidden, (2, out_dim), classes=classes)
    options: dict[str, Any] = {"classes": classes, "network": network, "log1p": log1p}
    return DiagonalNormal(x_shape, out_dim, hidden=hidden, **options)


def _classifier_of_pair(
    x_shape: Sequence[int], v_dim: int, *, hidden: tuple[int, ...], classes: int, log1p: bool
) -> Classifier:
    network = PairMLP(x_shape, v_dim, hidden, (classes,), activation=nn.ReLU)
    return Classifier(x_shape, classes, hidden=hidden, network=network, log1p=log1p)
