"""What evaluation takes beside the data: bounded by a batch or a chunk, not by the whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from several import run_code
from zoo import images, member

from vaezoo import priors
from vaezoo.diagnostics import mixture_diagnostics, responsibilities
from vaezoo.distributions.overlaps import NUMBERS

# in a process of its own, whose largest size so far the system keeps; from small to large
PEAKS = """
import json, resource, torch
from vaezoo import accuracy, data, evaluate, likelihoods, models, priors
from vaezoo.diagnostics import mixture_diagnostics

torch.set_num_threads(1)
torch.manual_seed(0)
small = {"hidden": (8,), "z_dim": 2}
vae, ssvae = models.VAE(**small), models.SSVAE(**small)
levels = likelihoods.Categorical(2, (1, 28, 28), hidden=(8,), levels=256)
coarse = models.VAE(**small, likelihood=levels)
gmvae = models.GMVAE((16,), 64, k=500, hidden=(8,))
pixels = data.Images(torch.zeros(40_000, 1, 28, 28, dtype=torch.uint8),
                     torch.zeros(40_000, dtype=torch.long), binarisation="dynamic")
options = {"particles": 1, "progress": False}
calls = {
    "a warm-up": lambda: evaluate(vae, pixels[:2000], **options, batch_size=1000),
    "accuracy": lambda: accuracy(ssvae, pixels),
    "a generator": lambda: evaluate(vae, (torch.zeros(1000, 1, 28, 28) for _ in range(40)), **options),
    "images": lambda: evaluate(vae, pixels, **options, batch_size=1000),
    "a mixture": lambda: mixture_diagnostics(gmvae, torch.zeros(4000, 16)),
    "levels": lambda: evaluate(coarse, [torch.zeros(300, 1, 28, 28)], **{**options, "particles": 7}),
}
found, before = {}, 0
for name, call in calls.items():
    call()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found[name], before = peak - before, peak
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_peaks(tmp_path: Path) -> None:
    """MiB over what was needed before: 40,000 images of 3 KiB, 4,000 × 500 × 64, 300 × 784 × 256.

    All at once they would take 120 and more, 490 and 230, each several times over.
    """
    done = run_code(PEAKS, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    del found["a warm-up"]
    limits = {"accuracy": 60, "a generator": 60, "images": 60, "a mixture": 100, "levels": 120}
    assert found.keys() == limits.keys()
    assert all(found[name] < limit for name, limit in limits.items()), found


def test_parts_of_codes_have_the_responsibilities_of_all() -> None:
    """Taken some at a time, the same numbers to the last bit; leading dimensions come back."""
    prior = priors.MixtureOfGaussians(16, k=200)()
    z = torch.randn(2, 400, 16)
    assert z.numel() * 200 > 2 * NUMBERS
    found = responsibilities(prior, z)
    each = prior.component_distribution.log_prob(z.unsqueeze(-2))
    assert torch.equal(found, (each + prior.mixture_distribution.logits).softmax(-1))
    assert responsibilities(prior, z[0, 0]).shape == (200,)
    assert torch.allclose(responsibilities(prior, z[0, 0]), found[0, 0])


def test_overlaps_of_many_components_are_those_of_few() -> None:
    """Rows at a time: the coefficients of the first five of 400 are those of five, to 1e-6."""
    prior = priors.MixtureOfGaussians(16, k=400)
    few = priors.MixtureOfGaussians(16, k=5)
    with torch.no_grad():
        prior.loc.normal_(0, 3)
        few.loc.copy_(prior.loc[:5])
        few.raw_scale.copy_(prior.raw_scale[:5])
        prior.loc[3:5] = prior.loc[2]
        few.loc[3:5] = few.loc[2]
    found = [
        mixture_diagnostics(
            member("VAE", z_dim=16, prior=p), images(), dead_below=0, merged_above=0.999
        )
        for p in (prior, few)
    ]
    assert found[0].merged[0] == found[1].merged[0] == [2, 3, 4]
