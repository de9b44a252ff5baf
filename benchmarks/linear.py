"""What do the engines of linear recurrences gain over `lax.scan` and `lax.associative_scan`, and over dense cells?

Elementwise, `h = a h + b`; with a matrix for a state, gated linear attention and the delta rule with 4 heads of 64; at
a constant number of tokens, as sequences grow; and layers of all such cells beside an LSTM's and a GRU's. How well each
of them reads a text in how much time is the question of `benchmarks.characters`.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from matplotlib.figure import Figure

import jaxrnn
from benchmarks import plots
from benchmarks.harness import Question, main
from benchmarks.parity import ParityError
from benchmarks.peers import Field, Program
from benchmarks.results import Ratios, Result, Row, comparison, over, pick, unique, values
from benchmarks.timing import round_robin, summary

OURS, LOOP, TREE, CHUNKS = "jaxrnn", "lax.scan", "lax.associative_scan", "jaxrnn, chunked"
WHATS = {"forward": "ms", "training": "ms", "temporaries": "MiB of training"}
ELEMENTWISE, ATTENTION, DELTA, GROWTH, CELLS = (
    "h = a h + b",
    "gated linear attention",
    "delta rule",
    "gated delta rule, as T grows",
    "cells",
)
DENSE_LAYERS = ("lstm", "gru")
DIAGONAL_LAYERS = ("min_gru", "min_lstm", "lru", "rg_lru", "s5", "qrnn", "mamba")
MATRIX_LAYERS = ("gla", "ssd", "delta_net", "gated_delta_net", "mlstm", "rwkv7")
LAYERS = (*DENSE_LAYERS, *DIAGONAL_LAYERS, *MATRIX_LAYERS)
Case = tuple[str, dict[str, tuple[Callable[..., Any], Any]]]  # shape; each contender with its arguments


def by_loop(a: jax.Array, b: jax.Array) -> jax.Array:
    def step(h: jax.Array, x: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        h = x[0] * h + x[1]
        return h, h

    return lax.scan(step, jnp.zeros_like(b[0]), (a, b))[1]


def by_tree(a: jax.Array, b: jax.Array) -> jax.Array:
    return lax.associative_scan(lambda x, y: (x[0] * y[0], y[0] * x[1] + y[1]), (a, b))[1]


def by_steps(q: jax.Array, k: jax.Array, v: jax.Array, decay: jax.Array, *beta: jax.Array) -> jax.Array:
    """What `matrix_scan` computes, as one would write it."""

    def step(S: jax.Array, x: Any) -> tuple[jax.Array, jax.Array]:
        q, k, v, decay, *beta = x
        S = jnp.exp(decay)[..., None, None] * S
        u = v if not beta else beta[0][..., None] * (v - jnp.einsum("bnk,bnkv->bnv", k, S))
        S = S + k[..., None] * u[..., None, :]
        return S, jnp.einsum("bnk,bnkv->bnv", q, S)

    state = jnp.zeros((*q.shape[1:], v.shape[-1]), q.dtype)
    return lax.scan(step, state, (q, k, v, decay, *beta))[1]


def in_matrices(method: Any, q: Any, k: Any, v: Any, decay: Any, *beta: Any) -> jax.Array:
    rate = beta[0] if beta else None
    return jaxrnn.matrix_scan(q, k, v, log_decay=decay, beta=rate, method=method)[1]


def elementwise(rng: np.random.Generator, quick: bool) -> list[Case]:
    shapes = [(9, 2, 4)] if quick else [(4096, 8, 256), (16384, 1, 64), (512, 32, 512), (64, 64, 64)]
    cases: list[Case] = []
    for shape in shapes:
        args = (uniform(rng, 0.5, 1, *shape), normal(rng, *shape))
        contenders = {OURS: lambda *args: jaxrnn.linear_scan(*args)[1], LOOP: by_loop, TREE: by_tree}
        cases.append((times(*shape), {name: (run, args) for name, run in contenders.items()}))
    return cases


def matrices(
    rng: np.random.Generator, sizes: list[tuple[int, int]], width: int, *, delta: bool, alone: bool
) -> list[Case]:
    contenders: dict[str, Any] = {OURS: partial(in_matrices, "auto")}
    if not alone:
        contenders |= {LOOP: by_steps, CHUNKS: partial(in_matrices, "chunked")}
    cases: list[Case] = []
    for total, batch in sizes:
        q, k, v = (normal(rng, total, batch, 4, width) for _ in range(3))
        k = k / np.linalg.norm(k, axis=-1, keepdims=True)
        args = [q / np.float32(np.sqrt(width)), k, v, uniform(rng, -0.2, 0, total, batch, 4)]
        args += [uniform(rng, 0, 1, total, batch, 4)] if delta else []
        cases.append((times(total, batch), {name: (run, tuple(args)) for name, run in contenders.items()}))
    return cases


def layers(rng: np.random.Generator, quick: bool) -> list[Case]:
    total, batch, width, hidden = (5, 2, 3, 4) if quick else (128, 32, 64, 128)
    xs = normal(rng, total, batch, width)
    contenders: dict[str, Any] = {}
    for i, name in enumerate(("lstm", "min_gru", "gla") if quick else LAYERS):
        cell = getattr(jaxrnn, name)(hidden)
        contenders[name] = (partial(outputs, cell), (cell.init(jax.random.key(i), width), xs))
    return [(times(total, batch, width, hidden), contenders)]


def outputs(cell: jaxrnn.Cell, params: Any, xs: jax.Array) -> jax.Array:
    return jaxrnn.unroll(cell, params, xs)[1]


def times(*sizes: int) -> str:
    return "×".join(map(str, sizes))


def cases(args: argparse.Namespace) -> dict[str, list[Case]]:
    rng = np.random.default_rng(args.seed)
    sizes, width = ([(7, 2)], 4) if args.quick else ([(2048, 4)], 64)
    growing = [(4, 4), (16, 1)] if args.quick else [(512, 64), (2048, 16), (8192, 4), (32768, 1)]
    return {
        ELEMENTWISE: elementwise(rng, args.quick),
        ATTENTION: matrices(rng, sizes, width, delta=False, alone=False),
        DELTA: matrices(rng, sizes, width, delta=True, alone=False),
        GROWTH: matrices(rng, growing, width, delta=True, alone=True),
        CELLS: layers(rng, args.quick),
    }


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> np.ndarray:
    return rng.uniform(low, high, shape).astype(np.float32)


def programs(run: Callable[..., Any], args: tuple[Any, ...]) -> dict[str, Program]:
    """Forward, and the gradient of a sum of squares in all arguments."""
    given = jax.tree.map(jnp.asarray, args)
    gradient = jax.grad(lambda *args: (run(*args) ** 2).sum(), tuple(range(len(args))))
    return {"forward": Program(jax.jit(run), given), "training": Program(jax.jit(gradient), given)}


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field.skipped.clear()  # no peer is asked
    rows: list[Row] = []
    for kind, found in cases(args).items():
        for shape, contenders in found:
            made = {name: programs(*contender) for name, contender in contenders.items()}
            if kind != CELLS:
                agree(kind, {name: two["forward"]() for name, two in made.items()})
            for what in ("forward", "training"):
                samples = round_robin({name: two[what] for name, two in made.items()}, args.repeats, f"{kind} {shape}")
                rows += [about(kind, shape, what, name) | summary(samples[name]) for name in made]
            for name, two in made.items():
                rows.append(about(kind, shape, "temporaries", name) | {"median": mebibytes(two["training"])})
    return rows


def about(kind: str, shape: str, what: str, contender: str) -> Row:
    return {"cell": kind, "shape": shape, "what": what, "contender": contender}


def mebibytes(program: Program) -> float:
    return round(program.temporary_bytes() / 2**20, 3) or 0.001  # ratios divide by it


def agree(kind: str, outputs: dict[str, Any]) -> None:
    """All contenders compute the same, or their times mean nothing."""
    expected = outputs[OURS]
    for name, ys in outputs.items():
        deviation = float(jnp.abs(ys - expected).max() / jnp.abs(expected).max())
        if not deviation < 1e-4:
            raise ParityError(f"{name}: outputs of {kind} deviate by {deviation:.1e}, relative to the largest")


def ratios(result: Result, cell: str, what: str) -> Ratios:
    """Our time, or memory, over the others'."""
    rows = pick(result["rows"], cell=cell, what=what)
    if cell == CELLS:
        return {}
    ours = values(rows, contender=OURS)
    others = [name for name in unique(rows, "contender") if name != OURS]
    return {f"{OURS} / {name}": over(ours, values(rows, contender=name)) for name in others}


def show(result: Result) -> str:
    return "\n\n".join(
        comparison(f"{cell}, {what}, {unit}", pick(result["rows"], cell=cell, what=what), ratios(result, cell, what))
        for cell in unique(result["rows"], "cell")
        for what, unit in WHATS.items()
    )


def draw(result: Result) -> Figure:
    def panel(kind: str, what: str) -> plots.Panel:
        rows = pick(result["rows"], cell=kind, what=what)
        if kind == CELLS:  # too many for colours: a line each
            rows = [row | {"shape": row["contender"], "contender": OURS} for row in rows]
        return plots.Panel(f"{kind}, {what}", rows, WHATS[what])

    return plots.grid([[panel(kind, what) for what in WHATS] for kind in unique(result["rows"], "cell")], width=5.0)


QUESTION = Question("linear", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
