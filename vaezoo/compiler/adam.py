"""What an Adam is to a compiled step that makes its update (see `whole_step`).

Moments and numbers of steps are those of a `torch.optim.Adam`, which may take any step in between.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from vaezoo.compiler.tracing import TracedStep

__all__ = ["AdamUpdate", "Trained", "update_for"]

_STATE = operator.itemgetter("step", "exp_avg", "exp_avg_sq")
_KIND = operator.attrgetter("dtype", "device")
_NEUTRAL_OPTIONS = {"weight_decay": 0, "amsgrad": False, "maximize": False, "differentiable": False}


class AdamUpdate:
    """The updates that an optimizer would make, to be put behind a loss and its gradients.

    Args:
        optimizer: a `torch.optim.Adam` for which `fits` is true.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.params: list[Tensor] = list(optimizer.param_groups[0]["params"])
        self.states: dict[Tensor, dict[str, Any]] = {}
        self._trained: set[Tensor] = set()  # by a step: others have no state unless given one
        self._known = list[Any]()
        self._kinds = set(map(_KIND, self.params))
        self.device = self.params[0].device
        self._key: tuple[float, ...] = ()
        # always in one place, where a step that was recorded on a GPU finds them
        self._rates = torch.zeros(4, dtype=torch.float64, device=self.device)

    def _adopt(self) -> None:
        """Take the optimizer's state as it is now."""
        for p in self._trained:
            self.optimizer.state[p]  # a dictionary, from now on
        state = self.optimizer.state
        self.states = {p: state[p] for p in self.params if p in self._trained or state.get(p)}
        self.steps = torch.zeros(len(self.params), dtype=self._dtype(), device=self.device)
        for i, p in enumerate(self.params):
            if p in self.states:
                self._lay_out(i, p, self.states[p])
        self._known = self._views()

    def _lay_out(self, i: int, p: Tensor, state: dict[str, Any]) -> None:
        if "step" in state:
            self.steps[i] = state["step"]
        for name in ("exp_avg", "exp_avg_sq"):
            state[name] = _laid_out(state.get(name), p)
        state["step"] = self.steps[i]  # a view: the optimizer and the steps count together

    def _dtype(self) -> torch.dtype:
        """Of the numbers of steps: once known it stays, as compiled steps read it."""
        if (known := vars(self).get("steps")) is not None:
            return known.dtype
        counts = (state.get("step") for state in self.optimizer.state.values())
        kept = next((t.dtype for t in counts if isinstance(t, Tensor)), None)
        if kept is not None and kept.is_floating_point:
            return kept
        # as the optimizer makes them itself: a fused one takes no other
        double = torch.get_default_dtype() == torch.float64
        double = double and not self.optimizer.param_groups[0]["fused"]
        return torch.float64 if double else torch.float32

    def _views(self) -> list[Any]:
        """The tensors that the optimizer keeps now, of which another may be set at any time."""
        try:
            states = map(_STATE, map(self.optimizer.state.__getitem__, self.states))
            return [len(self.optimizer.state), *itertools.chain.from_iterable(states)]
        except KeyError:  # there is none yet, or it was cleared
            return []

    def follow(self) -> bool:
        """Re-read the optimizer's state; False if a graph can no longer make its update."""
        groups = self.optimizer.param_groups
        same = len(groups) == 1 and _are_same(groups[0]["params"], self.params)
        if not same or set(map(_KIND, self.params)) != self._kinds:
            return False
        if not _is_adam_alone(self.optimizer):
            return False
        if self._trained and not (self._known and _are_same(self._views(), self._known)):
            self._adopt()
        for p in self.params:
            p.grad = None  # of an earlier step, which was not compiled
        return True

    @staticmethod
    def fits(optimizer: torch.optim.Optimizer) -> bool:
        """Whether it is Adam without further options or hooks, over one group of one kind.

        One dtype and device, that is, and fused on a GPU.

        Example:
            >>> p = torch.zeros(2, requires_grad=True)
            >>> [AdamUpdate.fits(o([p])) for o in (torch.optim.Adam, torch.optim.SGD)]
            [True, False]
        """
        if type(optimizer) is not torch.optim.Adam or len(optimizer.param_groups) != 1:
            return False
        (group,) = optimizer.param_groups
        kinds = set(map(_KIND, group["params"]))
        if len(kinds) != 1 or not _is_adam_alone(optimizer):
            return False
        (dtype, device), *_ = kinds
        # on a GPU, only a fused one counts steps there
        here = device.type == "cpu" or (device.type == "cuda" and bool(group["fused"]))
        # in float16 all but a fused one lose ε, which a graph does not
        rounds = dtype == torch.float16 and not group["fused"]
        return here and dtype.is_floating_point and not rounds

    def inputs(self, leaves: list[Tensor], rows: Tensor) -> list[Tensor]:
        """The last arguments of a `whole_step` graph, behind those of the traced step.

        Args:
            leaves: that it updates.
            rows: their numbers among the optimizer's parameters.
        """
        averages = (self.states[p][name] for p in leaves for name in ("exp_avg", "exp_avg_sq"))
        return [self.rates(), self.steps, rows, *averages]

    def rates(self) -> Tensor:
        """Learning rate, β1, β2 and ε, as the optimizer has them now."""
        group = self.optimizer.param_groups[0]
        key = tuple(map(float, (group["lr"], *group["betas"], group["eps"])))
        if key != self._key:
            self._key = key
            self._rates.copy_(torch.tensor(key, dtype=torch.float64, device="cpu"))
        return self._rates

    def trained(self, traced: TracedStep, inputs: list[Tensor]) -> Trained:
        """Which of a step's leaves this updates, and where they are."""
        numbers = {p: i for i, p in enumerate(self.params)}
        leaves = [i for i, p in enumerate(traced.leaves) if p in numbers]
        self._trained.update(traced.leaves[i] for i in leaves)
        self._adopt()  # weights may have other strides than moments have
        if not leaves:
            raise ValueError("the optimizer trains nothing that the loss depends on")
        places = {id(t): i for i, t in enumerate(inputs)}
        return Trained(
            terms=len(traced.names),
            written=traced.written,
            gradients=[len(traced.names) + i for i in leaves],
            weights=[places[id(traced.leaves[i])] for i in leaves],
            rows=[numbers[traced.leaves[i]] for i in leaves],
        )


def update_for(optimizer: torch.optim.Optimizer) -> type[AdamUpdate] | None:
    """What can make an optimizer's update inside a graph; None where the optimizer has to.

    Example:
        >>> p = torch.zeros(2, requires_grad=True)
        >>> [update_for(o([p])) is None for o in (torch.optim.Adam, torch.optim.SGD)]
        [False, True]
    """
    return AdamUpdate if AdamUpdate.fits(optimizer) else None


class Trained(NamedTuple):
    """Where the trained leaves of a step are, in the same order in each list.

    Attributes:
        terms: how many outputs of its graph come before the gradients.
        written: which of the inputs it writes into.
        gradients: among the outputs.
        weights: among the inputs.
        rows: among the optimizer's parameters.
    """

    terms: int
    written: list[int]
    gradients: list[int]
    weights: list[int]
    rows: list[int]


def _are_same(some: Collection[Any], others: Collection[Any]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))


def _laid_out(average: Tensor | None, p: Tensor) -> Tensor:
    """A moment in the dtype and strides of its parameter, which is what compiled code reads."""
    if average is None:
        return torch.zeros_like(p)
    if _KIND(average) == _KIND(p) and average.stride() == p.stride():
        return average
    return torch.empty_like(p).copy_(average)


def _is_adam_alone(optimizer: torch.optim.Optimizer) -> bool:
    """Whether no option and no hook, of the optimizer or of gradients, asks for more than Adam."""
    group = optimizer.param_groups[0]
    if any(group[name] != value for name, value in _NEUTRAL_OPTIONS.items()):
        return False
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return False
    if _global_optimizer_pre_hooks or _global_optimizer_post_hooks:
        return False
    if "zero_grad" in vars(optimizer):
        return False
    step = vars(optimizer).get("step")  # a scheduler wraps it, to see whether it is called
    if step is not None and getattr(step, "__wrapped__", step) is not type(optimizer).step:
        return False
    return not any(p._backward_hooks or p._post_accumulate_grad_hooks for p in group["params"])
