"""The models that are compared: one recurrence each, between an encoder and a readout."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import jaxrnn
from jaxrnn.cli.model import one_hot
from jaxrnn.initializers import chrono
from jaxrnn.types import Cell, Layer

Contender = Callable[[int, int | None, int], Layer]  # (width, size of the alphabet or None, outputs) -> model
HEADS = 2  # of matrix states


def encoder(alphabet: int | None) -> list[Any]:
    """One-hot vectors of tokens; real inputs as they are."""
    return [] if alphabet is None else [one_hot(alphabet)]


def dense_state(cell: Callable[[int], Cell]) -> Contender:
    """A cell whose step is nonlinear in its state, then a linear readout."""
    return lambda width, alphabet, outputs: jaxrnn.stack(*encoder(alphabet), cell(width), jaxrnn.dense(outputs))


def linear_state(cell: Callable[[int], Cell], *, layers: int = 1, window: int | None = None) -> Contender:
    """A linear recurrence in residual blocks, each followed by a dense one; `window` steps of convolution before it."""

    def model(width: int, alphabet: int | None, outputs: int) -> Layer:
        def mixed() -> Layer:
            before = [] if window is None else [jaxrnn.causal_conv(window)]
            return jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), *before, cell(width)))

        def thought() -> Layer:
            inner = jaxrnn.dense(2 * width, activation=jax.nn.gelu)
            return jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), inner, jaxrnn.dense(width)))

        first = [jaxrnn.dense(width, activation=jax.nn.gelu), jaxrnn.dense(width)]
        blocks = [part for _ in range(layers) for part in (mixed(), thought())]
        return jaxrnn.stack(*encoder(alphabet), *first, *blocks, jaxrnn.layer_norm(), jaxrnn.dense(outputs))

    return model


def several_steps(contender: Contender, count: int) -> Contender:
    """`count` steps for each token, of which the last is read: a product of `count` transitions a token.

    The substeps have different tokens, as the Householder matrices of DeltaProduct (Siems et al. 2025) have different
    kernels.
    """

    def model(width: int, alphabet: int | None, outputs: int) -> Layer:
        assert alphabet is not None, "tokens alone are repeated"
        inner = contender(width, alphabet * count, outputs)

        def run(params: Any, carry: Any, tokens: jax.Array, steps: Any) -> Any:
            del steps  # all are valid here
            substeps = jnp.arange(count).reshape(1, count, *[1] * (tokens.ndim - 1))
            finer = (tokens[:, None] * count + substeps).reshape(-1, *tokens.shape[1:])
            carry, ys = jaxrnn.unroll(inner, params, finer, carry)
            return carry, ys[count - 1 :: count]

        return jaxrnn.layer("several_steps", inner.init, run, init_carry=inner.init_carry, num_feature_axes=0)

    return model


def chrono_lstm(max_time: int) -> Callable[[int], Cell]:
    """An LSTM whose gates remember for up to `max_time` steps at first (Tallec & Ollivier 2018)."""
    return lambda width: jaxrnn.lstm(width, forget_bias=0.0, bias_init=chrono(max_time))


def signed(cell: Callable[..., Cell], **options: Any) -> Callable[[int], Cell]:
    """The cell with eigenvalues down to −1."""
    return partial(cell, eigenvalues="signed", **options)
