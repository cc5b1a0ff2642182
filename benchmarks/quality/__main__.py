"""Quality: recipes trained and measured, several seeds each, and tables of the results.

    python -m benchmarks.quality run vae-cycle --seeds 0 1 2   # results/quality/*.json
    python -m benchmarks.quality run vae --budget 0.1           # a tenth of the steps, and says so
    python -m benchmarks.quality list                           # the recipes
    python -m benchmarks.quality table                          # what documents show
    make quality                                                # all of it, days on two cores

A run that is stopped goes on when the command is given again. Set VAEZOO_DATA to a folder with
MNIST/raw, and FashionMNIST/raw, svhn and binarized_mnist.npz for the recipes that need them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks import documents
from benchmarks.quality import clusters, digits, figures, labels, paper, tables
from benchmarks.quality.running import run

FOLDER = Path(__file__).parents[1]
RECIPES = {**digits.RECIPES, **paper.RECIPES, **labels.RECIPES, **clusters.RECIPES}


def main() -> None:
    """Parse the command line and do one thing."""
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.action == "table":
        for name in ("README.md", "docs/quality.md"):
            documents.write(FOLDER.parent / name, tables.tables())
        figures.write(FOLDER / "results")
    elif options.action == "list":
        print("\n".join(RECIPES))
    else:
        for seed in options.seeds:
            for name in options.names:
                folders = (options.runs, options.results)
                print(
                    run(RECIPES[name], name, seed, options.budget, *folders, device=options.device)
                )


def arguments() -> argparse.Namespace:
    """Those of the command line, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["run", "list", "table"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="recipes to run, or `all`")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budget", type=float, default=1.0, help="share of the steps")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--runs", type=Path, default=FOLDER / "runs", help="what is under way")
    parser.add_argument("--results", type=Path, default=FOLDER / "results/quality")
    options = parser.parse_args()
    if options.names == ["all"]:
        options.names = [*RECIPES]
    if unknown := {*options.names} - {*RECIPES}:
        parser.error(f"there is no recipe {', '.join(sorted(unknown))}: see `list`")
    if options.action == "run" and not options.names:
        parser.error("run which? name recipes, see `list`")
    if not 0 < options.budget <= 1:
        parser.error(f"--budget must be above 0 and at most 1, got {options.budget:g}")
    return options


if __name__ == "__main__":
    main()
