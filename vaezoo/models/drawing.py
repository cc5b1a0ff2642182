"""Drawing from a member: images from its model, codes from its guide."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from vaezoo import arguments
from vaezoo.components import outside_param_store
from vaezoo.data.labels import as_labels
from vaezoo.distributions.known import known_mean
from vaezoo.models.batches import as_batch, as_label_tensor, tensor_like
from vaezoo.programs.pair import required_arguments
from vaezoo.scopes import in_mode, one_thread, own_generator

if TYPE_CHECKING:
    from vaezoo.models.base import LatentVariableModel

__all__ = ["decode", "encode", "is_drawing", "mean_of", "prior_codes", "sample"]

_drawing: ContextVar[bool] = ContextVar("drawing", default=False)


@torch.no_grad()
def sample(model: LatentVariableModel, n: Any, /, *, y: Any, mean: bool, **latents: Any) -> Tensor:
    """`LatentVariableModel.sample`, given the values of some latents by their names."""
    if y is None and required_arguments(model.model) > 1:
        kind = type(model).__name__
        raise ValueError(f"{kind} has no p(y): say which classes to draw, sample(y=…)")
    x, given = _conditions(model, n, y, latents)
    site = _traced(model, x, given)["x"]
    images = _mean_image(site["fn"], "sample(mean=False)") if mean else site["value"]
    return images.expand(x.shape)


@torch.no_grad()
def decode(model: LatentVariableModel, z: Any, y: Any, latent: str) -> Tensor:
    """E[x|…] at codes of one latent, those between it and the image taking their means.

    Of one whose mean is not known, a draw, and the same each time.
    """
    x, given = _conditions(model, None, y, {latent: z})
    with one_thread(), own_generator(0), _AtMeans():
        law = _traced(model, x, given)["x"]["fn"]
    return _mean_image(law, f"sample({latent}=…, mean=False)").expand(x.shape)


@torch.no_grad()
def prior_codes(model: LatentVariableModel, n: int, latent: str, *, seed: int = 0) -> Tensor:
    """n draws of a latent from the generative program, by a generator of their own.

    Labels that the program is given are those of all classes in turn.

    Example:
        >>> from vaezoo.models import VAE
        >>> prior_codes(VAE(), 5, "z").shape
        torch.Size([5, 10])
    """
    y = (
        torch.arange(n, device="cpu") % max(model.classes, 1)
        if required_arguments(model.model) > 1
        else None
    )
    x, given = _conditions(model, n, y, {})
    with own_generator(seed):
        code: Tensor = _traced(model, x, given)[latent]["value"]
    return code


def _traced(model: LatentVariableModel, x: Tensor, given: Mapping[str, Tensor]) -> Any:
    """The sites of the generative program, some of which have the values that are given."""
    batch = [x, given["y"]] if "y" in given else [x]
    # uncondition lifts x (and y) off the data; condition then fixes what was asked for
    program: Callable[..., Any] = poutine.uncondition(model.model)
    program = poutine.condition(program, data=given)
    with one_thread(), in_mode(model, False), outside_param_store(), _within_drawing():
        return poutine.trace(program).get_trace(*batch).nodes


@torch.no_grad()
def encode(model: LatentVariableModel, x: Any, y: Any, latent: str) -> Tensor:
    """`LatentVariableModel.encode`, of a latent by its name."""
    if latent not in model._latents():
        raise ValueError(f"{type(model).__name__} has {_latents_of(model)}, got {latent!r}")
    with one_thread(), in_mode(model, False), outside_param_store(), _AtMeans():
        batch = [t for t in as_batch(model, x, y) if t is not None]
        code: Tensor = poutine.trace(model.guide).get_trace(*batch).nodes[latent]["value"]
    return code


class _AtMeans(Messenger):
    """Within it every latent that can be reparametrised takes its mean."""

    def _pyro_sample(self, msg: Any) -> None:
        if msg["fn"].has_rsample and not msg["done"] and not msg["is_observed"]:
            msg["value"], msg["done"] = mean_of(msg["fn"]), True


def mean_of(distribution: Any) -> Tensor:
    """The mean of a distribution, or one draw where it is not known."""
    mean = known_mean(distribution)
    draw: Tensor = distribution.sample() if mean is None else mean
    return draw


def _mean_image(law: Any, instead: str) -> Tensor:
    """The mean of a distribution of images, or an error that says what to call instead."""
    mean = known_mean(law)
    if mean is not None:
        return mean
    while isinstance(law, torch.distributions.Independent):
        law = law.base_dist
    raise ValueError(
        f"p(x|z) is a {type(law).__name__}, whose mean is not known: draw pixels, {instead}, or "
        "let the likelihood return a distribution with a `mean`"
    )


def is_drawing() -> bool:
    """Whether images are being drawn: those a program is called with only say how many."""
    return _drawing.get()


@contextlib.contextmanager
def _within_drawing() -> Iterator[None]:
    token = _drawing.set(True)
    try:
        yield
    finally:
        _drawing.reset(token)


def _conditions(
    model: LatentVariableModel, n: Any, y: Any, latents: Mapping[str, Any]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Images that say how many to draw, and the values that codes and labels are to have."""
    if unknown := sorted(latents.keys() - model._latents()):
        takes = f"{type(model).__name__}.sample takes n, y, z, mean, and {_latents_of(model)}"
        raise TypeError(f"{takes}, got {unknown[0]!r}")
    given = {name: _as_codes(model, name, v) for name, v in latents.items() if v is not None}
    labels = None if y is None else as_label_tensor(model, y)
    n = _how_many(n, list(given.values()), labels)
    if labels is not None:
        one = labels.reshape(()) if labels.shape == (1,) else labels
        given["y"] = as_labels(one, n, model.classes, one_for_all=True)
    return tensor_like(model).new_zeros(n, *model.x_shape), given


def _latents_of(model: LatentVariableModel) -> str:
    return f"the latents {', '.join(model._latents())}"


def _as_codes(model: LatentVariableModel, name: str, value: Any) -> Tensor:
    """Codes (n, size) as a tensor; numbers that are no tensor take on the model's dtype."""
    size, like = model._event(name)[0], tensor_like(model)
    if isinstance(value, Tensor) and value.dtype != like.dtype:
        raise ValueError(
            f"expected codes {name} of dtype {like.dtype} like the model's parameters, got "
            f"{value.dtype}: convert with {name}.to({like.dtype})"
        )
    try:
        codes = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"codes {name} must be numbers (n, {size}), got {value!r}") from error
    if codes.dim() != 2 or codes.shape[1] != size or not len(codes):
        one = f": one code is {name}[None]" if codes.shape == (size,) else ""
        raise ValueError(f"expected codes {name} (n, {size}), got {tuple(codes.shape)}{one}")
    if codes.isnan().any():
        raise ValueError(f"codes {name} hold NaNs; remove or mend them first")
    return codes


def _how_many(n: Any, codes: list[Tensor], labels: Tensor | None) -> int:
    """n, or the number of codes, or that of labels; one code is for all."""
    lengths = {len(t) for t in codes} - {1}
    if len(lengths) > 1:
        raise ValueError(f"codes must be as many, got {sorted(lengths)}")
    if n is None:
        many = lengths or {len(t) for t in (labels,) if t is not None and t.dim()}
        return many.pop() if many else 1
    n = arguments.size("n", n)
    if lengths and {n} != lengths:
        raise ValueError(f"n is {n}, and there are {lengths.pop()} codes: leave n out")
    return n
