"""`python -O` turns Pyro's validation off with the assertions; data are checked all the same.

Nothing is compiled there: torch's compiler has assertions that do something.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TABLE = """
import sys, torch, pyro, warnings, pyro.distributions as dist
from zoo import images, labels, member, X_SHAPE
from vaezoo import (
    Bound, ELBO, IWELBO, SemiSupervised, Step, accuracy, crosscheck, data, evaluate, fit, networks,
    plots,
)
from vaezoo.compiler import choice
if __debug__ or dist.is_validation_enabled():
    sys.exit("this is not python -O")

x, y, quiet = images(), labels(), {"progress": False}
GREY, NAN = torch.full_like(x, 0.3), torch.full_like(x, float("nan"))
f, s, v = (lambda n=n: member(n) for n in ("FSVAE", "SSVAE", "VAE"))
fitted = lambda m, b, **k: fit(m, [b], steps=2, **quiet, **k)
evaluated = lambda m, b: evaluate(m, [b], particles=1, **quiet)
REFUSED = {
    "fit, grey": lambda: fitted(v(), GREY),
    "fit, a later batch": lambda: fit(v(), [x, GREY], steps=2, **quiet),
    "fit, NaN": lambda: fitted(v(), NAN),
    "fit, shape": lambda: fitted(v(), x[:, :, :3]),
    "fit, bytes": lambda: fitted(v(), x.byte()),
    "fit, labels": lambda: fitted(f(), (x, y - 1)),
    "fit, labels from 1": lambda: fitted(s(), (x, x, y + 1)),
    "fit, images that are grey": lambda: fit(v(), data.Images((100 * x).byte(), binarisation="none"), steps=2, **quiet),
    "validation": lambda: fitted(v(), x, validation=[GREY]),
    "a later batch of validation": lambda: fitted(v(), x, validation=[x, GREY]),
    "evaluate, grey": lambda: evaluated(v(), GREY),
    "evaluate, labels": lambda: evaluated(f(), (x, y + 3)),
    "evaluate, accuracy": lambda: evaluated(s(), (x, y - 1)),
    "accuracy": lambda: accuracy(s(), [(x, y - 1)]),
    "a bound": lambda: Bound(v())(GREY),
    "a bound, labels": lambda: Bound(f())(x, y - 1),
    "a bound, semi-supervised": lambda: Bound(s(), SemiSupervised())(x, x, y - 1),
    "a bound of IWELBO": lambda: Bound(v(), IWELBO(2))(NAN),
    "a step": lambda: Step(Bound(v()), torch.optim.SGD(v().parameters(), lr=0.1))(GREY),
    "sample": lambda: f().sample(3, y=-1),
    "encode": lambda: f().encode(x, y - 1),
    "encode, grey": lambda: v().encode(GREY),
    "reconstruct": lambda: s().reconstruct(x, y + 1),
    "crosscheck": lambda: crosscheck(v(), GREY, repeats=2),
    "plots": lambda: plots.reconstructions(f(), x, y - 1),
    "a network": lambda: networks.MLP((2,), (3,), (1,), classes=3)(torch.zeros(6, 2), y - 1),
}
for name, call in REFUSED.items():
    try:
        call()
    except ValueError:
        continue
    print("accepted:", name)
choice.OPERATIONS, choice.STEPS = (0, 0), 2  # compiling costs nothing, and two steps tell
def eagerly(steps):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ways = steps()
    print(ways, *(w.message for w in said))
def taken(step):
    for _ in range(4):
        step(x)
    return step.ways
vae = v()
adam = torch.optim.Adam(vae.parameters())
good = [
    lambda: fitted(v(), x, validation=[x]),
    lambda: fitted(s(), (x, x, y)),
    lambda: evaluated(f(), (x, y)),
    lambda: eagerly(lambda: fit(v(), [x], steps=9, **quiet).compiled),
    lambda: eagerly(lambda: fit(v(), [x], steps=9, compile=True, **quiet).compiled),
    lambda: eagerly(lambda: taken(Step(Bound(vae), adam).compile())),
    lambda: eagerly(lambda: taken(Step(Bound(vae).compile(), adam))),
]
for call in good:
    call()
if dist.is_validation_enabled() or pyro.poutine.is_validation_enabled():
    sys.exit("Pyro's validation was turned on")
print("refused", len(REFUSED))
"""


REASON = (
    "bound.compile(): the bound runs eagerly: RuntimeError: torch's compiler relies on assertions, "
    "which python -O removes"
)


def test_data_are_checked_without_assertions() -> None:
    """Each bad batch is a ValueError under -O; good ones train and evaluate, eagerly if need be."""
    command = [sys.executable, "-O", "-W", "error::UserWarning", "-c", TABLE]
    path = [*filter(None, sys.path), str(Path(__file__).parents[1])]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "eager",
        *[f"eager {REASON}"] * 3,
        f"refused {TABLE.count(': lambda: ')}",
    ]
