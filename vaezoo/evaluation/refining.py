"""A guide refined for each image by itself: what its networks put out, and offsets to that.

Integers, and outputs that the guide uses without gradients, such as those of a frozen network, stay
what they are.

The offsets are all that is optimised, so that q stays in its family: for each image they take the
place of what the networks were to say of it, while the posterior's other parameters, such as a
flow's, stay what they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from vaezoo.distributions.noise import parameters_alone
from vaezoo.networks.precision import networks_changed, networks_of
from vaezoo.programs.run import run
from vaezoo.programs.terms import Terms
from vaezoo.scopes import unchecked

__all__ = ["Refined"]


class Refined:
    """A pair whose guide's networks are corrected for the images of one batch.

    Args:
        pair: a model and its guide.
        batch: what both programs take.

    Raises:
        ValueError: no network runs in the guide, or one puts several tensors out.
    """

    def __init__(self, pair: Any, batch: list[Tensor]) -> None:
        self.pair, self.batch = pair, batch
        self.offsets: list[Tensor] = []
        self._outputs: list[Tensor] = []
        with self._seen():  # each label that is summed out has a q of its own
            poutine.enum(pair.guide, first_available_dim=-3)(*batch)
        if not self._outputs:
            raise ValueError(
                "the guide runs no network whose outputs could be refined for each image: give the "
                "posterior one, or a module of the pair's"
            )
        # steps are smaller than bfloat16 tells apart
        dtypes = [torch.promote_types(out.dtype, torch.float32) for out in self._outputs]
        each = zip(self._outputs, dtypes, strict=True)
        self.offsets = [torch.zeros_like(o, dtype=d, requires_grad=True) for o, d in each]

    def guide(self, *batch: Tensor) -> Any:
        """The guide, with its networks corrected."""
        with self._seen():
            return self.pair.guide(*batch)

    def terms(self) -> Terms:
        """One draw for each image."""
        with unchecked():
            return run(self.pair.model, self.guide, *self.batch)

    def improve(self, steps: int, lr: float) -> None:
        """Raise the bound of each image by Adam, its rate falling to 0 in a line."""
        adam = torch.optim.Adam(self.offsets, lr)
        rates = torch.optim.lr_scheduler.LinearLR(adam, 1.0, 0.0, steps)
        for _ in range(steps):
            with torch.enable_grad(), parameters_alone():
                terms = self.terms()
                bound = terms.rec - terms.kl + terms.log_py - terms.log_qy
                loss = -terms.expect(bound).sum()
            for offset, gradient in zip(self.offsets, self._gradients(loss), strict=True):
                offset.grad = gradient
            adam.step()
            rates.step()

    def _gradients(self, loss: Tensor) -> tuple[Tensor | None, ...]:
        """Of each offset; None of an output that is detached, or runs without gradients."""
        found: tuple[Tensor | None, ...] = (None,)
        if loss.requires_grad:
            found = torch.autograd.grad(loss, self.offsets, allow_unused=True)
        if all(gradient is None for gradient in found):
            raise ValueError(
                "no output of the guide's networks could be refined: the guide detaches them, or "
                "draws without rsample"
            )
        return found

    @contextlib.contextmanager
    def _seen(self) -> Iterator[None]:
        """Within it every output of a network is noted, and corrected once there are offsets.

        What `torch.compile` made runs as it was written: compiled, it would keep to its networks.
        """
        self._outputs = []
        # the model may run the same networks, as a VampPrior does: they are changed for the guide
        changed = networks_changed(networks_of(self.pair), self._corrected)
        with changed, torch.compiler.set_stance("force_eager"):
            yield

    def _corrected(self, _: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._with_offset(forward(*args, **kwargs))

    def _with_offset(self, output: Any) -> Any:
        if not isinstance(output, Tensor):  # such as the maps of a flow
            _check_no_tensors(output)
            return output
        if not output.is_floating_point():
            return output
        self._outputs.append(output)
        if not self.offsets:
            return output
        return (output + self.offsets[len(self._outputs) - 1]).to(output.dtype)


def _check_no_tensors(output: Any) -> None:
    if any(isinstance(each, Tensor) for each in tree_leaves(output)):
        raise ValueError(
            f"a network of the guide puts out a {type(output).__name__} of tensors, such as a loc "
            "and a scale, and not every offset to a scale leaves one: let it return one tensor, of "
            "which the guide makes them"
        )
