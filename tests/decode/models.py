"""Small models that write, and what NumPy finds by trying all sequences."""

import itertools
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from arrays import random_params

V, B = 4, 3
FIRST = jnp.array([1, 2, 3])
MODEL = jaxrnn.stack(jaxrnn.embedding(V, 3), jaxrnn.gru(4), jaxrnn.lstm(4), jaxrnn.dense(V))
PARAMS = jax.tree.map(lambda p: jnp.float32(3 * p), random_params(MODEL, None))
CARRY = MODEL.init_carry(PARAMS, (B,))


def step(carry: Any, tokens: jax.Array) -> tuple[Any, jax.Array]:
    return jaxrnn.step(MODEL, PARAMS, carry, tokens)


@cache
def log_probabilities(length: int) -> tuple[np.ndarray, np.ndarray]:
    """All sequences `[length, V ** length]`, and the logarithms of the probabilities of their tokens, `[…, B]` more."""
    every = np.array(list(itertools.product(range(V), repeat=length)), np.int32).T
    first = jnp.broadcast_to(FIRST, (every.shape[1], B))
    later = jnp.broadcast_to(every[:-1, :, None], (length - 1, every.shape[1], B))
    _, logits = jaxrnn.unroll(MODEL, PARAMS, jnp.concatenate([first[None], later]))
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    chosen = np.broadcast_to(every[:, :, None, None], (*log_p.shape[:-1], 1))
    return every, np.take_along_axis(log_p, chosen, -1)[..., 0]


def exhaustive(length: int, penalty: float, eos: int | None) -> list[list[tuple[float, tuple[int, ...]]]]:
    """For each row of the batch `(score, sequence)` of all sequences that end with `eos` or at `length`, best first."""
    every, log_p = log_probabilities(length)
    rows = []
    for row in range(B):
        found = {}
        for column, sequence in enumerate(map(tuple, every.T.tolist())):
            n = sequence.index(eos) + 1 if eos in sequence else length
            found[sequence[:n]] = log_p[:n, column, row].sum() / n**penalty
        rows.append(sorted(((score, sequence) for sequence, score in found.items()), reverse=True))
    return rows
