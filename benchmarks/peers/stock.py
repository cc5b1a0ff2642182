"""Stock Pyro, written as its tutorials are, around the networks of `handwritten`.

Its Adam is `pyro.optim`'s, which has one optimizer for each parameter.
"""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import infer, poutine
from torch import Tensor
from torch.nn import functional

from benchmarks.peers import handwritten
from benchmarks.peers.handwritten import Batch, Peer
from benchmarks.peers.tasks import by_hand

__all__ = ["Pair", "stock_peer"]

_NUMBER = itertools.count()


class Pair:
    """Programs as in Pyro's tutorials, on hand-written networks; the loss is of a mean."""

    def __init__(self, task: str, net: handwritten.VAE) -> None:
        # names of their own in Pyro's one store of parameters
        self.task, self.net, self.name = task, net, f"{task}-{next(_NUMBER)}-"
        self.model = self._labels_model if task == "SSVAE" else self._model
        self.guide = self._labels_guide if task == "SSVAE" else self._guide

    def _model(self, x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("images", len(x)):
            self._images("", x, y, self._prior())

    def _guide(self, x: Tensor, y: Tensor | None = None) -> None:
        with pyro.plate("images", len(x)):
            self._code("", x, y)

    def _prior(self) -> Any:
        if not isinstance(self.net, handwritten.GMVAE):
            return dist.Normal(self.net.pm[0], self.net.pv[0]).to_event(1)
        pyro.param(self.name + "z_pre", self.net.z_pre)
        m, v = self.net.mixture()
        weights = dist.Categorical(logits=m.new_zeros(len(m)))
        return dist.MixtureSameFamily(weights, dist.Normal(m, v.sqrt()).to_event(1))

    def _images(self, suffix: str, x: Tensor, y: Tensor | None, prior: Any) -> None:
        pyro.module(self.name + "dec", self.net.dec)
        out = self.net.dec(_joined(pyro.sample("z" + suffix, prior), y))
        pixels = dist.Bernoulli(logits=out)
        if self.task == "FSVAE":
            pixels = dist.Normal(out, math.sqrt(0.1))
        pyro.sample("x" + suffix, pixels.to_event(1), obs=x)

    def _code(self, suffix: str, x: Tensor, y: Tensor | None) -> None:
        pyro.module(self.name + "enc", self.net.enc)
        m, v = handwritten.gaussian_parameters(self.net.enc(_joined(x, y)))
        pyro.sample("z" + suffix, dist.Normal(m, v.sqrt()).to_event(1))

    def _labels_model(self, x: Tensor, x_labelled: Tensor, y_labelled: Tensor) -> None:
        net, prior = self.net, self._prior()
        assert isinstance(net, handwritten.SSVAE)
        uniform = dist.Categorical(logits=x.new_zeros(net.classes))
        with pyro.plate("unlabelled", len(x)), poutine.scale(scale=1 - net.fraction):
            self._images("", x, pyro.sample("y", uniform), prior)
        # a sum over images is divided by their number once, by `stock_peer`
        each = len(x) / len(x_labelled)
        with pyro.plate("labelled", len(x_labelled)):
            with poutine.scale(scale=net.fraction * each):
                pyro.sample("y_labelled", uniform, obs=y_labelled)
                self._images("_labelled", x_labelled, y_labelled, prior)
            with poutine.scale(scale=net.alpha * each):
                classified = dist.Categorical(logits=net.cls(x_labelled))
                pyro.sample("class", classified, obs=y_labelled)

    def _labels_guide(self, x: Tensor, x_labelled: Tensor, y_labelled: Tensor) -> None:
        net = self.net
        assert isinstance(net, handwritten.SSVAE)
        pyro.module(self.name + "cls", net.cls)
        with pyro.plate("unlabelled", len(x)), poutine.scale(scale=1 - net.fraction):
            label = dist.Categorical(logits=net.cls(x))
            y = pyro.sample("y", label, infer={"enumerate": "parallel"})
            self._code("", x, y)
        scale = net.fraction * len(x) / len(x_labelled)
        with pyro.plate("labelled", len(x_labelled)), poutine.scale(scale=scale):
            self._code("_labelled", x_labelled, y_labelled)


def _joined(x: Tensor, y: Tensor | None) -> Tensor:
    """x and one-hot y side by side, broadcast over labels and images."""
    if y is None:
        return x
    one_hot = functional.one_hot(y, 10).to(x.dtype)
    leading = torch.broadcast_shapes(x.shape[:-1], y.shape)
    return torch.cat([x.expand(*leading, -1), one_hot.expand(*leading, -1)], -1)


def stock_peer(task: str, objective: Any, batches: list[Batch]) -> Peer:
    """Pyro's SVI with one of its own objectives, and its own Adam."""
    pair = Pair(task, by_hand(task, batches[0][0].device.type))
    svi = infer.SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), objective)
    cycle = itertools.cycle(batches)

    def steps(n: int) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, for JitTrace_ELBO
            for batch in itertools.islice(cycle, n):
                loss: float = svi.step(*batch) / len(batch[0])
        return loss

    return steps
