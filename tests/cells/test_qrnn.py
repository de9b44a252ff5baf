"""The quasi-recurrent network against a loop in float64 NumPy, its window, and its initial values."""

import jax
import numpy as np
import pytest

import jaxrnn
from arrays import random_params, shapes_of, sigma
from compare import assert_close

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H = 7, 2, 3, 4
XS = np.random.default_rng(1).normal(size=(T, B, D))


def looped(p, xs, pooling):
    """Of the paper's equations: a convolution over the inputs before `t`, zeros before the first, then a pooling."""
    W, b, c, ys = p["kernel"], p["bias"], 0, []
    for t in range(len(xs)):
        seen = [xs[t - n] if t >= n else np.zeros_like(xs[0]) for n in range(len(W))]
        z, f, *rest = (sum(x @ w for x, w in zip(seen, W[:, :, g], strict=True)) + b[g] for g in range(W.shape[2]))
        o, i = ([sigma(gate) for gate in rest] + [None, None])[:2]
        c = sigma(f) * c + (1 - sigma(f) if i is None else i) * np.tanh(z)
        ys.append(c if o is None else o * c)
    return c, np.array(ys)


@pytest.mark.parametrize(("pooling", "window"), [("f", 1), ("fo", 2), ("ifo", 4)])
def test_equals_a_loop_in_numpy(pooling, window):
    cell = jaxrnn.qrnn(H, kernel_size=window, pooling=pooling)
    params, xs = random_params(cell, D), XS
    c, expected = looped(params, xs, pooling)
    carry, ys = jaxrnn.unroll(cell, params, xs)
    np.testing.assert_allclose(ys, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(carry.c, c, rtol=0, atol=1e-12)


def test_a_window_wider_than_a_chunk_goes_on():
    """Chunks of 2 and 5 steps, with a window of 4."""
    cell = jaxrnn.qrnn(H, kernel_size=4)
    params, xs = random_params(cell, D), XS
    carry, outputs = None, []
    for chunk in np.split(xs, [2]):
        carry, ys = jaxrnn.unroll(cell, params, chunk, carry)
        outputs.append(ys)
    np.testing.assert_allclose(np.concatenate(outputs), looped(params, xs, "fo")[1], rtol=0, atol=1e-12)


def test_holes_are_not_in_the_window_and_a_reset_empties_it():
    cell = jaxrnn.qrnn(H, kernel_size=3)
    params, xs = random_params(cell, D), XS
    mask, resets = np.array([1, 0, 1, 1, 0, 1, 1], bool), np.array([0, 0, 0, 0, 1, 0, 0], bool)
    first, second = looped(params, xs[[0, 2, 3], 0], "fo")[1], looped(params, xs[[5, 6], 0], "fo")[1]
    _, ys = jaxrnn.unroll(cell, params, xs[:, 0], mask=mask, resets=resets)
    np.testing.assert_allclose(ys[mask], np.concatenate([first, second]), rtol=0, atol=1e-12)
    assert (ys[~mask] == 0).all()


def test_a_learned_carry_is_what_resets_start_from():
    """Its window, too: what was due before the beginning."""
    cell = jaxrnn.learned_carry(jaxrnn.qrnn(H, kernel_size=3))
    params, xs = random_params(cell, D), XS
    resets = np.array([[0, 1], [0, 0], [1, 0], [0, 1], [0, 1], [0, 0], [0, 0]], bool)
    expected = jaxrnn.unroll(cell, params, xs, resets=resets, reverse=True, method="scan")
    actual = jaxrnn.unroll(cell, params, xs, resets=resets, reverse=True)
    assert_close(actual, expected, 1e-12)


def test_kernels_start_with_the_variance_of_their_window():
    params = jax.jit(jaxrnn.qrnn(64, kernel_size=4).init, static_argnums=1)(jax.random.key(0), 32)
    np.testing.assert_allclose(params["kernel"].std(), 1 / np.sqrt(4 * 32), rtol=0.03)
    assert params["kernel"].shape == (4, 32, 3, 64)
    bare = jaxrnn.qrnn(4, use_bias=False)
    assert sorted(shapes_of(bare, 2)) == ["kernel"]


ERRORS = {
    "qrnn: features is 0, expected an int of 1 or more": lambda: jaxrnn.qrnn(0),
    "qrnn: kernel_size is 0, expected an int of 1 or more": lambda: jaxrnn.qrnn(4, kernel_size=0),
    "qrnn: pooling is 'of', expected one of 'f', 'fo', 'ifo'": lambda: jaxrnn.qrnn(4, pooling="of"),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ERRORS[message]()
