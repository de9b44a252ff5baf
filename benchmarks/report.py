"""Writes README's benchmark section from the committed results: `python -m benchmarks.report`.

Each folder under `benchmarks/results/` is one run of `python -m benchmarks --out benchmarks/results/<name>`.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from benchmarks import (
    against_peers,
    character_speed,
    characters,
    compile_time,
    half_precision,
    linear,
    memory,
    networks,
    own_cell,
    packages,
    plots,
    results,
    scaling,
    shares,
    vmap_cost,
)
from benchmarks.environment import machine
from benchmarks.harness import told
from benchmarks.problems import TITLES
from benchmarks.results import LEGEND, MEAN, Result, ratio, unique

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
MODULES = (
    against_peers,
    half_precision,
    scaling,
    memory,
    compile_time,
    vmap_cost,
    networks,
    own_cell,
    shares,
    linear,
    packages,
    characters,
    character_speed,
)
SCRIPTS = {module.QUESTION.name: module for module in MODULES}
OTHERS: tuple[tuple[str, ModuleType, tuple[str, ...]], ...] = (
    ("forward in bfloat16, time", half_precision, ("forward",)),
    ("training in bfloat16, time", half_precision, ("training",)),
    ("training, temporary memory", memory, ()),
    ("training, time to compile", compile_time, ("training",)),
    ("training, time", vmap_cost, ("time",)),
    ("training, temporary memory", vmap_cost, ("temporaries",)),
    ("deep networks, training, time", networks, ()),
    ("forward, time", own_cell, ("forward",)),
    ("training, time", own_cell, ("training",)),
    ("forward, share of the time", shares, ()),
)


def section(folder: Path = RESULTS) -> str:
    """The section in Markdown: for each run its figures as ratios, its plot, and all its tables folded away."""
    runs = sorted({path.parent for path in folder.glob("*/*.json")})
    return "\n\n".join(_run(run) for run in runs)


def rewrite(text: str, section: str) -> str:
    """`text` with `section` between the two markers, in place of what stood there.

    Raises:
      ValueError: the markers are not there, once each and in order.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in tail:
        raise ValueError(f"the text has no single {BEGIN} followed by a single {END}; put each on a line of its own")
    return f"{head}{BEGIN}\n{section}\n{END}{tail}"


def _run(folder: Path) -> str:
    found = {name: results.load(path) for name in SCRIPTS if (path := folder / f"{name}.json").exists()}
    first = next(iter(found.values()))["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    blocks = [f"**{machine(first)}**, {first['date'][:10]}, {first['allocator']} ({versions})."]
    if speed := found.get("against_peers"):
        blocks += [_speed(speed), f"![Time of each layer in each library]({_link(folder / 'against_peers.png')})"]
    blocks += [table for table in [_others(found)] if table]
    if len(blocks) > 1:
        blocks.append(LEGEND)
    if "characters" in found:
        blocks.append(f"![How well each cell reads a text]({_link(folder / 'characters.png')})")
    shown = "\n\n\n".join(told(SCRIPTS[name].QUESTION, result) for name, result in found.items())
    return "\n\n".join([*blocks, f"<details><summary>All figures</summary>\n\n```text\n{shown}\n```\n\n</details>"])


def _link(path: Path) -> str:
    return Path(os.path.relpath(path, ROOT)).as_posix()


def _speed(result: Result) -> str:
    """Our time over the best JAX peer's by shape, and the means over shapes of the other ratios."""
    shapes = unique(result["rows"], "shape")
    lines = []
    for cell in unique(result["rows"], "cell"):
        for what in against_peers.WHATS:
            best, torch, products = against_peers.ratios(result, cell, what).values()
            at = [best.get(shape) for shape in [*shapes, MEAN]]
            lines.append([f"{TITLES[cell]}, {what}", *map(ratio, [*at, torch.get(MEAN), products.get(MEAN)])])
    return _markdown(["time / best JAX peer's", *shapes, MEAN, "/ PyTorch", "/ products alone"], lines)


def _others(found: dict[str, Result]) -> str:
    """What other scripts measured: geometric means over shapes, a column a cell."""
    lines: dict[str, dict[str, str]] = {}
    for title, module, what in OTHERS:
        result = found.get(module.QUESTION.name, {"rows": []})
        for cell in unique(result["rows"], "cell"):
            for name, at in module.ratios(result, cell, *what).items():
                if at:
                    lines.setdefault(f"{title}: {name}", {})[cell] = ratio(at[MEAN])
    cells = [cell for cell in TITLES if any(cell in line for line in lines.values())]
    rows = [[name, *(line.get(cell, "–") for cell in cells)] for name, line in lines.items()]
    return _markdown(["geometric means over shapes", *(TITLES[cell] for cell in cells)], rows) if rows else ""


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])


def main(argv: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--results", type=Path, default=RESULTS, help="folder of runs (default: benchmarks/results)")
    options.add_argument("--readme", type=Path, default=ROOT / "README.md", help="file to rewrite (default: README.md)")
    options.add_argument("--redraw", action="store_true", help="draw all plots again from the JSON files")
    args = options.parse_args(argv)
    try:
        text = args.readme.read_text()
        new = rewrite(text, section(args.results))
    except OSError as error:
        options.error(f"{args.readme} cannot be read: {error.strerror}")
    except ValueError as error:
        options.error(f"{args.readme}: {error}")
    if args.redraw:
        for path in sorted(args.results.glob("*/*.json")):
            result = results.load(path)
            plots.save(SCRIPTS[result["question"]].QUESTION.draw(result), result, path.with_suffix(".png"))
    if new != text:
        args.readme.write_text(new)
    print(f"{args.readme.name}: {'rewritten' if new != text else 'already current'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
