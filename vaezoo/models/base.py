"""What every member of the zoo shares: the plate over images, swapping of parts, drawing."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from vaezoo import arguments
from vaezoo.components import Component, outside_param_store
from vaezoo.data.batches import as_tensor
from vaezoo.data.labels import as_labels
from vaezoo.likelihoods import Likelihood
from vaezoo.models.drawing import as_codes, drawing, how_many, is_drawing
from vaezoo.models.naming import check_name, check_program, name_of
from vaezoo.models.parts import AtMeans, Part
from vaezoo.models.swapping import as_part, check_part, claim
from vaezoo.posteriors import Classifier, Posterior
from vaezoo.priors import Prior
from vaezoo.programs.pair import required_arguments
from vaezoo.scopes import checks_data, in_mode, one_thread
from vaezoo.tables import equations

__all__ = ["LatentVariableModel"]


class LatentVariableModel(nn.Module):
    """A Pyro pair, `model` and `guide`, over three parts that can be swapped by assignment.

    `vae.prior = …`, `vae.likelihood = …`, `vae.posterior = …` are checked at once against the
    shapes of the rest, and a new part follows the old one's device and dtype. A prior may be a bare
    distribution of torch or Pyro, or a module that returns one (see `priors.bare`). `vae.guide = …`
    takes a posterior (which it swaps in) or a Pyro program with the guide's signature, and
    `vae.model = …` a program; `del vae.guide` brings the written one back.

    Optimizers made before a swap do not know the new parameters: make a new one, or let
    `training.fit` do so.

    A member with other parts or latents says so in `parts`, and in `code` which of its latents
    `encode` returns and `sample(z=…)` takes. Each latent's size is the attribute `<latent>_dim`.

    Args:
        x_shape: shape of one image.
        z_dim: latent size, or the size of each latent by its name.
        classes: number of classes of y, 0 if the parts take no labels.
        prior, likelihood, posterior, others: the components, by their names in `parts`.
    """

    parts: ClassVar[Mapping[str, Part]] = {
        "prior": Part(Prior, "z"),
        "likelihood": Part(Likelihood, "x", ("z", "y")),
        "posterior": Part(Posterior, "z", ("x", "y")),
        "classifier": Part(Classifier, "y", ("x",)),
    }
    code: ClassVar[str] = "z"

    def __init__(
        self,
        x_shape: Sequence[int],
        z_dim: int | Mapping[str, int],
        *,
        prior: Prior,
        likelihood: Likelihood,
        posterior: Posterior,
        classes: int = 0,
        **others: Component,
    ) -> None:
        super().__init__()
        sizes = z_dim if isinstance(z_dim, Mapping) else {self.code: z_dim}
        sizes = {name: arguments.size(f"{name}_dim", size) for name, size in sizes.items()}
        self.x_shape, self.z_dim = arguments.shape("x_shape", x_shape), sizes[self.code]
        self.classes = arguments.size("classes", classes, least=0)
        for name, size in sizes.items():
            setattr(self, f"{name}_dim", size)
        # parts follow the dtype and device of the first that has parameters
        self.likelihood, self.posterior = likelihood, posterior
        for name, part in others.items():
            setattr(self, name, part)
        self.prior = prior  # the last, as it may have one of the posteriors to follow

    def model(self, *batch: Any) -> Tensor:
        """The generative program: p(z) and p(x|z), with x observed."""
        raise NotImplementedError

    def guide(self, *batch: Any) -> Tensor:
        """The inference program: q(z|x)."""
        raise NotImplementedError

    @contextlib.contextmanager
    def images(self, x: Tensor, y: Tensor | None = None) -> Iterator[None]:
        """The plate over images; while Pyro's validation is on, after `check` of the batch.

        `python -O` turns Pyro's validation off, and leaves this check on.
        """
        if checks_data() and not is_drawing():
            self.check(x, y)
        with pyro.plate("data", len(x)):
            yield

    def check(self, x: Tensor, y: Tensor | None = None) -> None:
        """Look a batch over: images x, and labels y where there are any.

        Raises:
            ValueError: x is not a batch of floating-point images of this model's shape and
                dtype, has NaNs, or holds values that the likelihood cannot produce; y is not one
                integer class per image, in range; one of them is no tensor.
        """
        for value in (x, y):
            if not isinstance(value, Tensor | None):
                raise ValueError(
                    f"programs take tensors, got a {type(value).__name__}: torch.as_tensor(…)"
                )
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
        as_labels(y, len(x), self.classes)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("model", "guide"):
            self._set_program(name, value)
            return
        value = self._checked(name, value)
        super().__setattr__(name, value)
        if name in self.parts:
            claim(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """After copying and unpickling: the prior is that of this model."""
        super().__setstate__(state)
        claim(self, copied=True)

    def _checked(self, name: str, value: Any) -> Any:
        """The value that an attribute takes: a part that fits, a number in its range."""
        if name in self.parts:
            value = as_part(self, name, value)
            check_part(self, name, value)
        else:
            check_name(self, name, value)
        return value

    def __delattr__(self, name: str) -> None:
        if name in ("model", "guide"):
            self._drop_program(name)
        else:
            super().__delattr__(name)

    def _event(self, variable: str) -> tuple[int, ...]:
        """The shape of one image's value of a variable."""
        if variable in ("x", "y"):
            return self.x_shape if variable == "x" else ()
        return (getattr(self, f"{variable}_dim"),)

    def _set_program(self, name: str, value: Any) -> None:
        if name == "guide" and isinstance(value, Posterior):
            self.posterior = value
            self._drop_program("guide")
            return
        check_program(name, value)
        if isinstance(value, nn.Module) and self in value.modules():
            raise ValueError(
                f"{name_of(value)} holds the model itself, which cannot hold it in turn"
            )
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
        sizes = [f"{latent}_dim={self._event(latent)[0]}" for latent in self._latents()]
        classes = [f"classes={self.classes}"] if self.classes else []
        return f"{type(self).__name__}({', '.join([f'x_shape={self.x_shape}', *sizes, *classes])})"

    def _latents(self) -> list[str]:
        return sorted({part.of for part in self.parts.values()} - {"x", "y"})

    @torch.no_grad()
    def sample(
        self,
        n: int | None = None,
        *,
        y: Tensor | Sequence[int] | int | None = None,
        z: Tensor | None = None,
        mean: bool = True,
    ) -> Tensor:
        """Draw images from the generative program, the model being in evaluation mode.

        Args:
            n: how many; by default as many as there are codes or labels, else 1.
            y: labels (n,) or one class for all; only for members with labels.
            z: codes (n, z_dim) to decode, or one (1, z_dim) for all; drawn from the prior by
                default. Lists and arrays will do for both.
            mean: give E[x|z], the picture usually shown, rather than a draw of the pixels.

        Returns:
            Images, shape (n, *x_shape).

        Raises:
            ValueError: the member has no labels and some are given; or labels, codes and n do not
                have the shapes above.
            TypeError: codes are no numbers.
        """
        return self._draw(n, y, {self.code: z}, mean)

    def _draw(
        self,
        n: int | None,
        y: Tensor | Sequence[int] | int | None,
        latents: Mapping[str, Tensor | None],
        mean: bool,
    ) -> Tensor:
        """`sample`, given values of any latents by their names."""
        like = self._tensor_like()
        given = {
            name: as_codes(name, value, self._event(name)[0], like)
            for name, value in latents.items()
            if value is not None
        }
        labels = None if y is None else as_tensor(y, like)
        if labels is not None and not self.classes:
            raise ValueError(f"{type(self).__name__} has no labels: leave y out")
        n = how_many(n, list(given.values()), labels)
        batch = [like.new_zeros(n, *self.x_shape)]
        if labels is not None:
            one = labels.reshape(()) if labels.shape == (1,) else labels
            given["y"] = as_labels(one, n, self.classes, one_for_all=True)
            batch.append(given["y"])
        # uncondition lifts x (and y) off the data; condition then fixes what was asked for
        program: Callable[..., Any] = poutine.uncondition(self.model)
        program = poutine.condition(program, data=given)
        with one_thread(), in_mode(self, False), outside_param_store(), drawing():
            site = poutine.trace(program).get_trace(*batch).nodes["x"]
            images: Tensor = site["fn"].mean if mean else site["value"]
        return images.expand(n, *self.x_shape)

    @torch.no_grad()
    def encode(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The posterior mean E_q[z|x] of images (N, *x_shape), shape (N, z_dim).

        Where the posterior has no known mean, as a `posteriors.Flow` has none, one draw from it;
        `posterior(x).sample((n,)).mean(0)` estimates that mean from n. Latents that the guide draws
        before z take their means too. A label that can be inferred is the most probable one,
        unless it is given. The model is in evaluation mode.

        Raises:
            ValueError: x or y are no such images or labels.
        """
        return self._encode(self.code, x, y)

    @torch.no_grad()
    def _encode(self, latent: str, x: Tensor, y: Tensor | None = None) -> Tensor:
        """`encode`, of any latent by its name."""
        with one_thread(), in_mode(self, False), outside_param_store(), AtMeans():
            batch = _given(*self._batch(x, y))
            code: Tensor = poutine.trace(self.guide).get_trace(*batch).nodes[latent]["value"]
        return code

    @torch.no_grad()
    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """E[x|z] at z = `encode(x, y)`, shape (N, *x_shape); the label is as there."""
        x, y = self._batch(x, y)
        return self.sample(y=y, z=self.encode(x, y))

    def _batch(self, x: Any, y: Any) -> tuple[Tensor, Tensor | None]:
        """Images and labels as tensors; the most probable class where none is given."""
        like = self._tensor_like()
        x = as_tensor(x, like)
        if y is not None:
            if not self.classes:
                raise ValueError(f"{type(self).__name__} has no labels: leave y out")
            y = as_labels(as_tensor(y, like), len(x) if x.dim() else 0, self.classes)
        y = self._label(x, y)
        if y is None and required_arguments(self.model) > 1:
            raise ValueError(f"{type(self).__name__} is given labels: pass y, shape ({len(x)},)")
        return x, y

    def _label(self, x: Tensor, y: Tensor | None) -> Tensor | None:
        """y; the most probable class where none is given and the member can `classify`."""
        classify: Callable[[Tensor], Tensor] | None = getattr(self, "classify", None)
        return y if y is not None or classify is None else classify(x).argmax(-1)

    def _story(self) -> list[str]:
        bar = ", y" if self.classes else ""
        return [
            f"p(z) = {self.prior!r}",
            f"p(x|z{bar}) = {self.likelihood!r}",
            f"q(z|x{bar}) = {self.posterior!r}",
        ]

    def __repr__(self) -> str:
        return "   ".join(self._lines())

    def _repr_html_(self) -> str:
        count = sum(p.numel() for p in self.parameters())
        return equations(f"{type(self).__name__}, {count:,} parameters", self._lines())

    def _lines(self) -> list[str]:
        replaced = [
            f"{n} = {name_of(self.__dict__[n])}" for n in ("model", "guide") if n in vars(self)
        ]
        return self._story() + self._settings() + replaced

    def _settings(self) -> list[str]:
        """What the default objective takes from the member, where it is not the ELBO's own."""
        return []

    def forward(self, *batch: Any) -> Any:
        """A member is no function of images.

        Raises:
            TypeError: always; it says what there is to call.
        """
        raise TypeError(
            f"a {type(self).__name__} is a pair of programs and cannot be called: use sample(n), "
            "encode(x), reconstruct(x), or Bound(model)(x) for the loss"
        )


def _given(*tensors: Tensor | None) -> list[Tensor]:
    return [t for t in tensors if t is not None]


def _csv(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
