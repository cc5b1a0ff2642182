"""One run of a model/guide pair, read off as log-densities per image.

Every objective and every evaluation starts here. The guide runs under `poutine.enum`, the model is
replayed against it, both inside one plate of particles, and each term comes back with shape
(L, K, N): classes of a label that is summed out, particles, images; a size of 1 where a term does
not vary.

    rec      Σ observed sites  log p(x|…)
    kl       Σ latent sites    KL(q‖p) in closed form where that holds, else log q - log p
    log_w    rec + Σ latent sites log p - log q, at the samples: the log importance weight
    log_py   log p(y), of labels that are summed out or given
    log_qy   log q(y|x), of labels that are summed out

The closed form of a KL integrates over its own site only. That is right if the model's
distribution of the site does not depend on a latent that the guide draws later: it is used where
every latent that precedes the site in the model also precedes it in the guide.

No scale enters any term. Inside log-weights a scale would be wrong (Pyro's `RenyiELBO` has it),
and outside it would change the unit: a subsampled plate's scale says how many images the data set
has, and what is reported here is per image.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import kl_divergence

from vaezoo.components import held_parameters

__all__ = ["Terms", "drawn_before", "is_label", "required_arguments", "run", "sample_sites"]

Site = dict[str, Any]


def run(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    *batch: Any,
    particles: int = 1,
    hold_guide: bool = False,
) -> Terms:
    """Run the pair once on a batch and return its `Terms`.

    Args:
        model, guide: Pyro programs of the same arguments, with one plate over images at dim -1.
        batch: the arguments of both.
        particles: draws K of the latents per image.
        hold_guide: give log q of continuous latents no gradient but the one through the latents'
            values. The guide is run once more for it, with the parameters of its components
            detached.

    Raises:
        ValueError: the pair cannot be estimated: a latent that the guide does not sample, a
            discrete latent that is not enumerated, scales that differ between sites, a guide to
            be held whose parameters belong to no component.

    Example:
        >>> from vaezoo.models import SSVAE
        >>> ssvae, x = SSVAE(), torch.zeros(7, 1, 28, 28)
        >>> terms = run(ssvae.model, ssvae.guide, x, particles=3)
        >>> terms.rec.shape, terms.log_qy.shape
        (torch.Size([10, 3, 7]), torch.Size([10, 1, 7]))
    """
    with contextlib.ExitStack() as stack:
        if particles > 1:
            stack.enter_context(pyro.plate("particles", particles, dim=-2))
        enumerated = poutine.enum(guide, first_available_dim=-3)
        guide_trace = poutine.trace(enumerated).get_trace(*batch)
        held = {}
        if hold_guide:
            guide_trace = _revalued(guide_trace, _branch)
            held = _held(guide, guide_trace, *batch)
        replayed = poutine.replay(model, trace=guide_trace)
        model_trace = poutine.trace(replayed).get_trace(*batch)
    return Terms(sample_sites(model_trace), sample_sites(guide_trace) | held, particles)


def _revalued(trace: poutine.Trace, function: Callable[[Tensor], Tensor]) -> poutine.Trace:
    """The same trace with `function` of each continuous latent in its place."""
    changed = trace.copy()
    for name, site in sample_sites(trace).items():
        if not site["is_observed"] and not is_label(site):
            changed.nodes[name] = {**site, "value": function(site["value"])}
    return changed


def _branch(value: Tensor) -> Tensor:
    """The same tensor as a graph node of its own.

    What is computed from it can have its gradient scaled on the way to the guide, while latents
    that the guide drew from one another stay connected as they were.
    """
    return value.view_as(value)


def _held(guide: Callable[..., Any], trace: poutine.Trace, *batch: Any) -> dict[str, Site]:
    """The guide's continuous sites, run again at the same values with parameters detached."""
    with held_parameters():
        again = sample_sites(poutine.trace(poutine.replay(guide, trace=trace)).get_trace(*batch))
        if dist.is_validation_enabled():
            _check_held(guide, trace, *batch)
    return {n: s for n, s in again.items() if not s["is_observed"] and not is_label(s)}


def _check_held(guide: Callable[..., Any], trace: poutine.Trace, *batch: Any) -> None:
    detached = _revalued(trace, Tensor.detach)
    found = sample_sites(poutine.trace(poutine.replay(guide, trace=detached)).get_trace(*batch))
    loose = [n for n, s in found.items() if not is_label(s) and _log_prob(s).requires_grad]
    if loose:
        raise ValueError(
            f"the guide draws {', '.join(loose)} with parameters that belong to no component of "
            "vaezoo's, which this estimator cannot hold: make them part of a Posterior, or use "
            "IWELBO(estimator='iwae')"
        )


def required_arguments(program: Callable[..., Any]) -> int:
    """How many arguments a program cannot do without; a label that it can infer is none of them.

    Example:
        >>> from vaezoo.models import FSVAE, SSVAE
        >>> required_arguments(SSVAE().model), required_arguments(FSVAE().model)
        (1, 2)
    """
    parameters = inspect.signature(program).parameters.values()
    named = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in named for p in parameters)


class Terms:
    """The log-densities of one run of a pair, in nats, each of shape (L, K, N).

    Args:
        model_sites, guide_sites: the sample sites of both traces, in the order they ran.
        particles: K.
    """

    def __init__(
        self, model_sites: dict[str, Site], guide_sites: dict[str, Site], particles: int
    ) -> None:
        self._model, self._guide, self.particles = model_sites, guide_sites, particles
        self._latent = [n for n, s in guide_sites.items() if not s["is_observed"]]
        self._summed = [n for n in self._latent if is_label(guide_sites[n])]
        self._check()

    @functools.cached_property
    def rec(self) -> Tensor:
        """log p of the observed sites, labels apart."""
        return self._sum(
            _log_prob(s) for s in self._model.values() if s["is_observed"] and not is_label(s)
        )

    @functools.cached_property
    def kl(self) -> Tensor:
        """KL(q‖p) of the latents that are not summed out."""
        return self._sum(self._kl(n) for n in self._continuous)

    @property
    def kls(self) -> dict[str, Tensor]:
        """KL(q‖p) of each of them, labels summed out: shape (K, N)."""
        return {n: self.expect(self._sum(iter([self._kl(n)]))) for n in self._continuous}

    @functools.cached_property
    def log_w(self) -> Tensor:
        """rec + log p - log q, the log importance weight of each draw."""
        return self.rec - self._sum(self._log_ratio(n) for n in self._continuous)

    @functools.cached_property
    def log_py(self) -> Tensor:
        """log p(y) of the labels, summed out or given."""
        return self._sum(_log_prob(s) for s in self._model.values() if is_label(s))

    @functools.cached_property
    def log_qy(self) -> Tensor:
        """log q(y|x) of the labels that are summed out."""
        return self._sum(_log_prob(self._guide[n]) for n in self._summed)

    @functools.cached_property
    def log_q_given(self) -> Tensor:
        """log q(y|x) of labels on which the guide was conditioned."""
        return self._sum(_log_prob(s) for s in self._guide.values() if s["is_observed"])

    @property
    def has_given_labels(self) -> bool:
        """Whether the guide was conditioned on labels."""
        return any(s["is_observed"] for s in self._guide.values())

    @functools.cached_property
    def labels_come_first(self) -> bool:
        """Whether q(y|x) is the same for all particles: no latent precedes y in the guide."""
        return self._latent[: len(self._summed)] == self._summed

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

    def expect(self, values: Tensor) -> Tensor:
        """Σ_y q(y|x) values, shape (K, N); where no label is summed out, the values themselves."""
        return (self.log_qy.exp() * values).sum(0) if self._summed else values.squeeze(0)

    @property
    def _continuous(self) -> list[str]:
        return [n for n in self._latent if n not in self._summed]

    def _kl(self, name: str) -> Tensor:
        q, p = self._guide[name], self._model.get(name)
        # Pyro's KL of a Delta leaves out its log_density, where autoguides put their Jacobian
        if p is not None and self._closed_form_holds(name) and not _is_delta(q["fn"]):
            with contextlib.suppress(NotImplementedError):
                return _masked(kl_divergence(q["fn"], p["fn"]), q)
        return self._log_ratio(name)

    def _log_ratio(self, name: str) -> Tensor:
        log_q = _log_prob(self._guide[name])
        return log_q - _log_prob(self._model[name]) if name in self._model else log_q

    def _closed_form_holds(self, name: str) -> bool:
        return drawn_before(name, self._model) <= drawn_before(name, self._guide)

    def _sum(self, terms: Iterator[Tensor]) -> Tensor:
        """Add terms of shapes (*enumerated, K, N) up, as (L, K, N)."""
        like = next(iter(self._model.values()))["value"]
        total = sum(terms, start=torch.zeros((), dtype=like.dtype, device=like.device))
        total = total.reshape((1,) * (3 - total.dim()) + total.shape)
        return total.flatten(0, -3) if total.dim() > 3 else total

    def _check(self) -> None:
        if len(self._summed) > 1:
            raise ValueError(f"at most one label can be summed out, got {self._summed}")
        classes = {1, *(len(self._guide[n]["value"]) for n in self._summed)}
        for name, site in [*self._model.items(), *self._guide.items()]:
            _check_shape(name, site, classes, self.particles)
        for name, site in self._model.items():
            if not site["is_observed"] and name not in self._guide:
                raise ValueError(f"the model samples {name!r} and the guide does not")
        for name in self._continuous:
            if name not in self._model and not self._guide[name]["infer"].get("is_auxiliary"):
                raise ValueError(f"the guide samples {name!r} and the model does not")
            if not self._guide[name]["fn"].has_rsample:
                raise ValueError(
                    f"{name!r} is neither reparametrised nor summed out: give it a distribution "
                    "with rsample, or mark it infer={'enumerate': 'parallel'} in the guide"
                )
        scales = {float(s["scale"]) for s in [*self._model.values(), *self._guide.values()]}
        if len(scales) > 1:
            raise ValueError(
                f"sites are scaled differently ({sorted(scales)}): a weight on the KL goes into "
                "the objective, ELBO(beta=…), where the reported bound stays the plain one"
            )


def sample_sites(trace: poutine.Trace) -> dict[str, Site]:
    """Its sample sites by name, in the order they ran.

    Example:
        >>> from vaezoo.models import SSVAE
        >>> list(sample_sites(poutine.trace(SSVAE().guide).get_trace(torch.zeros(7, 1, 28, 28))))
        ['y', 'z']
    """
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not pyro.poutine.util.site_is_subsample(site)
    }


def _check_shape(name: str, site: Site, classes: set[int], particles: int) -> None:
    """A site has one value per class, particle and image, or it would be summed wrongly."""
    images = {f.size for f in site["cond_indep_stack"] if f.dim == -1}
    if not images:
        raise ValueError(
            f"{name!r} is sampled outside the plate over images: only what belongs to one image "
            "can be estimated per image"
        )
    *left, k, n = (1, *site["fn"].batch_shape) if site["fn"].batch_shape else (1, 1)
    if {n} != images or k not in (1, particles) or math.prod(left) not in classes:
        raise ValueError(
            f"{name!r} has batch shape {tuple(site['fn'].batch_shape)} for {images.pop()} images "
            f"and {particles} particles: labels have shape (N,), and the shape of one image or "
            "code belongs into the event, with to_event"
        )


def _is_delta(found: Any) -> bool:
    while hasattr(found, "base_dist"):
        found = found.base_dist
    return isinstance(found, dist.Delta)


def is_label(site: Site) -> bool:
    """Whether a site is marked to be summed out, by `infer={"enumerate": "parallel"}`."""
    return site["infer"].get("enumerate") == "parallel"


def drawn_before(name: str, sites: dict[str, Site]) -> set[str]:
    """The latents drawn before `name`."""
    names = list(sites)
    return {n for n in names[: names.index(name)] if not sites[n]["is_observed"]}


def _log_prob(site: Site) -> Tensor:
    return _masked(site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"]), site)


def _masked(values: Tensor, site: Site) -> Tensor:
    masked: Tensor = dist.util.scale_and_mask(values, mask=site["mask"])
    return masked
