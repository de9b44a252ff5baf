"""Inputs, parameters and computations are real: a complex one is refused in one line. A state may be complex."""

from functools import partial
from typing import NamedTuple

import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import zero_params

pytestmark = pytest.mark.usefixtures("quick_compilation")

XS = jnp.ones((5, 2, 3))
COMPLEX = XS.astype(jnp.complex64)
KEY = jax.random.key(0)
CELLS = {
    "lstm": jaxrnn.lstm,
    "gru": jaxrnn.gru,
    "cfc": jaxrnn.cfc,
    "slstm": jaxrnn.slstm,
    "lru": jaxrnn.lru,
    "rg_lru": jaxrnn.rg_lru,
    "gla": jaxrnn.gla,
    "mlstm": jaxrnn.mlstm,
    "delta_net": jaxrnn.delta_net,
    "rwkv7": jaxrnn.rwkv7,
    "qrnn": jaxrnn.qrnn,
    "conv_lstm": partial(jaxrnn.conv_lstm, kernel_size=(2,)),
}
LAYERS = {
    "rnn": jaxrnn.rnn(jaxrnn.lstm(4)),
    "stack": jaxrnn.stack(jaxrnn.rnn(jaxrnn.gru(4))),
    "bidirectional": jaxrnn.bidirectional(jaxrnn.gru(4)),
    "residual": jaxrnn.residual(jaxrnn.gru(3)),
    "dense": jaxrnn.dense(4),
    "dropout": jaxrnn.dropout(0.5),
    "layer_norm": jaxrnn.layer_norm(),
    "causal_conv": jaxrnn.causal_conv(2),
    "conv": jaxrnn.conv(4, 2),
    "pool": jaxrnn.pool(2),
    "griffin_block": jaxrnn.griffin_block(4),
    "local_attention": jaxrnn.local_attention(2, 3, features=4),
    "rms_norm": jaxrnn.rms_norm(),
    "gated_mlp": jaxrnn.gated_mlp(4),
    "mamba_block": jaxrnn.mamba_block(4),
    "mlstm_block": jaxrnn.mlstm_block(4),
    "matrix_block": jaxrnn.matrix_block(jaxrnn.kda(4)),
}


def refused(call, *fragments):
    with pytest.raises(ValueError) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    assert all(fragment in message for fragment in fragments), message


@pytest.mark.parametrize("name", CELLS)
def test_of_a_cell_no_argument_may_be_complex(name):
    cell = CELLS[name](4)
    space = (2,) * (cell.num_feature_axes - 1)
    params, xs = zero_params(cell, 3), jnp.ones((5, 2, *space, 3))
    carry = jax.tree.map(jnp.zeros_like, jax.eval_shape(lambda p: cell.init_carry(p, (2, *space)), params))
    wrong = xs.astype(jnp.complex64)
    refused(lambda: jaxrnn.unroll(cell, params, wrong), "unroll: xs has dtype complex64, expected a floating one; jnp")
    refused(lambda: jaxrnn.step(cell, params, carry, wrong[0]), "step: x has dtype complex64", "[x.real, x.imag]")
    for args, found in (((params, xs), "params"), ((params, xs, carry), "carry")):
        tree = jax.tree.map(lambda leaf: leaf.astype(jnp.complex64), args[-1] if found == "carry" else args[0])
        changed = (params, xs, tree) if found == "carry" else (tree, xs)
        refused(lambda changed=changed: jaxrnn.unroll(cell, *changed), f"unroll: {found}", "has dtype complex64")
    refused(lambda: CELLS[name](4, dtype=jnp.complex64), "dtype is <class 'jax.numpy.complex64'>, expected a floating")


@pytest.mark.parametrize("name", LAYERS)
def test_of_a_layer_no_argument_may_be_complex(name):
    layer = LAYERS[name]
    params = zero_params(layer, 3)
    refused(lambda: jaxrnn.unroll(layer, params, COMPLEX), "xs has dtype complex64, expected a floating one; ")
    if layer.step is not None:
        carry = layer.init_carry(params, (2,))
        refused(
            lambda: jaxrnn.step(layer, params, carry, COMPLEX[0]), "x has dtype complex64, expected a floating one; "
        )
    if params:
        wrong = jax.tree.map(lambda leaf: leaf.astype(jnp.complex64), params)
        refused(lambda: jaxrnn.unroll(layer, wrong, XS), "params", "has dtype complex64, expected a floating one")


def test_parameters_that_are_drawn_so_are_refused_too():
    cell = jaxrnn.lru(4, param_dtype=jnp.float32)
    drawn = jax.tree.map(lambda leaf: leaf.astype(jnp.complex64), zero_params(cell, 3))
    own = cell._replace(init=lambda key, in_features: drawn)
    refused(lambda: jaxrnn.unroll(own, drawn, XS), "unroll: params", "has dtype complex64")
    refused(lambda: jaxrnn.dense(4, dtype=complex), "dense: dtype is <class 'complex'>, expected a floating")


def test_the_modules_of_flax_refuse_them():
    cell = jaxrnn.gru(4)
    refused(lambda: jaxrnn.linen.RNN(cell).init(KEY, COMPLEX), "inputs has dtype complex64, expected a floating one; ")
    module = jaxrnn.nnx.RNN(cell, 3, rngs=flax.nnx.Rngs(0))
    refused(lambda: module(COMPLEX), "inputs has dtype complex64, expected a floating one; ")


def test_a_matrix_recurrence_is_real():
    q = jnp.ones((3, 1, 2))
    refused(lambda: jaxrnn.matrix_scan(q, q * 1j, q), "matrix_scan: k has dtype complex64, expected a floating one;")
    assert jaxrnn.linear_scan(q, q * 1j)[1].dtype == jnp.complex64


class Rotation(NamedTuple):
    """`z [*batch, H]`, complex."""

    z: jax.Array


def test_a_cell_of_ones_own_may_have_a_complex_state():
    """Kept as one array, or as its two parts by the cells of the package."""

    def init(key, in_features):
        return {"kernel": jax.random.normal(key, (in_features, 4))}

    def init_carry(params, batch_shape=()):
        return Rotation(jnp.zeros((*batch_shape, 4), jnp.complex64))

    def step(params, carry, z):
        state = 0.9j * carry.z + z
        return Rotation(state), state.real

    cell = jaxrnn.Cell(init, init_carry, lambda params, xs: xs @ params["kernel"], step, None, "dense")
    params, start = cell.init(KEY, 3), Rotation(jnp.full((2, 4), 1j, jnp.complex64))
    carry, ys = jaxrnn.unroll(cell, params, XS, start)
    assert carry.z.dtype == jnp.complex64
    np.testing.assert_allclose(ys[0], XS[0] @ params["kernel"] - 0.9, rtol=1e-5)
    gradient = jax.grad(lambda params: jaxrnn.unroll(cell, params, XS, carry)[1].sum())(params)
    assert np.isfinite(gradient["kernel"]).all()
    refused(
        lambda: jaxrnn.unroll(jaxrnn.gru(4), zero_params(jaxrnn.gru(4), 3), XS, jaxrnn.HiddenCarry(start.z)),
        "carry.h has dtype",
    )
