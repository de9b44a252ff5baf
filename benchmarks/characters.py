"""Which cell for a text: how well does each read it after equally many updates?

The character model of `python -m jaxrnn` on its own text: one layer of each cell of equal width, linear recurrences in
residual blocks, without dropout. The first half of the held-out text chooses each cell's learning rate and the order of
the n-gram model; the second half is what all of them are scored on, by bits per character. Ctrl-C ends the run with the
cells that are done. How fast the models train is the question of `benchmarks.character_speed`.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks import plots
from benchmarks.harness import Question, main
from benchmarks.peers import Field
from benchmarks.results import Result, Row, pick, table, unique
from jaxrnn.cli import model, text
from jaxrnn.cli.ngram import witten_bell
from jaxrnn.tasks.characters import tenth_before_the_end
from jaxrnn.train import start, train, updater
from jaxrnn.types import Params

WIDTH, BATCH, WINDOW, UPDATES, SEEDS = 64, 16, 64, 1000, 3
RATES = (2e-3, 6e-3, 2e-2, 6e-2, 2e-1)
FIRST = (  # one or two of each family, so that a run that is ended early has seen every kind
    *("elman", "lstm", "gru", "min_gru", "indrnn", "slstm", "gated_delta_net", "lru", "sru", "layer_norm_lstm"),
    *("min_lstm", "mgu", "rg_lru", "qrnn", "mlstm", "s5", "ssd"),
)
NGRAM = "n-grams"


class Split(NamedTuple):
    """A text in three parts: what models learn from, what chooses between them, what they are scored on."""

    corpus: text.Corpus
    middle: int

    @property
    def validation(self) -> np.ndarray:
        """The first half of the held-out text, and one character before it."""
        return self.corpus.ids[self.corpus.split - 1 : self.middle]

    @property
    def test(self) -> np.ndarray:
        """The second half, and one character before it."""
        return self.corpus.ids[self.middle - 1 :]


class Size(NamedTuple):
    """How much each model is, and how long it trains."""

    width: int
    updates: int
    batch: int = BATCH
    window: int = WINDOW


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field.skipped.clear()  # no peer is asked
    size = Size(8, 2) if args.quick else Size(WIDTH, UPDATES)
    names = ["elman"] if args.quick else sorted(model.CELLS, key=lambda name: (*FIRST, name).index(name))
    given = split(text.read(None), 2000 if args.quick else None)
    about = {"shape": f"{size.width}", **size._asdict(), "learned_from": given.corpus.split}
    about |= {"chosen_on": len(given.validation) - 1, "scored_on": len(given.test) - 1}
    rows = [about | counted(given)]
    try:
        for name in tqdm(names, unit="cell"):
            rows.append(about | read(name, given, size, SEEDS, args.seed))
    except KeyboardInterrupt:
        field.skipped |= dict.fromkeys(names[len(rows) - 1 :], "its turn had not come when the run was ended")
    return rows


def split(corpus: text.Corpus, length: int | None = None) -> Split:
    """Halves the held-out text of `corpus`, or of its first `length` characters."""
    if length is not None:
        corpus = corpus._replace(ids=corpus.ids[:length], split=tenth_before_the_end(length))
    return Split(corpus, (corpus.split + len(corpus.ids)) // 2)


def counted(given: Split) -> Row:
    """The n-gram model whose order is best on the validation text."""
    ids, first, size = given.corpus.ids, given.corpus.split, given.corpus.size
    order = int(np.argmin(witten_bell(ids[: given.middle], first, size)))
    bits = round(witten_bell(ids, first, size, begin=given.middle)[order], 4)
    return {"cell": NGRAM, "contender": NGRAM, "order": order + 1, "median": bits, "samples": [bits]}


def read(name: str, given: Split, size: Size, seeds: int, seed: int) -> Row:
    """Bits per character of the test text for each seed, at the rate that the validation text chose for the first."""
    trained, bits = reader(name, given.corpus, size)
    kept: dict[float, Params] = {}
    tried: dict[float, float] = {}

    def validated(rate: float) -> float:
        kept[rate] = trained(rate, seed)
        tried[rate] = bits(kept[rate], given.validation)
        return tried[rate]

    rate = downhill(validated, RATES)
    others = (trained(rate, seed + i) for i in range(1, seeds))
    samples = [round(bits(params, given.test), 4) for params in (kept[rate], *others)]
    return {
        "cell": model.CELLS[name](size.width).structure,
        "contender": name,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(kept[rate])),
        "learning_rate": rate,
        "validation": {f"{rate:g}": round(bits, 4) for rate, bits in sorted(tried.items()) if math.isfinite(bits)},
        "median": float(np.median(samples)),
        "samples": samples,
    }


def downhill(loss: Callable[[float], float], rates: Sequence[float]) -> float:
    """The rate after which the loss rises on both sides, looked for from the middle of `rates`."""
    known: dict[int, float] = {}
    at = len(rates) // 2
    while True:
        near = [i for i in (at, at - 1, at + 1) if 0 <= i < len(rates)]
        known |= {i: loss(rates[i]) for i in near if i not in known}
        best = min(near, key=known.__getitem__)
        if best == at:
            return rates[at]
        at = best


def reader(
    name: str, corpus: text.Corpus, size: Size
) -> tuple[Callable[[float, int], Params], Callable[[Params, np.ndarray], float]]:
    """`trained(rate, seed) -> params` and `bits(params, ids)` of a model, each compiled once.

    The bits are infinite where training diverged.
    """
    layer = model.character_model(name, 1, size.width, corpus.size, dropout_rate=0.0)
    update = updater(model.objective(layer), optimizer(1.0, size.updates), jax.random.key(0))
    evaluate = model.evaluator(layer)
    window = text.windows(corpus.training, size.batch, size.window)

    def trained(rate: float, seed: int) -> Params:
        params = layer.init(jax.random.key(seed), None)
        first = start(params, layer.init_carry(params, (size.batch,)), optimizer(rate, size.updates))
        *_, (_, state, _) = train(update, first, window, range(size.updates))
        return state.params

    def bits(params: Params, ids: np.ndarray) -> float:
        found = evaluate(params, ids)
        return found if math.isfinite(found) else math.inf

    return trained, bits


def optimizer(rate: float, updates: int) -> optax.GradientTransformation:
    """The command line's optimizer with its rate in the state, so that one compiled update serves every rate."""
    scaled: Any = optax.inject_hyperparams(optax.scale)(step_size=rate)
    return optax.chain(model.optimizer(1.0, updates), scaled)


def ranked(result: Result) -> list[Row]:
    """The rows, the best first."""
    return sorted(result["rows"], key=lambda row: row["median"])


def caption(result: Result) -> str:
    """What the figures are, in one paragraph that stands under the plot and under the table."""
    row = next(row for row in result["rows"] if row["contender"] != NGRAM)
    order = pick(result["rows"], contender=NGRAM)[0]["order"]
    return (
        f"One layer of {row['width']} features, {row['updates']:,} updates of {row['batch']}×{row['window']} "
        f"characters from a training text of {row['learned_from']:,}. All, the {order}-gram model included, are scored "
        f"on the same {row['scored_on']:,} characters; learning rates and the n-gram's order were chosen on "
        f"{row['chosen_on']:,} others. {len(row['samples'])} seeds each: the median, and the least and the most. Cells "
        "whose ranges overlap are not told apart."
    )


def show(result: Result) -> str:
    lines = []
    for row in ranked(result):
        low, high = min(row["samples"]), max(row["samples"])
        spread = f"{low:.3f}–{high:.3f}" if len(row["samples"]) > 1 else "–"
        rate, count = row.get("learning_rate"), row.get("parameters")
        numbers = [f"{rate:g}" if rate else "–", f"{count:,}" if count else "–"]
        lines.append([row["contender"], row["cell"], f"{row['median']:.3f}", spread, *numbers])
    head = ["cell", "structure", "bits per character", "over seeds", "learning rate", "parameters"]
    return f"{table(head, lines)}\n\n{plots.wrapped(caption(result), 110)}"


def draw(result: Result) -> Figure:
    rows = [row for row in ranked(result) if row["contender"] != NGRAM]
    figure, axes = plots.panels(1, [1.2 + 0.24 * len(rows)], width=9.0)
    ax = axes[0, 0]
    for i, kind in enumerate(sorted(unique(rows, "cell"))):
        for row in pick(rows, cell=kind):
            y = rows.index(row)
            colour = plots.SEQUENCE[i]
            ax.plot([min(row["samples"]), max(row["samples"])], [y, y], color=colour, linewidth=2)
            ax.plot(row["samples"], [y] * len(row["samples"]), "|", color=colour, markersize=8)
            ax.plot(row["median"], y, "o", color=colour, label=kind.replace("_", ", "))
    counts = pick(result["rows"], contender=NGRAM)[0]
    ax.axvline(counts["median"], color=plots.QUIET, linewidth=1, linestyle="--", label=f"{counts['order']}-gram model")
    ax.set_yticks(range(len(rows)), [row["contender"] for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    plots.title(ax, "A text by its characters")
    plots.label(ax, x=f"bits per character of the test text (less is better)\n\n{plots.wrapped(caption(result), 105)}")
    plots.legend(figure)
    return figure


QUESTION = Question("characters", __doc__, measure, show, draw, timed=False)

if __name__ == "__main__":
    main(QUESTION)
