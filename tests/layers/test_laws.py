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
from layers.cases import LAYERS, LSTM, B, every_causal_layer, every_layer, step, unroll
from layers.cases import numbers as numbers_of
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

# Such that all that a law takes apart has 3 steps or 6, and laws share their programs.
T = 6
LENGTHS = np.array([3, 6])
RESETS = np.array([[0, 0], [0, 0], [0, 0], [1, 0], [0, 0], [0, 0]], bool)
HOLES = np.array([[1, 0], [0, 1], [1, 1], [1, 0], [0, 1], [0, 0]], bool)  # 3 valid steps and 3
NEVER = np.zeros((T, B), bool)
numbers = partial(numbers_of, time=T)


def applied(name: str, params: Any, xs: Any, carry: Any = None, **steps: Any) -> Any:
    """`unroll`, from the layer's own carry unless another one is given; arrays of NumPy."""
    carry = at_rest(name, params, xs) if carry is None else carry
    return jax.tree.map(np.asarray, compiled(name)(params, xs, carry, **steps))


@cache
def compiled(name: str) -> Callable[..., Any]:
    return jit(partial(unroll, name))


def batch(name: str, params: Any, xs: Any, mask: Any = ~NEVER, resets: Any = NEVER) -> Any:
    """All rows at once, by one program whatever the flags are."""
    return applied(name, params, xs, mask=mask, resets=resets)


def at_rest(name: str, params: Any, xs: Any) -> Any:
    return LAYERS[name].init_carry(params, xs.shape[1:-1])


@cache
def compiled_gradient(name: str) -> Callable[..., Any]:
    def loss(params: Any, xs: Any, key: Any) -> Any:
        ys = unroll(name, params, xs, lengths=LENGTHS, key=key)[1]
        return jnp.vdot(cotangent(ys), ys), ys

    return jit(jax.grad(loss, argnums=(0, 1), has_aux=True))


def graded(name: str, params: Any, xs: Any, seed: int | None) -> Any:
    """Gradients in parameters and inputs, and outputs; arrays of NumPy."""
    key = None if seed is None else jax.random.key(seed)
    return jax.tree.map(np.asarray, compiled_gradient(name)(params, xs, key))


def cotangent(ys: Any) -> Any:
    return np.cos(np.arange(ys.size)).reshape(ys.shape)


def row(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


@pytest.mark.sampled
@every_layer
def test_lengths_equal_each_row_alone(name: str) -> None:
    """As a mask; `test_draws_from_its_key_alone` compares that with lengths."""
    params, xs = numbers(name)
    carry, ys = batch(name, params, xs, mask=np.arange(T)[:, None] < LENGTHS)
    for b, length in enumerate(LENGTHS):
        assert_close((row(carry, b), ys[:length, b]), applied(name, params, xs[:length, b]))
        assert (ys[length:, b] == 0).all()


@every_layer
def test_holes_are_as_if_they_were_not_there(name: str) -> None:
    params, xs = numbers(name)
    carry, ys = batch(name, params, xs, mask=HOLES)
    assert (ys[~HOLES] == 0).all()
    for b in range(B):
        at = HOLES[:, b]
        assert_close((row(carry, b), ys[at, b]), applied(name, params, xs[at, b]))


@every_layer
def test_a_packed_row_equals_its_sequences_apart(name: str) -> None:
    params, xs = numbers(name)
    ys = batch(name, params, xs, resets=RESETS)[1]
    for b in range(B):
        for begin, end in pairwise([0, *np.flatnonzero(RESETS[:, b]), T]):
            assert_close(ys[begin:end, b], applied(name, params, xs[begin:end, b])[1])


@pytest.mark.sampled
@every_layer
def test_what_stands_in_padding_reaches_nothing(name: str) -> None:
    params, xs = numbers(name)
    valid = np.arange(T)[:, None] < LENGTHS
    valid = valid.reshape(valid.shape + (1,) * (xs.ndim - 2))
    expected = graded(name, params, xs, seed=0)
    actual = graded(name, params, np.where(valid, xs, np.nan), seed=0)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(actual))
    (_, d_xs), ys = actual
    assert (np.where(valid, 0, d_xs) == 0).all() and (np.where(valid, 0, ys) == 0).all()


@pytest.mark.sampled
@every_layer
def test_draws_from_its_key_alone(name: str) -> None:
    params, xs = numbers(name)
    quiet, draws = batch(name, params, xs, mask=np.arange(T)[:, None] < LENGTHS)[1], LAYERS[name].draws
    first, again, other = (graded(name, params, xs, seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    pairs = ((first, quiet), (other, quiet), (first, other))  # of two programs, whose last digits may differ
    assert [bool((abs(a - b) > 1e-9).any()) for a, b in pairs] == [draws] * 3


@pytest.mark.sampled
@every_layer
def test_vmap_is_a_batch_axis(name: str) -> None:
    """Where nothing is drawn, a key changes nothing, and the program with one serves this law as well."""
    params, xs = numbers(name)

    def loss(params: Any, xs: Any) -> Any:
        def one(x: Any, length: Any) -> Any:
            return unroll(name, params, x, lengths=length)[1]

        ys = jax.vmap(one, in_axes=(1, 0), out_axes=1)(xs, LENGTHS)
        return jnp.vdot(cotangent(ys), ys), ys

    expected = graded(name, params, xs, seed=None if LAYERS[name].draws else 0)
    assert_close(jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, xs), expected)


@pytest.mark.sampled
@every_layer
def test_no_steps_leave_the_carry(name: str) -> None:
    params, xs = numbers(name)
    carry, ys = applied(name, params, xs[:0, 0])
    assert_close(carry, at_rest(name, params, xs[:, 0]))
    assert ys.shape == (0, *applied(name, params, xs[:, 0])[1].shape[1:])


@every_causal_layer
def test_chunks_equal_the_whole(name: str) -> None:
    params, xs = numbers(name)
    carry, early = applied(name, params, xs[:3, 0])
    carry, late = applied(name, params, xs[3:, 0], carry)
    assert_close((carry, np.concatenate([early, late])), applied(name, params, xs[:, 0]))


@pytest.mark.sampled
@every_causal_layer
def test_a_stream_equals_the_whole(name: str) -> None:
    params, xs = numbers(name)
    one = jit(partial(step, name))
    carry, ys = at_rest(name, params, xs[:, 0]), []
    for x in xs[:, 0]:
        carry, y = one(params, carry, x)
        ys.append(y)
    assert_close((carry, np.stack(ys)), applied(name, params, xs[:, 0]))


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
