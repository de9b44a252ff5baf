"""Which cell for a text: how fast does each train, and how well does it read afterwards?

The character model of `python -m jaxrnn` on its own text: one layer of each cell of equal width, linear recurrences in
residual blocks, without dropout, for the same number of updates, at the better of two learning rates. Quality is bits
per character of held-out text, beside which stands the best n-gram model; speed is characters a second in training.
"""

import argparse
import math
import time

import jax
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks import plots
from benchmarks.harness import Question, main
from benchmarks.peers import Field
from benchmarks.problems import CELLS
from benchmarks.results import Result, Row, pick, table, unique
from jaxrnn.tasks import model, text
from jaxrnn.tasks.ngram import witten_bell
from jaxrnn.train import start, train, updater

BATCH, WINDOW = 32, 64
RATES = (2e-3, 8e-3)
EXAMINED = 20_000  # characters of the held-out text
BITS, SPEED = "bits per character", "characters a second"
NGRAM = "n-grams"


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    del field  # a question about jaxrnn alone
    corpus = text.read(None)
    width, updates, rates = (8, 4, RATES[:1]) if args.quick else (128, 300, RATES)
    names = [name for name in model.CELLS if name in args.cells or name not in CELLS]
    names = names[:1] if args.quick else names
    rows = []
    for name in tqdm(names, unit="cell"):
        found = [trained(name, corpus, width, updates, rate, args.seed) for rate in rates]
        bits, rate = min((bits, rate) for (bits, _), rate in zip(found, rates, strict=True))
        speed = float(np.median([speed for _, speed in found]))
        structure = model.CELLS[name](width).structure
        about = {"cell": structure, "shape": f"{width}", "contender": name, "learning_rate": rate}
        rows += [about | {"what": BITS, "median": round(bits, 3)}, about | {"what": SPEED, "median": round(speed)}]
    best = min(witten_bell(corpus.ids, corpus.split, corpus.size))
    return [*rows, {"cell": NGRAM, "shape": f"{width}", "contender": NGRAM, "what": BITS, "median": round(best, 3)}]


def trained(name: str, corpus: text.Corpus, width: int, updates: int, rate: float, seed: int) -> tuple[float, float]:
    """Held-out bits per character after some updates, and characters a second; infinite bits if training diverged."""
    layer = model.character_model(name, 1, width, corpus.size, drops=False)
    optimizer = model.optimizer(rate, updates)
    init_key, train_key = jax.random.split(jax.random.key(seed))
    params = layer.init(init_key, corpus.size)
    update = updater(model.objective(layer, corpus.size), optimizer, train_key)
    window = text.windows(corpus.training, BATCH, WINDOW)
    first = start(params, layer.init_carry(params, (BATCH,)), optimizer)
    steps = train(update, first, window, range(updates))
    jax.block_until_ready(next(steps))  # compiles, which is not a matter of speed
    began = time.perf_counter()
    *_, (_, state, _) = steps
    jax.block_until_ready(state)
    speed = (updates - 1) * BATCH * WINDOW / (time.perf_counter() - began)
    bits = model.evaluator(layer, corpus.size)(state.params, corpus.held_out[: EXAMINED + 1])
    return bits if math.isfinite(bits) else math.inf, speed


def show(result: Result) -> str:
    bits, speeds = (pick(result["rows"], what=what) for what in (BITS, SPEED))
    speed = {row["contender"]: row["median"] for row in speeds}
    lines = []
    for row in sorted(bits, key=lambda row: row["median"]):
        name = row["contender"]
        lines.append([name, row["cell"], f"{row['median']:.3f}", f"{speed[name]:,}" if name in speed else "–"])
    return table(["cell", "structure", BITS, SPEED], lines)


def draw(result: Result) -> Figure:
    figure, axes = plots.panels(1, 1, width=10.0, height=9.0)
    ax = axes[0, 0]
    bits = {row["contender"]: row for row in pick(result["rows"], what=BITS)}
    best = bits.pop(NGRAM)["median"]
    for i, kind in enumerate(unique(bits.values(), "cell")):
        speeds = pick(result["rows"], what=SPEED, cell=kind)
        colour = plots.SEQUENCE[i % len(plots.SEQUENCE)]
        xs, ys = ([row["median"] for row in speeds], [bits[row["contender"]]["median"] for row in speeds])
        ax.plot(xs, ys, "o", color=colour, label=kind)
        for x, y, row in zip(xs, ys, speeds, strict=True):
            ax.annotate(row["contender"], (x, y), xytext=(5, 2), textcoords="offset points", fontsize=8)
    ax.axhline(best, color=plots.QUIET, linewidth=1, linestyle="--", label="best n-gram model")
    ax.set_xscale("log")
    plots.title(ax, f"A text by its characters, {result['rows'][0]['shape']} features")
    plots.label(ax, x=f"{SPEED}, training (more is better)", y=f"{BITS}, held out (less is better)")
    plots.legend(figure)
    return figure


QUESTION = Question("characters", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
