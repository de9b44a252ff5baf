"""What every layer keeps, as every cell does: padding, segments, chunks, streams, keys, transformations."""

from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from compare import assert_close
from layers.cases import (
    HOLES,
    LAYERS,
    LENGTHS,
    LSTM,
    RESETS,
    B,
    T,
    every_causal_layer,
    every_layer,
    numbers,
    step,
    unroll,
)
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


@cache
def applied(name: str) -> Callable[..., Any]:
    """`apply` from the layer's own carry; compiled once for all laws, which therefore share their shapes."""

    @jit
    def run(params: Any, xs: Any, **steps: Any) -> Any:
        return unroll(name, params, xs, LAYERS[name].init_carry(params, xs.shape[1:-1]), **steps)

    return run


@cache
def graded(name: str) -> Callable[..., Any]:
    """Gradients in parameters and inputs, and outputs."""

    def loss(params: Any, xs: Any, key: Any) -> Any:
        ys = unroll(name, params, xs, lengths=LENGTHS, key=key)[1]
        return jnp.vdot(cotangent(ys), ys), ys

    return jit(jax.grad(loss, argnums=(0, 1), has_aux=True))


def cotangent(ys: Any) -> Any:
    return np.cos(np.arange(ys.size)).reshape(ys.shape)


def row(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


@every_layer
def test_lengths_equal_each_row_alone(name: str) -> None:
    params, xs = numbers(name)
    carry, ys = applied(name)(params, xs, lengths=LENGTHS)
    for b, length in enumerate(LENGTHS):
        assert_close((row(carry, b), ys[:length, b]), applied(name)(params, xs[:length, b]))
        assert (ys[length:, b] == 0).all()


@every_layer
def test_holes_are_as_if_they_were_not_there(name: str) -> None:
    params, xs = numbers(name)
    carry, ys = applied(name)(params, xs, mask=HOLES)
    assert (ys[~HOLES] == 0).all()
    for b in range(B):
        at = HOLES[:, b]
        assert_close((row(carry, b), ys[at, b]), applied(name)(params, xs[at, b]))


@every_layer
def test_a_packed_row_equals_its_sequences_apart(name: str) -> None:
    params, xs = numbers(name)
    ys = applied(name)(params, xs, resets=RESETS)[1]
    for b in range(B):
        for begin, end in pairwise([0, *np.flatnonzero(RESETS[:, b]), T]):
            assert_close(ys[begin:end, b], applied(name)(params, xs[begin:end, b])[1])


@every_layer
def test_what_stands_in_padding_reaches_nothing(name: str) -> None:
    params, xs = numbers(name)
    valid = np.arange(T)[:, None] < LENGTHS
    valid = valid.reshape(valid.shape + (1,) * (xs.ndim - 2))
    expected = graded(name)(params, xs, jax.random.key(0))
    actual = graded(name)(params, np.where(valid, xs, np.nan), jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(actual))
    (_, d_xs), ys = actual
    assert (np.where(valid, 0, d_xs) == 0).all() and (np.where(valid, 0, ys) == 0).all()


@every_layer
def test_draws_from_its_key_alone(name: str) -> None:
    params, xs = numbers(name)
    quiet, draws = applied(name)(params, xs, lengths=LENGTHS)[1], LAYERS[name].draws
    first, again, other = (graded(name)(params, xs, jax.random.key(seed))[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    pairs = ((first, quiet), (other, quiet), (first, other))  # of two programs, whose last digits may differ
    assert [bool((abs(a - b) > 1e-9).any()) for a, b in pairs] == [draws] * 3


@every_layer
def test_vmap_is_a_batch_axis(name: str) -> None:
    params, xs = numbers(name)

    def loss(params: Any, xs: Any) -> Any:
        def one(x: Any, length: Any) -> Any:
            return unroll(name, params, x, lengths=length)[1]

        ys = jax.vmap(one, in_axes=(1, 0), out_axes=1)(xs, LENGTHS)
        return jnp.vdot(cotangent(ys), ys), ys

    assert_close(jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, xs), graded(name)(params, xs, None))


@every_layer
def test_no_steps_leave_the_carry(name: str) -> None:
    params, xs = numbers(name)
    carry, ys = applied(name)(params, xs[:0, 0])
    assert_close(carry, LAYERS[name].init_carry(params, xs.shape[2:-1]))
    assert ys.shape == (0, *applied(name)(params, xs[:, 0])[1].shape[1:])


@every_causal_layer
def test_chunks_equal_the_whole(name: str) -> None:
    params, xs = numbers(name)
    carry, early = applied(name)(params, xs[:3, 0])
    carry, late = jit(partial(unroll, name))(params, xs[3:, 0], carry)
    assert_close((carry, jnp.concatenate([early, late])), applied(name)(params, xs[:, 0]))


@every_causal_layer
def test_a_stream_equals_the_whole(name: str) -> None:
    params, xs = numbers(name)
    one = jit(partial(step, name))
    carry, ys = LAYERS[name].init_carry(params, xs.shape[2:-1]), []
    for x in xs[:, 0]:
        carry, y = one(params, carry, x)
        ys.append(y)
    assert_close((carry, jnp.stack(ys)), applied(name)(params, xs[:, 0]))


def test_what_looks_ahead_is_known() -> None:
    backwards = jaxrnn.rnn(LSTM, reverse=True)
    known = [LAYERS[name].looks_ahead for name in ("bidirectional", "spatial")]
    known += [
        layer.looks_ahead for layer in (backwards, jaxrnn.residual(backwards), jaxrnn.stack(LAYERS["bidirectional"]))
    ]
    assert known == [
        ("layer_0", "bidirectional"),
        ("layer_4", "bidirectional"),
        ("rnn with reverse=True",),
        ("rnn with reverse=True",),
        ("layer_0", "layer_0", "bidirectional"),
    ]
    assert all(layer.looks_ahead == () for layer in LAYERS.values() if layer.step is not None)
