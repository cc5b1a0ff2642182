"""What is distributed: the files of a source distribution, and what a package index shows."""

from __future__ import annotations

import ast
import email
import email.message
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import vaezoo

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "docs", "examples", "notebooks", "tests", "vaezoo")
# how what the code imports is called where it is installed from
DISTRIBUTIONS = {"pyro": "pyro-ppl"}


class Built(NamedTuple):
    sources: set[str]
    metadata: email.message.Message


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The list of files and the metadata that setuptools makes of this checkout, nothing built."""
    folder = tmp_path_factory.mktemp("egg")
    command = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "egg_info"]
    done = subprocess.run(
        [*command, "--egg-base", str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    made = folder / "vaezoo.egg-info"
    return Built(
        set((made / "SOURCES.txt").read_text().splitlines()),
        email.message_from_string((made / "PKG-INFO").read_text(encoding="utf-8")),
    )


def test_a_source_distribution_holds_all_but_pictures_of_results(built: Built) -> None:
    """Everything that is needed to run the tests, the benchmarks, the examples, and `make`."""
    files = {path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()}
    kinds = (".cff", ".cfg", ".in", ".md", ".toml", ".txt", "")
    files |= {path for path in ROOT.iterdir() if path.is_file() and path.suffix in kinds}
    files.add(ROOT / "conftest.py")
    expected = {
        str(path.relative_to(ROOT))
        for path in files
        if path.suffix not in (".png", ".pyc")
        and path.name != "PKG-INFO"  # of an unpacked source distribution
        and not re.search(r"(^|/)\.", str(path.relative_to(ROOT)))
    }
    assert {f for f in built.sources if "egg-info" not in f} == expected
    assert {
        "constraints.txt",
        "docs/guide.md",
        "examples/vae_mnist.py",
        "vaezoo/py.typed",
    } <= expected


def test_metadata_are_what_an_index_shows(built: Built) -> None:
    found = built.metadata
    assert found["License-Expression"] == "MIT"
    assert found.get_all("License-File") == ["LICENSE", "vaezoo/data/digits.LICENSE.txt"]
    assert "MNIST" in (ROOT / "vaezoo/data/digits.LICENSE.txt").read_text()
    assert found["Author"] == "the vaezoo developers"
    assert {"Pyro", "variational auto-encoder"} <= set(found["Keywords"].split(","))
    classifiers = found.get_all("Classifier")
    assert not [
        c for c in classifiers if c.startswith("License ::")
    ]  # refused beside an expression
    minors = {int(m) for c in classifiers for m in re.findall(r"Python :: 3\.(\d+)$", c)}
    assert min(minors) == int(found["Requires-Python"].removeprefix(">=3."))
    assert sys.version_info.minor in minors
    assert not found.get_all("Project-URL")  # there is no public address yet


def test_one_version_and_one_changelog() -> None:
    """The version, in the citation and at the head of the changelog; every release has its date."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {vaezoo.__version__}\n" in citation
    heads = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[0].split()[0] == vaezoo.__version__
    assert all(re.fullmatch(r"[\d.]+ \((unreleased|\d+ \w+ 20\d\d)\)", head) for head in heads)


def test_a_forge_tests_the_oldest_and_the_newest_python(built: Built) -> None:
    workflow = ROOT / ".github/workflows/tests.yml"
    if not workflow.exists():
        pytest.skip("not in a source distribution")
    ends = re.findall(r"- end: (\w+)\n +python: \"3.(\d+)\"", workflow.read_text())
    classifiers = built.metadata.get_all("Classifier")
    minors = [int(m) for c in classifiers for m in re.findall(r"Python :: 3\.(\d+)$", c)]
    assert ends == [("oldest", str(min(minors))), ("newest", str(max(minors)))]


def test_what_moved_is_where_the_changelog_says() -> None:
    table = re.findall(r"^\| .*?`vaezoo.*? \| (.*) \|$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert len(table) >= 10
    for path in re.findall(r"`vaezoo\.([\w.]+)`", " ".join(table)):
        assert pkgutil.resolve_name(f"vaezoo.{path}"), path


def test_everything_imported_is_declared(built: Built) -> None:
    """Each third-party module that the package imports, at its top or inside a function."""
    imported = set()
    for path in (ROOT / "vaezoo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                imported.add(node.module.partition(".")[0])
    others = imported - set(sys.stdlib_module_names) - {"vaezoo"}
    wanted = {DISTRIBUTIONS.get(name, name) for name in others}
    declared = built.metadata.get_all("Requires-Dist")
    always = {re.split(r"[\s><=;]", each)[0] for each in declared if "extra ==" not in each}
    extras = {
        extra: {
            re.split(r"[\s><=;]", each)[0]
            for each in declared
            if f'extra == "{extra}"' in each or f"extra == '{extra}'" in each
        }
        for extra in ("hub", "evaluation", "panel")
    }
    run = {"ipykernel", "voila"}  # programs, which are not imported
    assert run < extras["panel"]
    assert wanted == always | set().union(*extras.values()) - run
    assert "numpy" in always


def test_the_index_text_has_no_link_that_leads_nowhere(built: Built) -> None:
    """On an index a path leads nowhere, so that its text is the README's without pictures."""
    text = (ROOT / "PACKAGE.md").read_text(encoding="utf-8")
    assert built.metadata.get_payload().strip() == text.strip()
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert targets
    assert all(target.startswith("https://") for target in targets)
    assert "![" not in text
    assert "<img" not in text


def test_the_index_text_is_the_readmes() -> None:
    """Every section but the last, word for word."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = (ROOT / "PACKAGE.md").read_text(encoding="utf-8")
    *sections, _ = re.split(r"\n(?=## )", text)
    assert len(sections) == 5
    for section in sections:
        assert section.strip() in readme, f"PACKAGE.md and README.md differ in {section[:60]!r}"
