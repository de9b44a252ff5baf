"""Convolutional cells against a loop over windows in NumPy, and against Flax."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import shapes_of, sigma

T, B, D, H = 3, 2, 2, 3
pytestmark = pytest.mark.usefixtures("quick_compilation")


def convolved(image, kernel, padding="same", strides=1, dilation=1):
    """`image [*spatial, C] ∗ kernel [*window, C, N]`, window by window; beyond the edges everything is 0.

    With "same" there are as many outputs as strides fit into the image; the smaller half of the zeros comes first.
    """
    space = image.shape[:-1]
    covered = [dilation * (size - 1) + 1 for size in kernel.shape[:-2]]
    if padding == "same":
        out = [-(-n // strides) for n in space]
        zeros = [max(0, (m - 1) * strides + c - n) for n, m, c in zip(space, out, covered, strict=True)]
        image = np.pad(image, [*((z // 2, z - z // 2) for z in zeros), (0, 0)])
    else:
        out = [(n - c) // strides + 1 for n, c in zip(space, covered, strict=True)]
    result = np.zeros((*out, kernel.shape[-1]))
    for at in np.ndindex(*out):
        seen = image[tuple(slice(i * strides, i * strides + c, dilation) for i, c in zip(at, covered, strict=True))]
        result[at] = np.tensordot(seen, kernel, seen.ndim)
    return result


def lstm_step(p, carry, x, **window):
    c, h = carry
    W, U, b = p["kernel"], p["recurrent_kernel"], p["bias"]
    i, f, g, o = (convolved(x, W[..., k, :], **window) + convolved(h, U[..., k, :]) + b[k] for k in range(4))
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return c, sigma(o) * np.tanh(c)


def gru_step(p, carry, x, *, before, **window):
    (h,) = carry
    W, U, b = p["kernel"], p["recurrent_kernel"], p["bias"]
    from_x = [convolved(x, W[..., k, :], **window) + b[k] for k in range(3)]
    r, z = (sigma(from_x[k] + convolved(h, U[..., k, :])) for k in range(2))
    if before:
        n = np.tanh(from_x[2] + convolved(r * h, U[..., 2, :]))
    else:
        n = np.tanh(from_x[2] + r * (convolved(h, U[..., 2, :]) + p["recurrent_bias"]))
    return ((1 - z) * n + z * h,)


VALID = {"padding": "valid", "dilation": 2}
CASES = {
    "lstm over a line": (jaxrnn.conv_lstm(H, (2,)), lstm_step, (4,)),
    "lstm over a plane": (jaxrnn.conv_lstm(H, (3, 2)), lstm_step, (3, 4)),
    "lstm over a volume": (jaxrnn.conv_lstm(H, (2, 1, 3)), lstm_step, (3, 2, 2)),
    "gru, reset before": (jaxrnn.conv_gru(H, (3, 3), reset="before"), partial(gru_step, before=True), (3, 4)),
    "gru, reset after": (jaxrnn.conv_gru(H, (3,)), partial(gru_step, before=False), (5,)),
    "lstm, strides": (jaxrnn.conv_lstm(H, (3, 2), strides=2), partial(lstm_step, strides=2), (3, 4)),
    "lstm, dilation": (jaxrnn.conv_lstm(H, (2, 3), dilation=(2, 2)), partial(lstm_step, dilation=2), (3, 5)),
    "lstm, valid": (jaxrnn.conv_lstm(H, (3,), **VALID), partial(lstm_step, **VALID), (7,)),
    "gru, valid, strides": (
        jaxrnn.conv_gru(H, (3,), reset="before", padding="valid", strides=(3,)),
        partial(gru_step, before=True, padding="valid", strides=3),
        (8,),
    ),
}


@pytest.mark.sampled
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES)
def test_outputs_are_the_equations(case):
    hold(*CASES[case])


def wave(x):
    """A gate that opens for large inputs of either sign."""
    return jnp.sin(x) ** 2


WAVES = {
    "lstm over a line": jaxrnn.conv_lstm(H, (2,), gate_activation=wave),
    "gru, reset before": jaxrnn.conv_gru(H, (3, 3), reset="before", gate_activation=wave),
    "gru, reset after": jaxrnn.conv_gru(H, (3,), gate_activation=wave),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", WAVES)
def test_gates_take_another_activation(case, monkeypatch):
    monkeypatch.setitem(globals(), "sigma", lambda x: np.sin(x) ** 2)
    hold(WAVES[case], *CASES[case][1:])


def hold(cell, step, space):
    """Compares outputs and the final carry with a loop over `step`."""
    draw = np.random.default_rng(0)
    shapes = shapes_of(cell, D)
    params = {name: draw.normal(size=p.shape) * 0.5 for name, p in shapes.items()}
    xs, lengths = draw.normal(size=(T, B, *space, D)), np.array([3, 2])
    carry = jax.tree.map(lambda c: draw.normal(size=c.shape), cell.init_carry(params, (B, *space)))
    last, ys = jaxrnn.unroll(cell, params, jnp.asarray(xs), carry, lengths=lengths)
    for b in range(B):
        state = tuple(leaf[b] for leaf in carry)
        for t in range(lengths[b]):
            state = step(params, state, xs[t, b])
            np.testing.assert_allclose(ys[t, b], state[-1], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(ys[lengths[b] :, b], 0)
        for leaf, expected in zip(last, state, strict=True):
            np.testing.assert_allclose(leaf[b], expected, rtol=0, atol=1e-12)


def test_conv_lstm_equals_flax():
    """Flax's order is `i g f o`, its input's convolution has the bias, and it adds 1 to the forget gate."""
    module = nn.ConvLSTMCell(H, (3, 2))
    x = jax.random.normal(jax.random.key(0), (T, B, 4, 5, D))
    start = module.initialize_carry(jax.random.key(1), x[0].shape)
    params = module.init(jax.random.key(2), start, x[0])["params"]

    def ours(kernel):
        i, g, f, o = jnp.split(kernel, 4, axis=-1)
        return jnp.stack([i, f, g, o], axis=-2)

    own = {
        "kernel": ours(params["ih"]["kernel"]),
        "recurrent_kernel": ours(params["hh"]["kernel"]),
        "bias": ours(params["ih"]["bias"]) + jnp.array([0.0, 1.0, 0.0, 0.0])[:, None],
    }
    _, ys = jaxrnn.unroll(jaxrnn.conv_lstm(H, (3, 2)), own, x)
    carry = start
    for t in range(T):
        carry, y = module.apply({"params": params}, carry, x[t])
        np.testing.assert_allclose(ys[t], y, rtol=0, atol=1e-5)


def test_layers_run_over_images():
    layer = jaxrnn.stack(jaxrnn.bidirectional(jaxrnn.conv_lstm(H, (3, 3))), jaxrnn.layer_norm(), jaxrnn.dense(2))
    params = layer.init(jax.random.key(0), D)
    xs = jax.random.normal(jax.random.key(1), (T, B, 4, 5, D))
    _, ys = jaxrnn.unroll(layer, params, xs, lengths=jnp.array([3, 1]))
    assert ys.shape == (T, B, 4, 5, 2)
    np.testing.assert_array_equal(ys[1:, 1], 0)


def test_smaller_images_in_layers():
    """Carries, widths and what surrounds a cell follow the outputs' size."""
    cell = jaxrnn.zoneout(jaxrnn.learned_carry(jaxrnn.conv_lstm(H, (3, 3), padding="valid", strides=2)), 0.1)
    layer = jaxrnn.stack(jaxrnn.bidirectional(cell), jaxrnn.rnn(jaxrnn.conv_gru(H, (2, 2), padding="valid")))
    params = layer.init(jax.random.key(0), D)
    xs, lengths = jax.random.normal(jax.random.key(1), (T, B, 7, 5, D)), jnp.array([3, 1])
    resets = jnp.zeros((T, B), bool).at[1].set(True)
    carry, ys = jaxrnn.unroll(layer, params, xs, lengths=lengths, resets=resets, key=jax.random.key(2))
    assert ys.shape == (T, B, 2, 1, H)
    assert carry[0].forward.c.shape == (B, 3, 2, H)
    chex.assert_trees_all_equal_shapes(carry, layer.init_carry(params, (B, 7, 5)))
    np.testing.assert_array_equal(ys[1:, 1], 0)


def test_initial_kernels_are_drawn_gate_by_gate():
    params = jaxrnn.conv_lstm(4, (2,)).init(jax.random.key(0), D)
    flat = params["recurrent_kernel"].transpose(2, 0, 1, 3).reshape(4, 2 * 4, 4)
    for gate in flat:
        np.testing.assert_allclose(gate.T @ gate, np.eye(4), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(params["bias"], np.array([0, 1, 0, 0])[:, None] * np.ones(4))


SMALL = jaxrnn.conv_lstm(H, (3,), padding="valid", dilation=2)
ERRORS = [
    (lambda: jaxrnn.conv_lstm(0, (3,)), "conv_lstm: features is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.conv_lstm(4, 3), r"conv_lstm: kernel_size is 3, expected a tuple of 1 to 3 ints"),
    (lambda: jaxrnn.conv_gru(4, (3, 3, 3, 3)), r"conv_gru: kernel_size is \(3, 3, 3, 3\), expected a tuple of 1 to 3"),
    (lambda: jaxrnn.conv_gru(4, (3, 0)), "conv_gru: an entry of kernel_size is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.conv_gru(4, (3,), padding="SAME"), "conv_gru: padding is 'SAME', expected one of 'same', 'valid'"),
    (lambda: jaxrnn.conv_lstm(4, (3,), strides=0), "conv_lstm: an entry of strides is 0, expected an int of 1 or more"),
    (
        lambda: jaxrnn.conv_lstm(4, (3,), dilation=(1, 2)),
        r"conv_lstm: dilation is \(1, 2\), expected an int, or 1, as many as kernel_size",
    ),
    (
        lambda: jaxrnn.unroll(SMALL, SMALL.init(jax.random.key(0), D), jnp.ones((T, B, 4, D))),
        r"conv_lstm: images have shape \(4,\), expected \(5,\) or more from kernel_size=\(3,\), dilation=\(2,\) and",
    ),
    (lambda: jaxrnn.conv_gru(4, (3,), reset="never"), "conv_gru: reset is 'never', expected one of 'after', 'before'"),
    (
        lambda: jaxrnn.unroll(jaxrnn.conv_gru(4, (3, 3)), {}, jnp.ones((T, 5, D))),
        r"unroll: xs has shape \(3, 5, 2\), expected \[T, \*batch, \*spatial, D\]; this cell has 2 spatial axes",
    ),
    (
        lambda: jaxrnn.unroll(
            CONV, CONV.init(jax.random.key(0), D), jnp.ones((T, B, 5, D)), mask=np.ones((T, B, 5), bool)
        ),
        r"unroll: mask has shape \(3, 2, 5\), expected \(3, 2\) from xs of shape",
    ),
]
CONV = jaxrnn.conv_gru(4, (3,))


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message[:30] for _, message in ERRORS])
def test_an_error_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
