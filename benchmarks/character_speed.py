"""How fast does the character model train with each cell?

One update of each model of `benchmarks.characters`, of the same sizes; all of them take turns in one process.
"""

import argparse
from collections.abc import Callable

import jax
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks import plots
from benchmarks.characters import BATCH, UPDATES, WIDTH, WINDOW
from benchmarks.harness import Question, main
from benchmarks.peers import Field
from benchmarks.results import Result, Row, spread, table
from benchmarks.timing import round_robin, summary
from jaxrnn.cli import model, text
from jaxrnn.train import start, updater


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field.skipped.clear()  # no peer is asked
    width, batch, window, names = (8, 2, 4, ["elman"]) if args.quick else (WIDTH, BATCH, WINDOW, list(model.CELLS))
    corpus = text.read(None)
    calls = {name: updates(name, corpus, width, batch, window, args.seed) for name in tqdm(names, unit="cell")}
    times = round_robin(dict(calls), args.repeats, "updates")
    sizes = {"shape": f"{batch}×{window}×{width}", "characters": batch * window}
    about = [{"cell": model.CELLS[name](width).structure, "contender": name, **sizes} for name in names]
    return [row | summary(times[row["contender"]]) for row in about]


def updates(name: str, corpus: text.Corpus, width: int, batch: int, window: int, seed: int) -> Callable[[], None]:
    """A call that makes one more update of a model."""
    layer = model.character_model(name, 1, width, corpus.size, dropout_rate=0.0)
    optimizer = model.optimizer(1e-3, UPDATES)
    update = updater(model.objective(layer), optimizer, jax.random.key(seed))
    params = layer.init(jax.random.key(seed), None)
    state = start(params, layer.init_carry(params, (batch,)), optimizer)
    given = text.windows(corpus.training, batch, window)(0)

    def call() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(update(state, 0, given))

    return call


def show(result: Result) -> str:
    lines = []
    for row in sorted(result["rows"], key=lambda row: row["median"]):
        speeds = [f"{1e3 * row['characters'] / ms:,.0f}" for ms in (row["median"], row["quartiles"][0])]
        lines.append([row["contender"], row["cell"], spread(row), *speeds])
    head = ["cell", "structure", "ms an update", "characters a second", "at the lower quartile"]
    return table(head, lines)


def draw(result: Result) -> Figure:
    rows = sorted(result["rows"], key=lambda row: row["median"])
    lines = [row | {"shape": row["contender"], "contender": "jaxrnn"} for row in rows]
    shape = rows[0]["shape"]
    return plots.grid([[plots.Panel(f"One update of a character model, {shape}", lines)]], width=9.0)


QUESTION = Question("character_speed", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
