"""`python -m vaezoo`: every member's Pyro estimates beside the closed forms, on real digits.

`python -m vaezoo explore` opens a panel in the browser; `--help` behind it says more.
"""

from __future__ import annotations

import sys

import torch

from vaezoo import crosscheck, data
from vaezoo.models import ADGM, FSVAE, GMVAE, IWAE, M1M2, SSVAE, VAE, HierarchicalVAE
from vaezoo.panel.app import main as explore

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


def main() -> int:
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
    sys.exit(explore(sys.argv[2:]) if sys.argv[1:2] == ["explore"] else main())
