"""What do memory and time cost as a sequence grows?

First, the gradient of an LSTM over one sequence (H 128, D 8, a loss that is a sum over steps), by `unroll` with each of
its checkpoints and by `fold`: time, and XLA's own figure of what a program allocates besides its arguments and results.
Then the cost of one step for a dense cell, a linear one and one of matrices, which should not depend on T.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxrnn
from benchmarks import plots
from benchmarks.harness import Question, main
from benchmarks.peers import Field, Program
from benchmarks.results import Result, Row, digits, pick, table, unique
from benchmarks.timing import round_robin, short, summary

INPUTS, BATCH, WIDE = 8, 4, 16
ROUNDS = 5  # a pass over 100,000 steps takes seconds
UNROLL, ROOT, NESTED = "unroll", "fold, √T", "fold, recursive"
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    UNROLL: ("unroll", {}),
    "unroll, remat='carries'": ("unroll", {"remat": "carries"}),
    "unroll, remat='sqrt'": ("unroll", {"remat": "sqrt"}),
    "unroll, remat='recursive'": ("unroll", {"remat": "recursive"}),
    ROOT: ("fold", {"chunk": "sqrt"}),
    NESTED: ("fold", {"chunk": "recursive"}),
    "fold, truncated": ("fold", {"chunk": "sqrt", "truncate": True}),
}
AROUND = ("unroll, remat='sqrt'", ROOT)
GRADIENT, MOST, FLAT = "gradient", "gradient, compiled alone", "step"
CELLS = {
    "dense: LSTM": lambda width: jaxrnn.lstm(width),
    "linear: LRU": lambda width: jaxrnn.lru(width),
    "matrices: gated delta rule": lambda width: jaxrnn.gated_delta_net(width, heads=max(1, width // 32)),
}

SHADES = (*plots.SEQUENCE, plots.INK, "#7fb2d6", "#a7c957", "#e57f8f")
COLOURS = dict(zip([*WAYS, *CELLS], SHADES, strict=True))


class Sizes(NamedTuple):
    """How wide the cells are, and how long the sequences for gradients, for the largest one, and for single steps."""

    hidden: int = 128
    lengths: tuple[int, ...] = (1_000, 10_000, 100_000)
    largest: int = 1_000_000
    steps: tuple[int, ...] = (512, 2_048, 8_192, 32_768)


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field.skipped.clear()  # no peer is asked
    rounds = min(args.repeats, ROUNDS)
    sizes = Sizes(4, (6,), 8, (4,)) if args.quick else Sizes()
    rows = []
    for total in sizes.lengths:
        rows += _gradients(sizes.hidden, total, rounds, args.seed)
    rows.append(_largest(sizes.hidden, sizes.largest))
    for what in ("forward", "training"):
        rows += _steps(what, sizes, rounds, args.seed)
    return rows


def energy(ys: jax.Array) -> jax.Array:
    return jnp.sum(ys**2)


def gradient(cell: jaxrnn.Cell, way: str) -> Callable[..., Any]:
    """The gradient of the mean energy of a cell's outputs in its parameters."""
    verb, options = WAYS[way]

    def loss(params: Any, xs: jax.Array) -> jax.Array:
        if verb == "fold":
            total = jaxrnn.fold(cell, params, xs, energy, **options)[1]
        else:
            total = energy(jaxrnn.unroll(cell, params, xs, **options)[1])
        return total / xs.shape[0]

    return jax.jit(jax.grad(loss))


def _gradients(hidden: int, total: int, rounds: int, seed: int) -> list[Row]:
    cell, key = jaxrnn.lstm(hidden), jax.random.key(seed)
    params, xs = cell.init(key, INPUTS), jax.random.normal(key, (total, 1, INPUTS))
    programs = {way: gradient(cell, way).lower(params, xs).compile() for way in WAYS}
    times = round_robin(
        {way: Program(program, (params, xs)) for way, program in programs.items()}, rounds, f"T {total:,}"
    )
    rows = []
    for way, program in programs.items():
        size = _mebibytes(program.memory_analysis().temp_size_in_bytes)
        rows.append(_row("lstm", total, way, GRADIENT) | summary(times[way]) | {"mebibytes": size})
    return rows


def _largest(hidden: int, total: int) -> Row:
    """Compiles the gradient over very many steps: how much memory would it take?"""
    cell = jaxrnn.lstm(hidden)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), WIDE))
    xs = jax.ShapeDtypeStruct((total, 1, WIDE), jnp.float32)
    memory = gradient(cell, ROOT).lower(params, xs).compile().memory_analysis()
    held = memory.temp_size_in_bytes, memory.argument_size_in_bytes
    return _row("lstm", total, ROOT, MOST) | {"median": _mebibytes(sum(held)), "mebibytes": _mebibytes(held[0])}


def _steps(what: str, sizes: Sizes, rounds: int, seed: int) -> list[Row]:
    rows, width, lengths = [], sizes.hidden, sizes.steps
    for name, make in CELLS.items():
        cell, key = make(width), jax.random.key(seed)
        params = cell.init(key, width)

        def run(params: Any, xs: jax.Array, cell: jaxrnn.Cell = cell) -> jax.Array:
            return jaxrnn.unroll(cell, params, xs)[1]

        def loss(params: Any, xs: jax.Array, run: Callable[..., jax.Array] = run) -> jax.Array:
            return energy(run(params, xs))

        function = jax.jit(run if what == "forward" else jax.grad(loss, (0, 1)))
        inputs = {total: jax.random.normal(key, (total, BATCH, width)) for total in lengths}
        times = round_robin(
            {str(total): Program(function, (params, xs)) for total, xs in inputs.items()}, rounds, f"{name}, {what}"
        )
        for total in lengths:
            per_step = [1e3 * milliseconds / total for milliseconds in times[str(total)]]
            rows.append(_row(name, total, what, FLAT) | summary(per_step))
    return rows


def _row(cell: str, total: int, contender: str, what: str) -> Row:
    return {"cell": cell, "shape": f"T {total:,}", "T": total, "contender": contender, "what": what}


def _mebibytes(size: int) -> float:
    return short(size / 2**20)


def growth(result: Result) -> dict[tuple[str, str], float]:
    """For each cell and kind of run, the cost of a step at its dearest T over that at its cheapest."""
    rows = pick(result["rows"], what=FLAT)
    pairs = {(row["cell"], row["contender"]) for row in rows}
    costs = {pair: [row["median"] for row in pick(rows, cell=pair[0], contender=pair[1])] for pair in sorted(pairs)}
    return {pair: max(found) / min(found) for pair, found in costs.items()}


def show(result: Result) -> str:
    rows = pick(result["rows"], what=GRADIENT)
    lengths = unique(rows, "shape")
    plain = {row["shape"]: row for row in pick(rows, contender=UNROLL)}
    lines = []
    for way in unique(rows, "contender"):
        line = [way]
        for row in pick(rows, contender=way):
            base = plain[row["shape"]]
            ratio = f"{row['median'] / base['median']:.2f} ({row['quartiles'][0] / base['quartiles'][0]:.2f})"
            line += [digits(row["mebibytes"]), digits(row["median"]), ratio]
        lines.append(line)
    head = ["LSTM, one sequence"]
    for length in lengths:
        head += [f"{length}: MiB", "ms", "/ unroll"]
    largest = pick(result["rows"], what=MOST)[0]
    about = (
        f"{largest['shape']} with {WIDE} features: {digits(largest['mebibytes'])} MiB of temporaries, "
        f"{digits(largest['median'])} MiB with all arguments ({largest['contender']})."
    )
    flat = pick(result["rows"], what=FLAT)
    ratios = growth(result)
    steps = [
        [f"{cell}, {what}"]
        + [digits(row["median"]) for row in pick(flat, cell=cell, contender=what)]
        + [f"{ratios[cell, what]:.2f}"]
        for cell in unique(flat, "cell")
        for what in unique(flat, "contender")
    ]
    costs = table([f"µs a step, batch {BATCH}", *unique(flat, "shape"), "dearest / cheapest"], steps)
    return f"{table(head, lines)}\n\n{about}\n\n{costs}"


def draw(result: Result) -> Figure:
    figure, axes = plots.panels(2, [3.4, 3.0])
    rows = pick(result["rows"], what=GRADIENT)
    for ax, column, name in zip(axes[0], ("mebibytes", "median"), ("MiB of temporaries", "milliseconds"), strict=True):
        for way in unique(rows, "contender"):
            _curve(ax, pick(rows, contender=way), column, way)
        ax.set_yscale("log")
        plots.plain_numbers(ax.yaxis)
        plots.title(ax, f"Gradient of an LSTM, {name}")
        plots.label(ax, x="T", y=name)
    flat = pick(result["rows"], what=FLAT)
    for ax, what in zip(axes[1], unique(flat, "contender"), strict=True):
        for cell in unique(flat, "cell"):
            _curve(ax, pick(flat, cell=cell, contender=what), "median", cell)
        ax.set_ylim(bottom=0)
        plots.title(ax, f"Cost of a step, {what}")
        plots.label(ax, x="T", y=f"µs a step, batch {BATCH}")
    plots.legend(figure)
    return figure


def _curve(ax: Axes, rows: list[Row], column: str, name: str) -> None:
    steps, values = [row["T"] for row in rows], [row[column] for row in rows]
    # Open circles are seen around the full ones of a curve that lies on theirs.
    look = {"markersize": 9, "mfc": "none"} if name in AROUND else {"markersize": 4}
    line = "--" if name.startswith("unroll,") else "-"
    ax.plot(steps, values, f"o{line}", color=COLOURS[name], label=name, **look)
    ax.set_xscale("log")


QUESTION = Question("long_sequences", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
