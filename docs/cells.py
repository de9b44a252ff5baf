"""Writes docs/cells.md, the page of all cells, from the package and the benchmarks: `python -m docs.cells`."""

import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

import jaxrnn
from docs import choosing
from jaxrnn.cells import CONSTRUCTORS, needed

ABOUT = """This page is generated from the package by `python -m docs.cells`. `jaxrnn.unroll` runs each cell over a
sequence, and `jaxrnn.step` one step at a time. The docstring of a cell has all its equations and options. The ways to
run are the values of `method` besides `"auto"`."""
PAGE = Path(__file__).with_name("cells.md")
FAMILIES = {
    "Dense": "The recurrent kernel is a matrix, and its product with the state is taken in every step. A fused engine "
    "runs the loop and its gradient.",
    "Elementwise": "The gates or the new state see the old state through a vector, each feature its own past alone.",
    "Step by step": "A step takes more than one product, a convolution, a clock, or the time since the step "
    "before. These run in the plain loop.",
    "Linear": "`h = a h + b` in each feature, where `a` and `b` come from the input. The recurrence runs step by step, "
    "in parallel over time, or in chunks.",
    "Linear, with a matrix for a state": "The state holds values by key. It runs step by step, or in chunks of matrix "
    "products.",
}
NAME = r"(?:(?:van der|von|Kimi) )?[A-Z][\w-]+"
SOURCE = re.compile(rf'{NAME}(?:(?:, | & ){NAME})*(?: et al\.)? \d{{4}}, "[^"]+"')


class Entry(NamedTuple):
    """One cell of the page."""

    name: str
    family: str
    about: str
    source: str
    methods: tuple[str, ...]


def registry() -> list[Entry]:
    """Every cell of the package. This function alone knows how they are found."""
    sizes = {"features": 8, "projection": 4, "kernel_size": (3, 3)}
    found = []
    for name, make in CONSTRUCTORS.items():
        cell = make(*(sizes[it] for it in needed(make)))
        found.append(Entry(name, _family(cell), *_described(make), jaxrnn.methods(cell)))
    return found


def page() -> str:
    """The page in Markdown."""
    entries = registry()
    parts = ["# All cells", textwrap.fill(ABOUT, 120), *filter(None, [choosing.guide()])]
    for family, about in FAMILIES.items():
        members = [it for it in entries if it.family == family]
        lines = [f"| `jaxrnn.{it.name}` | {it.about} | {it.source} |" for it in members]
        head = "| cell | what it does | source |\n|---|---|---|"
        ways = " or ".join(dict.fromkeys(", ".join(f'`"{way}"`' for way in it.methods) for it in members))
        about = f"{about} Ways to run: {ways}."
        parts += [f"## {family}", textwrap.fill(about, 120), "\n".join([head, *lines])]
    return "\n\n".join(parts) + "\n"


def _family(cell: jaxrnn.Cell) -> str:
    if cell.scan is None:
        return "Step by step"
    _, *families = FAMILIES
    recurrent = jax.eval_shape(lambda key: cell.init(key, 8), jax.random.key(0)).get("recurrent_kernel")
    if recurrent is not None and recurrent.ndim == 2:
        return families[0]
    return {"linear_diagonal": families[2], "linear_matrix": families[3]}.get(cell.structure, "Dense")


def _described(make: Callable[..., object]) -> tuple[str, str]:
    """The first paragraph of a docstring, and the first source that it names."""
    text = " ".join((inspect.getdoc(make) or "").partition("Args:")[0].split())
    first = " ".join((inspect.getdoc(make) or "").partition("\n\n")[0].split())
    source = SOURCE.search(text)
    if source is None:
        raise ValueError(f'the docstring of {make.__name__} names no source, as in: Elman 1990, "Finding structure"')
    return first.replace(f" ({source[0]})", "").replace("|", "\\|"), source[0]


def main() -> int:
    new = page()
    current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == new
    if not current:
        PAGE.write_text(new, encoding="utf-8")
    print(f"{PAGE.name}: {'already current' if current else 'rewritten'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
