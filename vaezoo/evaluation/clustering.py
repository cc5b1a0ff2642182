"""Whether the components of a mixture prior are the classes that people see.

An image is in the component that is most probable given its code, argmax_i p(i|z) at z = E_q[z|x].
With n(i, y) images of component i and label y,

    accuracy  of the one-to-one assignment of components to classes that is right most often
    purity    of every component given its most frequent class: it rises with their number
    nmi       2 I(i; y) / (H(i) + H(y)), normalised mutual information: 0 for chance, 1 for equality

The assignment is found on the same images, so that accuracy and purity are a little high where
components are many and images few.

References:
    Xie, Girshick, Farhadi. Unsupervised Deep Embedding for Clustering Analysis. 2016.
    arXiv:1511.06335, equation 10.
    Vinh, Epps, Bailey. Information Theoretic Measures for Clusterings Comparison. 2010. JMLR 11.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vaezoo.data.labels import as_labels
from vaezoo.data.passes import Data
from vaezoo.diagnostics import responsibilities
from vaezoo.estimates import Estimate
from vaezoo.evaluation.visiting import visit
from vaezoo.programs.pair import required_arguments
from vaezoo.programs.refusing import described
from vaezoo.tables import table

__all__ = ["Clusters", "clusters", "has_prior"]


MOST = 100_000  # classes: a table of each component and class is made


@dataclasses.dataclass(frozen=True)
class Clusters:
    """Components of a mixture prior held against labels.

    Attributes:
        counts: images of each component and class, shape (k, classes).
        estimates: "accuracy", "purity" and "nmi", with their standard errors over images; the last
            by the delta method.
    """

    counts: Tensor
    estimates: dict[str, Estimate]

    @property
    def usage(self) -> Tensor:
        """The share of images in each component, shape (k,)."""
        return self.counts.sum(1) / self.counts.sum()

    @property
    def effective(self) -> float:
        """exp of the entropy of the usage, between 1 and k: how many components are in use."""
        return torch.special.entr(self.usage).sum().exp().item()

    def __repr__(self) -> str:
        rows = [f"{name}  {text}" for name, text in self._rows()]
        return "\n".join(["components held against labels", *rows])

    def _repr_html_(self) -> str:
        return table("components held against labels", ["", ""], self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        k = len(self.counts)
        each = [(name, str(estimate)) for name, estimate in self.estimates.items()]
        return [*each, ("components in use", f"{self.effective:.1f} of {k}")]


def clusters(
    model: nn.Module,
    data: Data,
    *,
    seed: int = 0,
    batch_size: int = 1000,
    progress: bool = True,
) -> Clusters:
    """Accuracy, purity and NMI of the components of a mixture prior against the labels of images.

    Args:
        model: a member whose prior is a mixture: `MixtureOfGaussians` or `VampPrior`.
        data: `Images` with labels, binarised once by `seed`, or an iterable of batches (x, y).
        seed: of binarisation.
        batch_size: images at a time, where data are `Images`.
        progress: show a progress bar.

    Raises:
        TypeError: the prior is no mixture.
        ValueError: there are no labels, or they are no classes that are numbered from 0.
        ImportError: SciPy, which finds the assignment, is not installed.

    Example:
        >>> from vaezoo import data, models
        >>> found = clusters(models.GMVAE(k=10), data.digits("test")[:50], progress=False)
        >>> found.counts.shape, found.estimates["accuracy"].n
        (torch.Size([10, 10]), 50)
    """
    if not has_prior(model):
        raise TypeError(f"clusters need a member with a mixture prior, got {described(model)}")
    options: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "progress": progress}
    found = visit(model, data, lambda batch: _components(model, *batch), labels=True, **options)
    component, label = (_whole(found[name]) for name in ("component", "label"))
    k, classes = int(found["components"].mean), _classes(label)
    counts = torch.bincount(component * classes + label, minlength=k * classes)
    counts = counts.reshape(k, classes)
    values = {
        "accuracy": (_assigned(counts)[component] == label).double(),
        "purity": (counts.argmax(1)[component] == label).double(),
        "nmi": _nmi(counts.double(), component, label),
    }
    return Clusters(counts, {n: found["label"].of_same_images(v) for n, v in values.items()})


def has_prior(model: Any) -> bool:
    """Whether it is a member with codes and a prior of these."""
    parts = getattr(model, "parts", None)
    return isinstance(parts, Mapping) and "prior" in parts and hasattr(model, "encode")


def _components(model: Any, x: Tensor, y: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The component and the label of each image, and how many components there are."""
    given = [x, y] if required_arguments(model.model) > 1 else [x]
    codes = model.encode(*given, latent=model.parts["prior"].of)
    each = responsibilities(model.prior(), codes)
    yield "component", each.argmax(-1)
    yield "components", torch.full((len(x),), each.shape[-1], device=each.device)
    yield "label", as_labels(y, len(x), 2**53)  # which float64 holds, as values are kept


def _classes(label: Tensor) -> int:
    """How many classes there are, with those below the largest that no image has."""
    if (classes := int(label.max()) + 1) > MOST:
        raise ValueError(
            f"images are counted for each class, numbered from 0 to {MOST - 1} at most, got label "
            f"{classes - 1}: number those that there are, y.unique(return_inverse=True)[1]"
        )
    return classes


def _whole(estimate: Estimate) -> Tensor:
    assert estimate.values is not None
    return estimate.values.long()


def _assigned(counts: Tensor) -> Tensor:
    """The class of each component (k,) by the best assignment; -1 for those that are left over."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ImportError("clusters need SciPy: pip install 'vaezoo[evaluation]'") from error
    components, classes = map(torch.from_numpy, linear_sum_assignment(-counts.numpy()))
    assigned = torch.full((len(counts),), -1, device="cpu")
    assigned[components] = classes
    return assigned


def _nmi(counts: Tensor, component: Tensor, label: Tensor) -> Tensor:
    """Values (n,) whose mean is the NMI, and whose spread is that of its influence function."""
    joint = counts / counts.sum()
    h_component = -joint.sum(1).log()[component]
    h_label = -joint.sum(0).log()[label]
    information = joint[component, label].log() + h_component + h_label
    entropies = (h_component + h_label).mean()
    if entropies == 0:
        return torch.ones_like(information)
    nmi = 2 * information.mean() / entropies
    values: Tensor = nmi + (2 * information - nmi * (h_component + h_label)) / entropies
    return values
