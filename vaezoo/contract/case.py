"""The part under test, as every clause sees it, and the error that a broken clause raises."""

from __future__ import annotations

import dataclasses
from typing import NoReturn

import pyro.distributions as dist
import torch
from torch import Tensor

from vaezoo.components import Component

__all__ = ["COPY", "FAILURE_RATE", "Case", "ContractError", "converted", "refuse"]

FAILURE_RATE = 1e-5  # of each statistical clause, shared among its tests
COPY = "keep no lock, open file or tensor that was computed from parameters on the module"


class ContractError(AssertionError):
    """A part that breaks a clause of the contract."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A copy of a part, in evaluation mode and float64, with its inputs and event shape."""

    part: Component
    inputs: tuple[Tensor, ...]
    event: tuple[int, ...]

    def __call__(self, part: Component | None = None) -> dist.TorchDistribution:
        """The distribution at the inputs, of this copy or of another."""
        return (part or self.part)(*self.inputs)

    @property
    def batch(self) -> tuple[int, ...]:
        """Batch shape of the distribution."""
        return tuple(self.inputs[0].shape[:1]) if self.inputs else ()

    def first(self) -> dist.TorchDistribution:
        """The distribution for the first input alone."""
        return self.part(*(t[:1] for t in self.inputs))


def refuse(clause: str, expected: str, got: object, mend: str) -> NoReturn:
    """Raise `ContractError`, from `got` where that is an error."""
    came = f"{type(got).__name__}: {got}" if isinstance(got, Exception) else str(got)
    cause = got if isinstance(got, Exception) else None
    raise ContractError(f"{clause}: expected {expected}, got {came}; {mend}") from cause


def converted(part: Component, dtype: torch.dtype = torch.float64) -> Component:
    """Put a part and what it follows into a dtype, in place; complex numbers stay complex."""

    def cast(t: Tensor) -> Tensor:
        if t.is_complex():
            return t.to(dtype.to_complex())
        return t.to(dtype) if t.is_floating_point() else t

    for module in (part, *part.follows()):
        module._apply(cast)
    return part
