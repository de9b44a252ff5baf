"""What does attention to a window in blocks gain over the scores of all pairs of steps, masked?

The layer `local_attention` with 4 heads of 32, beside the same layer by `jax.nn.dot_product_attention` with
`local_window_size`: windows of 16, 128 and 512 steps at a constant number of tokens, as sequences grow from less than
a window to many.
"""

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from benchmarks.harness import Question, main
from benchmarks.linear import OURS, about, agree, draw, mebibytes, normal, programs, show, times
from benchmarks.peers import Field
from benchmarks.results import Row
from benchmarks.timing import round_robin, summary

PAIRS = "dot_product_attention"
HEADS, WIDTH, TOKENS = 4, 128, 2048
WINDOWS, LENGTHS = (16, 128, 512), (64, 256, 1024, 2048)


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field.skipped.clear()  # no peer is asked
    windows, lengths = ((4,), (8,)) if args.quick else (WINDOWS, LENGTHS)
    width, tokens = (8, 16) if args.quick else (WIDTH, TOKENS)
    rng, rows = np.random.default_rng(args.seed), []
    for window in windows:
        layer, kind = jaxrnn.local_attention(HEADS, window), f"window {window}"
        for total in lengths:
            given = layer.init(jax.random.key(args.seed % 2**31), width), normal(rng, total, tokens // total, width)
            ways = {OURS: partial(in_blocks, layer), PAIRS: partial(by_pairs, window)}
            made = {name: programs(way, given) for name, way in ways.items()}
            shape = times(total, tokens // total)
            agree(kind, {name: two["forward"]() for name, two in made.items()})
            for what in ("forward", "training"):
                calls = {name: two[what] for name, two in made.items()}
                samples = round_robin(dict(calls), args.repeats, f"{kind} {shape}")
                rows += [about(kind, shape, what, name) | summary(samples[name]) for name in made]
            for name, two in made.items():
                rows.append(about(kind, shape, "temporaries", name) | {"median": mebibytes(two["training"])})
    return rows


def in_blocks(layer: jaxrnn.Layer, params: Any, xs: jax.Array) -> jax.Array:
    return jaxrnn.unroll(layer, params, xs)[1]


def by_pairs(window: int, params: Any, xs: jax.Array) -> jax.Array:
    """The same layer, as one would write it."""
    xs = jnp.swapaxes(xs, 0, 1)  # the function takes batches first
    q, k, v = (jnp.einsum("btd,dhk->bthk", xs, params[name]) for name in ("query", "key", "value"))
    half = q.shape[-1] // 2
    angles = jnp.arange(xs.shape[1])[:, None] / 10_000.0 ** (jnp.arange(half) / half)[None]
    cos, sin = jnp.cos(angles)[None, :, None], jnp.sin(angles)[None, :, None]

    def turned(x: jax.Array) -> jax.Array:
        a, b = x[..., :half], x[..., half:]
        return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    ys = jax.nn.dot_product_attention(turned(q), turned(k), v, is_causal=True, local_window_size=(window - 1, 0))
    return jnp.swapaxes(jnp.einsum("bthk,hkf->btf", ys, params["out"]), 0, 1)


QUESTION = Question("local_attention", __doc__, measure, show, draw)

if __name__ == "__main__":
    main(QUESTION)
