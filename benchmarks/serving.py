"""How many characters a second does a streaming step read, and what does it cost that it was exported?

One step of the character model of `python -m jaxrnn`, with one layer of 256 features: as `python -m jaxrnn export`
stores it, for any batch and three platforms, beside `jaxrnn.step` compiled for the batch at hand. A call takes the
carry of the call before and a character for each row, and ends when carry and logits are there.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import export
from matplotlib.figure import Figure
from tqdm import tqdm

import jaxrnn
from benchmarks import plots
from benchmarks.harness import Question, main
from benchmarks.linear import OURS, agree
from benchmarks.peers import Field
from benchmarks.problems import TITLES
from benchmarks.results import Ratios, Result, Row, comparison, over, pick, table, unique, values
from benchmarks.timing import round_robin, short, summary
from jaxrnn.cli import text
from jaxrnn.cli.export import PLATFORMS, named, programs
from jaxrnn.cli.model import character_model
from jaxrnn.types import Carry, Layer, Params

EXPORTED = "exported"
WIDTH, BATCHES = 256, (1, 8, 64, 512)


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field.skipped.clear()  # no peer is asked
    width, batches, platforms = (8, (1, 2), ["cpu"]) if args.quick else (WIDTH, BATCHES, list(PLATFORMS))
    size, rng, rows = text.read(None).size, np.random.default_rng(args.seed), []
    for cell in tqdm(args.cells, unit="cell"):
        model = character_model(cell, 1, width, size)
        params = model.init(jax.random.key(args.seed % 2**31), None)
        stored = exported(model, params, platforms)
        for batch in batches:
            characters = rng.integers(size, size=batch, dtype=np.int32)
            carry = model.init_carry(params, (batch,))
            calls = {
                OURS: streaming(jax.jit(partial(jaxrnn.step, model)), params, carry, characters),
                EXPORTED: streaming(stored, named(params), jax.tree.leaves(carry), characters),
            }
            agree(f"{cell}, batch {batch}", {name: call() for name, call in calls.items()})
            times = round_robin(dict(calls), args.repeats, f"{cell}, batch {batch}")
            for name, samples in times.items():
                row = {"cell": cell, "shape": f"batch {batch}", "size": batch, "width": width, "contender": name}
                row |= summary(samples)
                rows.append(row | {"rate": short(1e3 * batch / row["median"])})
    return rows


def exported(model: Layer, params: Params, platforms: list[str]) -> Callable[..., Any]:
    """A step as it is read back from what the command stores."""
    return jax.jit(export.deserialize(bytearray(programs(model, params, platforms)["step"])).call)


def streaming(step: Callable[..., Any], params: Any, carry: Carry, characters: np.ndarray) -> Callable[[], jax.Array]:
    """A call that makes one more step and returns its logits."""

    def call() -> jax.Array:
        nonlocal carry
        carry, logits = jax.block_until_ready(step(params, carry, characters))
        return logits

    return call


def ratios(result: Result, cell: str) -> Ratios:
    rows = pick(result["rows"], cell=cell)
    return {f"{EXPORTED} / {OURS}": over(values(rows, contender=EXPORTED), values(rows, contender=OURS))}


def show(result: Result) -> str:
    blocks = []
    for cell in unique(result["rows"], "cell"):
        rows = pick(result["rows"], cell=cell)
        title = f"{TITLES[cell]}, {rows[0]['width']} features"
        rates = [[name, *(rate(row) for row in pick(rows, contender=name))] for name in unique(rows, "contender")]
        blocks.append(comparison(f"{title}, ms a step", rows, ratios(result, cell)))
        blocks.append(table([f"{title}, characters a second", *unique(rows, "shape")], rates))
    return "\n\n".join(blocks)


def rate(row: Row) -> str:
    """Characters a second at the median, and in brackets at the lower quartile of the time."""
    return f"{row['rate']:,.0f} ({1e3 * row['size'] / row['quartiles'][0]:,.0f})"


def draw(result: Result) -> Figure:
    cells = unique(result["rows"], "cell")
    figure, axes = plots.panels(len(cells), [2.6], sharey="row")
    for ax, cell in zip(axes[0], cells, strict=True):
        for name, line in ((OURS, "o-"), (EXPORTED, "s--")):
            plots.curve(ax, pick(result["rows"], cell=cell, contender=name), "rate", name, line, ms=4)
        plots.title(ax, f"{TITLES[cell]}, one step")
        plots.label(ax, x="batch")
    plots.label(axes[0, 0], y="characters a second")
    plots.legend(figure)
    return figure


QUESTION = Question("serving", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
