"""The clauses that need no statistics: each takes a `Case` and raises `ContractError`."""

from __future__ import annotations

import copy
import inspect
import tempfile
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import safetensors.torch
import torch
from torch import Tensor, nn

from vaezoo.components import Component
from vaezoo.contract.case import COPY, Case, converted, refuse
from vaezoo.likelihoods import Likelihood
from vaezoo.posteriors import Classifier, Posterior
from vaezoo.priors import Prior

__all__ = ["BASIC", "FURTHER", "labels", "outcomes", "rsample"]


def one_line(case: Case) -> None:
    """The repr is one line and names the class."""
    text, name = repr(case.part), type(case.part).__name__
    if "\n" in text or name not in text:
        refuse("one line", f"a repr like {name}(…)", repr(text), "write a __repr__")


def rebuilds(case: Case) -> None:
    """A part made from the arguments that it kept and a file of its state is the same part."""
    part, value = case.part, case().sample()
    twin = converted(type(part)(**_arguments(part)))
    twin.load_state_dict(_through_a_file(part.state_dict()))
    if isinstance(twin, Prior):
        for module in part.follows():
            twin.follow(module)
    before, after = _density(case(), value), _density(case(twin.eval()), value)
    if repr(twin) != repr(part) or not _same(before, after):
        what = f"{twin!r} with log-densities off by {(before - after).abs().max().item():.2g}"
        mend = "register what is learned as a parameter or buffer, keep the rest as arguments"
        refuse("rebuilds", f"{part!r} from its arguments and a file of its state", what, mend)


def _through_a_file(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state, saved and loaded as `vaezoo.save` and `load` do it."""
    # copies, because tied weights share memory, and a file cannot
    weights = {name: t.detach().clone().contiguous() for name, t in state.items()}
    # a file has no place for complex numbers of double precision
    split = {n: torch.view_as_real(t) if t.is_complex() else t for n, t in weights.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.safetensors"
        safetensors.torch.save_file(split, path)
        loaded = safetensors.torch.load(path.read_bytes())
    return {n: torch.view_as_complex(t) if state[n].is_complex() else t for n, t in loaded.items()}


def _arguments(part: Component) -> dict[str, Any]:
    """The constructor arguments, as the part kept them."""
    arguments = {}
    for name, parameter in inspect.signature(type(part)).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if not hasattr(part, name):
            mend = f"write self.{name} = {name}"
            refuse("rebuilds", "every constructor argument as an attribute", f"no {name}", mend)
        arguments[name] = value = getattr(part, name)
        if not _rebuildable(value):
            kinds = "None, a bool, int, float, str, tuple, class or module"
            mend = "keep it as one of them, such as tuple(…) for a list"
            refuse("rebuilds", f"{name} to be {kinds}", repr(value), mend)
    return copy.deepcopy(arguments)


def _rebuildable(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_rebuildable, value))
    return value is None or isinstance(value, bool | int | float | str | type | nn.Module)


def shapes(case: Case) -> None:
    """The distribution, its draws and its densities have the shapes of the inputs."""
    d, mend = case(), "to_event(n) makes the last n dimensions the event"
    claimed, expected = (tuple(d.batch_shape), tuple(d.event_shape)), (case.batch, case.event)
    if claimed != expected:
        refuse("shapes", f"batch and event shape {expected}", claimed, mend)
    value = d.sample()
    drawn = tuple(value.shape), tuple(d.log_prob(value).shape)
    if drawn != (tuple(d.shape()), case.batch):
        refuse("shapes", f"a draw {tuple(d.shape())} and a density {case.batch}", drawn, mend)


def leading(case: Case) -> None:
    """Dimensions on the left change no density."""
    d, part, n, plate = case(), case.part, len(case.batch), (3, *case.batch)
    value = d.sample()
    log_p = d.log_prob(value)
    # as a program does it, before densities: Pyro's zero-inflated counts cannot be expanded after
    _agree("in a plate", case().expand(torch.Size(plate)), value, log_p.expand(plate))
    if not n:
        return
    _agree("for one input", case.first(), value[:1], log_p[:1])
    particles = part(*(t.expand(3, *t.shape) for t in case.inputs))
    _agree("with particles", particles, value, log_p.expand(3, -1))
    if len(case.inputs) == 2:
        x, y = case.inputs
        every = torch.arange(part.classes, device=y.device)  # type: ignore[call-overload]
        each = torch.stack([part(x, k.expand(len(y))).log_prob(value) for k in every])
        _agree("with every label", part(x, every[:, None]), value, each)


def _agree(where: str, d: dist.TorchDistribution, value: Tensor, expected: Tensor) -> None:
    """A distribution of another batch shape gives the same densities, and draws of its shape."""
    if d.batch_shape != expected.shape or d.sample().shape != d.shape():
        got = f"{tuple(d.batch_shape)} and a draw {tuple(d.sample().shape)}"
        mend = "accept any dimensions on the left, as vaezoo.networks do"
        refuse("leading", f"batch shape {tuple(expected.shape)} {where}", got, mend)
    if not _same(log_p := d.log_prob(value).expand(expected.shape), expected):
        got = f"densities off by {(log_p - expected).abs().max().item():.2g}"
        refuse("leading", f"the same densities {where}", got, "treat every input by itself")


def dtypes(case: Case) -> None:
    """Draws, but for labels, and densities are in the dtype of the part, float64 or float32."""
    for dtype in (torch.float64, torch.float32):
        part = converted(copy.deepcopy(case.part), dtype)
        d = part(*(t.to(dtype) if t.is_floating_point() else t for t in case.inputs))
        value = d.sample()
        drawn = torch.long if isinstance(part, Classifier) else dtype
        for what, came, expected in (
            ("a draw", value.dtype, drawn),
            ("a density", d.log_prob(value).dtype, dtype),
        ):
            if came != expected:
                mend = "make constants with new_zeros, or register them as buffers"
                refuse("dtypes", f"{what} of {expected} from a part of {dtype}", came, mend)


def gradients(case: Case) -> None:
    """Every parameter gets a gradient from the density, and from a posterior's draw."""
    value = case().sample(torch.Size([8])).detach()
    sources = {"the density": lambda: case().log_prob(value).sum()}
    if case().has_rsample and isinstance(case.part, Posterior):
        sources["a draw"] = lambda: case().rsample(torch.Size([8])).square().sum()
    parameters = {n: p for n, p in case.part.named_parameters() if p.requires_grad}
    for what, source in sources.items() if parameters else ():
        if not (total := source()).requires_grad:
            mend = "compute it from the parameters, without detach or no_grad"
            refuse("gradients", f"a gradient of {what}", "none", mend)
        each = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, each, strict=True):
            expected = f"a gradient of {what} for {name}"
            if gradient is None or not gradient.any():
                refuse("gradients", expected, "none", f"use {name}, or leave it out")
            if not gradient.isfinite().all():
                refuse("gradients", expected, "NaN or ∞", "bound what is divided or logged")


def copies(case: Case) -> None:
    """A copy made after a draw has the same densities."""
    d = case()
    value = (d.rsample() if d.has_rsample else d.sample()).detach().clone()
    try:
        twin = copy.deepcopy(case.part)
    except Exception as error:
        refuse("copies", "a part that deepcopy can copy after a draw", error, COPY)
    if not _same(a := _density(case(), value), b := _density(case(twin), value)):
        got = f"log-densities off by {(a - b).abs().max().item():.2g}"
        refuse("copies", "a copy with the same densities", got, "keep no state between calls")


def outcomes(case: Case) -> None:
    """A likelihood's `check` takes its own draws, and its distribution has a mean to show."""
    d, part = case(), case.part
    assert isinstance(part, Likelihood)
    try:
        part.check(d.sample(torch.Size([16])))
    except ValueError as error:
        refuse("outcomes", "check to accept a draw", error, "let check and distribution agree")
    try:
        mean = d.mean
    except NotImplementedError as error:
        refuse("outcomes", f"a finite mean {tuple(d.shape())}", error, "give it a mean")
    if mean.shape != d.shape() or not mean.isfinite().all():
        got = f"{tuple(mean.shape)}, {(~mean.isfinite()).sum().item()} of it not finite"
        refuse("outcomes", f"a finite mean {tuple(d.shape())}", got, "give it a mean")


def labels(case: Case) -> None:
    """A classifier's probabilities are of 0, 1, …, as `log_prob` has them."""
    d, part = case(), case.part
    assert isinstance(part, Classifier)
    every = torch.arange(part.classes)[:, None].expand(-1, *case.batch)
    if not d.has_enumerate_support or not torch.equal(d.enumerate_support(), every):
        mend = "return a Categorical, so that labels can be summed out"
        refuse("labels", f"all of 0..{part.classes - 1} by enumerate_support", d, mend)
    expected = d.log_prob(every).exp().T
    if not _same(probs := d.probs, expected):
        got = f"{tuple(probs.shape)} of sums {probs.sum(-1).tolist()}"
        mend = "let probs be normalised, and log_prob be of them"
        refuse("labels", f"probs {tuple(expected.shape)} that log_prob agrees with", got, mend)


def rsample(case: Case) -> None:
    """A posterior is reparametrised, and one density goes with the numbers of a draw."""
    d = case()
    if not d.has_rsample:
        mend = "draw as a differentiable function of noise; a mixture can only be a prior"
        refuse("rsample", "has_rsample", f"{type(d).__name__} without", mend)
    value = d.rsample()
    claimed, fresh = d.log_prob(value), case().log_prob(value.detach().clone())
    if not _same(claimed, fresh):
        got = f"{(claimed - fresh).abs().max().item():.2g} between them"
        mend = "look at the cache of the draw, or at the inverse of the transform"
        refuse("rsample", "one density for a draw and for the same numbers", got, mend)


def _density(d: dist.TorchDistribution, value: Tensor) -> Tensor:
    with torch.no_grad():
        return d.log_prob(value)


def _same(a: Tensor, b: Tensor, tolerance: float = 1e-6) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)


BASIC = (one_line, dtypes, shapes)
FURTHER = (leading, rebuilds, gradients, copies)
