"""The tasks: a member of the zoo, the same by hand, and Pyro's objectives for both."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from pyro import infer

from benchmarks.peers import handwritten
from vaezoo import models, objectives

__all__ = ["TASKS", "Task", "by_hand", "member"]


class Task(NamedTuple):
    """A member of the zoo, the same by hand, and Pyro's objectives for it."""

    member: Callable[[], Any]
    objective: Callable[[], objectives.Objective]
    by_hand: Callable[[], handwritten.VAE]
    x_shape: tuple[int, ...]
    stock: dict[str, Callable[[], Any]]


_TRACE = {"Trace_ELBO": infer.Trace_ELBO}
_JIT = {"JitTrace_ELBO": partial(infer.JitTrace_ELBO, ignore_jit_warnings=True)}
_RENYI = partial(infer.RenyiELBO, alpha=0, num_particles=50, vectorize_particles=True)
_ENUM = partial(infer.TraceEnum_ELBO, max_plate_nesting=1)
GREY = (1, 28, 28)
TASKS = {
    "VAE": Task(models.VAE, objectives.ELBO, handwritten.VAE, GREY, _TRACE | _JIT),
    "GMVAE": Task(models.GMVAE, objectives.ELBO, handwritten.GMVAE, GREY, _TRACE),
    "IWAE-50": Task(
        partial(models.IWAE, particles=50),
        partial(objectives.IWELBO, 50),
        handwritten.IWAE,
        GREY,
        {"RenyiELBO": partial(_RENYI, max_plate_nesting=1)},
    ),
    "SSVAE": Task(
        models.SSVAE,
        objectives.SemiSupervised,
        handwritten.SSVAE,
        GREY,
        {"TraceEnum_ELBO": _ENUM},
    ),
    "FSVAE": Task(models.FSVAE, objectives.ELBO, handwritten.FSVAE, (3, 32, 32), _TRACE),
}


def member(task: str, device: str = "cpu") -> Any:
    """The task's model, the same weights every time."""
    torch.manual_seed(0)
    return TASKS[task].member().to(device)


def by_hand(task: str, device: str = "cpu") -> handwritten.VAE:
    """The task by hand, with the weights of `member`."""
    net, model = TASKS[task].by_hand(), member(task)
    _copy(net.enc, model.posterior.network)
    _copy(net.dec, model.likelihood.network)
    if isinstance(net, handwritten.SSVAE):
        _copy(net.cls, model.classifier.network)
    if isinstance(net, handwritten.GMVAE):
        net.z_pre.data = torch.cat([model.prior.loc, model.prior.raw_scale]).detach()[None]
    return net.to(device)


@torch.no_grad()
def _copy(to: Any, network: Any) -> None:
    first = network.first[1]
    labels = [] if network.label is None else [network.label.T]
    to[0].weight.copy_(torch.cat([first.weight, *labels], 1))
    to[0].bias.copy_(first.bias)
    for mine, theirs in ((to[2], network.rest[1]), (to[4], network.rest[3])):
        mine.load_state_dict(theirs.state_dict())
