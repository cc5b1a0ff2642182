"""What of torchvision is imported, when, and beside which torch."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vaezoo.data import (
    _torchvision,
)


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_data_is_light():
    code = "import sys, vaezoo.data; vaezoo.data.colour_digits('test', n=1)\n"
    code += "print([name for name in ('torchvision', 'matplotlib') if name in sys.modules])"
    assert python(code) == "[]"


@pytest.mark.parametrize(
    "first",
    [
        "import importlib.util, vaezoo; importlib.util.find_spec('torchvision.transforms')",
        "try: import torchvision\nexcept RuntimeError: pass\nimport vaezoo",
    ],
    ids=["before", "after one that failed"],
)
def test_torchvision_can_be_imported(first):
    """The user's own import, of a torchvision built for CUDA beside a torch that is not."""
    code = f"""{first}
import sys, torch
from torchvision import datasets, transforms
import torchvision.ops
from vaezoo.data import _torchvision
assert _torchvision.datasets() is datasets
assert torch.ops.torchvision.nms
assert sys.modules["torchvision.extension"]._has_ops() or torch.ops.torchvision.qnms
assert not any(isinstance(finder, _torchvision._Finder) for finder in sys.meta_path)
print(tuple(transforms.Resize(4)(torch.zeros(1, 8, 8)).shape))
"""
    assert python(code) == "(1, 4, 4)"


def test_a_healthy_torchvision_is_left_alone(monkeypatch):
    """One that declares its operators itself: a second declaration would raise, in C++."""
    extension = ModuleType("torchvision.extension")
    extension._has_ops = lambda: True
    monkeypatch.setitem(sys.modules, "torchvision.extension", extension)
    before = list(_torchvision._declared)
    _torchvision.watch()
    assert _torchvision._declared == before
    monkeypatch.setattr(extension, "_has_ops", lambda: False)
    _torchvision.watch()
    assert len(_torchvision._declared) == len(before) + 1
