"""Makes a character model, a stack of recurrent layers on one-hot characters, and its training objective."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from inspect import signature

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrnn.cells import CONSTRUCTORS, antisymmetric, cfc, cornn, gru, needed, projected_lstm
from jaxrnn.layers.blocks import griffin_block, mamba_block
from jaxrnn.layers.dense import dense
from jaxrnn.layers.dropout import dropout
from jaxrnn.layers.layer_norm import layer_norm
from jaxrnn.layers.mlstm_block import mlstm_block
from jaxrnn.layers.residual import residual
from jaxrnn.layers.rnn import rnn
from jaxrnn.layers.stack import stack
from jaxrnn.train import Objective
from jaxrnn.types import Array, Carry, Cell, Layer, Params
from jaxrnn.unroll import step, unroll


def evenly_timed(features: int) -> Cell:
    """Makes a `cfc` whose inputs have no time gaps: each is 1."""
    cell = cfc(features)

    def with_gaps(xs: Array) -> Array:
        return jnp.concatenate([xs, jnp.ones_like(xs[..., :1])], axis=-1)

    return cell._replace(
        init=lambda key, in_features: cell.init(key, in_features + 1),
        project=lambda params, xs: cell.project(params, with_gaps(xs)),
    )


def in_heads(cell: Callable[..., Cell]) -> Callable[[int], Cell]:
    """Returns a constructor of `cell` with 4 heads, or with fewer where 4 does not divide the width."""
    return lambda features: cell(features, heads=math.gcd(features, 4))


def of_width(cell: Callable[..., Cell]) -> Callable[[int], Cell]:
    """Returns the constructor `features -> Cell` of a cell, with heads if it has them."""
    return in_heads(cell) if "heads" in signature(cell).parameters else cell


# The dict has a constructor `features -> Cell` for every cell of the package that takes vectors.
CELLS: dict[str, Callable[[int], Cell]] = {
    **{name: of_width(cell) for name, cell in CONSTRUCTORS.items() if needed(cell) == ("features",)},
    "gru_before": partial(gru, reset="before"),
    "gru_to_bias": partial(gru, reset="to_bias"),
    "antisymmetric": partial(antisymmetric, dt=0.3, gamma=3.0),  # with a small γ states only grow
    "cornn": partial(cornn, dt=0.5, stiffness=1.0, damping=1.0),  # a swing lasts about two words
    "projected_lstm": lambda features: projected_lstm(features, max(1, features // 2)),
    "cfc": evenly_timed,
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
CHUNK = 1024  # characters of the held-out text in one call of the network
TEMPERATURE = 0.7
CLIP = 1.0  # the gradient's largest norm
WARMUP = 0.05  # of the steps


def character_model(cell: str, layers: int, hidden: int, size: int, *, drops: bool = True) -> Layer:
    """Makes `layers` of `cell`, dropout after each if it `drops`, and a readout of logits over `size` characters.

    Linear recurrences need nonlinear layers between them: each is in a residual block, which a residual block of two
    dense layers follows.
    """
    if not CELLS[cell](hidden).structure.startswith("linear"):
        recurrent = [(rnn(CELLS[cell](hidden)), dropout(DROPOUT if drops else 0)) for _ in range(layers)]
        return stack(*(layer for pair in recurrent for layer in pair), dense(size))

    def added(*inner: Layer) -> Layer:
        return residual(stack(layer_norm(), *inner, dropout(DROPOUT_ADDED if drops else 0)))

    def pair() -> tuple[Layer, Layer]:
        mixing = BLOCKS[cell](hidden) if cell in BLOCKS else rnn(CELLS[cell](hidden))
        return added(mixing), added(dense(2 * hidden, activation=jax.nn.gelu), dense(hidden))

    blocks = [pair() for _ in range(layers)]
    return stack(dense(hidden), *(block for two in blocks for block in two), layer_norm(), dense(size))


def optimizer(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Returns Adam on clipped gradients; its rate rises to `learning_rate`, then falls to 0 along a cosine."""
    rate = optax.warmup_cosine_decay_schedule(0, learning_rate, int(WARMUP * steps), steps)
    return optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(rate))


def encoded(characters: Array | int, size: int) -> Array:
    """Returns characters as one-hot vectors, scaled to a mean square of 1, which initial kernels assume."""
    return jax.nn.one_hot(characters, size, dtype=jnp.float32) * math.sqrt(size)


def objective(layer: Layer, size: int) -> Objective:
    """Returns a function of the mean cross-entropy, in nats, of a window's characters after its first."""

    def of(params: Params, carry: Carry, window: Array, key: Array) -> tuple[Array, Carry]:
        carry, logits = unroll(layer, params, encoded(window[:-1], size), carry, key=key)
        return optax.softmax_cross_entropy_with_integer_labels(logits, window[1:]).mean(), carry

    return of


def evaluator(layer: Layer, size: int) -> Callable[[Params, np.ndarray], float]:
    """Returns `bits(params, ids)`, the bits per character of `ids[1:]` from the initial carry, without resets."""

    @jax.jit
    def losses(params: Params, inputs: Array, targets: Array) -> Array:
        def chunk(carry: Carry, chunk: tuple[Array, Array]) -> tuple[Carry, Array]:
            carry, logits = unroll(layer, params, encoded(chunk[0], size), carry)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(chunk[1], 0))
            return carry, jnp.where(chunk[1] < 0, 0, loss).sum()

        return jax.lax.scan(chunk, layer.init_carry(params, (1,)), (inputs, targets))[1]

    def bits(params: Params, ids: np.ndarray) -> float:
        count = len(ids) - 1
        length = min(CHUNK, count)
        padding = (0, -count % length)
        inputs, targets = np.pad(ids[:-1], padding), np.pad(ids[1:], padding, constant_values=-1)
        shape = (-1, length, 1)
        sums = np.asarray(losses(params, inputs.reshape(shape), targets.reshape(shape)), np.float64)
        return float(sums.sum()) / count / math.log(2)

    return bits


def generate(layer: Layer, size: int, params: Params, prompt: list[int], key: Array) -> Iterator[int]:
    """Yields characters that follow `prompt`, without end: each is drawn, and is the next input of `jaxrnn.step`."""

    @jax.jit
    def advance(params: Params, carry: Carry, character: int, key: Array) -> tuple[Carry, Array]:
        carry, logits = step(layer, params, carry, encoded(character, size))
        return carry, jax.random.categorical(key, logits / TEMPERATURE)

    carry = layer.init_carry(params)
    for character in prompt[:-1]:
        carry, _ = advance(params, carry, character, key)
    character = prompt[-1]
    while True:
        key, now = jax.random.split(key)
        carry, drawn = advance(params, carry, character, now)
        character = int(drawn)
        yield character
