"""Imports only go down the floors, never sideways between cells; frameworks stay on the top floor."""

import ast
from pathlib import Path

import pytest

import jaxrnn

PACKAGE = Path(jaxrnn.__file__).parent
FLOORS = {
    "types": 0,
    "carries": 0,
    "checks": 0,
    "trees": 0,
    "options": 0,
    "records": 0,
    "made": 0,
    "precision": 0,
    "sharding": 0,
    "sizes": 0,
    "allocator": 0,
    "initializers": 0,
    "cell_options": 0,
    "roles": 0,
    "sharding_of": 0,
    "shapes": 0,
    "splits": 0,
    "step_keys": 0,
    "recurrence": 1,
    "cells": 2,
    "transforms": 2,
    "driver": 3,
    "unroll": 3,
    "fold": 3,
    "last": 3,
    "initial_carry": 3,
    "layers": 4,
    "decode": 4,
    "diagnose": 4,
    "tasks": 4,
}
FACES = 5  # whatever else there is: Flax modules, the command line, its package
ABOVE_ALL = 6  # `jaxrnn/__init__.py`, which gathers the names of every floor
FRAMEWORKS = {"filelock", "flax", "haiku", "keras", "matplotlib", "optax", "torch", "tqdm"}
EXTRA = {"filelock", "matplotlib", "tqdm"}  # installed by the extra `cli` alone


def floor(module: str) -> int:
    """Of a dotted name within the package: `cells.lstm` is on 2."""
    return FLOORS.get(module.split(".")[0], FACES) if module else ABOVE_ALL


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    """Whether the package has a module of this name, given without `jaxrnn.`."""
    at = PACKAGE.joinpath(*name.split("."))
    return at.is_dir() or at.with_suffix(".py").exists()


def imported(source: str) -> list[str]:
    """Dotted names of all that a source imports; `from jaxrnn import checks` counts as the module `jaxrnn.checks`."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports within the package are absolute"
            longer = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if is_module(name.removeprefix("jaxrnn.")) else node.module for name in longer]
    return names


def imported_at_once(source: str) -> list[str]:
    """The names that a source imports before any of its functions is called."""
    outside = [node for node in ast.parse(source).body if not isinstance(node, ast.FunctionDef)]
    return imported("\n".join(map(ast.unparse, outside)))


def violations(module: str, source: str) -> list[str]:
    """What `module` must not import, in words."""
    found = []
    for name in imported(source):
        top, _, inner = name.partition(".")
        if top == "matplotlib" and module == "diagnose.plot" and name not in imported_at_once(source):
            continue  # for whoever asks for a figure; the function says in one line how to install it
        if top in FRAMEWORKS and (floor(module) < FACES or module.startswith("interop")):
            found.append(f"{module} imports {name}, a framework")
        if top in EXTRA and not module.startswith("cli."):
            found.append(f"{module} imports {name}, which is there with the extra cli alone")
        if top != "jaxrnn":
            continue
        if floor(inner) > floor(module):
            found.append(f"{module} imports {name}, from floor {floor(module)} up to {floor(inner)}")
        if floor(inner) == floor(module) == FLOORS["cells"] and module not in (inner, "cells"):  # the list of all
            found.append(f"{module} imports {name}, sideways")
    return found


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    assert violations(module, MODULES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", FLOORS)
def test_every_floor_is_there(name):
    assert is_module(name)


@pytest.mark.parametrize(
    ("module", "source", "count"),
    [
        ("cells.lstm", "from jaxrnn.recurrence.pointwise import pointwise_cell", 0),
        ("cells.lstm", "from jaxrnn import checks, initializers", 0),
        ("cells.lstm", "from jaxrnn.cells.gru import gru", 1),
        ("cells.lstm", "from jaxrnn.cells import gru", 1),
        ("cells.lstm", "from jaxrnn.unroll import step", 1),
        ("recurrence.loop", "def late():\n    from jaxrnn.cells.lstm import lstm", 1),
        ("recurrence.loop", "import jaxrnn", 1),
        ("recurrence.loop", "from jaxrnn import lstm", 1),
        ("layers.rnn", "import flax.linen", 1),
        ("layers.rnn", "from jaxrnn.layers.stack import stack", 0),
        ("linen", "from flax import linen\nfrom jaxrnn.layers.rnn import rnn", 0),
        ("diagnose.plot", "def plot():\n    from matplotlib.figure import Figure", 0),
        ("diagnose.plot", "from matplotlib.figure import Figure", 2),
        ("diagnose.plot", "def plot():\n    from tqdm import tqdm", 2),
        ("diagnose.report", "def page():\n    import matplotlib", 2),
        ("train", "from tqdm import tqdm", 1),
        ("cli.report", "from tqdm import tqdm", 0),
        ("interop.flax", "def late():\n    import flax", 1),
        ("", "from jaxrnn.cells.lstm import lstm", 0),
        ("cells", "from jaxrnn.cells.lstm import lstm", 0),
        ("cells", "from jaxrnn.layers.rnn import rnn", 1),
    ],
)
def test_the_rule_itself(module, source, count):
    assert len(violations(module, source)) == count
