"""How does time grow with T, B and H, and how much of what the machine can multiply does a layer use?

One size is swept at a time, from B 32, T 128, D = H = 128. GFLOP/s count matrix products alone. They are compared with
the same products alone, and with the machine's best rate for large square products.
"""

import argparse

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks import plots
from benchmarks.harness import Question, identity, main
from benchmarks.peers import Field, Program, jaxrnn, products
from benchmarks.problems import TITLES, Case, Shape, make_case
from benchmarks.results import Result, Row, digits, pick, table, unique
from benchmarks.timing import Call, round_robin, short, summary

BASE, QUICK_BASE = Shape(32, 128, 128, 128), Shape(2, 4, 4, 4)
SWEEPS = {"T": (16, 64, 256, 1024), "B": (1, 4, 16, 64, 256), "H": (32, 64, 128, 256, 512, 1024)}
QUICK_SWEEPS = {"T": (2,), "H": (4, 8)}
SQUARES = (1024, 2048, 4096)
ROUNDS = 10  # a curve needs less than a comparison
PASSES = {"forward": 1, "training": 3}  # in products of the forward pass
UNITS = {"us_per_step": "µs a step", "gflops": "GFLOP/s"}


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field.skipped.clear()  # no peer is asked
    base, sweeps = (QUICK_BASE, QUICK_SWEEPS) if args.quick else (BASE, SWEEPS)
    rows = [_peak(size, args.repeats) for size in ((256,) if args.quick else SQUARES)]
    todo = [(cell, axis, size) for cell in args.cells for axis, sizes in sweeps.items() for size in sizes]
    with tqdm(todo, unit="point") as bar:
        for cell, axis, size in bar:
            bar.set_description(f"{cell} {axis} {size}")
            shape = base._replace(**{axis: size})
            case = make_case(cell, shape._replace(D=size) if axis == "H" else shape, args.seed)
            rows += _point(case, axis, size, min(args.repeats, ROUNDS))
    return rows


def _point(case: Case, axis: str, size: int, rounds: int) -> list[Row]:
    rows = []
    contenders = [jaxrnn.contender(case), products.contender(case)]
    for what, passes in PASSES.items():
        times = round_robin({c.name: c.call(what) for c in contenders}, rounds, what)
        for name, samples in times.items():
            row = identity(case, f"{axis} {size}", axis=axis, size=size, what=what, contender=name) | summary(samples)
            per_step = short(1e3 * row["median"] / case.shape.T)
            rows.append(row | {"us_per_step": per_step, "gflops": _rate(passes * case.forward_flops, row["median"])})
    return rows


def _peak(size: int, rounds: int) -> Row:
    """The rate of a large square product."""
    a, b = jax.random.normal(jax.random.key(size), (2, size, size), jnp.float32)
    calls: dict[str, Call] = {"peak": Program(jax.jit(jnp.matmul), (a, b))}
    row = summary(round_robin(calls, min(rounds, 5))["peak"])
    return {"what": "peak", "size": size} | row | {"gflops": _rate(2.0 * size**3, row["median"])}


def _rate(flops: float, milliseconds: float) -> float:
    return short(flops / milliseconds / 1e6)


def peak(result: Result) -> float:
    """The best rate of a dense product that was measured, GFLOP/s."""
    return max(row["gflops"] for row in pick(result["rows"], what="peak"))


def show(result: Result) -> str:
    best, blocks = peak(result), []
    points = [row for row in result["rows"] if row["what"] != "peak"]
    for cell in unique(points, "cell"):
        lines = []
        for at in unique(pick(points, cell=cell), "shape"):
            line = [at]
            for what in PASSES:
                ours, alone = (
                    pick(points, cell=cell, shape=at, what=what, contender=name)[0]
                    for name in ("jaxrnn", products.NAME)
                )
                shares = (f"{100 * row['gflops'] / best:.0f} %" for row in (ours, alone))
                lower = 1e3 * ours["quartiles"][0] / ours["sizes"][1]
                line += [f"{digits(ours['us_per_step'])} ({digits(lower)})", digits(ours["gflops"]), *shares]
            lines.append(line)
        columns = ("GFLOP/s", "of peak", "(products)")
        blocks.append(
            table([TITLES[cell], *(name for what in PASSES for name in (f"{what} µs/step", *columns))], lines)
        )
    about = (
        f"Peak: {best:.0f} GFLOP/s, a large square product in float32. In brackets the lower quartile of the time, and "
        "the layer's products alone."
    )
    return "\n\n".join([*blocks, about])


def draw(result: Result) -> Figure:
    points = [row for row in result["rows"] if row["what"] != "peak"]
    axes_swept = unique(points, "axis")
    kinds = [(unit, what) for unit in UNITS for what in PASSES]
    figure, axes = plots.panels(len(axes_swept), [2.6] * len(kinds), sharey="row")
    for line, (unit, what) in zip(axes, kinds, strict=True):
        for ax, axis in zip(line, axes_swept, strict=True):
            swept = pick(points, axis=axis, what=what)
            for cell in unique(swept, "cell"):
                at, name = {"cell": cell}, TITLES[cell]
                plots.curve(ax, pick(swept, contender="jaxrnn", **at), unit, name, "-", marker="o", ms=4)
                plots.curve(ax, pick(swept, contender=products.NAME, **at), unit, f"{name}, {products.NAME}", ":")
            if unit == "gflops":
                ax.axhline(peak(result), color=plots.INK, linewidth=1, label="large square product")
            plots.title(ax, f"{axis} swept, {what}")
            plots.label(ax, x="H = D" if axis == "H" else axis)
        plots.label(line[0], y=UNITS[unit])
    plots.legend(figure)
    return figure


QUESTION = Question("scaling", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
