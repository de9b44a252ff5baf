"""Builds the site, which is the guide and the reference of all functions: `python -m docs.build [FOLDER]`.

A warning is an error, and so is a link that leads nowhere.
"""

import inspect
import re
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pdoc
from pdoc.render_helpers import format_signature, to_html

import jaxrnn
from docs import cells

HERE = Path(__file__).parent
MODULES = (
    "jaxrnn",
    r"!jaxrnn\..*",
    "jaxrnn.diagnose",
    "jaxrnn.initializers",
    "jaxrnn.interop",
    "jaxrnn.linen",
    "jaxrnn.nnx",
    "jaxrnn.tasks",
)
PLACES = {  # headings of the reference by where a name is defined
    "To run a model": ("jaxrnn.unroll", "jaxrnn.last", "jaxrnn.roles", "jaxrnn.allocator"),
    "To write sequences": ("jaxrnn.decode.",),
    "Layers": ("jaxrnn.layers.",),
    "Cells made of cells": ("jaxrnn.transforms.",),
    "Makers of cells, and recurrences": ("jaxrnn.recurrence.",),
    "Options that cells have in common": ("jaxrnn.cell_options",),
    "Records and errors": ("jaxrnn.types", "jaxrnn.checks"),
}
NAMED = {  # functions and dtypes that are defaults, by the names that users write
    id(value): f"{prefix}.{name}"
    for prefix, module in (("jaxrnn.initializers", jaxrnn.initializers), ("jax.nn", jax.nn), ("jnp", jnp))
    for name, value in vars(module).items()
    if callable(value) and (getattr(value, "__name__", "") == name or module is jaxrnn.initializers)
}
FILES = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["readme"]["files"]


def groups(module: pdoc.doc.Module) -> Iterator[tuple[str, list[pdoc.doc.Doc[Any]]]]:
    """The members of a module under headings; those of any other module than `jaxrnn` under one."""
    left = dict(module.members)
    if module.modulename != "jaxrnn":
        yield "Members", list(left.values())
        return
    families = {it.name: it.family for it in cells.registry()}

    def taken(of: Callable[[str], bool]) -> list[pdoc.doc.Doc[Any]]:
        return [left.pop(name) for name in list(left) if of(name)]

    def defined_in(*places: str) -> Callable[[str], bool]:
        return lambda name: getattr(inspect.unwrap(getattr(jaxrnn, name)), "__module__", "").startswith(places)

    carries = taken(lambda name: name.endswith("Carry"))
    running, *others = PLACES
    yield running, taken(defined_in(*PLACES[running]))
    for family in cells.FAMILIES:
        yield f"Cells: {family[0].lower()}{family[1:]}", taken(lambda name, family=family: families.get(name) == family)
    for heading in others:
        yield heading, taken(defined_in(*PLACES[heading]))
    yield "Carries", carries
    if left:
        yield "More", list(left.values())


class Named(str):
    """A default that is shown as it is."""

    __repr__ = str.__str__


def readable(signature: inspect.Signature) -> inspect.Signature:
    """`signature` with the names of functions and dtypes in the place of what Python prints for them."""

    def default(value: Any) -> Any:
        if value is inspect.Parameter.empty or not callable(value):
            return value
        return Named(NAMED.get(id(value), getattr(value, "__name__", value)))

    parameters = [it.replace(default=default(it.default)) for it in signature.parameters.values()]
    return signature.replace(parameters=parameters)


def page(source: Path, titles: dict[str, str]) -> str:
    """One page of the guide in HTML, with links to the other pages and to the reference."""
    text = source.read_text(encoding="utf-8")
    text = re.sub(r"\]\(\.\./([^)]+)\)", lambda link: f"]({FILES}{link[1]})", text)
    text = re.sub(r"\]\(README\.md", "](index.md", text)
    text = re.sub(r"\]\((\w+)\.md", r"](\1.html", text)

    def reference(code: re.Match[str]) -> str:
        first, second = code[2], code[3]
        if first not in jaxrnn.__all__:
            return code[0]
        place = f".html#{first}"
        if inspect.ismodule(getattr(jaxrnn, first)):
            place = f"/{first}.html#{second}" if second else f"/{first}.html"
        return f'<a href="../jaxrnn{place}">{code[0]}</a>'

    body = re.sub(r"<code>(jaxrnn\.(\w+)(?:\.(\w+))?[^<]*)</code>", reference, to_html(text))
    template = pdoc.render.env.get_template("page.html.jinja2")
    return template.render(title=titles[source.stem], titles=titles, here=source.stem, body=body)


def build(folder: Path) -> None:
    """Writes all pages."""
    jax.Array.__qualname__ = "Array"  # as users write it, for signatures
    for make in (getattr(jaxrnn, name) for name in jaxrnn.__all__):
        if hasattr(make, "__signature__"):  # which has all options; that of the function within has `**options`
            vars(make).pop("__wrapped__", None)
    # A function of jax's own, whose annotations are strings that mean something in jax's module alone.
    warnings.filterwarnings("ignore", r"Error parsing type annotation .* for jaxrnn\.initializers\.zeros")
    # An entry that one dictionary of options has of another is described there.
    warnings.filterwarnings("ignore", r"Cannot determine where jaxrnn\.\w+Options\.\w+ is taken from")
    pdoc.render.configure(docformat="google", show_source=False, template_directory=HERE / "templates")
    pdoc.render.env.globals["groups"] = groups
    pdoc.render.env.filters["format_signature"] = lambda given, colon: format_signature(readable(given), colon)
    pdoc.pdoc(*MODULES, output_directory=folder)
    order = re.findall(r"\]\((\w+)\.md\)", (HERE / "README.md").read_text(encoding="utf-8"))
    texts = {name: (HERE / f"{name}.md").read_text(encoding="utf-8") for name in ["README", *order]}
    titles = {name: text.partition("\n")[0].removeprefix("# ") for name, text in texts.items()}
    (folder / "guide").mkdir(exist_ok=True)
    for name in titles:
        (folder / "guide" / f"{name.replace('README', 'index')}.html").write_text(page(HERE / f"{name}.md", titles))


def broken(folder: Path) -> list[str]:
    """Links from page to page that lead nowhere, and public names without a place in the reference."""
    texts = {path: path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}
    marks = {path.resolve(): set(re.findall(r'\bid="([^"]+)"', text)) for path, text in texts.items()}
    reference = marks[(folder / "jaxrnn.html").resolve()] | {path.stem for path in folder.glob("jaxrnn/*.html")}
    found = [f"jaxrnn.{name} is not in the reference" for name in jaxrnn.__all__ if name not in reference]
    for path, text in texts.items():
        for link in re.findall(r'href="((?!https?:|data:|mailto:|\$)[^"]*)"', text):
            file, _, mark = link.partition("#")
            target = (path.parent / file).resolve() if file else path.resolve()
            if target not in marks or (mark and mark not in marks[target]):
                found.append(f"{path.relative_to(folder)}: {link}")
    return found


def main(folder: Path) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(folder)
    if wrong := broken(folder):
        print("\n".join(wrong), file=sys.stderr)
        return 1
    print(f"{folder / 'index.html'}: {len(list(folder.rglob('*.html')))} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "site")))
