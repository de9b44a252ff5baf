"""Writes the figures in README.md and benchmarks/README.md from the committed results: `python -m benchmarks.report`.

Each folder under `benchmarks/results/` is one run of `python -m benchmarks --out benchmarks/results/<name>`.
"""

import argparse
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from benchmarks import (
    accelerator,
    against_peers,
    catalogue,
    character_speed,
    characters,
    compile_time,
    cpu_ideas,
    half_precision,
    linear,
    local_attention,
    long_sequences,
    memory,
    networks,
    own_cell,
    packages,
    plots,
    ponder,
    results,
    scaling,
    serving,
    sharding,
    shares,
    tasks,
    vmap_cost,
)
from benchmarks.environment import machine
from benchmarks.harness import told
from benchmarks.problems import CELLS, SHAPES, TITLES
from benchmarks.results import LEGEND, MEAN, Result, ratio, unique

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE, README = ROOT / "benchmarks" / "README.md", ROOT / "README.md"
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
    cpu_ideas,
    sharding,
    linear,
    packages,
    local_attention,
    long_sequences,
    characters,
    character_speed,
    serving,
    ponder,
    tasks,
    catalogue,
    accelerator,
)
SCRIPTS = {module.QUESTION.name: module for module in MODULES}
PLOTTED = {  # without ratios, the plot is the answer
    "characters": "How well each cell reads a text",
    "sharding": "What devices exchange, and how efficient pods would be",
    "long_sequences": "Memory and time as a sequence grows",
    "serving": "Characters a second by batch, of a streaming step and of the same one exported",
    "ponder": "How often adaptive computation runs a cell on easier and harder inputs",
    "tasks": "How well each cell learns tasks with published figures",
    "catalogue": "How well each cell reads a text, and how fast a layer of it trains",
    "accelerator": "Time of each layer on an accelerator",
}
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
    ("forward, time", cpu_ideas, ("forward",)),
    ("training, time", cpu_ideas, ("training",)),
    ("a streaming step, time", serving, ()),
)


def image(path: Path) -> str:
    """The address of a committed image, for a README that is also shown outside the repository."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["readme"]
    return urls["images"] + path.relative_to(ROOT).as_posix()


def summary(folder: Path = RESULTS) -> str:
    """README's part in Markdown: shapes, times and plot of the latest run that has every cell beside its peers."""
    files = sorted(folder.glob("*/against_peers.json"))
    complete = [path for path in files if unique(results.load(path)["rows"], "cell") == list(CELLS)]
    if not complete:
        return ""
    path = complete[-1]
    result = results.load(path)
    shown = unique(result["rows"], "shape")
    shapes = [[name, *map(str, SHAPES[name])] for name in shown if name in SHAPES]
    return "\n\n".join(
        [
            _markdown(["shape", "batch", "steps", "input features", "hidden features"], shapes),
            f"Measured on {machine(result['environment'])}, {result['environment']['date'][:10]}. {LEGEND}",
            _speed(result),
            f"![Time of each layer in each library]({image(path.with_suffix('.png'))})",
        ]
    )


def section(folder: Path = RESULTS) -> str:
    """The page in Markdown: for each run its figures as ratios, its plot, and all its tables folded away."""
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
    for name, what in PLOTTED.items():
        if name in found:
            blocks.append(f"![{what}]({_link(folder / name)}.png)")
    shown = "\n\n\n".join(told(SCRIPTS[name].QUESTION, result) for name, result in found.items())
    return "\n\n".join([*blocks, f"<details><summary>All figures</summary>\n\n```text\n{shown}\n```\n\n</details>"])


def _link(path: Path) -> str:
    return Path(os.path.relpath(path, PAGE.parent)).as_posix()


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
    options.add_argument("--page", type=Path, default=PAGE, help="gets all figures (default: benchmarks/README.md)")
    options.add_argument("--readme", type=Path, default=README, help="gets one table and plot (default: README.md)")
    options.add_argument("--redraw", action="store_true", help="draw all plots again from the JSON files")
    args = options.parse_args(argv)
    changes = []
    for file, written in ((args.page, section(args.results)), (args.readme, summary(args.results))):
        try:
            text = file.read_text()
            changes.append((file, text, rewrite(text, written)))
        except OSError as error:
            options.error(f"{file} cannot be read: {error.strerror}")
        except ValueError as error:
            options.error(f"{file}: {error}")
    if args.redraw:
        for path in sorted(args.results.glob("*/*.json")):
            result = results.load(path)
            plots.save(SCRIPTS[result["question"]].QUESTION.draw(result), result, path.with_suffix(".png"))
    for file, text, new in changes:
        if new != text:
            file.write_text(new)
        print(f"{file}: {'rewritten' if new != text else 'already current'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
