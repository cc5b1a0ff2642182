"""Adam's update behind the traced loss and gradients, so that a whole step is one graph.

    (batch, schedules, weights, buffers, moments, sizes)  ->  (loss, bound, rec, kl, …)

Weights and moments are written in place. One kernel updates them all, right after the gradients
were computed, and no Python stands between. Moments and numbers of steps are those of a
`torch.optim.Adam`, which may take any step in between.

References:
    Kingma, Ba. Adam: A Method for Stochastic Optimization. 2015. arXiv:1412.6980, algorithm 1.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.graph import CodeGen

from vaezoo.tracing import Trace

__all__ = ["AdamUpdate"]

_PLAIN = {"weight_decay": 0, "amsgrad": False, "maximize": False, "differentiable": False}


class AdamUpdate:
    """The updates that an optimizer would make, to be traced behind a loss and its gradients.

    Args:
        optimizer: a `torch.optim.Adam` for which `fits` is true.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.group: dict[str, Any] = optimizer.param_groups[0]
        self.states = {p: optimizer.state[p] for p in self.group["params"]}
        self.steps, self.version = torch.zeros(len(self.states)), -1
        self.numbers: list[float] = []
        for i, (p, state) in enumerate(self.states.items()):
            if state:
                self.steps[i] = state["step"]
            else:
                state.update(exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
            state["step"] = self.steps[i]  # a view: the optimizer and this count together

    def taken(self) -> list[float]:
        """The number of steps of each parameter, read anew if the optimizer has made one."""
        if self.steps._version != self.version:
            self.numbers, self.version = self.steps.tolist(), self.steps._version
        return self.numbers

    def count(self, rows: list[int]) -> None:
        """One more step of some of the parameters."""
        self.taken()
        for i in rows:
            self.numbers[i] += 1
        self.steps.copy_(torch.tensor(self.numbers))
        self.version = self.steps._version

    @staticmethod
    def fits(optimizer: torch.optim.Optimizer) -> bool:
        """Whether it is Adam without further options, one group of parameters, on a CPU.

        On other devices torch's fused Adam is one kernel too, and its numbers of steps, which are
        read here for each step, lie there.

        Example:
            >>> p = torch.zeros(2, requires_grad=True)
            >>> [AdamUpdate.fits(o([p])) for o in (torch.optim.Adam, torch.optim.SGD)]
            [True, False]
        """
        if type(optimizer) is not torch.optim.Adam or len(optimizer.param_groups) != 1:
            return False
        group = optimizer.param_groups[0]
        kinds = {(p.device.type, p.dtype) for p in group["params"]}
        plain = all(group[name] == value for name, value in _PLAIN.items())
        return plain and len(kinds) == 1 and next(iter(kinds))[0] == "cpu"

    def extend(self, trace: Trace, inputs: list[Tensor]) -> tuple[GraphModule, Moments]:
        """The graph of a trace with the update behind it, from `inputs` and those of `Moments`."""
        from torch.fx.experimental.proxy_tensor import make_fx

        moments, terms = Moments(self, trace.leaves), len(trace.names)
        places = {id(t): i for i, t in enumerate(inputs)}
        rows = [(i, places[id(p)]) for i, p in enumerate(trace.leaves) if p in self.states]

        def step(inputs: list[Tensor], averages: list[Tensor], sizes: Tensor) -> list[Tensor]:
            found: list[Tensor] = list(trace.graph(*inputs))
            finite = torch.isfinite(found[0])
            for (i, at), m, v, size in zip(rows, averages[::2], averages[1::2], sizes, strict=True):
                _adam(inputs[at], found[terms + i], m, v, size, finite)
            return found[:terms]

        # traced on fake tensors, which leaves the true ones as they are
        made = make_fx(lambda *a: step(*a), tracing_mode="fake")
        graph: GraphModule = made([t.detach() for t in inputs], moments.averages, moments.sizes())
        graph.graph.set_codegen(CodeGen())  # flat arguments, no tree of them
        graph.recompile()
        return graph, moments


def _adam(p: Tensor, grad: Tensor, m: Tensor, v: Tensor, size: Tensor, finite: Tensor) -> None:
    """Algorithm 1, in place; nothing changes where the loss is not finite."""
    rate, correction, eps, one_minus_beta1, beta2, one_minus_beta2 = size.unbind()
    mean = m + one_minus_beta1 * (grad - m)
    square = beta2 * v + one_minus_beta2 * grad * grad
    new = p - rate * mean / (square.sqrt() * correction + eps)
    for old, value in ((p, new), (m, mean), (v, square)):
        old.copy_(torch.where(finite, value, old))


class Moments:
    """What the graph of one trace reads and writes besides the trace's own inputs.

    Args:
        update: whose optimizer they belong to.
        leaves: what the trace has gradients of; those that the optimizer has are updated.

    Attributes:
        averages: of gradients and of squared gradients, by turns.
    """

    def __init__(self, update: AdamUpdate, leaves: list[Tensor]) -> None:
        self.update = update
        numbers = {p: i for i, p in enumerate(update.states)}
        known = [p for p in leaves if p in numbers]
        self.rows = [numbers[p] for p in known]
        self.like = known[0]
        self.averages = [update.states[p][n] for p in known for n in ("exp_avg", "exp_avg_sq")]

    def inputs(self) -> list[Tensor]:
        """The last arguments of the graph for the next step."""
        return [*self.averages, self.sizes()]

    def sizes(self) -> Tensor:
        """Rows of what `_adam` reads, one for each parameter: rates, betas and steps as now."""
        group, found = self.update.group, list[float]()
        (beta1, beta2), lr, eps = group["betas"], float(group["lr"]), group["eps"]
        taken = self.update.taken()
        for i in self.rows:
            step = taken[i] + 1
            rate, correction = lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step)
            found += [rate, correction, eps, 1 - beta1, beta2, 1 - beta2]
        return torch.tensor(found, dtype=self.like.dtype).view(-1, 6)

    def count(self) -> None:
        """One more step was taken."""
        self.update.count(self.rows)
