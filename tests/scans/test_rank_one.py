"""The engine's steps that read along one vector and erase along another: in chunks, in steps, and what they can do."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.recurrence.chunkwise import Inputs, chunked, stepwise
from tiers import tiered

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, N, K, V = 13, 2, 2, 4, 3
RESETS = np.arange(T * B).reshape(T, B, 1) % 7 == 3


def example(total=T, seed=0):
    """Inputs with a decay a channel, the state before them, and one that resets start from."""
    draw = np.random.default_rng(seed)
    q, k, read = (draw.normal(size=(total, B, N, K)) for _ in range(3))
    read /= np.linalg.norm(read, axis=-1, keepdims=True)
    decay, rates = -draw.exponential(size=q.shape), draw.uniform(0, 1, size=q.shape)
    inputs = Inputs(q, k, draw.normal(size=(total, B, N, V)), decay, read=read, erase=rates * read)
    return inputs, *draw.normal(size=(2, B, N, K, V))


def by_numpy(x, state):
    """`Sₜ = (I − e rᵀ)(α ⊙ Sₜ₋₁) + k vᵀ`, `yₜ = Sₜᵀ qₜ`."""
    S, ys = state.copy(), np.empty_like(x.v)
    for t, b, n in np.ndindex(x.v.shape[:-1]):
        q, k, v, decay, read, erase = (a[t, b, n] for a in (x.q, x.k, x.v, x.log_decay, x.read, x.erase))
        S[b, n] = (np.eye(K) - np.outer(erase, read)) @ (np.exp(decay)[:, None] * S[b, n]) + np.outer(k, v)
        ys[t, b, n] = S[b, n].T @ q
    return S, ys


@pytest.mark.parametrize("run", [stepwise, partial(chunked, size=5)], ids=["steps", "chunks"])
def test_equals_a_loop_in_numpy(run):
    inputs, state, _ = example()
    for actual, expected in zip(jax.jit(run)(inputs, state, fresh=None), by_numpy(inputs, state), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def gradients(run, resets, *args):
    """Of one number of all results, beside it."""

    def loss(inputs, state, fresh):
        out = run(inputs._replace(resets=resets), state, fresh)
        return sum((jnp.cos(jnp.arange(x.size)) * jnp.sin(x.ravel())).sum() for x in out)

    return jax.jit(jax.value_and_grad(loss, tuple(i for i, a in enumerate(args) if a is not None)))(*args)


FORGETTING = np.where(np.arange(T * B * N * K).reshape(T, B, N, K) % 3, -0.1, -50)
CASES = {  # what becomes of log decays, resets, and whether these start from a state of their own
    "a decay a channel": (lambda decay: decay, None, False),
    "a decay a head": (lambda decay: decay[..., :1], RESETS, False),
    "extremes": (lambda decay: FORGETTING, RESETS, True),
}


@pytest.mark.parametrize("case", tiered(CASES, ("extremes",)))
def test_chunks_have_the_values_and_gradients_of_steps(case):
    decay, resets, starts = CASES[case]
    inputs, state, fresh = example()
    inputs = inputs._replace(log_decay=decay(inputs.log_decay))
    args = (resets, inputs, state, fresh if starts else None)
    expected, actual = gradients(stepwise, *args), gradients(partial(chunked, size=5), *args)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-11 * max(1, abs(e).max()))


def test_single_precision_over_many_steps():
    """More than one chunk, of blocks within which decays are taken apart; relative to the largest entry."""
    inputs, state, _ = example(200)
    expected = by_numpy(inputs, state)
    actual = chunked(*jax.tree.map(np.float32, (inputs, state)), None, 64)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * abs(e).max())


def test_what_is_not_finite_lasts_until_a_reset():
    """In chunks as in steps, in either of the two vectors."""
    inputs, state, _ = example()
    inputs.read[3, 0, 0, 1], inputs.erase[4, 1, 1, 2] = np.nan, np.inf
    bad = [~np.isfinite(run(inputs._replace(resets=RESETS), state)[1]).all(-1) for run in (stepwise, in_chunks)]
    np.testing.assert_array_equal(*bad)
    expected = np.zeros((T, B, N), bool)
    expected[3:5, 0, 0] = expected[4:8, 1, 1] = True
    np.testing.assert_array_equal(bad[0], expected)


def in_chunks(inputs, state):
    return chunked(inputs, state, None, 5)


# --- what steps of this kind can do --------------------------------------------------------------------------------


def slots_cell(slots):
    """Inputs `(i, j, swap)`: exchanges what slots `i` and `j` hold, or overwrites slot `i` with what is in slot `j`.

    Both are `I − e rᵀ` with `r` the difference of two unit vectors; the delta rule, where `e` points as `r` does, has
    the exchange alone. The state begins with a number of its own in each slot, which is what comes out.
    """

    def inputs(params, xs):
        i, j = (jax.nn.one_hot(xs[..., n].astype(int), slots)[..., None, :] for n in range(2))
        nothing = jnp.zeros_like(i)
        read = i - j
        erase = jnp.where(xs[..., 2, None, None] > 0, read, i)
        return {"q": jnp.ones_like(i), "k": nothing, "v": nothing, "read": read, "erase": erase}

    return jaxrnn.matrix_cell(
        inputs, lambda key, in_features: {}, heads=1, keys=slots, values=slots, chunk=16, dtype=float
    )


@pytest.mark.parametrize("method", ["scan", "chunked"])
def test_it_tracks_what_is_exchanged_and_copied(method):
    """Exactly, over hundreds of steps; masked ones do nothing."""
    slots, total, draw = 5, 200, np.random.default_rng(0)
    pairs = np.array([draw.permutation(slots)[:2] for _ in range(total)])
    swaps, mask = np.arange(total) % 60 > 0, draw.uniform(size=total) < 0.9
    xs = np.concatenate([pairs, swaps[:, None]], -1).astype(float)
    held = np.arange(slots)
    for (i, j), swap, valid in zip(pairs, swaps, mask, strict=True):
        if valid:
            held[i], held[j] = held[j], held[i] if swap else held[j]
    carry = jaxrnn.MatrixCarry(np.eye(slots)[None])
    after, _ = jaxrnn.unroll(slots_cell(slots), {}, xs, carry, mask=mask, method=method)
    assert len(set(held)) < slots and (held != np.arange(slots)).any()
    np.testing.assert_array_equal(np.round(after.S[0], 9), np.eye(slots)[held])
