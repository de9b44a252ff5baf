"""What every script shares: its options, and the way from a measurement to a table, a JSON file and a plot."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from tqdm import tqdm

import jaxrnn
from benchmarks import plots, results
from benchmarks.environment import Bystanders, environment, machine
from benchmarks.peers import PEERS, Contender, Field
from benchmarks.problems import CELLS, QUICK_SHAPES, SHAPES, TITLES, Case, Shape, make_case, shape_of
from benchmarks.results import Ratios, Result, Row
from benchmarks.timing import round_robin, summary


class Question(NamedTuple):
    """A script: what it asks, and how it is answered.

    Attributes:
      name: of the script and of its files.
      about: its docstring.
      measure: `(args, field) -> rows`, each a dict of plain values.
      show: `result -> str`, for the terminal.
      draw: `result -> Figure`.
      timed: whether other programs on the machine blur the figures.
      cells: the choices of `--cells`.
      shapes: the default of `--shapes`.
      extend: adds options of this script alone.
    """

    name: str
    about: str | None
    measure: Callable[[argparse.Namespace, Field], list[Row]]
    show: Callable[[Result], str]
    draw: Callable[[Result], Figure]
    timed: bool = True
    cells: Sequence[str] = CELLS
    shapes: Mapping[str, Shape] = SHAPES
    extend: Callable[[argparse.ArgumentParser], None] = lambda options: None


def parser(
    about: str | None, cells: Sequence[str] = CELLS, shapes: Mapping[str, Shape] = SHAPES
) -> argparse.ArgumentParser:
    """The options that all scripts take."""
    options = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cells", nargs="+", choices=cells, default=list(cells))
    options.add_argument("--shapes", nargs="+", metavar="SHAPE", help=f"{', '.join(shapes)}, or B,T,D,H in numbers")
    options.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    options.add_argument("--repeats", type=int, help="rounds of timing (default: 20; on accelerators 7)")
    options.add_argument("--seed", type=int, help="of the random data (default: a fresh one, kept in the result)")
    options.add_argument("--out", type=Path, default=Path("run/benchmarks"), help="folder (default: %(default)s)")
    options.add_argument("--tuned-allocator", action="store_true", help="call jaxrnn.tune_cpu_allocator() first")
    options.add_argument("--quick", action="store_true", help="tiny shapes and two rounds: does everything run?")
    return options


def parse(
    options: argparse.ArgumentParser, argv: Sequence[str] | None = None, shapes: Mapping[str, Shape] = SHAPES
) -> argparse.Namespace:
    """The options, checked; what is wrong with them ends the program with one line and status 2."""
    args = options.parse_args(argv)
    args.shapes = args.shapes or list(QUICK_SHAPES if args.quick else shapes)
    args.repeats = args.repeats if args.repeats is not None else 2 if args.quick else 20
    args.seed = args.seed if args.seed is not None else int.from_bytes(os.urandom(4), "little")
    try:
        for shape in args.shapes:
            shape_of(shape)
        if args.repeats < 1:
            raise ValueError(f"--repeats is {args.repeats}, expected 1 or more")
        if args.seed < 0:
            raise ValueError(f"--seed is {args.seed}, expected 0 or more")
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / ".writable").touch()
        (args.out / ".writable").unlink()
    except ValueError as error:
        options.error(str(error))
    except OSError as error:
        options.error(f"--out {args.out} cannot be written: {error.strerror}; name another folder")
    return args


def main(question: Question, argv: Sequence[str] | None = None) -> Result:
    """Measures, prints the table, and writes `<name>.json` and `<name>.png`."""
    options = parser(question.about, question.cells, question.shapes)
    question.extend(options)
    args = parse(options, argv, question.shapes)
    allocator = jaxrnn.tune_cpu_allocator() if args.tuned_allocator else "allocator left as it is"
    field = Field(args.peers)
    others = Bystanders()
    try:
        rows = question.measure(args, field)
    except KeyboardInterrupt:
        print(f"\n{question.name}: stopped, nothing was written", file=sys.stderr)
        raise SystemExit(130) from None
    env = environment(args) | {"allocator": allocator, "cores_busy_with_others": round(others.cores(), 2)}
    result: Result = {"question": question.name, "environment": env, "skipped": field.skipped, "rows": rows}
    print(f"\n{told(question, result)}\n")
    path = args.out / f"{question.name}.json"
    results.save(result, path)
    plots.save(question.draw(result), result, path.with_suffix(".png"))
    print(f"{path} and {path.with_suffix('.png').name} written")
    return result


def told(question: Question, result: Result) -> str:
    """A result as text: its tables, who did not take part, and a warning if others were at work while it was timed."""
    env = result["environment"]
    reasons: dict[str, list[str]] = {}
    for name, why in result["skipped"].items():
        reasons.setdefault(why, []).append(name)
    skipped = "\n".join(plots.wrapped(f"skipped {'; '.join(names)}: {why}", 120) for why, names in reasons.items())
    busy = env["cores_busy_with_others"]
    warning = f"warning: other programs kept {busy} cores busy meanwhile; repeat this on a quiet machine"
    heading = f"{question.name} on {machine(env)}, {env['date'][:10]}, {env['allocator']}"
    return "\n\n".join(
        filter(None, [heading, question.show(result), skipped, warning if question.timed and busy > 0.1 else ""])
    )


def cases(args: argparse.Namespace, dtype: str = "float32") -> Iterator[tuple[str, Case]]:
    """Each shape's name and case, for each cell, under a progress bar."""
    todo = [(cell, shape) for cell in args.cells for shape in args.shapes]
    with tqdm(todo, unit="case") as bar:
        for cell, shape in bar:
            bar.set_description(f"{cell} {shape}")
            yield shape, make_case(cell, shape_of(shape), args.seed, dtype)


def identity(case: Case, shape: str, **more: object) -> Row:
    """The columns that say what a row is about."""
    return {"cell": case.cell, "shape": shape, "sizes": list(case.shape), **more}


def timed(case: Case, shape: str, contenders: Sequence[Contender], whats: Sequence[str], repeats: int) -> Iterator[Row]:
    """The rows of contenders that take turns, for each of `whats`."""
    for what in whats:
        times = round_robin({c.name: c.call(what) for c in contenders}, repeats, what)
        for c in contenders:
            yield identity(case, shape, what=what, contender=c.name) | summary(times[c.name])


def compared(
    result: Result, whats: Sequence[str], ratios: Callable[[Result, str, str], Ratios], title: str = "{cell} {what}, ms"
) -> str:
    """A table for each cell and each of `whats`, with `ratios(result, cell, what)` below it."""
    return "\n\n".join(
        results.comparison(
            title.format(cell=TITLES[cell], what=what),
            results.pick(result["rows"], cell=cell, what=what),
            ratios(result, cell, what),
        )
        for cell in results.unique(result["rows"], "cell")
        for what in whats
    )
