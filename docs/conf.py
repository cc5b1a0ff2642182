"""The site: pages of this folder, notebooks, and every public docstring. `make docs` builds it."""

from __future__ import annotations

import importlib
import re
import shutil
from pathlib import Path
from typing import Any

from sphinx.util import logging

import vaezoo

project = "vaezoo"
author = "the vaezoo developers"
release = version = vaezoo.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "myst_nb",
]
html_theme = "furo"
html_title = f"vaezoo {release}"
exclude_patterns = ["_build"]
default_role = "py:obj"  # `Name` in a docstring leads to it, where there is such a name
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # outputs are committed, and the tests make them again
autodoc_default_options = {"members": True, "imported-members": True, "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
napoleon_use_ivar = True
suppress_warnings = ["ref.python"]  # two classes of one name, such as priors.Flow, posteriors.Flow

SECTIONS = re.compile(
    r"(Args|Arguments|Attributes|Example|Examples|Raises|References|Returns|Warns|Yields):$"
)


OUTSIDE = {
    "../CONTRIBUTING.md": "site/contributing.md",
    "../benchmarks/results/speed.md": "site/speed_tables.md",
    "../benchmarks/results/compiling.md": "site/speed_tables.md",
    "../benchmarks/results/speed_gpu.md": "site/speed_tables.md",
    "../benchmarks/results/suite.md": "site/speed_tables.md",
}
FOLDER = Path(__file__).parent
ROOMS = (
    *("models", "priors", "posteriors", "likelihoods", "networks", "objectives", "data"),
    *("training", "evaluation", "plots", "contract", "diagnostics", "closed_form", "programs"),
    "panel",
)
MARKS = re.compile(r"(`+[^`]+`+)|([*|])")


def _quote(lines: list[str]) -> list[str]:
    """Indented lines after an empty one, outside sections, as a block that keeps its lines.

    Elsewhere * and | are only themselves: no docstring uses them as marks.
    """
    quoted: list[str] = []
    in_section, in_block, in_code = False, False, False
    for i, line in enumerate(lines):
        indented, before = line.startswith("    "), lines[i - 1] if i else ""
        if line and not indented:
            in_section, in_block = bool(SECTIONS.match(line)), False
        in_code = bool(line.strip()) and (in_code or line.lstrip().startswith(">>>"))
        if indented and not (in_section or in_block or in_code or before.strip()):
            quoted += [".. code-block:: text", ""]
            in_block = True
        quoted.append(line if in_block or in_code else MARKS.sub(_themselves, line))
    return quoted


def _themselves(match: re.Match[str]) -> str:
    return match[1] or f"\\{match[2]}"


def _docstring(_: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    lines[:] = _quote(lines)


def _source(_: Any, page: str, source: list[str]) -> None:
    """Texts outside this folder have a page each that includes them."""
    for outside, inside in OUTSIDE.items():
        source[0] = source[0].replace(f"]({outside})", f"]({inside})")


def _complete(app: Any, environment: Any) -> None:
    """Warn of public names that no page has."""
    modules = [vaezoo, *(importlib.import_module(f"vaezoo.{room}") for room in ROOMS)]
    shown = {name.rpartition(".")[2] for name, *_ in environment.domains["py"].get_objects()}
    for module in modules:
        for name in sorted({*module.__all__} - shown):
            logging.getLogger(__name__).warning("no page has %s.%s", module.__name__, name)


def setup(app: Any) -> None:
    """Read by Sphinx; before napoleon, which has the usual priority."""
    notebooks = FOLDER / "site" / "notebooks"  # Sphinx reads what lies in this folder
    shutil.copytree(FOLDER.parent / "notebooks", notebooks, dirs_exist_ok=True)
    app.connect("env-check-consistency", _complete)
    app.connect("source-read", _source)
    app.connect("autodoc-process-docstring", _docstring, priority=100)
