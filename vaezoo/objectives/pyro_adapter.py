"""Pyro's own objectives as differentiable losses per image.

`Trace_ELBO`, `TraceMeanField_ELBO` and `TraceEnum_ELBO` have `differentiable_loss`. `RenyiELBO`
and `TraceGraph_ELBO` only have `loss_and_grads`, which runs its own backward pass: the gradients
it computes are collected, and handed on when the loss is differentiated.

Two of them give wrong numbers without an error on some pairs. While Pyro's validation is on, they
are refused by this rule:

    TraceMeanField_ELBO   needs every latent reparametrised, and a guide that draws, before each
                          latent, all that the model draws before it
    RenyiELBO             needs labels that are summed out to be given: it samples them, and with
                          α = 0 does not train q(y|x)

Those that are compiled by `torch.jit` are always refused: they know a pair by the ids of its two
programs, which a module makes anew at each look, and take another's graph for its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pyro import infer, poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from vaezoo.autograd import KnownGradients, gradients
from vaezoo.components import outside_param_store
from vaezoo.programs.pair import is_closed
from vaezoo.programs.sites import drawn_before, is_label, sample_sites
from vaezoo.scopes import checks_data, in_mode, own_generator

__all__ = ["adapted_loss", "reports_the_bound"]

JIT = (
    infer.JitTrace_ELBO,
    infer.JitTraceEnum_ELBO,
    infer.JitTraceGraph_ELBO,
    infer.JitTraceMeanField_ELBO,
)


def adapted_loss(objective: infer.elbo.ELBO, pair: nn.Module, *batch: Any) -> Tensor:
    """The loss of one of Pyro's objectives, in nats per image.

    Args:
        objective: any `pyro.infer.ELBO`; its loss is a sum over the images of the batch.
        pair: a module with programs `model` and `guide`.
        batch: the arguments of both; the first holds the images.

    Raises:
        ValueError: the objective makes no sense for this pair, by the rule above.

    Example:
        >>> from vaezoo.models import VAE
        >>> loss = adapted_loss(infer.RenyiELBO(num_particles=2), VAE(), torch.zeros(7, 1, 28, 28))
        >>> loss.shape, loss.requires_grad
        (torch.Size([]), True)
    """
    _refuse(objective)
    if checks_data():
        _check(objective, pair, *batch)
    with _Images(len(batch[0])) as images:
        loss = _summed(objective, pair, *batch)
    return loss / images.number


def _summed(objective: infer.elbo.ELBO, pair: nn.Module, *batch: Any) -> Tensor:
    """The loss as Pyro has it, a sum over images."""
    x, programs = batch[0], (pair.model, pair.guide)
    if not torch.is_grad_enabled():
        return x.new_tensor(objective.loss(*programs, *batch))
    if hasattr(objective, "differentiable_loss"):
        loss: Tensor = objective.differentiable_loss(*programs, *batch)
        return loss
    value, known = _collected(objective, pair, *batch)
    if not known and any(p.requires_grad for p in pair.parameters()):
        raise ValueError(
            f"{type(objective).__name__} trains parameters that Pyro knows, and this pair names "
            "none: call pyro.module in its model, or use an objective of vaezoo's"
        )
    total: Tensor = KnownGradients.apply(x.new_tensor(value), list(known.values()), *known)
    return total


class _Images(Messenger):
    """How many images a sum is over: of a plate that scales those of a batch up, all that it has.

    Args:
        n: images in the batch.
    """

    def __init__(self, n: int) -> None:
        super().__init__()
        self._n, self._sizes = n, dict[str, int]()
        self._seen = False

    @property
    def number(self) -> int:
        """All of the images."""
        return next(iter(self._sizes.values()), self._n)

    def _pyro_post_sample(self, msg: Any) -> None:
        frames = [f for f in msg["cond_indep_stack"] if f.vectorized]
        if not frames or type(msg["fn"]).__name__ == "_Subsample":  # of a plate itself
            return
        sizes = {f.name: f.full_size for f in frames if f.full_size and f.size == self._n}
        shared = {n: size for n, size in sizes.items() if not self._seen or n in self._sizes}
        self._sizes, self._seen = shared, True  # a plate over pixels is not around every site


def _collected(
    objective: infer.elbo.ELBO, pair: nn.Module, *batch: Any
) -> tuple[float, dict[Tensor, Tensor]]:
    """The loss, and its gradients by parameter; what the parameters hold is left as it was."""
    parameters = [p for p in pair.parameters() if p.requires_grad]
    hooked = any(p._backward_hooks or p._post_accumulate_grad_hooks for p in parameters)
    if hooked or not is_closed(pair):
        with _Backward() as backward:
            value = objective.loss_and_grads(pair.model, pair.guide, *batch)
        return value, backward.gradients
    kept = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    try:
        value = objective.loss_and_grads(pair.model, pair.guide, *batch)
        return value, {p: p.grad for p in parameters if p.grad is not None}
    finally:
        for p, grad in zip(parameters, kept, strict=True):
            p.grad = grad


class _Backward(TorchFunctionMode):
    """Within it `backward` keeps gradients here, by leaf, and leaves `grad` of the leaves alone.

    Programs of one's own use `pyro.param` and networks from outside the pair, which only the graph
    of the loss knows. It costs some microseconds for each operation, which the parts of a member,
    whose parameters are known, are spared.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gradients: dict[Tensor, Tensor] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not Tensor.backward:
            return func(*args, **(kwargs or {}))
        retain = bool((kwargs or {}).get("retain_graph"))
        for leaf, g in gradients(args[0], retain_graph=retain):
            self.gradients[leaf] = self.gradients[leaf] + g if leaf in self.gradients else g
        return None


def reports_the_bound(objective: infer.elbo.ELBO) -> bool:
    """Whether minus the loss is the bound to report.

    That of RenyiELBO is not, unless α is 0, and Trace_MMD's has another distance than the KL.

    Example:
        >>> reports_the_bound(infer.Trace_ELBO()), reports_the_bound(infer.RenyiELBO(alpha=0.5))
        (True, False)
    """
    if isinstance(objective, infer.RenyiELBO):
        return bool(objective.alpha == 0)
    return not isinstance(objective, infer.Trace_MMD)


def _refuse(objective: infer.elbo.ELBO) -> None:
    """Refuse what is wrong for every pair."""
    name = type(objective).__name__
    if isinstance(objective, infer.ReweightedWakeSleep | infer.TraceTailAdaptive_ELBO):
        raise ValueError(
            f"{name} has no single loss of model and guide: train by Pyro's SVI, or take RenyiELBO "
            "or an objective of vaezoo's"
        )
    if isinstance(objective, JIT):
        raise ValueError(
            f"{name} keeps what it traced for one batch and one pair, and would give their numbers "
            f"for others: take {name.removeprefix('Jit')}, or an objective of vaezoo's, whose "
            "steps fit(…, compile=True) compiles"
        )


def _check(objective: infer.elbo.ELBO, pair: nn.Module, *batch: Any) -> None:
    """Refuse what makes no sense, after one more run of the pair that leaves no trace."""
    if not isinstance(objective, infer.TraceMeanField_ELBO | infer.RenyiELBO):
        return
    with torch.no_grad(), in_mode(pair, False), own_generator(), outside_param_store():
        guide = poutine.trace(pair.guide).get_trace(*batch)
        model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(*batch)
    drawn = {n: s for n, s in sample_sites(guide).items() if not s["is_observed"]}
    for name, site in drawn.items():
        if is_label(site):
            raise ValueError(
                f"{type(objective).__name__} would sample {name!r}, which the guide marks to be "
                "summed out: use TraceEnum_ELBO or an objective of vaezoo's, or give the labels"
            )
    if isinstance(objective, infer.TraceMeanField_ELBO):
        _check_mean_field(drawn, sample_sites(guide), sample_sites(model))


def _check_mean_field(latents: Iterable[str], guide: dict[str, Any], model: dict[str, Any]) -> None:
    for name in latents:
        if not guide[name]["fn"].has_rsample:
            raise ValueError(
                f"TraceMeanField_ELBO needs latents that are reparametrised, and {name!r} is not: "
                "use TraceEnum_ELBO or Trace_ELBO"
            )
        if name in model and (late := drawn_before(name, model) - drawn_before(name, guide)):
            others = ", ".join(sorted(late))
            raise ValueError(
                f"TraceMeanField_ELBO takes the KL of {name!r} in closed form, which does not hold "
                f"here: the model draws {others} before it, the guide after it; "
                "use Trace_ELBO, or vaezoo's ELBO, which samples such a KL"
            )
