"""What every member of the zoo shares: a pair of programs over parts that can be swapped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyro
from torch import Tensor

from vaezoo import arguments, tables
from vaezoo.components import Component
from vaezoo.likelihoods import Likelihood
from vaezoo.models import decoding, drawing, scoring
from vaezoo.models.batches import as_batch, check_batch
from vaezoo.models.naming import check_name, name_of
from vaezoo.models.parts import Part
from vaezoo.models.replacing import replace_program, restore_program
from vaezoo.models.swapping import as_part, check_part, claim
from vaezoo.objectives import Objective
from vaezoo.objectives.usual import usual_objective
from vaezoo.posteriors import Classifier, Posterior
from vaezoo.priors import Prior
from vaezoo.programs.pair import PROGRAMS, Member
from vaezoo.scopes import checks_data

__all__ = ["LatentVariableModel"]


class LatentVariableModel(Member):
    """A Pyro pair, `model` and `guide`, over three parts that can be swapped by assignment.

    `vae.prior = …`, `vae.likelihood = …`, `vae.posterior = …` are checked at once against the
    shapes of the rest, and a new part follows the old one's device and dtype. A prior may be a bare
    distribution of torch or Pyro, or a module that returns one (see `priors.bare`). `vae.guide = …`
    takes a posterior (which it swaps in) or a Pyro program with the guide's signature, and
    `vae.model = …` a program; `del vae.guide` brings the written one back.

    Optimizers made before a swap do not know the new parameters: make a new one, or let
    `training.fit` do so.

    A member with other parts or latents says so in `parts`, and in `code` which of its latents is
    the z of `encode` and `sample`. Each latent's size is the attribute `<latent>_dim`. One that is
    trained otherwise than by the ELBO says so in `objective`.

    Args:
        x_shape: shape of one image.
        z_dim: latent size, or the size of each latent by its name.
        classes: number of classes of y, 0 if the parts take no labels.
        prior, likelihood, posterior, others: the components, by their names in `parts`.
    """

    parts: ClassVar[Mapping[str, Part]] = {
        "prior": Part(Prior, "z"),
        "likelihood": Part(Likelihood, "x", ("z", "y")),
        "classifier": Part(Classifier, "y", ("x",)),
        "posterior": Part(Posterior, "z", ("x", "y")),
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
        if checks_data() and not drawing.is_drawing():
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
        check_batch(self, x, y)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in PROGRAMS:
            replace_program(self, name, value)
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
        if name in PROGRAMS:
            restore_program(self, name)
        else:
            super().__delattr__(name)

    def _event(self, variable: str) -> tuple[int, ...]:
        """The shape of one image's value of a variable."""
        if variable in ("x", "y"):
            return self.x_shape if variable == "x" else ()
        return (getattr(self, f"{variable}_dim"),)

    def _latents(self) -> list[str]:
        """The names of its latents, in alphabetical order."""
        return sorted({part.of for part in self.parts.values()} - {"x", "y"})

    def objective(self, data: Any = None) -> Objective:
        """The objective that `fit` and `Bound` take unless you name one.

        Args:
            data: what it is trained on; semi-supervised batches say which fraction is labelled.
        """
        return usual_objective(self, data)

    def sample(
        self,
        n: int | None = None,
        *,
        y: Tensor | Sequence[int] | int | None = None,
        z: Tensor | None = None,
        mean: bool = True,
        **latents: Tensor | None,
    ) -> Tensor:
        """Draw images from the generative program, the model being in evaluation mode.

        Args:
            n: how many; by default as many as there are codes or labels, else 1.
            y: labels (n,) or one class for all; only for members with labels, and needed where
                labels are given to the programs rather than drawn.
            z: codes (n, z_dim) to decode, or one (1, z_dim) for all; drawn from the prior by
                default. Lists and arrays will do for both.
            mean: give E[x|z], the picture usually shown, rather than a draw of the pixels.
            latents: codes of others by name, such as z2, in a member with several.

        Returns:
            Images, shape (n, *x_shape).

        Raises:
            ValueError: labels, codes or n have other shapes than these; labels are missing, or
                given to a member that has none; p(x|z) has no known mean, and it is asked for.
            TypeError: codes are no numbers, or those of a latent that there is not.
        """
        code = {} if z is None else {self.code: z}
        return drawing.sample(self, n, y=y, mean=mean, **code, **latents)

    def encode(self, x: Tensor, y: Tensor | None = None, *, latent: str | None = None) -> Tensor:
        """The posterior mean E_q[z|x] of images (N, *x_shape), shape (N, z_dim).

        Where the posterior has no known mean, as a `posteriors.Flow` has none, one draw from it;
        `posterior(x).sample((n,)).mean(0)` estimates that mean from n. Latents that the guide draws
        before z take their means too. A label that can be inferred is the most probable one,
        unless it is given. The model is in evaluation mode. In a member with several latents
        `latent` names another one than z.

        Raises:
            ValueError: x or y are no such images or labels, or there is no such latent.
        """
        return drawing.encode(self, x, y, self.code if latent is None else latent)

    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """`decode` at z = `encode(x, y)`: E[x|z], shape (N, *x_shape); the label is as there."""
        x, y = as_batch(self, x, y)
        return drawing.decode(self, self.encode(x, y), y, self.code)

    # functions of a member become its methods, and keep their docstrings
    decode, traverse, interpolate = decoding.decode, decoding.traverse, decoding.interpolate
    cluster, score = scoring.cluster, scoring.score

    def equations(self) -> list[str]:
        """The member in equations, one for each distribution: p(z) = …, p(x|z) = …, q(z|x) = …."""
        lines = [
            f"{slot.left_side(labels=self.classes > 0)} = {getattr(self, name)!r}"
            for name, slot in self.parts.items()
            if hasattr(self, name)
        ]
        uniform = f"p(y) = Categorical({self.classes}), uniform"
        return [uniform, *lines] if hasattr(self, "classifier") else lines

    def __repr__(self) -> str:
        return "   ".join(self._lines())

    def _repr_html_(self) -> str:
        count = sum(p.numel() for p in self.parameters())
        return tables.equations(f"{type(self).__name__}, {count:,} parameters", self._lines())

    def _lines(self) -> list[str]:
        replaced = [f"{name} = {name_of(getattr(self, name))}" for name in self.replaced_programs]
        return self.equations() + self._settings() + replaced

    def _settings(self) -> list[str]:
        """What `objective` takes from the member, where it is not the ELBO's own."""
        return []

    def forward(self, *batch: Any) -> Any:
        """A member is no function of images.

        Raises:
            TypeError: always; it says what there is to call.
        """
        raise TypeError(
            f"a {type(self).__name__} is a pair of programs and cannot be called: use sample(n), "
            "encode(x), decode(z), reconstruct(x), score(x), or Bound(model)(x) for the loss"
        )
