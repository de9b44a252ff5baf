"""Trains a small model with each cell on a text and two tasks, with as many parameters as every other cell.

One compiled program of a cell trains all tasks and seeds at once, because compiling takes as long as the training: all
tasks have one alphabet, one length and one model, and all cells see the same batches.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn
from benchmarks.catalogue.registry import count, timed_cell, trained_layer
from benchmarks.results import Row
from benchmarks.tasks.models import encoder
from benchmarks.tasks.training import CLIP, Batch, accuracy, cross_entropy, descended, drawn
from jaxrnn import tasks
from jaxrnn.cli import text
from jaxrnn.types import Array, Layer

SEEDS = 3
RATE = 1e-2  # falls along half a cosine
PAIRS, SYMBOLS = 8, 32  # of the recall task
CHARACTERS, PARITY, RECALL = TASKS = ("characters", "parity", "recall")
BITS, WRONG = "bits per character", "share of wrong answers"


class Size(NamedTuple):
    """What is trained, and how long; `budget` parameters are in the cell and the dense layer after it."""

    width: int
    budget: int
    length: int
    batch: int
    updates: int
    chunk: int  # updates in one call, and batches in a test


USUAL, QUICK = Size(24, 4096, 32, 16, 300, 20), Size(4, 64, 32, 2, 2, 1)


class Task(NamedTuple):
    """Batches from keys to learn from and to be scored on, what is scored, and what that is by chance."""

    train: Callable[[Array], Batch]
    test: Callable[[Array], Batch]
    metric: str
    chance: float


class Data(NamedTuple):
    """All batches: leaves `[tasks × seeds, batches, T, B]`, and the size of the alphabet of all tasks."""

    train: Batch
    test: Batch
    tasks: dict[str, Task]
    alphabet: int


def prepared(size: Size, seed: int) -> Data:
    """Draws the batches of all tasks and seeds."""
    corpus = text.read(None)
    alphabet = max(corpus.size, 1 + 2 * SYMBOLS)
    parity = drawn(tasks.parity, size.batch, size.length)
    recall = drawn(tasks.associative_recall, size.batch, size.length, pairs=PAIRS, keys=SYMBOLS, values=SYMBOLS)
    learned, scored = (partial(windows, jnp.asarray(ids), size) for ids in (corpus.training, corpus.held_out))
    found = {
        CHARACTERS: Task(learned, scored, BITS, math.log2(alphabet)),
        PARITY: Task(parity, parity, WRONG, 1 / 2),
        RECALL: Task(recall, recall, WRONG, 1 - 1 / SYMBOLS),
    }
    k_train, k_test = jax.random.split(jax.random.key(seed))

    def batches(which: str, key: Array, number: int) -> Batch:
        keys = jax.random.split(key, (SEEDS, number))
        parts = [jax.jit(jax.vmap(jax.vmap(getattr(task, which))))(keys) for task in found.values()]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

    return Data(batches("train", k_train, size.updates), batches("test", k_test, size.chunk), found, alphabet)


def windows(ids: Array, size: Size, key: Array) -> Batch:
    """Windows of a text from random places, each read from the initial state."""
    starts = jax.random.randint(key, (size.batch,), 0, len(ids) - size.length)
    found = ids[starts[None] + jnp.arange(size.length + 1)[:, None]]
    return found[:-1], found[1:], jnp.ones((size.length, size.batch), bool)


def model(layer: Layer, width: int, alphabet: int) -> Layer:
    """The model of every cell: two residual blocks, of a short convolution and the cell, and of two dense layers."""
    mixed = jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), jaxrnn.causal_conv(2), layer))
    inner = jaxrnn.dense(2 * width, activation=jax.nn.gelu)
    thought = jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), inner, jaxrnn.dense(width)))
    first = [*encoder(alphabet), jaxrnn.dense(width)]
    return jaxrnn.stack(*first, mixed, thought, jaxrnn.layer_norm(), jaxrnn.dense(alphabet))


def learned(name: str, size: Size, data: Data, seed: int) -> Row:
    """The scores of one cell: of each task, one for each seed."""
    features, layer = trained_layer(name, size.width, size.budget)
    whole = model(layer, size.width, data.alphabet)
    optimizer = optax.chain(optax.clip_by_global_norm(CLIP), optax.scale_by_adam())

    def started(key: Array) -> Any:
        params = whole.init(key, None)
        return params, optimizer.init(params)

    def scores(params: Any, batch: Batch) -> tuple[Array, tuple[Array, Array]]:
        ys = jaxrnn.unroll(whole, params, batch[0])[1]
        nats = cross_entropy(ys, *batch[1:])
        return nats, (nats / math.log(2), 1 - accuracy(ys, *batch[1:]))

    def advance(state: Any, batches: Batch, rates: Array) -> Any:
        def update(state: Any, given: tuple[Batch, Array]) -> Any:
            grads, found = jax.grad(scores, has_aux=True)(state[0], given[0])
            return descended(optimizer, state, grads, given[1]), found

        return jax.lax.scan(update, state, (batches, rates))

    # Not compiled as a whole: what is drawn for the layers around the cell is compiled once for all cells.
    first = [started(key) for key in jax.random.split(jax.random.key(seed), SEEDS)]
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves * len(data.tasks)), *first)
    advanced = jax.jit(jax.vmap(advance, in_axes=(0, 0, None)))
    rates = RATE * 0.5 * (1 + np.cos(np.pi * np.arange(size.updates) / size.updates)).astype(np.float32)
    for i in range(0, size.updates, size.chunk):
        part = slice(i, i + size.chunk)
        state, _ = advanced(state, jax.tree.map(lambda leaf, part=part: leaf[:, part], data.train), rates[part])
    # A batch is scored before its update, and a rate of 0 changes nothing: no other program has to be compiled.
    _, (bits, wrong) = advanced(state, data.test, np.zeros(size.chunk, np.float32))
    found: dict[str, list[float]] = {}
    diverged = 0
    for i, (task, about) in enumerate(data.tasks.items()):
        samples = np.asarray(bits if about.metric == BITS else wrong).mean(1)[SEEDS * i : SEEDS * (i + 1)]
        diverged += int((~np.isfinite(samples)).sum())
        found[task] = [round(float(it if np.isfinite(it) else about.chance), 4) for it in samples]
    made = {
        "structure": timed_cell(name, 8).structure,
        "features": features,
        "parameters": count(layer, size.width),
        "model": count(whole, None),
    }
    return {"cell": name, "what": "quality", "setting": setting(size, seed), **made, "diverged": diverged, **found}


def setting(size: Size, seed: int) -> str:
    """What changes the outcome."""
    return f"{', '.join(f'{name} {value}' for name, value in size._asdict().items())}, rate {RATE:g}, seed {seed}"
