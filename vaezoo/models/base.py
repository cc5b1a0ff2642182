"""What every member of the zoo shares: the plate over images, swapping of parts, drawing."""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from vaezoo.components import Component, outside_param_store
from vaezoo.likelihoods import Likelihood
from vaezoo.posteriors import Classifier, Posterior
from vaezoo.priors import Prior

__all__ = ["LatentVariableModel"]

_ROLES: dict[str, type[Component]] = {
    "prior": Prior,
    "likelihood": Likelihood,
    "posterior": Posterior,
    "classifier": Classifier,
}


class LatentVariableModel(nn.Module):
    """A Pyro pair, `model` and `guide`, over three parts that can be swapped by assignment.

    `vae.prior = …`, `vae.likelihood = …`, `vae.posterior = …` are checked at once against the
    shapes of the rest, and a new part follows the old one's device and dtype. `vae.guide = …`
    takes a posterior (which it swaps in) or a Pyro program with the guide's signature, and
    `vae.model = …` a program; `del vae.guide` brings the written one back.

    Optimisers made before a swap do not know the new parameters: make a new one, or let
    `training.fit` do so.

    Args:
        x_shape: shape of one image.
        z_dim: latent size.
        classes: number of classes of y, 0 if the parts take no labels.
    """

    def __init__(
        self,
        x_shape: Sequence[int],
        z_dim: int,
        *,
        prior: Prior,
        likelihood: Likelihood,
        posterior: Posterior,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.x_shape, self.z_dim, self.classes = tuple(x_shape), z_dim, classes
        # parts follow the dtype and device of the first that has parameters
        self.likelihood, self.posterior, self.prior = likelihood, posterior, prior

    def model(self, *batch: Any) -> Tensor:
        """The generative program: p(z) and p(x|z), with x observed."""
        raise NotImplementedError

    def guide(self, *batch: Any) -> Tensor:
        """The inference program: q(z|x)."""
        raise NotImplementedError

    @contextlib.contextmanager
    def images(self, x: Tensor, y: Tensor | None = None) -> Iterator[None]:
        """The plate over images; while Pyro's validation is on, after `check` of the batch."""
        if dist.is_validation_enabled():
            self.check(x, y)
        with pyro.plate("data", len(x)):
            yield

    def check(self, x: Tensor, y: Tensor | None = None) -> None:
        """Look a batch over: images x, and labels y where there are any.

        Raises:
            ValueError: x is not a batch of floating-point images of this model's shape and
                dtype, has NaNs, or holds values that the likelihood cannot produce; y is not one
                integer class per image, in range.
        """
        if x.dim() != len(self.x_shape) + 1 or x.shape[1:] != self.x_shape or len(x) == 0:
            raise ValueError(f"expected images (N, {_csv(self.x_shape)}), got {tuple(x.shape)}")
        if x.dtype != (dtype := self._tensor_like().dtype):
            raise ValueError(
                f"expected images of dtype {dtype} like the model's parameters, got {x.dtype}: "
                "convert with x.to(…); divide uint8 pixels by 255, or use data.Images"
            )
        if not torch.isfinite(x).all():
            raise ValueError("images hold NaN or infinite values; remove or mend them first")
        self.likelihood.check(x)
        if y is None:
            return
        if not self.classes:
            raise ValueError(f"{type(self).__name__} has no labels, and the batch holds some")
        if y.shape != x.shape[:1] or y.dtype != torch.long:
            raise ValueError(
                f"expected integer classes y ({len(x)},) of dtype torch.long, got {tuple(y.shape)} "
                f"of {y.dtype}"
            )
        if y.min() < 0 or y.max() >= self.classes:
            raise ValueError(
                f"labels must lie in 0..{self.classes - 1}, got {int(y.min())}..{int(y.max())}"
            )

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("model", "guide"):
            self._set_program(name, value)
            return
        if name in _ROLES:
            self._check_part(name, value)
        super().__setattr__(name, value)
        if name in _ROLES:
            self._follow()

    def __delattr__(self, name: str) -> None:
        if name in ("model", "guide"):
            self._drop_program(name)
        else:
            super().__delattr__(name)

    def _follow(self, prior: Prior | None = None) -> None:
        """Show the prior the posterior of the same latent, once there are both."""
        prior = prior or getattr(self, "prior", None)
        if prior is not None and hasattr(self, "posterior"):
            prior.follow(self.posterior)

    def _check_part(self, role: str, part: Any) -> None:
        """Run a new part once on zeros, and compare what it returns with what the rest needs."""
        if not isinstance(part, _ROLES[role]):
            raise TypeError(f"{role} must be a {_ROLES[role].__name__}, got {_kind(part)}")
        like = next(itertools.chain(self.parameters(), part.parameters()), torch.empty(0))
        part.to(device=like.device, dtype=like.dtype)
        if isinstance(part, Prior):
            self._follow(part)
        x, z = like.new_zeros(2, *self.x_shape), like.new_zeros(2, self.z_dim)
        y = [torch.zeros(2, dtype=torch.long, device=like.device)] if self.classes else []
        inputs = {"prior": [], "likelihood": [z, *y], "posterior": [x, *y], "classifier": [x]}
        events = {"likelihood": self.x_shape, "classifier": ()}
        try:
            with _probing(part):
                found = part(*inputs[role])
        except (ValueError, RuntimeError, TypeError) as error:
            raise ValueError(f"{role} {part!r} does not fit {self._shapes()}: {error}") from error
        batch = () if role == "prior" else (2,)
        expected = (batch, events.get(role, (self.z_dim,)))
        if (tuple(found.batch_shape), tuple(found.event_shape)) != expected:
            raise ValueError(
                f"{role} {part!r} does not fit {self._shapes()}: expected batch and event shape "
                f"{expected}, got {tuple(found.batch_shape), tuple(found.event_shape)}"
            )
        if role == "posterior" and not found.has_rsample:
            raise ValueError(
                f"a posterior must be reparametrised (has_rsample), and {type(found).__name__} is "
                "not: a mixture can be a prior; as a posterior use DiagonalNormal"
            )

    def _set_program(self, name: str, value: Any) -> None:
        if name == "guide" and isinstance(value, Posterior):
            self.posterior = value
            self._drop_program("guide")
            return
        if isinstance(value, Component) or not callable(value):
            raise TypeError(f"{name} must be a Pyro program or a Posterior, got {_kind(value)}")
        if isinstance(value, nn.Module) and self in value.modules():
            raise ValueError(f"{_kind(value)} holds the model itself, which cannot hold it in turn")
        wanted = inspect.signature(getattr(type(self), name).__get__(self))
        try:
            inspect.signature(value).bind(*wanted.parameters)
        except TypeError as error:
            raise TypeError(
                f"a {name} for {type(self).__name__} takes {wanted}, got {inspect.signature(value)}"
            ) from error
        self._drop_program(name)
        # nn.Module would file a module under _modules, where the written method shadows it.
        if isinstance(value, nn.Module):
            self._modules[f"{name}_program"] = value
        self.__dict__[name] = value

    def _drop_program(self, name: str) -> None:
        self.__dict__.pop(name, None)
        self._modules.pop(f"{name}_program", None)

    def _tensor_like(self) -> Tensor:
        return next(self.parameters(), torch.empty(0))

    def _shapes(self) -> str:
        classes = f", classes={self.classes}" if self.classes else ""
        return f"{type(self).__name__}(x_shape={self.x_shape}, z_dim={self.z_dim}{classes})"

    @torch.no_grad()
    def sample(
        self,
        n: int | None = None,
        *,
        y: Tensor | int | None = None,
        z: Tensor | None = None,
        mean: bool = True,
    ) -> Tensor:
        """Draw images from the generative program.

        Args:
            n: how many; by default as many as there are codes or labels, else 1.
            y: labels (n,) or one class for all; only for members with labels.
            z: codes (n, z_dim) to decode; drawn from the prior by default.
            mean: give E[x|z], the picture usually shown, rather than a draw of the pixels.

        Returns:
            Images, shape (n, *x_shape).
        """
        n = n if n is not None else next((len(t) for t in (z, y) if isinstance(t, Tensor)), 1)
        like = self._tensor_like()
        given = {} if z is None else {"z": z}
        batch = [like.new_zeros(n, *self.x_shape)]
        if y is not None:
            if not self.classes:
                raise ValueError(f"{type(self).__name__} has no labels: leave y out")
            given["y"] = torch.as_tensor(y, device=like.device).expand(n)
            batch.append(given["y"])
        # uncondition lifts x (and y) off the data; condition then fixes what was asked for
        program: Callable[..., Any] = poutine.uncondition(self.model)
        program = poutine.condition(program, data=given)
        with outside_param_store():
            site = poutine.trace(program).get_trace(*batch).nodes["x"]
        images: Tensor = site["fn"].mean if mean else site["value"]
        return images.expand(n, *self.x_shape)

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The posterior mean E_q[z|x] of images (N, *x_shape), shape (N, z_dim).

        Where the posterior has no known mean, one draw from it.
        """
        with outside_param_store():
            site = poutine.trace(self.guide).get_trace(*_given(x, y)).nodes["z"]
        try:
            mean: Tensor = site["fn"].mean
        except NotImplementedError:
            mean = site["value"]
        return mean

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """E[x|z] at z = `encode(x)`, shape (N, *x_shape)."""
        return self.sample(y=y, z=self.encode(x, y))

    def _story(self) -> list[str]:
        bar = ", y" if self.classes else ""
        return [
            f"p(z) = {self.prior!r}",
            f"p(x|z{bar}) = {self.likelihood!r}",
            f"q(z|x{bar}) = {self.posterior!r}",
        ]

    def __repr__(self) -> str:
        replaced = [
            f"{n} = {_kind(self.__dict__[n])}" for n in ("model", "guide") if n in vars(self)
        ]
        return "   ".join(self._story() + replaced)


@contextlib.contextmanager
def _probing(part: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients, so that a look at a part leaves no mark on it."""
    training = part.training
    with torch.no_grad():
        try:
            part.eval()
            yield
        finally:
            part.train(training)


def _given(*tensors: Tensor | None) -> list[Tensor]:
    return [t for t in tensors if t is not None]


def _kind(value: Any) -> str:
    return getattr(value, "__qualname__", None) or f"a {type(value).__name__}"


def _csv(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
