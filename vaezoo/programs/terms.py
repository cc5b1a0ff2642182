"""One run of a pair, read off as log-densities per image.

Each term has shape (L, K, N): classes of a label that is summed out, particles, images; a size of 1
where it does not vary.

    rec          Σ observed sites  log p(x|…)
    kl           Σ latent sites    KL(q‖p) in closed form where that holds, else log q - log p
    log_w        rec + Σ latent sites log p - log q, at the samples: the log importance weight
                 (a `pyro.factor` of the guide is a part of log q, one of the model a part of rec)
    log_py       log p(y), of labels that are summed out or given
    log_wy       log_w + log_py: the log importance weight of images and labels together
    log_qy       log q(y|x), of labels that are summed out
    log_q_given  log q(y|x), of labels on which both programs were conditioned

The closed form of a KL integrates over its own site only. That is right if the model's
distribution of the site does not depend on a latent that the guide draws later: it is used where
every latent that precedes the site in the model also precedes it in the guide. Where a mask covers
the site in one program only, log q - log p of the sample is taken, each masked as its program says.

No scale enters any term. Inside log-weights a scale would be wrong (Pyro's `RenyiELBO` has it),
and outside it would change the unit: a subsampled plate's scale says how many images the data set
has, and what is reported here is per image.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from vaezoo.programs.checking import check_sites
from vaezoo.programs.closed_forms import closed_form, may_have_closed_form
from vaezoo.programs.sites import Site, drawn_before, is_factor, is_label, log_prob, unmasked

__all__ = ["Terms"]


class Terms:
    """The log-densities of one run of a pair, in nats, each of shape (L, K, N).

    Args:
        model_sites, guide_sites: the sample sites of both traces, in the order they ran.
        particles: K.

    Attributes:
        summed_out: the names of labels that are.
    """

    def __init__(
        self, model_sites: dict[str, Site], guide_sites: dict[str, Site], particles: int
    ) -> None:
        self._model, self._guide, self.particles = model_sites, guide_sites, particles
        self._latent = [n for n, s in guide_sites.items() if not s["is_observed"]]
        self.summed_out = [n for n in self._latent if is_label(guide_sites[n])]
        self._ratios = dict[str, Tensor]()
        check_sites(model_sites, guide_sites, particles)

    @property
    def observed(self) -> list[str]:
        """The names of the sites that the model observes, such as x."""
        return [name for name, site in self._model.items() if site["is_observed"]]

    @property
    def data(self) -> dict[str, Tensor]:
        """The values of what the model observes."""
        return {n: self.value(n) for n in self.observed if not is_factor(self._model[n])}

    @property
    def latents(self) -> list[str]:
        """The names of the latents that are not summed out and that the model has too."""
        return [name for name in self._continuous if name in self._model]

    def value(self, name: str) -> Tensor:
        """The value at a site, the same in both programs."""
        value: Tensor = (self._guide if name in self._guide else self._model)[name]["value"]
        return value

    def distribution(self, name: str, of: str = "guide") -> Any:
        """The distribution of a site in the guide, or in the "model".

        Example:
            >>> from vaezoo.models import VAE
            >>> from vaezoo.programs import run
            >>> vae = VAE()
            >>> terms = run(vae.model, vae.guide, torch.zeros(7, 1, 28, 28))
            >>> terms.distribution("z"), terms.distribution("x", of="model").event_shape
            (Independent(DiagonalNormal(loc: torch.Size([7, 10]), ...
        """
        return {"guide": self._guide, "model": self._model}[of][name]["fn"]

    @functools.cached_property
    def rec(self) -> Tensor:
        """log p of the observed sites, labels apart."""
        return self._sum(
            log_prob(s) for s in self._model.values() if s["is_observed"] and not is_label(s)
        )

    @functools.cached_property
    def kl(self) -> Tensor:
        """KL(q‖p) of the latents that are not summed out."""
        return self._sum(itertools.chain(map(self._kl, self._continuous), self._log_factors()))

    @property
    def kls(self) -> dict[str, Tensor]:
        """KL(q‖p) of each of them, labels summed out: shape (K, N).

        Raises:
            ValueError: the guide has a factor, which belongs to none of them.
        """
        if factors := [n for n, s in self._guide.items() if is_factor(s)]:
            raise ValueError(
                f"the guide's factor {factors[0]!r} belongs to no one latent: leave free_bits out"
            )
        return {n: self.expect(self._sum([self._kl(n)])) for n in self._continuous}

    @functools.cached_property
    def log_w(self) -> Tensor:
        """rec + log p - log q, the log importance weight of each draw."""
        ratios = map(self._log_ratio, self._continuous)
        return self.rec - self._sum(itertools.chain(ratios, self._log_factors()))

    @functools.cached_property
    def log_py(self) -> Tensor:
        """log p(y) of the labels, summed out or given."""
        return self._sum(log_prob(s) for s in self._model.values() if is_label(s))

    @property
    def log_wy(self) -> Tensor:
        """log_w + log p(y), whose mean is p(x, y) without the logarithm."""
        return self.log_w + self.log_py

    @functools.cached_property
    def log_qy(self) -> Tensor:
        """log q(y|x) of the labels that are summed out."""
        return self._sum(log_prob(self._guide[n]) for n in self.summed_out)

    @functools.cached_property
    def log_q_given(self) -> Tensor:
        """log q(y|x) of labels on which the guide was conditioned."""
        return self._sum(map(log_prob, self._given()))

    @property
    def has_given_labels(self) -> bool:
        """Whether the guide was conditioned on labels."""
        return bool(self._given())

    def _given(self) -> list[Site]:
        return [s for s in self._guide.values() if s["is_observed"] and not is_factor(s)]

    def _log_factors(self) -> Iterator[Tensor]:
        """What the guide's factors add to log q."""
        return (log_prob(s) for s in self._guide.values() if is_factor(s))

    @functools.cached_property
    def labels_come_first(self) -> bool:
        """Whether q(y|x) is the same for all particles: no latent precedes y in the guide."""
        return self._latent[: len(self.summed_out)] == self.summed_out

    def scale_gradients(self, factor: Tensor) -> None:
        """Multiply gradients on their way from the terms to the guide's draws by (L, K, N).

        Only for terms of a held guide (`run(…, hold_guide=True)`), and before a backward pass.

        Raises:
            ValueError: a latent is shared by the labels that are summed out.
        """
        for name in self._continuous:
            value, events = self._guide[name]["value"], self._guide[name]["fn"].event_dim
            shape = value.shape[: value.dim() - events]
            if math.prod(shape[:-2]) != len(factor):
                raise ValueError(f"{name!r} does not depend on the label that is summed out")
            each = factor.reshape(shape + (1,) * events)
            if value.requires_grad:
                value.register_hook(each.mul)

    def settled(self, *scalars: Tensor) -> tuple[Tensor, ...]:
        """Scalars made of the terms, to be differentiated: as they are, where all has its graph."""
        return scalars

    def expect(self, values: Tensor) -> Tensor:
        """Σ_y q(y|x) values, shape (K, N); where no label is summed out, the values themselves."""
        if not self.summed_out:
            return values.squeeze(0)
        q = self.log_qy.exp()
        # a label that is ruled out has no part in the sum, whose term for it would be 0 times inf
        return (q * torch.where(q == 0, 0.0, values)).sum(0)

    @property
    def _continuous(self) -> list[str]:
        return [n for n in self._latent if n not in self.summed_out]

    def _kl(self, name: str) -> Tensor:
        if name in self._model and self.closed_form_holds(name):
            (q, on_q), (p, on_p) = unmasked(self._guide[name]), unmasked(self._model[name])
            with contextlib.suppress(NotImplementedError):
                return self._where_both(name, closed_form(q, p), on_q, on_p)
        return self._log_ratio(name)

    def _where_both(self, name: str, kl: Tensor, on_q: Any, on_p: Any) -> Tensor:
        """The KL where the site counts in both programs, log q - log p of the sample elsewhere."""
        if on_q is on_p:
            masked: Tensor = dist.util.scale_and_mask(kl, mask=on_q)
            return masked
        both = torch.ones_like(kl, dtype=torch.bool)
        for mask in (on_q, on_p):
            both = both if mask is None else both & mask
        return torch.where(both, kl, self._log_ratio(name))

    def _log_ratio(self, name: str) -> Tensor:
        known = self._ratios.get(name)
        if known is None or (torch.is_grad_enabled() and not known.requires_grad):
            log_q = log_prob(self._guide[name])
            known = log_q - log_prob(self._model[name]) if name in self._model else log_q
            self._ratios[name] = known
        return known

    def masks(self, name: str) -> tuple[Any, Any]:
        """What masks a latent in the guide, and in the model; None where nothing does."""
        return unmasked(self._guide[name])[1], unmasked(self._model[name])[1]

    def closed_form_holds(self, name: str) -> bool:
        """Whether the closed form of a latent's KL integrates over all that its terms depend on."""
        q, p = unmasked(self._guide[name])[0], unmasked(self._model[name])[0]
        drawn = drawn_before(name, self._model) <= drawn_before(name, self._guide)
        return drawn and may_have_closed_form(q, p)

    def _sum(self, terms: Iterable[Tensor]) -> Tensor:
        """Add terms of shapes (*enumerated, K, N) up, as (L, K, N)."""
        some = iter(terms)
        total = next(some, None)
        if total is None:
            # of a sum that is known, or of a density, which may cost as much as all else
            known = next((vars(self)[n] for n in ("rec", "log_w") if n in vars(self)), None)
            like = log_prob(next(iter(self._model.values()))) if known is None else known
            return torch.zeros((1, 1, 1), dtype=like.dtype, device=like.device)
        for term in some:
            total = total + term
        total = total.reshape((1,) * (3 - total.dim()) + total.shape)
        return total.flatten(0, -3) if total.dim() > 3 else total
