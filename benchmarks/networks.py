"""How fast do deep networks train beside PyTorch's?

A two-layer bidirectional LSTM, a three-layer GRU and a two-layer Elman network, each with the same weights as
PyTorch's, which is one module: `torch.nn.LSTM(…, num_layers=2, bidirectional=True)` and so on.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

import jaxrnn
from benchmarks import plots
from benchmarks.harness import Question, cases, identity, main
from benchmarks.parity import compared
from benchmarks.peers import Contender, Field, of_jax
from benchmarks.problems import Case
from benchmarks.results import Ratios, Result, Row, comparison, over, pick, unique, values
from benchmarks.timing import round_robin, summary
from jaxrnn import interop


class Network(NamedTuple):
    """A stack of layers, and what PyTorch calls it."""

    title: str
    layer: Callable[[int], jaxrnn.Layer]
    options: dict[str, Any]


NETWORKS = {
    "lstm": Network(
        "two-layer bidirectional LSTM",
        lambda H: jaxrnn.stack(*(jaxrnn.bidirectional(jaxrnn.lstm(H)) for _ in range(2))),
        {"num_layers": 2, "bidirectional": True},
    ),
    "gru": Network(
        "three-layer GRU",
        lambda H: jaxrnn.stack(*(jaxrnn.rnn(jaxrnn.gru(H)) for _ in range(3))),
        {"num_layers": 3},
    ),
    "elman": Network(
        "two-layer Elman network",
        lambda H: jaxrnn.stack(*(jaxrnn.rnn(jaxrnn.elman(H)) for _ in range(2))),
        {"num_layers": 2},
    ),
}


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    rows = []
    for shape, case in cases(args):
        contenders = _contenders(case, args.seed, field)
        for other in contenders[1:]:
            compared(contenders[0], other, f"{NETWORKS[case.cell].title} {tuple(case.shape)}")
        times = round_robin({c.name: c.training for c in contenders}, args.repeats, "training")
        rows += [identity(case, shape, contender=c.name) | summary(times[c.name]) for c in contenders]
    return rows


def _contenders(case: Case, seed: int, field: Field) -> list[Contender]:
    """jaxrnn's network with random weights, and PyTorch's with the same."""
    network = NETWORKS[case.cell]
    layer = network.layer(case.shape.H)
    params = layer.init(jax.random.key(seed), case.shape.D)

    def apply(params: Any, xs: jax.Array) -> jax.Array:
        return jaxrnn.unroll(layer, params, xs)[1]

    ys = jax.eval_shape(apply, params, case.xs)
    case = replace(case, cotangent=np.random.default_rng(seed).standard_normal(ys.shape).astype(np.float32))
    ours = of_jax("jaxrnn", apply, params, case, kind="ours")

    def theirs(torch: Any) -> Contender:
        return torch.of_weights(case, interop.to_torch(layer, params), **network.options)

    return [ours, *field.made("torch", case, theirs)]


def ratios(result: Result, cell: str) -> Ratios:
    rows = pick(result["rows"], cell=cell)
    return {"jaxrnn / torch": over(values(rows, contender="jaxrnn"), values(rows, contender="torch"))}


def show(result: Result) -> str:
    return "\n\n".join(
        comparison(f"{NETWORKS[cell].title}, training, ms", pick(result["rows"], cell=cell), ratios(result, cell))
        for cell in unique(result["rows"], "cell")
    )


def draw(result: Result) -> Figure:
    cells = unique(result["rows"], "cell")
    titles = {cell: f"{NETWORKS[cell].title}, training" for cell in cells}
    return plots.grid([[plots.Panel(titles[cell], pick(result["rows"], cell=cell)) for cell in cells]])


QUESTION = Question("networks", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
