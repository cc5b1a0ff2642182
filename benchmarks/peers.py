"""The peers of a training step: one task, the same weights, the same batches, n steps at a time.

A peer is a function that takes n steps of Adam at 1e-3 and returns the last loss in nats per image.
Stock Pyro is written as its tutorials are, around the networks of `handwritten`, with one optimizer
for each parameter as `pyro.optim` has it.

    python benchmarks/peers.py VAE "vaezoo, compiled" 100   # n, n, … in, a line each; losses out

runs a peer in a process of its own. So run those that `fit` would run inside `vaezoo.cpu.tuned`,
since the process would keep memory for the others too, and NumPyro, since JAX's threads take time
from torch's while they idle.
"""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import handwritten
import pyro
import pyro.distributions as dist
import torch
from pyro import infer, poutine
from torch import Tensor
from torch.nn import functional

from vaezoo import Bound, Step, data, models, objectives
from vaezoo.cpu import tuned
from vaezoo.data.downloads import data_root

Batch = tuple[Tensor, ...]
Peer = Callable[[int], float]
LABELLED, DATALOADER, REFERENCE = 100, "by hand, DataLoader", "by hand, in memory"
FUSED, TUNED = "by hand, fused Adam", "by hand, fused Adam, CPU tuned"


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
_NUMBER = itertools.count()
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
OURS = {
    "vaezoo, eager": (False, "float32"),
    "vaezoo, compiled": (True, "float32"),
    "vaezoo, eager bf16": (False, "bf16"),
    "vaezoo, compiled bf16": (True, "bf16"),
}


def member(task: str, device: str = "cpu") -> Any:
    """The task's model, the same weights every time."""
    torch.manual_seed(0)
    return TASKS[task].member().to(device)


def by_hand(task: str, device: str = "cpu") -> handwritten.VAE:
    """The task by hand, with the weights of `member`."""
    found, model = TASKS[task].by_hand(), member(task)
    _copy(found.enc, model.posterior.network)
    _copy(found.dec, model.likelihood.network)
    if isinstance(found, handwritten.SSVAE):
        _copy(found.cls, model.classifier.network)
    if isinstance(found, handwritten.GMVAE):
        found.z_pre.data = torch.cat([model.prior.loc, model.prior.raw_scale]).detach()[None]
    return found.to(device)


@torch.no_grad()
def _copy(to: Any, network: Any) -> None:
    first = network.first[1]
    labels = [] if network.label is None else [network.label.T]
    to[0].weight.copy_(torch.cat([first.weight, *labels], 1))
    to[0].bias.copy_(first.bias)
    for mine, theirs in ((to[2], network.rest[1]), (to[4], network.rest[3])):
        mine.load_state_dict(theirs.state_dict())


def pictures(task: str) -> tuple[Tensor, Tensor]:
    """Pixels (N, *x_shape) and labels: MNIST where it is there, else the built-in digits."""
    if task == "FSVAE":
        found = data.colour_digits("train", n=4000)
        assert found.labels is not None
        return found.pixels, found.labels
    if (data_root() / "MNIST" / "raw").exists():
        return handwritten.mnist(data_root(), "train")
    digits = data.digits("train")
    assert digits.labels is not None
    return digits.pixels, digits.labels


def in_memory(task: str, size: int, device: str = "cpu", *, number: int = 10) -> list[Batch]:
    """Batches of flat float images, binarised once, as `arguments` has them."""
    pixels, labels = pictures(task)
    torch.manual_seed(0)
    rows = torch.randint(len(pixels), (number, size))
    found = []
    for chosen in rows:
        x = pixels[chosen].flatten(1) / 255
        x = x if task == "FSVAE" else torch.bernoulli(x)
        found.append(tuple(t.to(device) for t in arguments(task, x, labels[chosen])))
    return found


def shaped(task: str, size: int, device: str = "cpu") -> list[Batch]:
    """The same batches in the shape of images, as members take them."""
    shape = TASKS[task].x_shape
    return [
        tuple(t if t.dtype == torch.long else t.reshape(-1, *shape) for t in batch)
        for batch in in_memory(task, size, device)
    ]


def arguments(task: str, x: Tensor, y: Tensor) -> Batch:
    """What the task's loss takes; an SSVAE's labelled images are the first of the batch."""
    if task == "SSVAE":
        return x, x[:LABELLED], y[:LABELLED]
    return (x, y) if task == "FSVAE" else (x,)


def build(task: str, name: str, size: int, device: str = "cpu") -> Peer:
    """A peer by its name, in this process."""
    if name in OURS:
        return vaezoo_peer(task, size, device, *OURS[name])
    if name in TASKS[task].stock:
        return stock_peer(task, TASKS[task].stock[name](), in_memory(task, size, device))
    loss: Any = by_hand(task, device)
    batches: Iterator[Batch] = itertools.cycle(in_memory(task, size, device))
    if name == DATALOADER:
        loader = handwritten.loaded(*pictures(task), size, binary=task != "FSVAE")
        batches = (tuple(t.to(device) for t in arguments(task, *batch)) for batch in loader)
    call = torch.compile(loss) if name == "by hand, torch.compile" else loss
    return handwritten.train(call, loss.parameters(), batches, fused=name in (FUSED, TUNED))


def placed(task: str, name: str, size: int, device: str, threads: int) -> Peer:
    """A peer where it belongs: in this process, or in one of its own."""
    if name == "NumPyro":
        return Elsewhere("peers_numpyro.py", task, str(size))
    if name in (*OURS, TUNED):
        return Elsewhere("peers.py", task, name, str(size), device, str(threads))
    return build(task, name, size, device)


class Elsewhere:
    """A peer in a process of its own, which is ready once this is made."""

    def __init__(self, script: str, *arguments: str) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
        self.process = subprocess.Popen(command, **pipes)
        self._read()

    def __call__(self, n: int) -> float:
        """Take n steps there."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{n}\n")
        self.process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self.process.stdout is not None
        line: str = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} has ended")
        return line

    def __del__(self) -> None:
        self.process.kill()
        self.process.communicate()


def serve(peer: Peer) -> None:
    """Take as many steps as each line says, and print the last loss."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(peer(int(line)), flush=True)


def names(task: str, *, numpyro: bool) -> list[str]:
    """All peers of a task."""
    hand = [REFERENCE, DATALOADER, FUSED, TUNED, "by hand, torch.compile"]
    return [*hand, *TASKS[task].stock, *(["NumPyro"] if numpyro else []), *OURS]


def vaezoo_peer(task: str, size: int, device: str, compiled: bool, precision: str) -> Peer:
    """A loop around `Step`, as in its documentation, with the optimizer of `fit`."""
    bound = Bound(member(task, device), TASKS[task].objective(), precision=precision)
    step = Step(bound, torch.optim.Adam(bound.parameters(), lr=1e-3, fused=True))
    if compiled:
        step.compile()
    cycle = itertools.cycle(shaped(task, size, device))

    def steps(n: int) -> float:
        for batch in itertools.islice(cycle, n):
            terms = step(*batch)
        return terms["loss"].item()

    return steps


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
        found = dist.Bernoulli(logits=out)
        if self.task == "FSVAE":
            found = dist.Normal(out, math.sqrt(0.1))
        pyro.sample("x" + suffix, found.to_event(1), obs=x)

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
            found = dist.Categorical(logits=net.cls(x))
            y = pyro.sample("y", found, infer={"enumerate": "parallel"})
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
                found: float = svi.step(*batch) / len(batch[0])
        return found

    return steps


if __name__ == "__main__":
    _task, _name, _size, _device, _threads = sys.argv[1:]
    torch.set_num_threads(int(_threads))
    with tuned(), pyro.validation_enabled(False):
        serve(build(_task, _name, int(_size), _device))
