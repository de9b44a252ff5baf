"""Which cell? Every cell of the package: how fast it trains beside the same cell of other packages, and how well it
learns with as many parameters as every other.

Time is that of a layer's value with its gradients in parameters and inputs, beside the layers of torchrecurrent and
memax, in turns. For quality each cell stands in one small model, which learns a text, parity and associative recall,
with three seeds. Whatever is finished is a line in `catalogue.jsonl` beside the result: the same command goes on where
it was interrupted, and with new cells measures these alone. `--parts quality --cells lstm gru` restricts it.
"""

import argparse

import numpy as np
from tqdm import tqdm

from benchmarks.catalogue import quality, speed
from benchmarks.catalogue.plot import draw
from benchmarks.catalogue.registry import LeftOut, reason
from benchmarks.catalogue.tables import COLUMNS, show
from benchmarks.catalogue_peers import installed
from benchmarks.harness import Question
from benchmarks.lines import Lines
from benchmarks.peers import Field
from benchmarks.results import Row, pick
from jaxrnn.cells import CONSTRUCTORS

PARTS = ("time", "quality")


def extend(options: argparse.ArgumentParser) -> None:
    """Adds what this question alone asks; its seed does not change from run to run, so that it can go on."""
    options.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), help="measure these (default: both)")
    options.add_argument("--again", action="store_true", help="also measure what is in catalogue.jsonl")
    options.add_argument("--sort", choices=COLUMNS, default="characters", help="the order of the printed table")
    options.set_defaults(seed=0, repeats=None)


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    """Measures what is not among the lines, then returns the rows of all that are."""
    field.skipped.clear()  # other peers are asked
    lines = Lines(args.out / "catalogue.jsonl")
    size = quality.QUICK if args.quick else quality.USUAL
    setting = quality.setting(size, args.seed)
    modules = installed(field.skipped)
    try:
        if "quality" in args.parts:
            known = set() if args.again else {it["cell"] for it in pick(lines.records, what="quality", setting=setting)}
            left = [name for name in args.cells if name not in known and not reason(name)]
            data = quality.prepared(size, args.seed) if left else None
            for name in tqdm(left, unit="cell", desc="quality"):
                try:
                    lines.add(quality.learned(name, size, data, args.seed))
                except Exception as error:  # one cell does not end the run of all others
                    why = f"failed with {type(error).__name__}: {str(error).partition(chr(10))[0]}"
                    why = str(error) if isinstance(error, LeftOut) else why
                    lines.add({"cell": name, "what": "quality", "setting": setting, "why": why})
        if "time" in args.parts:
            shape = speed.TINY if args.quick else speed.SHAPE
            known = set() if args.again else {it["cell"] for it in pick(lines.records, setting=speed.setting(shape))}
            left = [name for name in args.cells if name not in known]
            for rows in speed.timed(args, tqdm(left, unit="cell", desc="time"), shape, modules):
                for row in rows:
                    lines.add(row)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here")
    latest = {(it["cell"], it["what"], it.get("contender", "quality")): it for it in lines.records}
    field.skipped |= {
        f"{it.get('contender', 'quality')} of {it['cell']}": it["why"] for it in latest.values() if "why" in it
    }
    field.skipped |= {f"quality of {name}": why for name in args.cells if (why := reason(name))}
    return [row for name in CONSTRUCTORS for it in latest.values() if it["cell"] == name for row in rows_of(it)]


def rows_of(record: Row) -> list[Row]:
    """The rows of a line: one for each task of what was trained, none of what failed."""
    if "why" in record:
        return []
    if record["what"] != "quality":
        return [record]
    rest = {name: value for name, value in record.items() if name not in quality.TASKS}
    found = {task: record[task] for task in quality.TASKS}
    return [rest | {"what": task, "median": float(np.median(it)), "samples": it} for task, it in found.items()]


QUESTION = Question("catalogue", __doc__, measure, show, draw, timed=False, cells=tuple(CONSTRUCTORS), extend=extend)
