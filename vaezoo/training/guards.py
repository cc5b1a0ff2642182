"""Guards of training, which look at each record: what is not finite stops it, what ails it is said.

A look costs one pass through the pair, without gradients, with at most `IMAGES` images of the last
batch, in evaluation mode and with noise of its own: training is not changed by it. The first look
is after `STEPS` steps, and others are at least as far apart. What they find is a `TrainingWarning`,
once for each kind and training; which numbers are too much, and why, is said in docs/guards.md.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vaezoo.bound import PRECISIONS
from vaezoo.components import outside_param_store
from vaezoo.networks.precision import networks_lowered_to
from vaezoo.objectives import SemiSupervised
from vaezoo.objectives.schedules import schedules_in
from vaezoo.programs import Terms, run
from vaezoo.scopes import in_mode, one_thread, own_generator, unchecked
from vaezoo.training.culprits import broken_gradients, broken_sites, broken_tensors, tensors_of
from vaezoo.training.errors import NonFiniteLoss, TrainingWarning
from vaezoo.training.history import History
from vaezoo.training.processes import is_alone, world
from vaezoo.training.rising import Curve, curves, rises
from vaezoo.training.step import Step
from vaezoo.training.strangers import Strangers
from vaezoo.training.symptoms import component_usage, information, scales_of, without_labels
from vaezoo.training.weights import parameters_of

__all__ = ["Guard"]

IMAGES, STEPS = 128, 50  # at most in a look, at least between two
LOOKS = 5  # in a row that show the same, before it is said
INFORMATIVE = 0.01  # nats of a unit, below which it says nothing of the image
SHARE_OF_UNITS, NATS = 0.5, 0.5  # of units, and in all, below which the posterior has collapsed
DEAD = 0.1  # of 1 / k, the usage below which a component is dead
CODES = 10  # for each component, before usage is judged
SHARE_OF_COMPONENTS = 0.5  # that are dead
LEAST, MOST = 1e-3, 1e2  # scales of p(x|z), in units of the data's own
FLOOR, CEILING = 3e-4, 1e3  # scales of q; `networks.positive` ends at 1e-4
SHARE_OF_SCALES = 0.1  # that are at one of them


class Guard:
    """What looks at a training, at each of its records.

    Args:
        step: takes the steps.
        data: that are trained on, for their labels.
        history: of training until now.

    Raises:
        NonFiniteLoss: a parameter or a buffer is not finite, but for −∞ and ∞ in what is not
            trained, such as a mask.

    Attributes:
        said: the kinds of warnings that were given.
    """

    def __init__(self, step: Step, data: Any = None, history: History | None = None) -> None:
        self.step = step
        self.said: set[str] = set()
        self._seen: Counter[str] = Counter()  # looks in a row that showed a kind
        self._usage: dict[str, Tensor] = {}
        self._curves: dict[str, Curve] = {}
        self._schedules, self._strangers = self._scheduled(), Strangers(step.optimizer)
        self._missing = without_labels(step.bound, data)
        named = self._state()
        trained = {id(p) for p in parameters_of(step.optimizer)}
        self._infinite = [n for n, t in named.items() if id(t) not in trained]
        history = History() if history is None else history
        self._last = int(history["step"][-1]) if history else 0
        self._check_state(self._last + 1, history)
        self._infinite = [n for n in broken_tensors(named) if n in self._infinite]

    def error(self, step: int, terms: Mapping[str, Tensor], history: History, batch: Any) -> Any:
        """The error of a step that was given up, with all that can be said of it.

        Args:
            step: its number, from 1.
            terms: what it returned.
            history: until then.
            batch: as the data gave it.
        """
        numbers = {name: value.item() for name, value in terms.items()}
        tensors, bound = self.step.bound.arguments(batch), self.step.bound
        state = broken_tensors(self._state(), self._infinite)
        gradients: list[str] = []
        sites = broken_sites(bound, tensors) if self.step.broken == "loss" else []
        sites = self.step.of_all(sites)
        if self.step.broken == "gradient":
            gradients = broken_gradients(bound, tensors, self.step.optimizer)
        return NonFiniteLoss(step, numbers, history, sites=sites, gradients=gradients, state=state)

    @torch.no_grad()
    def look(self, record: Mapping[str, float] | None, history: History, batch: Any) -> None:
        """Look at the model after a record; None, where there was none, costs nothing.

        Raises:
            NonFiniteLoss: a parameter or a buffer is not finite.
        """
        if record is None:
            return
        step = int(record["step"])
        self._check_state(step, history)
        texts = {"labels": self._missing, "parameters": self._strangers.of(self.step.bound.model)}
        for kind, text in texts.items():
            if text:
                self._say(kind, step, text)
        self._look_at_loss(step, history)
        if step - self._last >= STEPS:
            self._last = step
            terms = self._run(batch)
            if terms is not None:
                self._look_at_terms(step, terms)

    def _state(self) -> dict[str, Tensor]:
        return tensors_of(self.step.bound.model, self.step.optimizer)

    def _check_state(self, step: int, history: History) -> None:
        if broken := broken_tensors(self._state(), self._infinite):
            raise NonFiniteLoss(step, {}, history, state=broken)

    def _run(self, batch: Any) -> Terms | None:
        """A run of the pair on a few images; None where its terms are not vaezoo's to read."""
        bound = self.step.bound
        tensors = [t[:IMAGES] for t in bound.arguments(batch)]
        if len(tensors) == 3 and isinstance(bound.objective, SemiSupervised):
            tensors = tensors[:1]
        varied = len(tensors[0]) > 1 and bool((tensors[0] != tensors[0][:1]).any())
        lowered = networks_lowered_to(bound.model, PRECISIONS[bound.precision])
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(Exception))  # what only Pyro's objectives take
            for block in (one_thread(), in_mode(bound.model, False), own_generator(), unchecked()):
                stack.enter_context(block)
            stack.enter_context(outside_param_store())
            stack.enter_context(lowered)
            return run(bound.model.model, bound.model.guide, *tensors) if varied else None
        return None

    def _look_at_terms(self, step: int, terms: Terms) -> None:
        self._look_at_units(step, terms)
        for name in terms.latents:
            self._look_at_components(step, terms, name)
            self._look_at_scales(step, f"q({name})", terms.distribution(name), FLOOR, CEILING)
        for name in terms.observed:
            x = terms.value(name)
            unit = x.std().item() if x.is_floating_point() and x.numel() > 1 else 0.0
            if unit > 0:
                p = terms.distribution(name, of="model")
                self._look_at_scales(step, f"p({name})", p, LEAST * unit, MOST * unit)

    def _look_at_units(self, step: int, terms: Terms) -> None:
        """Look at all latents together: of two, one may well leave everything to the other."""
        if not terms.latents:
            return
        each = torch.cat([information(terms, name) for name in terms.latents])
        n, units, nats = int((each > INFORMATIVE).sum()), len(each), float(each.sum())
        if self._lasts("units", n < SHARE_OF_UNITS * units and nats < NATS):
            self._say(
                "collapse",
                step,
                f"the posterior of {' and '.join(terms.latents)} has collapsed: {n} of {units} "
                f"units say more than {INFORMATIVE} nats of the image, all of them {nats:.2g}. "
                "Causes: a weight of the KL that is too large too early, a rate too high, or a "
                "decoder that needs no code. Cures: ELBO(objectives.WarmUp(…)), free_bits=…, a "
                "lower lr, a smaller z_dim",
            )

    def _look_at_components(self, step: int, terms: Terms, name: str) -> None:
        usage = component_usage(terms, name)
        if usage is None:
            return
        usage = self._usage[name] = self._usage.get(name, 0 * usage) + usage
        k, codes = len(usage), usage.sum()
        if codes < CODES * k or codes < LOOKS * terms.value(name).shape[-2]:
            return
        del self._usage[name]
        dead = int((usage / codes < DEAD / k).sum())
        if dead > SHARE_OF_COMPONENTS * k:
            self._say(
                f"components of {name}",
                step,
                f"{dead} of the {k} components of p({name}) are dead: no code is near them. "
                "Causes: components that began far from the codes, a rate too high, or more of "
                "them than there are groups. Cures: fewer components, k=…, "
                "start_from(…) of the prior, a lower lr; see diagnostics.mixture_diagnostics",
            )

    def _look_at_scales(
        self, step: int, name: str, distribution: Any, least: float, most: float
    ) -> None:
        scales = scales_of(distribution)
        if scales is None:
            return
        low, high = (float(s.float().mean()) for s in (scales < least, scales > most))
        for kind, share in (("vanish", low), ("grow without bound", high)):
            if self._lasts(f"{name} {kind}", share > SHARE_OF_SCALES):
                self._say(
                    f"scales of {name}",
                    step,
                    f"{share:.0%} of the scales of {name} {kind} (between {scales.min():.2g} and "
                    f"{scales.max():.2g}). Causes: values that are nearly the same in all images, "
                    "a weight of the KL of 0, or a rate too high. Cures: a fixed variance or one "
                    "shared by all pixels, data of about unit scale, a lower lr",
                )

    def _look_at_loss(self, step: int, history: History) -> None:
        schedules, records = self._scheduled(), len(history["step"])
        if not self._curves:  # what came before was another training
            self._curves = curves(records - 1)
        if schedules != self._schedules:  # what is minimised has changed, and may rise
            self._curves, self._schedules = curves(records), schedules
        losses = [c.losses(history[name]) for name, c in self._curves.items() if name in history]
        if losses and all(map(rises, losses)):
            rates = {float(group["lr"]) for group in self.step.optimizer.param_groups}
            lr = ", ".join(f"{rate:g}" for rate in sorted(rates))
            self._say(
                "rate",
                step,
                f"the loss rises: {losses[0][-1]:.4g} now, {min(losses[0]):.4g} at its best. "
                f"Cause: a learning rate that is too high, lr={lr}. "
                "Cures: a tenth of it, max_grad_norm=…, or a scheduler",
            )

    def _scheduled(self) -> list[float]:
        objective = self.step.bound.objective
        return [getattr(owner, name).value for owner, name in schedules_in(objective)]

    def _lasts(self, kind: str, now: bool) -> bool:
        self._seen[kind] = self._seen[kind] + 1 if now else 0
        return self._seen[kind] >= LOOKS

    def _say(self, kind: str, step: int, text: str) -> None:
        if kind not in self.said and (is_alone() or world().rank == 0):
            self.said.add(kind)
            from vaezoo.compiler.libraries import users_level  # which training needs for this alone

            warnings.warn(f"step {step}: {text}.", TrainingWarning, stacklevel=users_level())
