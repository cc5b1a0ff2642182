"""`python -m vaezoo`: every member's Pyro estimates beside the closed forms, on real digits."""

import sys

import torch

import vaezoo
from vaezoo import data, models


def main() -> int:
    """Print a table for each untrained member; 1 if any row disagrees."""
    torch.manual_seed(0)
    (x, _), scenes = data.digits("test")[:5].tensors(), data.colour_digits("test")[:5].tensors()
    agree = True
    for kind in (models.VAE, models.GMVAE, models.IWAE, models.SSVAE, models.FSVAE):
        model = kind()
        table = vaezoo.crosscheck(model, *(scenes if kind is models.FSVAE else (x,)))
        print(f"{kind.__name__}: {model!r}\n{table!r}\n", flush=True)
        agree = agree and table.agrees()
    print("every row agrees" if agree else "some rows disagree")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
