# mypy: disable-error-code="import-untyped,import-not-found"
"""The tasks in NumPyro: many steps in one jitted scan over batches that lie in memory.

    python -m benchmarks.peers.with_numpyro VAE 100   # n, n, … in, a line each; losses out

The same networks, weights and objectives as vaezoo's, closed-form KLs where vaezoo has them
(TraceMeanField_ELBO). NumPyro sums labels out by way of a third package, funsor: here the sum over
an SSVAE's labels is written out, each label's terms scaled by q(y|x), and first layers split so
that an image goes through them once.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpyro
import numpyro.distributions as dist
from jax import numpy as jnp
from jax import random
from numpyro import infer
from torch import Tensor, nn

from benchmarks.peers import batches, handwritten
from benchmarks.peers.elsewhere import serve
from benchmarks.peers.handwritten import Batch, Peer
from benchmarks.peers.tasks import by_hand

RENYI = partial(infer.RenyiELBO, alpha=0, num_particles=50)


class Programs:
    """Model and guide of a task, parameters by name."""

    def __init__(self, task: str) -> None:
        self.task, self.net = task, by_hand(task)
        self.labels = isinstance(self.net, handwritten.SSVAE)
        self.model = self._labels_model if self.labels else self._model
        self.guide = self._labels_guide if self.labels else self._guide

    def objective(self) -> Any:
        """What vaezoo uses by default, in NumPyro's words."""
        kinds: dict[str, Callable[[], Any]] = {"GMVAE": infer.Trace_ELBO, "IWAE-50": RENYI}
        return kinds.get(self.task, infer.TraceMeanField_ELBO)()

    def _mlp(self, name: str, x: Any, y: Any = None) -> Any:
        """A network; one-hot labels have rows of the first layer's weights."""
        net = getattr(self.net, name)
        act = jax.nn.relu if isinstance(net[1], nn.ReLU) else jax.nn.elu
        h = x
        for i in (0, 2, 4):
            w = numpyro.param(f"{name}.{i}.weight", _array(net[i].weight.T))
            h = h @ w[: h.shape[-1]] + numpyro.param(f"{name}.{i}.bias", _array(net[i].bias))
            if i == 0 and y is not None:
                h = h + w[x.shape[-1] :][y]
            h = act(h) if i < 4 else h
        return h

    def _prior(self) -> Any:
        if not isinstance(self.net, handwritten.GMVAE):
            return dist.Normal(jnp.zeros(self.net.z_dim), 1.0).to_event(1)
        pre = numpyro.param("z_pre", _array(self.net.z_pre))[0]
        m, v = pre[: self.net.k], jax.nn.softplus(pre[self.net.k :]) + 1e-8
        components = dist.Normal(m, jnp.sqrt(v)).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=jnp.zeros(self.net.k)), components)

    def _images(self, suffix: str, x: Any, y: Any = None) -> None:
        out = self._mlp("dec", numpyro.sample("z" + suffix, self._prior()), y)
        normal = dist.Normal(out, math.sqrt(0.1)) if self.task == "FSVAE" else None
        numpyro.sample("x" + suffix, (normal or dist.BernoulliLogits(out)).to_event(1), obs=x)

    def _code(self, suffix: str, x: Any, y: Any = None) -> None:
        m, raw = jnp.split(self._mlp("enc", x, y), 2, -1)
        scale = jnp.sqrt(jax.nn.softplus(raw) + 1e-8)
        numpyro.sample("z" + suffix, dist.Normal(m, scale).to_event(1))

    def _model(self, x: Any, y: Any = None) -> None:
        with numpyro.plate("images", len(x)):
            self._images("", x, y)

    def _guide(self, x: Any, y: Any = None) -> None:
        with numpyro.plate("images", len(x)):
            self._code("", x, y)

    def _labels_model(self, x: Any, x_labelled: Any, y_labelled: Any) -> None:
        net, log_q = self.net, jax.nn.log_softmax(self._mlp("cls", x)).T
        assert isinstance(net, handwritten.SSVAE)
        q = (1 - net.fraction) * jnp.exp(log_q)
        numpyro.factor("y", (q * (-math.log(net.classes) - log_q)).sum())
        labels = jnp.arange(net.classes)[:, None]
        with self._each_label(x), numpyro.handlers.scale(scale=q):
            self._images("", x, labels)
        each = len(x) / len(x_labelled)
        with numpyro.plate("labelled", len(x_labelled), dim=-1):
            with numpyro.handlers.scale(scale=net.fraction * each):
                uniform = dist.Categorical(logits=jnp.zeros(net.classes))
                numpyro.sample("y_labelled", uniform, obs=y_labelled)
                self._images("_labelled", x_labelled, y_labelled)
            with numpyro.handlers.scale(scale=net.alpha * each):
                classified = dist.Categorical(logits=self._mlp("cls", x_labelled))
                numpyro.sample("class", classified, obs=y_labelled)

    def _labels_guide(self, x: Any, x_labelled: Any, y_labelled: Any) -> None:
        net = self.net
        assert isinstance(net, handwritten.SSVAE)
        q = (1 - net.fraction) * jax.nn.softmax(self._mlp("cls", x)).T
        with self._each_label(x), numpyro.handlers.scale(scale=q):
            self._code("", x, jnp.arange(net.classes)[:, None])
        scale = net.fraction * len(x) / len(x_labelled)
        labelled = numpyro.plate("labelled", len(x_labelled), dim=-1)
        with labelled, numpyro.handlers.scale(scale=scale):
            self._code("_labelled", x_labelled, y_labelled)

    @contextlib.contextmanager
    def _each_label(self, x: Any) -> Iterator[None]:
        with numpyro.plate("labels", self.net.classes, dim=-2), numpyro.plate("images", len(x)):
            yield


def _array(t: Tensor) -> Any:
    return jnp.asarray(t.detach().numpy())


def peer(task: str, given: list[Batch]) -> Peer:
    """n steps in one jitted scan; compiled once for each n."""
    programs = Programs(task)
    svi = infer.SVI(programs.model, programs.guide, numpyro.optim.Adam(1e-3), programs.objective())
    stacked = [jnp.stack([_array(t) for t in each]) for each in zip(*given, strict=True)]
    state = svi.init(random.PRNGKey(0), *(t[0] for t in stacked))

    @partial(jax.jit, static_argnums=2)
    def scan(state: Any, stacked: Any, n: int) -> Any:
        def one(state: Any, i: Any) -> Any:
            return svi.update(state, *(t[i % len(given)] for t in stacked))

        return jax.lax.scan(one, state, jnp.arange(n))

    def steps(n: int) -> float:
        nonlocal state
        state, losses = scan(state, stacked, n)
        return float(losses[-1]) / len(given[0][0])

    return steps


if __name__ == "__main__":
    serve(peer(sys.argv[1], batches.in_memory(sys.argv[1], int(sys.argv[2]))))
