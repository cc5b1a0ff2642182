"""What runs of `fit` in several processes make of callbacks, checkpoints, steps and streams."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from several import in_processes
from zoo import CLASSES, X_SHAPE, fixed, member

from vaezoo import ELBO, SemiSupervised, data, evaluate, fit, training
from vaezoo.training.processes import alone


def _validated_on_labelled() -> list[float]:
    """What differs from the images of two batches joined, of which one has a single label.

    log q(y|x), how much else than the bound and α of it is in a loss, and a KL without noise.
    """
    torch.manual_seed(0)
    ssvae, x, y = member("SSVAE").double(), fixed(30).double(), torch.arange(10) % CLASSES
    # of one of them a process has no unlabelled image
    batches = [(x[:19], x[20:21], y[:1]), (x[19:20], x[21:], y[1:])]
    options: dict[str, Any] = {"steps": 1, "lr": 0.0, "progress": False}
    half = SemiSupervised(alpha=7, labelled_fraction=0.5)
    history = fit(ssvae, batches[1:], half, validation=batches, **options)
    terms = {name: values[0] for name, values in history.items()}
    log_qy, bound = terms["validation_log_qy"], terms["validation_bound"]
    expected = ssvae.label_posterior(x[20:]).logits[torch.arange(10), y].mean().item()
    kl = _kl(ssvae, x[:20]) + _kl(ssvae, x[20:], y)
    loss = terms["validation_loss"] + bound + 7 * log_qy
    return [log_qy - expected, loss, terms["validation_kl"] - kl / 2]


def _kl(ssvae: Any, *batch: torch.Tensor) -> float:
    with torch.no_grad():
        return ELBO().estimate(ssvae.model, ssvae.guide, *batch)["kl"].item()


def _runs(rank: int, folder: str) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    x, seen, found = (torch.rand(6, *X_SHAPE) > 0.5).float(), [], dict[str, Any]()

    def stop(record: dict[str, float]) -> bool:
        seen.append(record["step"])
        return rank == 1 and record["step"] == 4

    options: dict[str, Any] = {"log_every": 2, "progress": False}
    for call in ("stopped", "and stays so"):
        torch.manual_seed(1)
        history = fit(
            *(member("VAE"), [x]), steps=20, callback=stop, checkpoint=f"{folder}/run", **options
        )
        found[call] = list(seen), history["step"], history.stopped
    try:
        training.steps(member("VAE"), [x], steps=2)
    except RuntimeError as error:
        found["steps"] = str(error)
    with alone():
        found["alone"] = [taken.step for taken in training.steps(member("VAE"), [x], steps=2)]
    vae, stream = (
        member("VAE"),
        data.Stream(f"{folder}/shards", binarisation="dynamic", batch_size=7),
    )
    history = fit(vae, stream, epochs=2, validation=stream, **options)
    found["stream"] = history["step"], history["loss"], history["validation_loss"]
    found["labelled"] = _validated_on_labelled()
    found["images"] = evaluate(vae, stream, particles=1, progress=False)["nelbo"].n
    return found


def test_both_processes_do_the_same() -> None:
    """A stop that a callback of one asks for ends both at once, and for good."""
    with tempfile.TemporaryDirectory() as folder:
        pixels = np.random.default_rng(0).integers(0, 256, (23, *X_SHAPE), dtype=np.uint8)
        data.write_shards(f"{folder}/shards", [pixels], shard_size=8)
        first, second = in_processes(_runs, folder)
        assert [p.name for p in (Path(folder) / "run").iterdir()] == ["step-000000004.safetensors"]
    assert first == second
    assert first["stopped"] == first["and stays so"] == ([2, 4], [2, 4], False)
    assert first["steps"] == "steps(…) is for one process, got 2: use fit, with callback=…"
    assert first["alone"] == [1, 2]
    assert first["stream"][0] == [2, 4, 6, 8]
    for differences in (first["labelled"], _validated_on_labelled()):
        assert max(map(abs, differences)) < 1e-12  # the mean counts each labelled image once
    assert first["images"] == 23
