"""Makes a character model, a stack of recurrent layers on one-hot characters, and what trains and scores it."""

import math
from collections.abc import Callable
from functools import partial
from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrnn.cells import CONSTRUCTORS, antisymmetric, cornn, gru, needed, projected_lstm
from jaxrnn.cli.settings import Settings
from jaxrnn.fold import fold
from jaxrnn.layers.blocks import griffin_block, mamba_block
from jaxrnn.layers.dense import dense
from jaxrnn.layers.dropout import dropout
from jaxrnn.layers.layer import stepwise
from jaxrnn.layers.layer_norm import layer_norm
from jaxrnn.layers.mlstm_block import mlstm_block
from jaxrnn.layers.residual import residual
from jaxrnn.layers.rnn import rnn
from jaxrnn.layers.stack import stack
from jaxrnn.train import Objective
from jaxrnn.types import Array, Carry, Cell, Layer, Params


def evenly_timed(cell: Cell) -> Cell:
    """Returns a timed cell as one whose inputs have no time gaps: each is 1."""

    def with_gaps(xs: Array) -> Array:
        return jnp.concatenate([xs, jnp.ones_like(xs[..., :1])], axis=-1)

    return cell._replace(
        init=lambda key, in_features: cell.init(key, in_features + 1),
        project=lambda params, xs: cell.project(params, with_gaps(xs)),
    )


def in_heads(cell: Callable[..., Cell]) -> Callable[[int], Cell]:
    """Returns a constructor of `cell` with 4 heads, or with fewer where 4 does not divide the width."""
    return lambda features: cell(features, heads=math.gcd(features, 4))


def of_width(make: Callable[..., Cell]) -> Callable[[int], Cell]:
    """Returns the constructor `features -> Cell` of a cell, with heads if it has them, and without time gaps."""
    plain = in_heads(make) if "heads" in signature(make).parameters else make

    def of_features(features: int) -> Cell:
        cell = plain(features)
        return evenly_timed(cell) if cell.timed else cell

    return of_features


# The dict has a constructor `features -> Cell` for every cell of the package that takes vectors.
CELLS: dict[str, Callable[[int], Cell]] = {
    **{name: of_width(cell) for name, cell in CONSTRUCTORS.items() if needed(cell) == ("features",)},
    "gru_before": partial(gru, reset="before"),
    "gru_to_bias": partial(gru, reset="to_bias"),
    "antisymmetric": partial(antisymmetric, dt=0.3, gamma=3.0),  # with a small γ states only grow
    "cornn": partial(cornn, dt=0.5, stiffness=1.0, damping=1.0),  # a swing lasts about two words
    "projected_lstm": lambda features: projected_lstm(features, max(1, features // 2)),
}


def narrow_mlstm_block(features: int) -> Layer:
    """Makes an `mlstm_block` of any width."""
    parts = math.gcd(2 * features, 4)
    return mlstm_block(features, heads=parts, block_size=parts)


# Published blocks `features -> Layer` have the names of the cells inside.
BLOCKS: dict[str, Callable[[int], Layer]] = {
    "rg_lru": griffin_block,
    "mamba": mamba_block,
    "mlstm": narrow_mlstm_block,
}

DROPOUT = 0.5  # between layers
DROPOUT_ADDED = 0.1  # in a residual block
CHUNK = 1024  # characters in one chunk of a window, or of the held-out text: a longer one takes no more memory
CLIP = 1.0  # the gradient's largest norm
WARMUP = 0.05  # of the steps


def character_model(cell: str, layers: int, hidden: int, size: int, *, dropout_rate: float | None = None) -> Layer:
    """Makes a model that reads indices of characters, int `[T, *batch]`, and returns logits `[T, *batch, size]`.

    It is `layers` of `cell` with dropout after each, and a readout. Linear recurrences need nonlinear layers between
    them: each is in a residual block, which a residual block of two dense layers follows.

    Args:
      cell: its name, one of `CELLS`.
      layers: the number of recurrent layers.
      hidden: the width of each.
      size: of the vocabulary.
      dropout_rate: None: `DROPOUT`, or `DROPOUT_ADDED` in residual blocks.
    """
    if not residual_blocks(cell):
        drop = dropout(DROPOUT if dropout_rate is None else dropout_rate)
        recurrent = [part for _ in range(layers) for part in (rnn(CELLS[cell](hidden)), drop)]
        return stack(one_hot(size), *recurrent, dense(size))

    drop = dropout(DROPOUT_ADDED if dropout_rate is None else dropout_rate)

    def added(*inner: Layer) -> Layer:
        return residual(stack(layer_norm(), *inner, drop))

    def pair() -> tuple[Layer, Layer]:
        mixing = BLOCKS[cell](hidden) if cell in BLOCKS else rnn(CELLS[cell](hidden))
        return added(mixing), added(dense(2 * hidden, activation=jax.nn.gelu), dense(hidden))

    blocks = [pair() for _ in range(layers)]
    return stack(one_hot(size), dense(hidden), *(block for two in blocks for block in two), layer_norm(), dense(size))


def from_settings(settings: Settings, size: int) -> Layer:
    """Makes the model of a run, for a vocabulary of `size` characters."""
    return character_model(settings.cell, settings.layers, settings.hidden, size, dropout_rate=settings.dropout)


def residual_blocks(cell: str) -> bool:
    """Returns whether a model puts this cell in residual blocks."""
    return CELLS[cell](1).structure.startswith("linear")


def one_hot(size: int) -> Layer:
    """Makes a layer of one-hot vectors, scaled to a mean square of 1, which initial kernels assume."""

    def encoded(params: Params, characters: Array) -> Array:
        del params
        return jax.nn.one_hot(characters, size, dtype=jnp.float32) * math.sqrt(size)

    return stepwise("one_hot", lambda key, in_features: {}, encoded, num_feature_axes=0)


def falling(shape: Callable[[float, int], optax.Schedule]) -> Callable[[float, int], optax.Schedule]:
    """Returns a schedule that rises in the first steps, then falls from its peak along `shape(peak, steps)`."""

    def schedule(peak: float, steps: int) -> optax.Schedule:
        rising = int(WARMUP * steps)
        parts = [optax.linear_schedule(0, peak, max(rising, 1)), shape(peak, steps - rising)]
        return optax.join_schedules(parts, [rising])

    return schedule


# Learning rates, `(highest rate, number of steps) -> schedule`. The constant one does not rise first, so that it does
# not depend on the number of steps: a run that is extended goes on as if it had been longer from the beginning.
SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "cosine": falling(optax.cosine_decay_schedule),
    "linear": falling(lambda peak, steps: optax.linear_schedule(peak, 0, steps)),
    "constant": lambda peak, steps: optax.constant_schedule(peak),
}


def optimizer(learning_rate: float, steps: int, schedule: str = "cosine") -> optax.GradientTransformation:
    """Returns Adam on clipped gradients, with a learning rate from `SCHEDULES`."""
    rate = SCHEDULES[schedule](learning_rate, steps)
    return optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(rate))


def objective(layer: Layer) -> Objective:
    """Returns a function of the mean cross-entropy, in nats, of a window's characters after its first."""

    def of(params: Params, carry: Carry, window: Array, key: Array) -> tuple[Array, Carry]:
        inputs, targets = window[:-1], window[1:]
        carry, total = fold(layer, params, inputs, cross_entropy, carry, targets=targets, chunk=CHUNK, key=key)
        return total / targets.size, carry

    return of


def cross_entropy(logits: Array, characters: Array) -> Array:
    """Returns the sum of the cross-entropies of characters, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, characters).sum()


def evaluator(layer: Layer) -> Callable[[Params, np.ndarray], float]:
    """Returns `bits(params, ids)`, the bits per character of `ids[1:]` from the initial carry, without resets."""

    @jax.jit
    def nats(params: Params, ids: Array) -> Array:
        return fold(layer, params, ids[:-1], cross_entropy, targets=ids[1:], chunk=CHUNK)[1]

    def bits(params: Params, ids: np.ndarray) -> float:
        return float(nats(params, ids[:, None])) / (len(ids) - 1) / math.log(2)

    return bits
