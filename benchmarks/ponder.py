"""Does adaptive computation spend more on harder inputs?

The parity of a vector of bits (Graves 2016): the first k of N features are 1 or −1 at random, the others 0, and the
question is whether the number of ones is odd; a larger k is harder. A small Elman network in `jaxrnn.act` learns it
with a cost for each run of the cell, and beside it the same network with a single run. The table has, for each k, the
mean cost on fresh vectors, and the share that is right, for each seed.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from tqdm import tqdm

import jaxrnn
from benchmarks import plots
from benchmarks.harness import Question, main
from benchmarks.peers import Field
from benchmarks.results import Result, Row, pick, table, unique
from jaxrnn.types import Layer, Params

SEEDS = 3
BATCH, RATE, COST = 256, 3e-3, 0.02
ADAPTIVE, SINGLE = "act", "one run"


class Size(NamedTuple):
    """How large the problem and the network are, and for how long it learns."""

    bits: int = 12
    width: int = 6
    runs: int = 10
    updates: int = 20_000


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field.skipped.clear()  # no peer is asked
    size = Size(3, 2, 2, 20) if args.quick else Size()
    rows = []
    for name, runs in ((ADAPTIVE, size.runs), (SINGLE, 1)):
        learned = learner(jaxrnn.stack(jaxrnn.act(jaxrnn.elman(size.width), runs), jaxrnn.dense(1)), size)
        found = [learned(args.seed + i) for i in tqdm(range(SEEDS), desc=name, unit="seed")]
        for k in range(size.bits):
            samples, right = ([float(seed[i][k]) for seed in found] for i in (0, 1))
            row = {"cell": "elman", "contender": name, "shape": f"{k + 1}", **size._asdict()}
            rows.append(row | {"samples": samples, "median": float(np.median(samples)), "right": right})
    return rows


def examples(bits: int, count: int, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Vectors `[count, bits]`, their number of bits k, and whether the number of ones is odd."""
    k_number, k_signs = jax.random.split(key)
    number = jax.random.randint(k_number, (count,), 1, bits + 1)
    signs = jax.random.rademacher(k_signs, (count, bits)).astype(jnp.float32)
    xs = jnp.where(jnp.arange(bits)[None] < number[:, None], signs, 0)
    return xs, number, (xs > 0).sum(-1) % 2 == 1


def learner(model: Layer, size: Size) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """`learned(seed) -> (runs, right)`, each `[bits]`: what a model does after its training, by the number of bits."""
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(RATE))

    def answered(params: Params, xs: jax.Array) -> tuple[jax.Array, jax.Array]:
        _, ys, aux = jaxrnn.unroll_with_aux(model, params, xs[None])
        return ys[0, ..., 0], aux["ponder"]

    def loss(params: Params, key: jax.Array) -> jax.Array:
        xs, _, odd = examples(size.bits, BATCH, key)
        logits, ponder = answered(params, xs)
        return optax.sigmoid_binary_cross_entropy(logits, odd.astype(logits.dtype)).mean() + COST * ponder

    def update(state: Any, key: jax.Array) -> Any:
        params, moments = state
        updates, moments = optimizer.update(jax.grad(loss)(params, key), moments)
        return (optax.apply_updates(params, updates), moments), None

    @jax.jit
    def learned(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        k_params, k_training, k_test = jax.random.split(jax.random.key(seed), 3)
        params = model.init(k_params, size.bits)
        (params, _), _ = jax.lax.scan(
            update, (params, optimizer.init(params)), jax.random.split(k_training, size.updates)
        )
        xs, number, odd = examples(size.bits, 400 * size.bits, k_test)
        logits, ponder = jax.vmap(partial(answered, params))(xs)
        of = jax.nn.one_hot(number - 1, size.bits)
        return tuple((of * a.astype(of.dtype)[:, None]).sum(0) / of.sum(0) for a in (ponder, (logits > 0) == odd))

    return lambda seed: tuple(np.asarray(a) for a in learned(jnp.uint32(seed)))


def rises(result: Result) -> list[float]:
    """For each seed, the mean runs on the harder half of the numbers of bits over those on the easier half."""
    runs = np.array([row["samples"] for row in pick(result["rows"], contender=ADAPTIVE)])
    half = len(runs) // 2
    return [float(ratio) for ratio in runs[len(runs) - half :].mean(0) / runs[:half].mean(0)]


def caption(result: Result) -> str:
    row = result["rows"][0]
    said = ", ".join(f"{ratio:.2f}" for ratio in rises(result))
    return (
        f"An Elman network of {row['width']} features, at most {row['runs']} runs per step, {row['updates']:,} updates "
        f"of {BATCH} vectors of {row['bits']} features, a cost of {COST} for each run, {SEEDS} seeds. Runs include the "
        "remainder that Graves's cost adds, so a single run counts as 2. Runs on the harder half of the numbers of "
        f"bits, over those on the easier half, for each seed: {said}."
    )


def show(result: Result) -> str:
    lines = []
    for shape in unique(result["rows"], "shape"):
        line = [shape]
        for row in pick(result["rows"], shape=shape):
            right = f"{100 * min(row['right']):.0f}–{100 * max(row['right']):.0f} %"
            runs = [f"{row['median']:.2f}", f"{min(row['samples']):.2f}–{max(row['samples']):.2f}"]
            line += [*runs, right] if row["contender"] == ADAPTIVE else [right]
        lines.append(line)
    head = ["bits", "runs, median", "over seeds", "right", "right with one run"]
    return f"{table(head, lines)}\n\n{plots.wrapped(caption(result), 110)}"


def draw(result: Result) -> Figure:
    figure, axes = plots.panels(2, [3.2])
    for name, colour in ((ADAPTIVE, plots.SEQUENCE[0]), (SINGLE, plots.SEQUENCE[1])):
        rows = pick(result["rows"], contender=name)
        bits = [int(row["shape"]) for row in rows]
        for ax, of, scale in ((axes[0, 0], "samples", 1), (axes[0, 1], "right", 100)):
            for i in range(SEEDS):
                values = [scale * row[of][i] for row in rows]
                ax.plot(bits, values, "o-", color=colour, markersize=3, linewidth=1, label=name)
    for ax, title, y in zip(
        axes[0], ("Runs of the cell", "Right"), ("runs + remainder, mean", "% of vectors"), strict=True
    ):
        plots.title(ax, title)
        plots.label(ax, x="bits of the vector", y=y)
    plots.legend(figure)
    return figure


QUESTION = Question("ponder", __doc__, measure, show, draw, timed=False)

if __name__ == "__main__":
    main(QUESTION)
