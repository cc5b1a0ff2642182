"""A bound as a torch module: its parameters are the model's, its forward is the loss.

    bound = Bound(vae, ELBO())
    optimizer = torch.optim.Adam(bound.parameters(), lr=1e-3)
    for (x,) in batches:
        optimizer.zero_grad()
        bound(x)["loss"].backward()
        optimizer.step()

It leaves Pyro's parameter store alone, unless the objective is one of Pyro's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from pyro import infer
from torch import Tensor, nn

from vaezoo.components import outside_param_store
from vaezoo.data.batches import as_tensors, columns_of
from vaezoo.data.labels import integer_labels
from vaezoo.networks.precision import networks_lowered_to
from vaezoo.objectives import Objective, SemiSupervised
from vaezoo.objectives.pyro_adapter import adapted_loss, reports_the_bound
from vaezoo.objectives.usual import usual_objective
from vaezoo.programs.pair import Member, handed_arguments, required_arguments
from vaezoo.programs.refusing import check_pair, check_tensors, described
from vaezoo.scopes import one_thread, validation

if TYPE_CHECKING:
    from vaezoo.compiler.cache import StepCache
    from vaezoo.compiler.tracing import Backend

__all__ = ["Bound", "arguments", "default_objective", "dtype_of"]

PRECISIONS = {"float32": None, "bf16": torch.bfloat16}


class Bound(nn.Module):
    """A model's objective on a batch, as a module.

    Args:
        model: a member of the zoo, or any module with Pyro programs `model` and `guide` of the
            same arguments and one plate over images.
        objective: one of `vaezoo.objectives` or of Pyro's (a `pyro.infer.ELBO`); by default that
            of `default_objective`.
        precision: "bf16" runs networks (see `networks.precision`) in bfloat16, with weights,
            densities, KLs and sums in float32 as ever; it leaves a float64 model alone. An
            `autocast` around the call is taken as one around the networks.

    Attributes:
        compiled: keeps the compiled steps; None until `compile` is called.

    Example:
        >>> from vaezoo.models import VAE
        >>> bound = Bound(VAE())
        >>> sorted(bound(torch.zeros(7, 1, 28, 28)))
        ['bound', 'kl', 'loss', 'rec']
    """

    model: Any  # nn.Module's own annotations hide the programs

    def __init__(
        self,
        model: nn.Module,
        objective: infer.elbo.ELBO | None = None,
        *,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        if precision not in tuple(PRECISIONS):
            raise ValueError(f"precision must be one of {tuple(PRECISIONS)}, got {precision!r}")
        check_pair(model)
        objective = default_objective(model) if objective is None else objective
        if not isinstance(objective, infer.elbo.ELBO):
            raise TypeError(
                "objective must be one of vaezoo.objectives or a pyro.infer ELBO, got "
                f"{described(objective)}"
            )
        self.model, self.objective, self.precision = model, objective, precision
        self.compiled: StepCache | None = None

    def forward(self, *batch: Tensor) -> dict[str, Tensor]:
        """Scalars in nats per image: loss, to differentiate; bound, rec and kl where known.

        Pyro's RenyiELBO reports no bound unless its α is 0: its loss is minus another one.
        """
        check_tensors(batch)
        with one_thread():
            return self.eager(*batch) if self.compiled is None else self.compiled(self, batch)

    def eager(self, *batch: Tensor) -> dict[str, Tensor]:
        """The same scalars, never compiled."""
        with one_thread(), validation(), self._networks_lowered(batch):
            if isinstance(self.objective, Objective):
                with outside_param_store():
                    return self.objective.estimate(self.model.model, self.model.guide, *batch)
            loss = adapted_loss(self.objective, self.model, *batch)
            bound = {"bound": -loss.detach()} if reports_the_bound(self.objective) else {}
            return {"loss": loss, **bound}

    @contextlib.contextmanager
    def _networks_lowered(self, batch: Sequence[Tensor]) -> Iterator[None]:
        """The networks in the precision asked for, or in that of an `autocast` from outside."""
        device, dtype = batch[0].device.type if batch else "cpu", PRECISIONS[self.precision]
        with contextlib.ExitStack() as stack:
            if torch.is_autocast_enabled(device):
                dtype = torch.get_autocast_dtype(device)
                stack.enter_context(torch.autocast(device, enabled=False))
            stack.enter_context(networks_lowered_to(self.model, dtype))
            yield

    def compile(  # type: ignore[override]
        self,
        backend: str | Backend = "inductor",
        *,
        announce: Callable[[str], object] | None = None,
        gradients: bool = True,
    ) -> Bound:
        """Compile training steps from now on, one graph for each shape of batch; returns self.

        The first batch of a shape runs eagerly, with all checks, and the second is compiled:
        tens of seconds, or less than one where the same graph was compiled before (it is kept in
        Inductor's directory on disk). Four shapes are kept; others run eagerly, and so do calls
        under `no_grad`. Swaps of parts, changes of the objective, of dtype, of mode or of what is
        frozen make a new graph; schedules do not. The same seed gives the same noise as eagerly,
        unless a program draws samples it never uses.

        A program that a graph would not repeat runs eagerly after one warning: one that reads the
        values of tensors in Python (`.item()`, `.numpy()`, `torch.equal`, a mask as an index),
        draws random numbers that are not torch's, changes attributes, containers, closures or
        globals as it runs, or has hooks that return nothing. So does one of Pyro's objectives, and
        what the compiler fails on. Before a graph is used, it is compared with the program on other
        batches, which leaves no trace. Under an `autocast` or handlers of Pyro's from outside calls
        run eagerly too.

        What the programs' own code names is watched, and makes a new graph when it is changed
        from outside: attributes, globals, closures, lists and dictionaries of up to 1,000
        elements, arrays of up to 64 MiB; so is that code, which a reload renews. What another
        library or an extension keeps is not seen, nor the place of an iterator. A compiled program
        no longer prints or writes files, nor does it read values at some later step because of
        what is not seen. Use an `objectives.Schedule` for a number that changes at each step.

        Args:
            backend: any that `torch.compile` takes.
            announce: called with "compiling" when a compilation begins, and with its time after it.
            gradients: False compiles calls under `no_grad`, and leaves the others eager.

        Example:
            >>> from vaezoo.models import VAE
            >>> bound, x = Bound(VAE()).compile("eager"), torch.zeros(7, 1, 28, 28)
            >>> for _ in range(3):
            ...     bound(x)["loss"].backward()
        """
        from vaezoo.compiler.cache import StepCache

        self.compiled = StepCache(backend, announce, gradients=gradients)
        return self

    def arguments(self, batch: Any) -> list[Tensor]:
        """The tensors of a batch that the objective takes, on the model's device.

        Labels that a loader yields are left out where the programs do without them, as do members
        and what takes `y=None`; for a bound given both, call it yourself: `bound(x, y)`. Programs
        of your own are handed what else they take, as `mask=None`. Arrays and lists become tensors.

        Raises:
            ValueError: the batch is none, holds too few, or labels that are no integer per image.
        """
        if isinstance(self.objective, SemiSupervised):
            return arguments(self.model, batch)
        return arguments(self.model, batch, required_arguments(self.model.model))

    def check(self, batch: list[Tensor]) -> None:
        """Raise ValueError if images or labels of a batch are not what the model takes."""
        if isinstance(self.model, Member):
            covariates = not self.model.classes and handed_arguments(self.model, batch) > 1
            batches = [batch[:1], batch[1:]] if len(batch) == 3 else [batch[:2]]
            for x_and_y in [batch[:1]] if covariates else batches:
                self.model.check(*x_and_y)


def default_objective(model: nn.Module, data: Any = None) -> Objective:
    """The objective a model is trained with unless you name one.

    A member says it itself; any other pair gets `SemiSupervised` where it can `classify`, with the
    labelled fraction of `data` that are semi-supervised batches, and `ELBO` where it cannot.

    Example:
        >>> from vaezoo.models import IWAE, VAE
        >>> default_objective(IWAE(particles=50)), default_objective(VAE(beta=4))
        (IWELBO(particles=50), ELBO(beta=4, particles=1))
    """
    if isinstance(model, Member):
        # the method of its class: a member may be given an attribute of this name
        return type(model).objective(model, data)
    return usual_objective(model, data)


def arguments(model: nn.Module, batch: Any, wanted: int | None = None) -> list[Tensor]:
    """The tensors of a batch that programs take (all by default), on the model's device.

    Args:
        model: a member of the zoo, or a module with programs `model` and `guide`.
        batch: a tensor or array of images, or a tuple: (x, y), or (x, x_labelled, y_labelled).
        wanted: how many the programs take at least.

    Raises:
        ValueError: as `Bound.arguments`.

    Example:
        >>> from vaezoo.models import VAE
        >>> x, y = arguments(VAE(), ([[0.5]], [3]))
        >>> x.dtype, y.dtype
        (torch.float32, torch.int64)
    """
    columns = columns_of(batch)
    taken = wanted if wanted is None else max(wanted, handed_arguments(model, columns))
    given = as_tensors(batch, _like(model), taken)
    # a batch is given: nothing trains it, whatever graph it has or is made in
    tensors = [t.clone() if t.is_inference() else t.detach() for t in given]
    if wanted is not None and len(tensors) < wanted:
        raise ValueError(
            f"{type(model).__name__} is given {wanted} tensors, such as (x, y), and the batch "
            f"holds {len(tensors)}: let the loader yield labels too"
        )
    if isinstance(model, Member) and model.classes and len(tensors) in (2, 3):
        *images, y = tensors
        n = len(images[-1]) if images[-1].dim() else 0
        return [*images, integer_labels(y, n)]
    return tensors


def dtype_of(model: nn.Module) -> torch.dtype | None:
    """The dtype of a model's parameters; None where there are none.

    Example:
        >>> from vaezoo.models import VAE
        >>> dtype_of(VAE().double())
        torch.float64
    """
    return None if (like := _like(model)) is None else like.dtype


def _like(model: nn.Module) -> Tensor | None:
    return next((p for p in model.parameters() if p.is_floating_point()), None)
