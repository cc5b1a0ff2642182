"""The rules of the house, by `ast`: who may import whom, what lies where, and how long things are."""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = ROOT / "vaezoo"

# a module imports from floors below its own, or from its own room
FLOORS = (
    {
        "closed_form",
        "cpu",
        "scopes",
        "autograd",
        "data",
        "distributions",
        "components",
        "arguments",
        "tables",
    },
    {"networks", "programs", "estimates"},
    {"priors", "posteriors", "likelihoods", "objectives"},
    {"compiler", "models", "contract"},
    {"bound", "diagnostics"},
    {"chunks", "crosschecks", "plots", "training"},
    {"evaluation"},
    {"panel"},
    {"__init__"},
    {"__main__"},
)
PARTS_AND_MEMBERS = {"models", "priors", "posteriors", "likelihoods"}
KNOW_NONE = {
    "programs",
    "networks",
    "objectives",
    "compiler",
    "bound",
    "chunks",
    "evaluation",
    "training",
}
ALONE = {"closed_form", "data"}
LISTING = ("compiler", "data", "evaluation", "models", "panel", "programs", "training")
LINES, FILES, ROOMS, MODULES = 25, 250, 16, 13
# when it is called, a member of `models` is read by the reader that knows all of `models`
LATE = {("vaezoo.models.pretrained", "vaezoo.models.checkpoints.loading")}
FOREIGN = {
    "_apply",
    "_cached_x_y",
    "_parameters",
    "_values",
    "_version",
}  # torch's own, which rooms set or override too
# functions that can be told so much that only their bodies are held to the number of lines
MANY_ARGUMENTS = {
    "vaezoo.models.adgm.ADGM.__init__",
    "vaezoo.models.hierarchical.HierarchicalVAE.__init__",
    "vaezoo.models.m1m2.M1M2.__init__",
    "vaezoo.models.ssvae.SSVAE.__init__",
    "vaezoo.plots.latents.latent_scatter",
    "vaezoo.training.loop.fit",
    "vaezoo.training.stepping.begin",
    "vaezoo.training.stepping.steps",
}


def name_of(path: Path) -> str:
    """`vaezoo.models.vae` of its file."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FOUND = {name_of(path): (path, ast.parse(path.read_text())) for path in sorted(HOUSE.rglob("*.py"))}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Every module of vaezoo that is imported anywhere, with the name that is taken from it.

    What is imported for annotations only (`if TYPE_CHECKING`) does not count.
    """
    for node in _walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vaezoo":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole, None) if whole in FOUND else (str(node.module), alias.name)
        elif isinstance(node, ast.Import):
            yield from ((a.name, None) for a in node.names if a.name.split(".")[0] == "vaezoo")


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    yield tree
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from _walk(node)


def functions() -> Iterator[tuple[str, int]]:
    """Every function by its path in the package, with its lines less those of its docstring."""
    for module, (_, tree) in FOUND.items():
        yield from _functions(tree, module)


def _functions(tree: ast.AST, where: str) -> Iterator[tuple[str, int]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            place = f"{where}.{node.name}"
            if isinstance(node, ast.FunctionDef):
                doc = node.body[0] if ast.get_docstring(node) else None
                taken = 0 if doc is None else (doc.end_lineno or 0) - doc.lineno + 1
                begins = node.body[0].lineno if place in MANY_ARGUMENTS else node.lineno
                yield place, (node.end_lineno or 0) - begins + 1 - taken
            yield from _functions(node, place)
        else:
            yield from _functions(node, where)


def test_every_room_has_a_floor() -> None:
    rooms = {room(module) for module in FOUND}
    assert rooms == set.union(*FLOORS)
    assert sum(map(len, FLOORS)) == len(rooms)


def test_imports_go_down() -> None:
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    wrong = [
        f"{module} imports {other}"
        for module, (_, tree) in FOUND.items()
        for other, _ in imports(tree)
        if room(other) != room(module) and floor[room(other)] >= floor[room(module)]
    ]
    assert not wrong


def test_there_is_no_circle_in_a_room() -> None:
    """A package's `__init__` gathers; its modules import one another by their own names, in order."""
    uses = {module: {other for other, _ in imports(tree)} for module, (_, tree) in FOUND.items()}
    inside = {
        m: {o for o in others if room(o) == room(m) and (m, o) not in LATE}
        for m, others in uses.items()
    }
    try:
        graphlib.TopologicalSorter(inside).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_programs_and_training_know_no_part_and_no_member() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, (_, tree) in FOUND.items()
        for other, _ in imports(tree)
        if room(module) in KNOW_NONE and room(other) in PARTS_AND_MEMBERS
    ]
    assert not wrong


def test_the_judges_and_the_data_stand_alone() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, (_, tree) in FOUND.items()
        for other, _ in imports(tree)
        if room(module) in ALONE and room(other) != room(module)
    ]
    assert not wrong


def test_an_init_gathers_and_does_nothing() -> None:
    """A docstring, imports and `__all__`; the face also looks plots up, and passes have their table."""
    more = {"vaezoo": {"__version__", "__getattr__"}, "vaezoo.compiler.passes": {"PASSES", "Pass"}}
    for module, (path, tree) in FOUND.items():
        if path.name != "__init__.py":
            continue
        allowed = {"__all__"} | more.get(module, set())
        for node in tree.body:
            if isinstance(node, ast.If):
                assert ast.unparse(node.test) == "TYPE_CHECKING", module
            elif not isinstance(node, ast.Import | ast.ImportFrom):
                assert _defined(node) <= allowed, f"{module}: {ast.unparse(node)[:60]}"


def _defined(node: ast.stmt) -> set[str]:
    """The names that a statement defines; a docstring defines none."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return set()
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return {ast.unparse(node)}


def test_underscored_names_stay_in_their_room() -> None:
    """Neither imported nor, where the name belongs to one room alone, asked of an object."""
    everywhere = {
        **FOUND,
        **{str(p.relative_to(ROOT)): (p, ast.parse(p.read_text())) for p in _outside()},
    }
    homes = _homes()
    wrong = []
    for module, (path, tree) in everywhere.items():
        here = {
            room(module) if module in FOUND else path.parent.name,
            path.stem.removeprefix("test_"),
        }
        wrong += [
            f"{module} imports {o}.{n}"
            for o, n in imports(tree)
            if _is_private(n) and room(o) not in here
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and _is_private(node.attr):
                rooms = homes.get(node.attr, here)
                if not _is_self(node.value) and not here & rooms:
                    wrong.append(
                        f"{module}:{node.lineno} uses {ast.unparse(node)} of {sorted(rooms)}"
                    )
    assert not wrong


def _outside() -> Iterator[Path]:
    for folder in ("tests", "benchmarks", "examples", "notebooks"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def _is_private(name: str | None) -> bool:
    return (
        name is not None and name.startswith("_") and not name.endswith("_") and name not in FOREIGN
    )


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls", "ctx")


def _homes() -> dict[str, set[str]]:
    """The rooms that define an underscored name, as a function or as an attribute of their own."""
    homes: dict[str, set[str]] = {}
    for module, (_, tree) in FOUND.items():
        for node in ast.walk(tree):
            defined = node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and _is_self(node.value)
            ):
                defined = node.attr
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                defined = node.id
            if _is_private(defined):
                homes.setdefault(str(defined), set()).add(room(module))
    return homes


def test_functions_are_short() -> None:
    long = {
        name: lines for name, lines in functions() if lines > LINES and name not in MANY_ARGUMENTS
    }
    assert not long, "a step of it can be a function; one of many arguments is for MANY_ARGUMENTS"
    assert dict(functions()).keys() >= MANY_ARGUMENTS


def test_files_are_short() -> None:
    """Half of them have no more than about 110 lines, and none has more than 250."""
    lines = {module: len(path.read_text().splitlines()) for module, (path, _) in FOUND.items()}
    long = {module: n for module, n in lines.items() if n > FILES}
    assert not long, "a part of it can be a file of its own in the same folder"
    assert sorted(lines.values())[len(lines) // 2] <= 110


def test_the_house_has_few_rooms() -> None:
    rooms = [path for path in HOUSE.iterdir() if (path / "__init__.py").exists()]
    modules = list(HOUSE.glob("*.py"))
    assert len(rooms) <= ROOMS, "a room more needs a decision, and a line in CONTRIBUTING's layout"
    assert len(modules) <= MODULES, "a module goes into a room"


@pytest.mark.parametrize("name", LISTING)
def test_a_room_lists_its_files(name: str) -> None:
    """In its `__init__`, by a docstring or, as members, by what is imported from them."""
    text = (HOUSE / name / "__init__.py").read_text()
    files = {path.stem for path in (HOUSE / name).glob("*.py")} - {"__init__"}
    assert not {file for file in files if not re.search(rf"\b{file}\b", text)}


@pytest.mark.parametrize("module", FOUND)
def test_a_module_says_what_it_is_for(module: str) -> None:
    """In a sentence, and what it offers in `__all__`, each name of which it has."""
    path, tree = FOUND[module]
    assert (ast.get_docstring(tree) or "").splitlines()[:1], "no docstring"
    if path.name == "__main__.py" or not path.read_text().strip():
        return
    defined = set().union(*map(_defined, (n for n in tree.body if not isinstance(n, ast.If))))
    imported = {
        a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names
    }
    assert "__all__" in defined or module in ("vaezoo.compiler", "vaezoo.compiler.passes")
    listed = next(
        (
            ast.literal_eval(n.value)
            for n in tree.body
            if isinstance(n, ast.Assign) and "__all__" in _defined(n)
        ),
        [],
    )
    assert set(listed) <= defined | imported


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("Arguments:", "Args:"),
        ("; got ", ", got "),
        ("optimiser", "optimizer"),
        ("normalize ", "normalise"),
    ],
)
def test_one_dialect(wrong: str, right: str) -> None:
    """Of several spellings one; names of other libraries (`normalize=…`) are code, not words."""
    texts = {m: "\n".join(_strings(tree)) for m, (_, tree) in FOUND.items()}
    assert not [m for m, text in texts.items() if wrong in text], f"say {right!r}"


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
