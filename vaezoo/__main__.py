"""`python -m vaezoo`: every member's Pyro estimates beside the closed forms, on real digits.

`python -m vaezoo explore` opens a panel in the browser; `--help` behind it says more.
"""

from __future__ import annotations

import argparse
import sys

import torch

import vaezoo
from vaezoo import crosscheck, data
from vaezoo.models import ADGM, FSVAE, GMVAE, IWAE, M1M2, SSVAE, VAE, HierarchicalVAE
from vaezoo.panel.app import main as explore

ABOUT = "Print every member's Pyro estimates beside the closed forms, on real digits in float64."
# each member, without labels and with them where it is given them
MEMBERS = {
    VAE: (False,),
    GMVAE: (False,),
    IWAE: (False,),
    SSVAE: (False, True),
    FSVAE: (True,),
    HierarchicalVAE: (False,),
    M1M2: (False, True),
    ADGM: (False, True),
}


def main(words: list[str]) -> int:
    """What is asked for on the command line."""
    if words[:1] == ["explore"]:
        return explore(words[1:])
    parser = argparse.ArgumentParser(prog="python -m vaezoo", description=ABOUT)
    parser.add_argument("--version", action="version", version=f"vaezoo {vaezoo.__version__}")
    behind = parser.add_subparsers(metavar="explore")
    behind.add_parser("explore", help="open a panel in the browser; `explore --help` says more")
    parser.parse_args(words)
    return check_all()


def check_all() -> int:
    """Print a table for each untrained member, with labels and without; 1 if any row disagrees."""
    torch.manual_seed(0)
    agree = True
    for kind, ways in MEMBERS.items():
        model, load = kind(), data.colour_digits if kind is FSVAE else data.digits
        batch = load("test")[:5].tensors()
        for labelled in ways:
            table = crosscheck(model, *batch[: 1 + labelled])
            name = f"{kind.__name__}, labels given" if labelled else kind.__name__
            print(f"{name}: {model!r}\n{table!r}\n", flush=True)
            agree = agree and table.agrees()
    print("every row agrees" if agree else "some rows disagree")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
