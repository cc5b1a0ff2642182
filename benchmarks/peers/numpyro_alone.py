# mypy: disable-error-code="import-untyped,import-not-found,untyped-decorator"
"""A VAE in NumPyro from the start of a process: one run, one line of JSON, without torch.

    python -m benchmarks.peers.numpyro_alone '{"nelbo": 102, "every": 500, "data": …, …}'

As `benchmarks.speed.fresh` does for the others: the network of the reference recipe, with weights
drawn as torch draws them, batches of 100 without replacement, binarised afresh, Adam at 1e-3. The
images lie in memory, and all steps between two looks at the held-out images are one jitted scan.
"""

from __future__ import annotations

import gzip
import itertools
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import numpy as jnp
from jax import random
from numpyro import infer

SIZES = {"enc": (784, 300, 300, 20), "dec": (10, 300, 300, 784)}
BATCH, HELD_OUT = 100, 1_000


def main() -> None:
    """Train until the NELBO of held-out images is below the threshold."""
    asked, before = json.loads(sys.argv[1]), time.time()
    steps, bound = _training(asked)
    taken, nelbo = 0, float("inf")
    while nelbo > asked["nelbo"] and taken < asked["most"]:
        steps(taken)
        taken += asked["every"]
        nelbo = bound()
    done = time.time()
    found = {"seconds": done - asked["started"], "training": done - before, "steps": taken}
    print(json.dumps({**found, "nelbo": nelbo, "reached": nelbo <= asked["nelbo"]}))


def _training(asked: dict[str, Any]) -> tuple[Callable[[int], None], Callable[[], float]]:
    """A function that goes on from a step, and one for the NELBO of the held-out images."""
    pixels = jnp.asarray(_pixels(asked["data"], "train"))
    test = jnp.asarray(_pixels(asked["data"], "t10k")[:HELD_OUT])
    held_out = _binarised(random.PRNGKey(0), test)
    weights, loss = _weights(asked["seed"]), infer.TraceMeanField_ELBO()
    model, guide = partial(_model, weights), partial(_guide, weights)
    svi = infer.SVI(model, guide, numpyro.optim.Adam(1e-3), loss)
    key, noise = random.split(random.PRNGKey(asked["seed"]))
    state, each = svi.init(key, held_out), len(pixels) // BATCH

    @jax.jit
    def scan(state: Any, pixels: Any, first: Any) -> Any:
        epoch = first // each  # this one, or the next
        keys = [random.fold_in(key, epoch + n) for n in (0, 1)]
        orders = jnp.stack([random.permutation(k, len(pixels)) for k in keys])

        def one(state: Any, i: Any) -> Any:
            order = orders[i // each - epoch]
            x = pixels[jax.lax.dynamic_slice_in_dim(order, i % each * BATCH, BATCH)]
            return svi.update(state, _binarised(random.fold_in(noise, i), x))

        return jax.lax.scan(one, state, first + jnp.arange(asked["every"]))[0]

    @jax.jit
    def evaluated(state: Any) -> Any:
        return svi.evaluate(state, held_out) / HELD_OUT

    def steps(first: int) -> None:
        nonlocal state
        state = scan(state, pixels, first)

    return steps, lambda: float(evaluated(state))


def _pixels(data: str, part: str) -> Any:
    """Images (N, 784) of bytes."""
    file = Path(data) / "MNIST" / "raw" / f"{part}-images-idx3-ubyte"
    packed = file.with_name(file.name + ".gz")
    content = file.read_bytes() if file.exists() else gzip.decompress(packed.read_bytes())
    return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 784)


def _binarised(key: Any, pixels: Any) -> Any:
    return random.bernoulli(key, pixels / 255.0).astype(jnp.float32)


def _weights(seed: int) -> dict[str, Any]:
    """Weights and biases, uniform in ±1/√inputs."""
    generator, drawn = np.random.default_rng(seed), dict[str, Any]()
    for name, sizes in SIZES.items():
        for i, (n, m) in enumerate(itertools.pairwise(sizes)):
            w, b = (generator.uniform(-1, 1, size).astype("f") / n**0.5 for size in ((n, m), m))
            drawn |= {f"{name}.{i}.w": jnp.asarray(w), f"{name}.{i}.b": jnp.asarray(b)}
    return drawn


def _network(weights: dict[str, Any], name: str, h: Any) -> Any:
    for i in range(3):
        names = [f"{name}.{i}.{part}" for part in "wb"]
        w, b = (numpyro.param(each, weights[each]) for each in names)
        h = h @ w + b
        h = jax.nn.elu(h) if i < 2 else h
    return h


def _model(weights: dict[str, Any], x: Any) -> None:
    with numpyro.plate("images", len(x)):
        z = numpyro.sample("z", dist.Normal(jnp.zeros(10), 1.0).to_event(1))
        pixels = dist.BernoulliLogits(_network(weights, "dec", z)).to_event(1)
        numpyro.sample("x", pixels, obs=x)


def _guide(weights: dict[str, Any], x: Any) -> None:
    with numpyro.plate("images", len(x)):
        m, raw = jnp.split(_network(weights, "enc", x), 2, -1)
        scale = jnp.sqrt(jax.nn.softplus(raw) + 1e-8)
        numpyro.sample("z", dist.Normal(m, scale).to_event(1))


if __name__ == "__main__":
    main()
