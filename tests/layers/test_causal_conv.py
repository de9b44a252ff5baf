"""Convolution over time against loops in float64 NumPy: its window under masks, resets and in half precision."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params
from layers.cases import B, D, H, T, random
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


def looped(params, xs):
    """`yₜ = Σₙ wₙ ⊙ xₜ₋ₙ + b`, or `Σₙ xₜ₋ₙ Wₙ + b`, over one sequence; zeros before it."""
    W, ys = params["depthwise_kernel"] if "depthwise_kernel" in params else params["kernel"][:, :, 0], []
    for t in range(len(xs)):
        seen = [xs[t - n] if t >= n else np.zeros_like(xs[0]) for n in range(len(W))]
        ys.append(sum(x * w if W.ndim == 2 else x @ w for x, w in zip(seen, W, strict=True)) + params["bias"])
    return np.array(ys)


@pytest.mark.parametrize(("kernel_size", "features"), [(1, H), (3, None), (T + 1, H)])
def test_equals_a_loop_in_numpy(kernel_size, features):
    layer = jaxrnn.causal_conv(kernel_size, features=features, activation=jnp.tanh)
    params, xs = random_params(layer, D), random(T, B, D)
    _, ys = jit(partial(jaxrnn.unroll, layer))(params, xs)
    np.testing.assert_allclose(ys, np.tanh(looped(params, xs)), rtol=0, atol=1e-13)


def test_holes_are_not_seen_and_a_reset_empties_the_window():
    """A reset at a hole acts, too."""
    layer = jaxrnn.causal_conv(3)
    params, xs = random_params(layer, D), random(7, D)
    mask, resets = np.array([1, 0, 1, 1, 0, 1, 1], bool), np.array([0, 0, 0, 0, 1, 0, 0], bool)
    _, ys = jit(partial(jaxrnn.unroll, layer))(params, np.where(mask[:, None], xs, np.nan), mask=mask, resets=resets)
    expected = np.concatenate([looped(params, xs[[0, 2, 3]]), looped(params, xs[[5, 6]])])
    np.testing.assert_allclose(ys[mask], expected, rtol=0, atol=1e-13)
    assert (ys[~mask] == 0).all()


def test_half_precision_is_summed_in_single():
    layer = jaxrnn.causal_conv(4)
    params, xs = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), (random_params(layer, D), random(T, D)))
    carry, ys = jit(partial(jaxrnn.unroll, layer))(params, xs)
    exact = looped(*jax.tree.map(lambda a: np.asarray(a, np.float64), (params, xs)))
    np.testing.assert_array_equal(ys, jnp.asarray(exact, jnp.float32).astype(jnp.bfloat16))
    assert (carry.pending.dtype, ys.dtype) == (jnp.float32, jnp.bfloat16)


def test_looks_as_far_back_in_a_stream_from_behind():
    """`bidirectional` flips it: what comes later is its past."""
    layer = jaxrnn.causal_conv(3)
    both = jaxrnn.bidirectional(layer)
    params, xs = random_params(both, D), random(T, B, D)
    _, ys = jit(partial(jaxrnn.unroll, both))(params, xs)
    np.testing.assert_allclose(ys[..., D:], looped(params["backward"], xs[::-1])[::-1], rtol=0, atol=1e-13)


def test_kernels_start_with_the_variance_of_their_window():
    for features, inputs in ((None, 4), (500, 4 * 300)):
        layer = jaxrnn.causal_conv(4, features=features, use_bias=False)
        params = jit(layer.init, static_argnums=1)(jax.random.key(0), 300)
        (name,) = params
        np.testing.assert_allclose(params[name].std() * np.sqrt(inputs), 1, rtol=0.05)


LAYER = jaxrnn.causal_conv(3)
ERRORS = {
    "causal_conv: kernel_size is 0, expected an int of 1 or more": lambda: jaxrnn.causal_conv(0),
    "causal_conv: features is -1, expected an int of 1 or more": lambda: jaxrnn.causal_conv(3, features=-1),
    r"unroll: xs has shape \(3,\), expected \[T, \*batch, D\]": lambda: jaxrnn.unroll(LAYER, {}, jnp.ones(D)),
    r"step: carry\.pending has shape \(1, 3\), expected \(2, 3\) from x of shape": lambda: jaxrnn.step(
        LAYER, random_params(LAYER, D), jaxrnn.CausalConvCarry(jnp.ones((1, D))), jnp.ones(D)
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ERRORS[message]()
