"""What the components of a mixture prior do: how much each is used, and which are spare.

With responsibilities r_i(z) = p(component i | z) = w_i p_i(z) / p(z), the usage of component i is
the mean of r_i over the codes of a data set. A component hardly used is dead; two components that
overlap almost wholly have merged, and count as one (see `distributions.overlaps`). All of it is
about the latent that the prior is of, z2 in a member with z1 and z2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MixtureSameFamily

from vaezoo.data.counts import as_count
from vaezoo.distributions.overlaps import overlaps_of
from vaezoo.distributions.responsibilities import as_mixture, responsibilities
from vaezoo.models import LatentVariableModel
from vaezoo.models.parts import lone_prior
from vaezoo.programs.refusing import check_member
from vaezoo.scopes import in_mode, one_thread
from vaezoo.tables import table

__all__ = ["MixtureDiagnostics", "component_samples", "mixture_diagnostics", "responsibilities"]


@dataclasses.dataclass(frozen=True)
class MixtureDiagnostics:
    """The components of a mixture prior, as a data set uses them.

    Attributes:
        usage: mean responsibility of each component, shape (k,); it sums to 1.
        weights: w of each component, shape (k,).
        effective: exp of the entropy of the usage, between 1 and k: how many are in use.
        dead: components with less than `dead_below` / k of the usage.
        merged: groups of live components, each linked to another of its group by an overlap of
            more than `merged_above`; None where overlaps have no closed form, as components are no
            Normals: those of a VampPrior whose posterior is a flow.
    """

    usage: Tensor
    weights: Tensor
    effective: float
    dead: list[int]
    merged: list[list[int]] | None

    def __repr__(self) -> str:
        number = self._summary()
        return (
            f"{number['components']} components: {number['in effective use']} in effective use, "
            f"{number['dead']} dead, {number['merged into others']} merged into others"
        )

    def _repr_html_(self) -> str:
        return table("components of the prior", ["", "number"], self._summary().items())

    def _summary(self) -> dict[str, object]:
        groups = self.merged
        spare = "unknown how many" if groups is None else sum(len(group) - 1 for group in groups)
        return {
            "components": len(self.usage),
            "in effective use": f"{self.effective:.1f}",
            "dead": len(self.dead),
            "merged into others": spare,
        }


@torch.no_grad()
def mixture_diagnostics(
    model: LatentVariableModel,
    x: Tensor,
    y: Tensor | None = None,
    *,
    dead_below: float = 0.1,
    merged_above: float = 0.9,
) -> MixtureDiagnostics:
    """Usage, dead and merged components of a model's mixture prior, in evaluation mode.

    Args:
        model: a member whose prior is a mixture: `MixtureOfGaussians` or `VampPrior`.
        x: images (N, *x_shape); their codes are posterior means, as in `model.encode`, of the
            latent that the prior is of.
        y: labels (N,), for a member that is given them.
        dead_below: a component is dead below this share of 1 / k.
        merged_above: two components have merged above this Bhattacharyya coefficient, 1 being the
            same distribution and 0 no overlap.

    Raises:
        TypeError: the prior is no mixture.
        ValueError: x or y are no such images or labels.

    Example:
        >>> from vaezoo import models
        >>> mixture_diagnostics(models.GMVAE(k=20), torch.zeros(9, 1, 28, 28)).usage.shape
        torch.Size([20])
    """
    check_member(model, "diagnostics.mixture_diagnostics")
    prior = _mixture_of(model)
    usage = model.cluster(x, y).mean(0)
    overlaps = overlaps_of(prior.component_distribution)
    dead = (usage < dead_below / len(usage)).nonzero().flatten().tolist()
    return MixtureDiagnostics(
        usage=usage,
        weights=prior.mixture_distribution.probs,
        effective=torch.special.entr(usage).sum().exp().item(),
        dead=dead,
        merged=None if overlaps is None else _groups(overlaps > merged_above, dead),
    )


@torch.no_grad()
def component_samples(
    model: LatentVariableModel, components: Sequence[int], n: int = 10, *, y: Tensor | None = None
) -> Tensor:
    """E[x|z] at n codes from each of some components of a mixture prior, in evaluation mode.

    Latents between the prior's and the image, such as z1 below z2, are drawn.

    Args:
        model: a member whose prior is a mixture.
        components: their numbers.
        n: images of each.
        y: a label for each image, shape (len(components) · n,), where the member needs them.

    Returns:
        Images (len(components) · n, *x_shape), component by component: for
        `plots.image_grid(…, rows=len(components))`.

    Raises:
        TypeError: the prior is no mixture.
        ValueError: there is no such component.

    Example:
        >>> from vaezoo import models
        >>> component_samples(models.GMVAE(k=20), [3, 5], n=4).shape
        torch.Size([8, 1, 28, 28])
    """
    check_member(model, "diagnostics.component_samples")
    prior = _mixture_of(model)
    k, n = prior.mixture_distribution.logits.shape[-1], as_count("n", n)
    components = [as_count("components", i, least=-(2**63)) for i in components]
    if not components or min(components) < 0 or max(components) >= k:
        raise ValueError(f"expected components of 0..{k - 1}, got {components}")
    z = prior.component_distribution.sample((n,))[:, components].transpose(0, 1).flatten(0, 1)
    codes: dict[str, Any] = {model.parts["prior"].of: z}
    return model.sample(y=y, **codes)


def _mixture_of(model: LatentVariableModel) -> MixtureSameFamily:
    with one_thread(), in_mode(model, False):
        return as_mixture(lone_prior(model))


def _groups(linked: Tensor, dead: list[int]) -> list[list[int]]:
    """Connected components of more than one, dead ones left out."""
    left = set(range(len(linked))) - set(dead)
    groups = []
    while left:
        group, frontier = set(), {min(left)}
        while frontier:
            group |= frontier
            near = {j for i in frontier for j in linked[i].nonzero().flatten().tolist()}
            frontier = (near & left) - group
        left -= group
        if len(group) > 1:
            groups.append(sorted(group))
    return groups
