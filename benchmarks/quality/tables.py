"""The tables, from the JSON files alone, with published numbers beside ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks import markdown
from benchmarks.quality.labels import COUNTS
from benchmarks.quality.results import Found, found, runs_of

__all__ = ["SUMMARY", "tables"]

MISSING = "not measured"
DEMO = Path(__file__).parents[1] / "results/demo.json"
BOUNDS = ("nelbo", "kl", "rec", "niwae-10", "niwae-100", "niwae-1000")
HEAD = ("seeds", "NELBO", "KL", "rec", "NIWAE-10", "-100", "-1000")
MEMBERS = {"vae": "VAE", "gmvae": "GMVAE, k = 500", "iwae": "IWAE, m = 10"}
NORMAL = "diagonal Normal"
OTHERWISE = {
    "iwae-dreg-cycle": "IWAE, m = 10, DReG, one cycle",
    "iwae-muon": "IWAE, m = 10, Muon, one cycle",
}
SUMMARY = {
    "vae-cycle": "VAE",
    "gmvae-cycle": "GMVAE, k = 500",
    "iwae-muon": "IWAE, m = 10, by Muon",
    "flow-iaf": "VAE with flows as prior and posterior",
}
PARTS = {
    "vae": f"N(0, I); {NORMAL}",
    "gmvae": f"mixture of 500 Gaussians; {NORMAL}",
    "mixture": f"the same, weights learned; {NORMAL}",
    "vamp": f"VampPrior, k = 500; {NORMAL}",
    "flow": f"autoregressive flow; {NORMAL}",
    "low-rank": "N(0, I); low-rank Normal, rank 2",
    "full": "N(0, I); full Normal",
    "iaf": "N(0, I); inverse autoregressive flow",
}
BETTER = ("vae", "gmvae", "iwae", "vamp", "flow", "iaf")
BOTH = {
    "flow-iaf": "autoregressive flow; inverse autoregressive flow",
    "flow-iaf-iw": "the same, IWELBO(10)",
}
CHANGES = {
    "vae": "constant rate of 1e-3",
    "vae-average": "the same, weights averaged (0.999)",
    "vae-cycle": "one cycle with a peak of 4e-3",
    "vae-cycle-decay": "one cycle, weight decay 0.01 (AdamW)",
    "vae-cycle-wide": "one cycle, layers of 600",
    "vae-cycle-iw": "one cycle, IWELBO(10)",
    "vae-muon": "one cycle by Muon, last bias from mean pixels",
}
PAPER = {  # measured beside published: arXiv:1509.00519, table 1
    "paper-vae-1": ("VAE, k = 1", "86.76"),
    "paper-iwae-5": ("IWAE, k = 5", "85.54"),
    "paper-dreg-5": ("IWAE, k = 5, DReG", "-"),
    "paper-iwae-50": ("IWAE, k = 50", "84.78"),
    "paper-dreg-50": ("IWAE, k = 50, DReG", "-"),
    "paper2-vae-1": ("two layers, VAE, k = 1", "85.33"),
    "paper2-iwae-5": ("two layers, IWAE, k = 5", "83.89"),
    "paper2-dreg-5": ("two layers, IWAE, k = 5, DReG", "-"),
    "paper2-iwae-50": ("two layers, IWAE, k = 50", "82.90"),
    "paper2-dreg-50": ("two layers, IWAE, k = 50, DReG", "-"),
}
FIXED = {
    "fixed-normal": "N(0, I)",
    "fixed-vamp": "VampPrior, k = 500",
    "fixed-flow": "autoregressive flow",
}
LABELS = {
    "classifier-100": ("100", "the SSVAE's classifier alone"),
    "ssvae-100": ("100", "SSVAE"),
    **{f"ssvae-moved-{n}": (str(n), "SSVAE, labelled images moved") for n in COUNTS},
    "m1m2-100": ("100", "M1M2, one cycle"),
    "m1m2-stages-100": ("100", "M1M2 in two stages, one cycle each"),
    "adgm-100": ("100", "ADGM, one cycle"),
    **{
        f"moved-{n}": (str(n), "SSVAE, convolutional classifier, labelled images moved")
        for n in COUNTS
    },
    "spread-100": ("100", "SSVAE, convolutional classifier, labels spread to all images, moved"),
    "consistent-100": ("100", "SSVAE, convolutional classifier, all images moved and read alike"),
}
CLUSTERS = {
    "clusters: accuracy": "components, best assignment, %",
    "clusters: nmi": "components, NMI × 100",
    "k-means on codes": "k-means on the model's codes, best assignment, %",
    "k-means on pixels": "k-means on pixels, best assignment, %",
}
SCENES = {
    "nelbo": "NELBO",
    "niwae-100": "NIWAE-100",
    "read on real scenes": "read on real scenes, %",
    "read as asked, styles of real scenes": "read as asked, styles of real scenes, %",
    "read as asked, styles from the prior": "read as asked, styles from the prior, %",
}


def tables() -> dict[str, str]:
    """All tables by name, as Markdown."""
    cycles = {f"{name}-cycle": f"{title}, one cycle" for name, title in MEMBERS.items()}
    fashion = {f"{name}-fashion": title for name, title in MEMBERS.items()}
    better = {f"{name}-cycle": PARTS[name] for name in BETTER if name in PARTS}
    return {
        "summary": _summary(),
        "members": _bounds("MNIST, 10,000 test images", MEMBERS | cycles | OTHERWISE),
        "changes": _bounds("the VAE, what each change brings", CHANGES),
        "parts": _bounds("prior; posterior, constant rate", PARTS),
        "parts by one cycle": _bounds("prior; posterior, one cycle", better | BOTH),
        "fashion": _bounds("Fashion-MNIST, one cycle", fashion),
        "paper": _paper(),
        "fixed": _fixed(),
        "labels": _labels(),
        "clusters": _rows("GMVAE, k = 10, started from codes", "gmvae-ten", CLUSTERS),
        "scenes": _rows("FSVAE on colour digits, 2,000 test scenes", "fsvae", SCENES),
        "demo": _demo(),
    }


def _summary() -> str:
    """One line for each kind of member, as the README has them."""
    bound, read = "bound on -log p(x): NIWAE-1000, nats", "accuracy with 100 labels, %"
    asked, few = "read as asked, styles from the prior", "spread-100"
    drawn = "drawings read as the digit asked for, %"
    rows = [
        *(
            (title, bound, _cell(found(n, "niwae-1000")), runs_of(n))
            for n, title in SUMMARY.items()
        ),
        (LABELS[few][1], read, _percent(few, "accuracy"), runs_of(few)),
        ("FSVAE, colour digits", drawn, _percent("fsvae", asked), runs_of("fsvae")),
    ]
    measured = "measured on held-out images"
    return markdown.table(("member", measured, "mean ± standard error", "seeds"), rows)


def _bounds(title: str, names: dict[str, str]) -> str:
    rows = [(label, runs_of(name), *_cells(name, BOUNDS)) for name, label in names.items()]
    return markdown.table((title, *HEAD), rows)


def _paper() -> str:
    rows = [
        (label, runs_of(name), _cell(found(name, "niwae-5000")), published)
        for name, (label, published) in PAPER.items()
    ]
    head = ("networks of the IWAE paper", "seeds", "NIWAE-5000", "published")
    return markdown.table(head, rows)


def _fixed() -> str:
    rows = [
        (label, runs_of(name), *_cells(name, ("nelbo", "niwae-5000")))
        for name, label in FIXED.items()
    ]
    return markdown.table(("fixed binarisation, prior", "seeds", "NELBO", "NIWAE-5000"), rows)


def _labels() -> str:
    rows = []
    for name, (labels, title) in LABELS.items():
        each = found(name, "accuracy")
        listed = ", ".join(f"{100 * value:.2f}" for value in each.each) if each else ""
        rows.append((labels, title, runs_of(name), _percent(name, "accuracy"), listed))
    head = ("labels", "10,000 test images", "draws", "accuracy, %", "each draw")
    return markdown.table(head, rows)


def _rows(title: str, name: str, measures: dict[str, str]) -> str:
    cells = [
        _cell(found(name, each)) if "NELBO" in label or "NIWAE" in label else _percent(name, each)
        for each, label in measures.items()
    ]
    head = (title, f"{runs_of(name)} seeds")
    return markdown.table(head, zip(measures.values(), cells, strict=True))


def _demo() -> str:
    if not DEMO.exists():
        return f"The demo over seeds: {MISSING}."
    found = json.loads(DEMO.read_text(encoding="utf-8"))
    rows = [(e["seed"], f"{e['accuracy']:.2f} ± {e['stderr']:.2f}") for e in found["each"]]
    mean = f"{found['mean']:.2f} ± {found['stderr over seeds']:.2f}"
    return markdown.table(("demo, seed", "accuracy, %"), [*rows, ("mean over seeds", mean)])


def _cells(name: str, measures: Sequence[str]) -> tuple[str, ...]:
    cells = tuple(_cell(found(name, each)) for each in measures)
    return cells if {*cells} != {MISSING} else (MISSING, *[""] * (len(cells) - 1))


def _cell(each: Found | None) -> str:
    return MISSING if each is None else str(each)


def _percent(name: str, measure: str) -> str:
    each = found(name, measure)
    return MISSING if each is None else str(each.scaled(100))
