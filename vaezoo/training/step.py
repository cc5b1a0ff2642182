"""A training step: loss, gradients, update.

    step = Step(Bound(vae), torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)).compile()
    for (x,) in batches:
        terms = step(x)

does what a loop around a `Bound` does. Compiled, all of it is one graph where the optimizer is Adam
without further options, fused on a GPU (see `compiler.adam`); otherwise the bound is compiled, and
the update is the optimizer's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vaezoo.autograd import are_finite
from vaezoo.bound import Bound
from vaezoo.compiler import kept
from vaezoo.compiler.choice import described
from vaezoo.data.counts import is_bool
from vaezoo.programs.refusing import check_tensors
from vaezoo.scopes import one_thread
from vaezoo.training.optimizers import check_no_closure
from vaezoo.training.rates import type_name
from vaezoo.training.untrained import Untrained
from vaezoo.training.weights import parameters_of

if TYPE_CHECKING:
    from vaezoo.compiler.adam import AdamUpdate
    from vaezoo.compiler.cache import StepCache
    from vaezoo.compiler.tracing import Backend

__all__ = ["Step", "kind_of"]


class Step:
    """One step of an optimizer on a batch.

    Args:
        bound: the objective.
        optimizer: over its parameters.
        max_grad_norm: scale gradients down to this norm, over all parameters, where it is larger.

    Raises:
        TypeError: the bound or the optimizer is none.
        ValueError: max_grad_norm is not above 0.

    Attributes:
        compiled: keeps compiled steps that update the weights too; None where the update, or all of
            the step, is the optimizer's own.
        broken: "loss" or "gradient" where that was NaN or infinite in the last step, which then
            has changed nothing; otherwise "".

    Example:
        >>> from vaezoo.models import VAE
        >>> bound = Bound(VAE())
        >>> step = Step(bound, torch.optim.Adam(bound.parameters()))
        >>> x = torch.zeros(7, 1, 28, 28)
        >>> bool(step(x)["loss"] > step(x)["loss"])
        True
    """

    def __init__(
        self,
        bound: Bound,
        optimizer: torch.optim.Optimizer,
        *,
        max_grad_norm: float | None = None,
    ) -> None:
        _check(bound, optimizer)
        self.bound, self.optimizer, self.max_grad_norm = bound, optimizer, max_grad_norm
        self.broken = ""
        self._untrained = Untrained(bound)
        self.compiled: StepCache | None = None
        self._asked: tuple[str | Backend, Callable[[str], object] | None] | None = None
        self._settings: tuple[Any, ...] = ()
        self._noted = set[str]()

    @property
    def max_grad_norm(self) -> float | None:
        """The largest norm of all gradients together; None for any."""
        return self._max_grad_norm

    @max_grad_norm.setter
    def max_grad_norm(self, norm: float | None) -> None:
        if is_bool(norm) or not (norm is None or hasattr(norm, "__float__")):
            raise TypeError(f"max_grad_norm must be a number above 0, got {norm!r}")
        if norm is not None and not norm > 0:
            raise ValueError(f"max_grad_norm must be positive, got {norm}")
        self._max_grad_norm = norm

    def compile(
        self,
        backend: str | Backend = "inductor",
        *,
        announce: Callable[[str], object] | None = None,
    ) -> Step:
        """Compile steps from now on, under the rules of `Bound.compile`; returns self.

        Where another bound, optimizer or norm is set later, the steps after it are compiled anew.
        """
        self._asked = backend, announce
        self._compile(*self._asked)
        return self

    def _compile(self, backend: str | Backend, announce: Callable[[str], object] | None) -> None:
        self._settings = self._now()
        self.compiled, self._untrained, self._noted = None, Untrained(self.bound), set()
        update = self._update_inside()
        if update is None:
            self.bound.compile(backend, announce=announce)
        else:
            from vaezoo.compiler.cache import StepCache

            keep = self._untrained.keep
            self.compiled = StepCache(backend, announce, update(self.optimizer), before=keep)

    def __call__(self, *batch: Tensor) -> dict[str, Tensor]:
        """Take the step; returns the bound's terms.

        Where the loss or a gradient is NaN or infinite, nothing is updated: weights, the
        optimizer's state, buffers and frozen parameters are those from before the step. Gradients
        are left in the parameters, unless the update is part of the graph; then they have none.
        """
        check_tensors(batch)
        with one_thread():
            return self._take(*batch)

    def _take(self, *batch: Tensor) -> dict[str, Tensor]:
        self._follow()
        if self.compiled is None:
            self._untrained.keep()
        terms = self.bound(*batch) if self.compiled is None else self.compiled(self.bound, batch)
        if self.compiled is not None and self.compiled.updated:
            updated = self.compiled.finite
        else:
            updated = math.isfinite(terms["loss"].item()) and self._update(terms["loss"])
            if not updated:
                self._untrained.put_back()
        if self.cache is not None and self.cache.served:
            self._note(kind_of(batch))
        if updated:  # to read the loss is to wait for a GPU
            self.broken = ""
        else:
            self.broken = "gradient" if math.isfinite(terms["loss"].item()) else "loss"
        return terms

    def __getstate__(self) -> dict[str, Any]:
        """Without compiled steps, which a copy makes anew."""
        return {**vars(self), "compiled": None, "_settings": (), "_untrained": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _untrained=Untrained(state["bound"]))

    @property
    def cache(self) -> StepCache | None:
        """What keeps compiled steps, or the bound's; None where steps run eagerly."""
        return self.bound.compiled if self.compiled is None else self.compiled

    @property
    def ways(self) -> str:
        """How steps run: "eager" or "compiled"."""
        return "compiled" if self.cache is not None and self.cache.serves else "eager"

    def put_back(self) -> None:
        """Put buffers and frozen parameters back to what they were before an eager step."""
        if self.compiled is None:
            self._untrained.put_back()

    def of_all(self, names: list[str]) -> list[str]:
        """What was found by all processes that take this step."""
        return names

    def about(self, kind: str) -> str:
        """What steps on a kind of batch are known by, on disk too."""
        return described(self.bound, self.bound.objective, type(self.optimizer), kind)

    def _note(self, kind: str) -> None:
        """Note that their graph is on disk, for those who choose whether to compile."""
        if kind not in self._noted and self._asked and self._asked[0] == "inductor":
            self._noted.add(kind)
            kept.note(self.about(kind))

    def _follow(self) -> None:
        """Follow what was set since the last step, and compile anew where that needs it."""
        if self._untrained.module is not self.bound:
            self._untrained = Untrained(self.bound)
        if self._asked is None:
            return
        now, known = self._now(), self.compiled is None or self.compiled.follow()
        if known and now == self._settings:
            return
        same_bound = now[:1] == self._settings[:1]
        if self.compiled is None and same_bound and self._update_inside() is None:
            self._settings = now  # the bound is compiled, and the update is anyway the optimizer's
        else:
            self._compile(*self._asked)

    def _now(self) -> tuple[Any, ...]:
        """What a compiled step with the update in it was made for."""
        b = self.bound
        hooked = b._forward_hooks or b._forward_pre_hooks or b._backward_hooks
        own = hooked or b._backward_pre_hooks or "forward" in vars(b)
        return b, self.optimizer, self._max_grad_norm, bool(own)

    def _update_inside(self) -> type[AdamUpdate] | None:
        """What can make the update inside the graph, where nothing more is done between the two."""
        *_, norm, own = self._now()
        if norm is not None or own or type(self.bound).forward is not Bound.forward:
            return None
        from vaezoo.compiler.adam import update_for

        return update_for(self.optimizer)

    def _update(self, loss: Tensor) -> bool:
        """Whether the gradients were finite, and so the step was taken."""
        self.optimizer.zero_grad()
        loss.backward()
        parameters = parameters_of(self.optimizer)
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not are_finite(gradients):
            return False
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        self.optimizer.step()
        torch.clear_autocast_cache()  # which has weights from before, inside an outer autocast
        return True


def _check(bound: Any, optimizer: Any) -> None:
    if not isinstance(bound, Bound):
        cure = ": Step(Bound(model), optimizer)" if isinstance(bound, nn.Module) else ""
        raise TypeError(f"a step takes a Bound first, got {type_name(bound)}{cure}")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"a step takes an optimizer of torch.optim, got {type_name(optimizer)}: such as "
            "torch.optim.Adam(bound.parameters(), lr=1e-3)"
        )
    check_no_closure(optimizer)


def kind_of(batch: tuple[Tensor, ...]) -> str:
    """Batches are of one kind if all their shapes are the same."""
    return " ".join(str(tuple(t.shape)) for t in batch)
