"""The reference recipe's models and loop, by hand on torch alone: what speed is measured against.

Networks take the concatenation of image (or code) and one-hot label, samples and labels are tiled
along the batch, densities are written out, and a DataLoader turns one image at a time into a
tensor, as torchvision's MNIST with ToTensor does. Forward returns the loss in nats per image, the
same number as vaezoo's objective has on the same weights and noise
(tests/house/test_benchmarks.py).
"""

from __future__ import annotations

import gzip
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

Batch = tuple[Tensor, ...]
BY_HAND = "seed"  # the name of this peer in the JSON files
Peer = Callable[[int], float]  # takes n steps, and returns the last loss


def network(inputs: int, hidden: int, outputs: int, act: type[nn.Module] = nn.ELU) -> nn.Sequential:
    """Two hidden layers, as all networks of the reference recipe have."""
    first, second = nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)
    return nn.Sequential(first, act(), second, act(), nn.Linear(hidden, outputs))


def duplicate(x: Tensor, times: int) -> Tensor:
    """Copies along the batch, (times · N, ...)."""
    return x.expand(times, *x.shape).reshape(-1, *x.shape[1:])


def gaussian_parameters(h: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance from what a network puts out."""
    m, raw = h.chunk(2, -1)
    return m, functional.softplus(raw) + 1e-8


def sample_gaussian(m: Tensor, v: Tensor) -> Tensor:
    """One draw by reparametrisation."""
    return m + v.sqrt() * torch.randn_like(m)


def log_normal(x: Tensor, m: Tensor, v: Tensor) -> Tensor:
    """log N(x; m, v), summed over the last dimension."""
    return -0.5 * (v.log() + (x - m).square() / v + math.log(2 * math.pi)).sum(-1)


def log_normal_mixture(z: Tensor, m: Tensor, v: Tensor) -> Tensor:
    """log of the mean over components (k, D) of N(z; m_i, v_i)."""
    return log_normal(z.unsqueeze(1), m, v).logsumexp(-1) - math.log(len(m))


def kl_normal(qm: Tensor, qv: Tensor, pm: Tensor, pv: Tensor) -> Tensor:
    """KL(N(qm, qv) ‖ N(pm, pv)), summed over the last dimension."""
    return 0.5 * (pv.log() - qv.log() + qv / pv + (qm - pm).square() / pv - 1).sum(-1)


def log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """log Bernoulli(x; logits), summed over the last dimension."""
    return -functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


class VAE(nn.Module):
    """Encoder, decoder and a standard Normal prior; the loss is minus the ELBO."""

    pm: Tensor
    pv: Tensor

    def __init__(
        self, x_dim: int = 784, z_dim: int = 10, hidden: int = 300, classes: int = 0
    ) -> None:
        super().__init__()
        self.x_dim, self.z_dim, self.classes = x_dim, z_dim, classes
        self.enc = network(x_dim + classes, hidden, 2 * z_dim)
        self.dec = network(z_dim + classes, hidden, x_dim)
        self.register_buffer("pm", torch.zeros(1, z_dim), persistent=False)
        self.register_buffer("pv", torch.ones(1, z_dim), persistent=False)

    def forward(self, *batch: Tensor) -> Tensor:
        """Minus the ELBO, mean over images."""
        (x,) = batch
        m, v = gaussian_parameters(self.enc(x))
        z = sample_gaussian(m, v)
        return (kl_normal(m, v, self.pm, self.pv) - log_bernoulli(x, self.dec(z))).mean()


class GMVAE(VAE):
    """A learned mixture for a prior."""

    def __init__(self, k: int = 500) -> None:
        super().__init__()
        self.k = k
        self.z_pre = nn.Parameter(torch.randn(1, 2 * k, self.z_dim) / math.sqrt(k * self.z_dim))

    def mixture(self) -> tuple[Tensor, Tensor]:
        """Means and variances of the components, (k, z_dim) each."""
        m, raw = self.z_pre[0].split(self.k)
        return m, functional.softplus(raw) + 1e-8

    def forward(self, *batch: Tensor) -> Tensor:
        """Minus the ELBO with a sampled KL."""
        (x,) = batch
        m, v = gaussian_parameters(self.enc(x))
        z = sample_gaussian(m, v)
        kl = log_normal(z, m, v) - log_normal_mixture(z, *self.mixture())
        return (kl - log_bernoulli(x, self.dec(z))).mean()


class IWAE(VAE):
    """Images and parameters tiled by the number of importance samples."""

    def __init__(self, particles: int = 50) -> None:
        super().__init__()
        self.particles = particles

    def forward(self, *batch: Tensor) -> Tensor:
        """Minus the importance-weighted bound, mean over images."""
        (x,) = batch
        return -self.log_mean_weight(x, self.particles).mean()

    def log_mean_weight(self, x: Tensor, k: int) -> Tensor:
        """log of the mean of k weights for each image, (N,)."""
        m, v = (duplicate(t, k) for t in gaussian_parameters(self.enc(x)))
        z, x = sample_gaussian(m, v), duplicate(x, k)
        log_w = log_bernoulli(x, self.dec(z)) + log_normal(z, self.pm, self.pv)
        log_w = log_w - log_normal(z, m, v)
        return log_w.reshape(k, -1).logsumexp(0) - math.log(k)


class FSVAE(VAE):
    """Labels are given; Normal pixels of variance 1/10."""

    def __init__(self) -> None:
        super().__init__(3072, 10, 500, 10)

    def forward(self, *batch: Tensor) -> Tensor:
        """Minus the ELBO, mean over images."""
        x, y = batch
        y = functional.one_hot(y, self.classes).to(x.dtype)
        m, v = gaussian_parameters(self.enc(torch.cat([x, y], 1)))
        mean = self.dec(torch.cat([sample_gaussian(m, v), y], 1))
        rec = log_normal(x, mean, torch.full_like(mean, 0.1))
        return (kl_normal(m, v, self.pm, self.pv) - rec).mean()


class SSVAE(VAE):
    """Ten copies of every unlabelled image, one for each label."""

    def __init__(self, alpha: float = 100.0, labelled_fraction: float = 100 / 60_000) -> None:
        super().__init__(784, 64, 300, 10)
        self.cls = network(784, 300, 10, nn.ReLU)
        self.alpha, self.fraction = alpha, labelled_fraction

    def elbo(self, x: Tensor, y: Tensor) -> Tensor:
        """The ELBO of images with one-hot labels, (N,)."""
        m, v = gaussian_parameters(self.enc(torch.cat([x, y], 1)))
        logits = self.dec(torch.cat([sample_gaussian(m, v), y], 1))
        kl = kl_normal(m, v, self.pm, self.pv)
        return log_bernoulli(x, logits) - kl - math.log(self.classes)

    def forward(self, *batch: Tensor) -> Tensor:
        """As `objectives.SemiSupervised` weights its terms."""
        x, x_labelled, y_labelled = batch
        log_q = functional.log_softmax(self.cls(x), 1)
        y = torch.eye(self.classes, device=x.device).repeat_interleave(len(x), 0)
        each = self.elbo(duplicate(x, self.classes), y).reshape(self.classes, -1).T
        unlabelled = (log_q.exp() * (each - log_q)).sum(1).mean()
        given = functional.one_hot(y_labelled, self.classes).to(x.dtype)
        labelled = self.elbo(x_labelled, given).mean()
        cross_entropy = functional.cross_entropy(self.cls(x_labelled), y_labelled)
        mixed = (1 - self.fraction) * unlabelled + self.fraction * labelled
        return self.alpha * cross_entropy - mixed


class Pictures(Dataset[tuple[Tensor, int]]):
    """What torchvision's datasets do for one item: a PIL image, and ToTensor's operations."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        array = self.pixels[i].permute(1, 2, 0).numpy()
        image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
        pixels = pixels.view(image.size[1], image.size[0], -1).permute(2, 0, 1).contiguous()
        return pixels.to(torch.get_default_dtype()).div(255), int(self.labels[i])


def loaded(pixels: Tensor, labels: Tensor, batch_size: int, *, binary: bool) -> Iterator[Batch]:
    """Batches (x, y) for ever, x flat and, where it is binary, drawn afresh."""
    loader = DataLoader(Pictures(pixels, labels), batch_size=batch_size, shuffle=True)
    for _ in itertools.count():
        for x, y in loader:
            flat = x.reshape(len(x), -1)
            yield (torch.bernoulli(flat) if binary else flat), y


def train(
    loss: Callable[..., Tensor], parameters: Any, batches: Iterator[Batch], *, fused: bool = False
) -> Callable[[int], float]:
    """A function that takes n steps of Adam at 1e-3 and returns the last loss."""
    optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=fused or None)

    def steps(n: int) -> float:
        for batch in itertools.islice(batches, n):
            optimizer.zero_grad()
            value = loss(*batch)
            value.backward()
            optimizer.step()
        return value.item()

    return steps


def has_mnist(folder: Path) -> bool:
    """Whether its files are there, not only the folders, which a download that failed leaves."""
    kinds = itertools.product(("train", "t10k"), ("images-idx3", "labels-idx1"))
    files = [folder / "MNIST" / "raw" / f"{part}-{kind}-ubyte" for part, kind in kinds]
    return all(f.exists() or f.with_name(f.name + ".gz").exists() for f in files)


def mnist(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Pixels (N, 1, 28, 28) and labels (N,) from the IDX files in folder/MNIST/raw."""
    name = {"train": "train", "test": "t10k"}[part]
    x = _idx(folder / "MNIST" / "raw" / f"{name}-images-idx3-ubyte", 16)
    y = _idx(folder / "MNIST" / "raw" / f"{name}-labels-idx1-ubyte", 8)
    return x.reshape(-1, 1, 28, 28), y.long()


def _idx(file: Path, header: int) -> Tensor:
    packed = file.with_name(file.name + ".gz")
    content = file.read_bytes() if file.exists() else gzip.decompress(packed.read_bytes())
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).copy())
