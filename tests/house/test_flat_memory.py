"""Resident memory is flat within 5 % while data stream through training, validation and evaluation."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from several import run_code, run_script

from benchmarks import streams

# in a process of its own: MiB at the eleventh batch, and the most from there on
CURVES = """
import json, sys, torch, warnings
from pathlib import Path
from vaezoo import data, evaluate, fit, models

warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)
quiet = {"progress": False}

class Batches:
    def __init__(self, n, size, *shape):
        self.n, self.shape = n, (size, *shape)
        self.curve = []
    def __iter__(self):
        for _ in range(self.n):
            yield (torch.rand(self.shape) < 0.5).float()
            self.curve.append(int(Path("/proc/self/statm").read_text().split()[1]) / 256)

def validated():
    batches, vae = Batches(80, 500, 1, 28, 28), models.VAE((1, 28, 28), 2, hidden=(8,))
    fit(vae, [torch.zeros(500, 1, 28, 28)], steps=1, log_every=1, validation=batches, **quiet)
    return batches.curve

def evaluated():
    batches = Batches(120, 5000, 1, 2, 2)
    found = evaluate(models.VAE((1, 2, 2), 2, hidden=(4,)), batches, particles=1, max_decodes=5000, **quiet)
    assert found["nelbo"].n == len(found["nelbo"].values) == 600_000
    batches.curve.append(int(Path("/proc/self/statm").read_text().split()[1]) / 256)
    return batches.curve

curve = globals()[sys.argv[1]]()
print(json.dumps([curve[10], max(curve[10:])]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
@pytest.mark.parametrize("what", ["validated", "evaluated"])
def test_batches_of_an_iterable(what: str, tmp_path: Path) -> None:
    """80 batches of 1.5 MB in one validation, 600,000 values of 5 names: 17 % if all were kept."""
    done = run_code(CURVES, what, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    early, most = json.loads(done.stdout)
    assert most <= 1.05 * early


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_shards(tmp_path: Path) -> None:
    """31 MB of shards, five times through `fit`: the benchmark, in batches of 400.

    How many batches are made ahead is the scheduler's, so that of large ones memory varies by some.
    """
    row = ("--row", "fit, shards", "40000", "--batch", "400")
    done = run_script(Path(streams.__file__), *row, folder=tmp_path, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["images"] == streams.PASSES * 40_000
    assert found["growth"] <= 0.05
