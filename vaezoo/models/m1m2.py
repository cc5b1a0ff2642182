"""The stacked model M1+M2: a semi-supervised VAE (M2) on the codes of a VAE (M1).

    p(y)        = uniform over the classes
    p(z2)       = N(0, I)
    p(z1|y, z2) = N(μ_θ(y, z2), diag σ²_θ(y, z2))
    p(x|z1)     = Bernoulli(f_θ(z1))
    q(z1, y, z2|x) = q(z1|x) q(y|z1) q(z2|z1, y)

    ELBO(x) = E_{q(z1|x)} Σ_y q(y|z1) E_{q(z2|z1,y)}[ log w(y) - log q(y|z1) ]      without a label
    ELBO(x, y) = E_{q(z1|x) q(z2|z1,y)}[ log w(y) ]                                  with its label
    w(y) = p(x|z1) p(z1|y, z2) p(z2) p(y) / q(z1|x) q(z2|z1, y)

In the paper it is trained in two stages: M1, a VAE, with p(z1) = N(0, I); then M2 on its codes.
With p(x|z1) and q(z1|x) frozen, what is left to train of the bound above is M2's own on z1 ~ q:

    m1m2 = M1M2.from_m1(vae)             # after fit(vae, …); vae's two networks are copied, frozen
    fit(m1m2, batches)                   # trains what is not frozen
    m1m2.requires_grad_(True)            # then, or at once: all of it, end to end

y comes after z1 in the guide. The sum over y is exact all the same, within each draw of z1; only
the importance-weighted bound without a label is refused, as draws of z1 do not share a q(y|z1).
An estimate of log p(x) needs no q(y|z1): E_q[Σ_y w(y)] = p(x).

References:
    Kingma, Rezende, Mohamed, Welling. Semi-supervised Learning with Deep Generative Models. 2014.
    arXiv:1406.5298, sections 2.1 to 2.3, and section 4 for the sizes (softplus there, ELU
    and, in the classifier, ReLU here).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from vaezoo import arguments
from vaezoo.components import Component
from vaezoo.likelihoods import Bernoulli, Likelihood
from vaezoo.models.base import LatentVariableModel
from vaezoo.models.batches import as_images
from vaezoo.models.drawing import mean_of
from vaezoo.models.naming import name_of
from vaezoo.models.parts import Part
from vaezoo.models.vae import VAE
from vaezoo.posteriors import Classifier, DiagonalNormal, Posterior
from vaezoo.priors import Prior, StandardNormal
from vaezoo.scopes import in_mode, one_thread, own_generator

__all__ = ["M1M2"]


class M1M2(LatentVariableModel):
    """M1+M2: `z1` is the code of an image, `z2` the style of that code, y its class.

    `model(x)` infers the label, `model(x, y)` is given it. `encode` gives the mean of z2, at the
    mean of z1; that is the z of `sample`, which takes z1 too.

    Args:
        x_shape: shape of one image.
        z1_dim, z2_dim: sizes of the latents.
        classes: number of classes of y.
        hidden: widths of M1's layers, between x and z1; the decoder mirrors them.
        upper_hidden: widths of M2's layers, between z1 and (y, z2), likewise.
        prior, conditional_prior, likelihood, posterior, classifier, upper_posterior: your own
            p(z2), p(z1|y, z2), p(x|z1), q(z1|x), q(y|z1) and q(z2|z1, y) in place of the default
            ones; the second and the last take labels.

    Example:
        >>> print(*M1M2().equations(), sep=chr(10))
        p(y) = Categorical(10), uniform
        p(z2) = StandardNormal(50)
        p(z1|z2, y) = DiagonalNormal(50)
        p(x|z1) = Bernoulli(1×28×28)
        q(z1|x) = DiagonalNormal(50)
        q(y|z1) = Classifier(10)
        q(z2|z1, y) = DiagonalNormal(50)
    """

    parts: ClassVar[Mapping[str, Part]] = {
        "prior": Part(Prior, "z2"),
        "conditional_prior": Part(Component, "z1", ("z2", "y")),
        "likelihood": Part(Likelihood, "x", ("z1",)),
        "posterior": Part(Posterior, "z1", ("x",)),
        "classifier": Part(Classifier, "y", ("z1",)),
        "upper_posterior": Part(Posterior, "z2", ("z1", "y")),
    }
    code = "z2"

    conditional_prior: Component
    classifier: Classifier
    upper_posterior: Posterior

    def __init__(
        self,
        x_shape: Sequence[int] = (1, 28, 28),
        z1_dim: int = 50,
        z2_dim: int = 50,
        *,
        classes: int = 10,
        hidden: Sequence[int] = (600, 600),
        upper_hidden: Sequence[int] = (500,),
        prior: Prior | None = None,
        conditional_prior: Component | None = None,
        likelihood: Likelihood | None = None,
        posterior: Posterior | None = None,
        classifier: Classifier | None = None,
        upper_posterior: Posterior | None = None,
    ) -> None:
        names = ("x_shape", "z1_dim")
        x_shape, z1_dim = arguments.shape_first(type(self).__name__, names, x_shape, z1_dim)
        z2_dim, hidden = arguments.size("z2_dim", z2_dim), arguments.shape("hidden", hidden)
        upper_hidden = arguments.shape("upper_hidden", upper_hidden)
        classes = arguments.size("classes", classes, least=2)
        up: dict[str, Any] = {"hidden": upper_hidden, "classes": classes}
        down = up | {"hidden": upper_hidden[::-1]}
        log1p = getattr(likelihood, "counts", False)
        super().__init__(
            x_shape,
            {"z1": z1_dim, "z2": z2_dim},
            classes=classes,
            prior=prior or StandardNormal(z2_dim),
            conditional_prior=conditional_prior or DiagonalNormal((z2_dim,), z1_dim, **down),
            likelihood=likelihood or Bernoulli(z1_dim, x_shape, hidden=hidden[::-1]),
            posterior=posterior or DiagonalNormal(x_shape, z1_dim, hidden=hidden, log1p=log1p),
            classifier=classifier or Classifier((z1_dim,), **up),
            upper_posterior=upper_posterior or DiagonalNormal((z1_dim,), z2_dim, **up),
        )
        self.hidden, self.upper_hidden = hidden, upper_hidden

    @classmethod
    def from_m1(cls, m1: VAE, z2_dim: int = 50, **arguments: Any) -> M1M2:
        """An M2 on top of copies of a VAE's likelihood and posterior, both frozen.

        They come back to training with `requires_grad_(True)`, on one of them or on the model.
        The VAE's prior has no place here, and its programs, if replaced, are not looked at.

        Args:
            m1: a trained VAE; it is left as it is.
            z2_dim: size of z2.
            arguments: further ones of M1M2.

        Raises:
            TypeError: m1 is no VAE, or an argument is one that m1 settles.

        Example:
            >>> m1m2 = M1M2.from_m1(VAE(), classes=3)
            >>> [name for name, part in m1m2.named_children()
            ...  if not any(p.requires_grad for p in part.parameters())]
            ['likelihood', 'posterior', 'prior']
        """
        if not isinstance(m1, VAE):
            raise TypeError(f"M1 must be a VAE, got {name_of(m1)}")
        likelihood, posterior = copy.deepcopy((m1.likelihood, m1.posterior))
        for part in (likelihood, posterior):
            part.requires_grad_(False)
        settled: dict[str, Any] = {"likelihood": likelihood, "posterior": posterior}
        return cls(m1.x_shape, m1.z_dim, z2_dim, hidden=m1.hidden, **settled, **arguments)

    def model(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """y ~ p(y), z2 ~ p(z2), z1 ~ p(z1|y, z2), x ~ p(x|z1), for images and labels (N,)."""
        with self.images(x, y):
            uniform = dist.Categorical(logits=x.new_zeros(self.classes))
            y = pyro.sample("y", uniform, obs=y, infer={"enumerate": "parallel"})
            z2 = pyro.sample("z2", self.prior())
            z1 = pyro.sample("z1", self.conditional_prior(z2, y))
            return pyro.sample("x", self.likelihood(z1), obs=x)

    def guide(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """z1 ~ q(z1|x), y ~ q(y|z1) unless it is given, z2 ~ q(z2|z1, y)."""
        with self.images(x, y):
            z1 = pyro.sample("z1", self.posterior(x))
            if y is None:
                y = pyro.sample("y", self.classifier(z1), infer={"enumerate": "parallel"})
            return pyro.sample("z2", self.upper_posterior(z1, y))

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """The class probabilities q(y|z1) at the mean of q(z1|x), shape (N, classes).

        Not q(y|x) = E[q(y|z1)], which only draws could estimate: at the mean an image has one
        class, whenever it is asked for.
        """
        return self.label_posterior(x).probs

    @torch.no_grad()
    def label_posterior(self, x: Tensor) -> dist.Categorical:
        """What `classify` has the probabilities of; its `logits` are log-probabilities."""
        with one_thread(), own_generator(0), in_mode(self, False):  # where there is no known mean
            z1 = mean_of(self.posterior(as_images(self, x)))
            q: dist.Categorical = self.classifier(z1)
        return q
