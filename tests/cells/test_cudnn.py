"""The method `"cudnn"` of the LSTM, with JAX's reference in the place of cuDNN's two calls: all around them runs.

The reference stands for the worst that cuDNN may do: it fails on a length of 0, leaves NaN behind the end of a
sequence, and reads in its gradient what its value kept.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import rnn
from laws.reference import with_gradients

import jaxrnn
from arrays import random_params
from compare import assert_close
from jaxrnn.recurrence import cudnn, cudnn_calls

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, D, H = 5, 4, 3, 2
CELL = jaxrnn.lstm(H)
HOLES = np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool).T
FLOWS = {
    "plain": {},
    "lengths": {"mask": np.arange(T)[:, None] < np.array([5, 2, 0, 1])},
    "holes": {"mask": HOLES},
}
BACK = {"mask": HOLES, "reverse": True}


def reference(x, h, c, weights, lengths, input_size, hidden_size):
    parts = rnn.unpack_lstm_weights(weights, input_size, hidden_size, 1, False)
    y, h, c = rnn.lstm_ref(x, h, c, *parts, lengths, input_size, hidden_size, 1, 0.0, False)
    return after_the_end(y, lengths), h, c


def after_the_end(steps, lengths):
    """NaN there, and all over if a sequence is empty."""
    inside = jnp.arange(steps.shape[1])[None, :, None] < lengths[:, None, None]
    return jnp.where(inside & (lengths > 0).all(), steps, jnp.nan)


def forward(x, h, c, weights, lengths, input_size, hidden_size, **static):
    assert static == {"num_layers": 1, "dropout": 0.0, "bidirectional": False, "precision": lax.Precision.HIGH}
    y, h_n, c_n = reference(x, h, c, weights, lengths, input_size, hidden_size)
    return (y, h_n, c_n), (x, h, c, weights, lengths, y, y.reshape(-1))


def backward(input_size, hidden_size, residuals, gradients, **static):
    x, h, c, weights, lengths, y, kept = residuals
    kept = kept.reshape(y.shape)
    out, pull = jax.vjp(lambda *a: reference(*a, lengths, input_size, hidden_size), x, h, c, weights)
    inside = ~jnp.isnan(out[0])
    asked = sum(jnp.abs(g).sum(-1).reshape(len(x), -1).sum(-1) for g in (gradients[0], *(g[0] for g in gradients[1:])))
    same = jnp.where(inside & (asked != 0)[:, None, None], jnp.abs(y - kept), 0).max() < 1e-6
    dy = jnp.where(inside, gradients[0], 0)
    dx, dh, dc, dweights = pull((dy, *gradients[1:]))
    return after_the_end(dx, lengths), dh, dc, jnp.where(same, dweights, jnp.nan), jnp.zeros_like(lengths)


@pytest.fixture(scope="module")
def on_reference(quick_compilation):
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rnn, "lstm_fwd", forward)
        patch.setattr(rnn, "lstm_bwd", backward)
        patch.setattr(cudnn, "HAVE_CUDNN", ("cpu", "cuda"))
        yield
    jax.clear_caches()


def inputs(batch=(B,), cell=CELL, time=T):
    draw = np.random.default_rng(0)
    params = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))
    carry = jaxrnn.LSTMCarry(*[jax.ShapeDtypeStruct((*batch, H), np.float32)] * 2)
    shapes = (params, jax.ShapeDtypeStruct((time, *batch, D), np.float32), carry)
    return jax.tree.map(lambda leaf: 0.7 * draw.normal(size=leaf.shape).astype(np.float32), shapes)


def run(method, flow=None, cell=CELL):
    return lambda params, xs, carry: jaxrnn.unroll(cell, params, xs, carry, method=method, **(flow or {}))


def both(program, *args):
    """What a program of the method makes, by cuDNN's reference and by the engine, which must not differ."""
    actual, expected = (compiled(method, program)(*args) for method in ("cudnn", "fused"))
    assert_close(actual, expected, 2e-6)
    return actual


@cache
def compiled(method, program=None):
    return jax.jit(partial(program or with_flow, method))


def gradients(method, *args, flow=None, cell=CELL):
    return with_gradients(run(method, flow, cell))(*args)


def with_flow(method, params, xs, carry, flow):
    """The same with masks that are arguments, so that flows share a program."""
    return gradients(method, params, xs, carry, flow=flow)


def calls(program, *args):
    """Which primitives of ours a program has."""
    text = str(jax.make_jaxpr(program)(*args))
    return {
        name
        for name in ("cudnn_lstm", "cudnn_lstm_tangent", "cudnn_lstm_backward", "recurrence")
        if f" {name}[" in text
    }


@pytest.mark.sampled
@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
@pytest.mark.usefixtures("on_reference")
def test_values_and_gradients_are_those_of_the_engine(flow):
    params, xs, carry = inputs()
    if "mask" in flow:
        xs = np.where(flow["mask"][..., None], xs, np.nan)
    found = both(None, params, xs, carry, flow)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert calls(partial(with_flow, "cudnn"), params, xs, carry, flow) == {"cudnn_lstm", "cudnn_lstm_backward"}


@pytest.mark.usefixtures("on_reference")
def test_two_batch_axes_in_reverse_with_recomputed_segments():
    flow = {"mask": HOLES.reshape(T, 2, 2), "reverse": True, "remat": T}
    both(partial(gradients, flow=flow), *inputs((2, 2)))


@pytest.mark.usefixtures("on_reference")
def test_no_batch_axis_and_no_bias():
    cell = jaxrnn.lstm(H, use_bias=False)
    both(partial(gradients, flow={"mask": HOLES[:, 1]}, cell=cell), *inputs((), cell))


@pytest.mark.usefixtures("on_reference")
def test_half_precision_parameters_that_compute_in_single_precision():
    cell = jaxrnn.lstm(H, dtype=jnp.float32, param_dtype=jnp.bfloat16)
    params, xs, carry = inputs()
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.bfloat16), params)
    found = jax.jit(partial(gradients, "cudnn", cell=cell))(params, xs, carry)
    assert {leaf.dtype for leaf in jax.tree.leaves(found["d_params"])} == {jnp.dtype(jnp.bfloat16)}
    wide = jax.tree.map(lambda p: np.asarray(p, np.float32), params)
    assert_close(found, compiled("fused")(wide, xs, carry, {}), 1e-2)


def test_weights_are_packed_as_the_reference_unpacks_them():
    params, _, _ = inputs()
    parts = rnn.unpack_lstm_weights(cudnn_calls.pack(params), D, H, 1, False)
    kernel, recurrent, bias, second = (part[0] for part in parts)
    np.testing.assert_array_equal(kernel.reshape(4, H, D), params["kernel"].transpose(1, 2, 0))
    np.testing.assert_array_equal(recurrent.reshape(4, H, H), params["recurrent_kernel"].transpose(1, 2, 0))
    np.testing.assert_array_equal(bias.reshape(4, H), params["bias"])
    assert not second.any()


def squares(tree):
    return sum((leaf**2).sum() for leaf in jax.tree.leaves(tree))


DERIVATIVES = {
    "jvp": lambda f, args, d: jax.jvp(f, args, d),
    "jvp of the gradient": lambda f, args, d: jax.jvp(with_gradients(f), args, d),
    "transpose of the gradient": lambda f, args, d: jax.linear_transpose(jax.vjp(f, *args)[1], f(*args))(d),
}


@pytest.mark.sampled
@pytest.mark.parametrize("derive", DERIVATIVES.values(), ids=DERIVATIVES)
@pytest.mark.usefixtures("on_reference")
def test_other_derivatives_are_the_engine_s(derive):
    args = inputs()
    directions = jax.tree.map(np.cos, args)
    both(lambda method, *args: derive(run(method, BACK), args, directions), *args)


OVER_ROWS = ({"bias": None, "kernel": None, "recurrent_kernel": None}, 1, 0)


@pytest.mark.usefixtures("on_reference")
def test_vmap_of_a_value_is_a_batch_axis():
    def total(method, params, xs, carry):
        rows = jax.vmap(run(method, {"mask": HOLES[:, 1]}), in_axes=OVER_ROWS)(params, xs, carry)
        return squares(rows)

    def derive(method, *args):
        return jax.value_and_grad(partial(total, method), (0, 1, 2))(*args)

    both(derive, *inputs())
    assert calls(partial(derive, "cudnn"), *inputs()) == {"cudnn_lstm", "cudnn_lstm_backward"}


@pytest.mark.usefixtures("on_reference")
def test_vmap_of_a_gradient_or_over_weights_is_the_engine_s():
    def of_gradient(method, flag, *args):
        def taken(*args):  # the branches of a conditional keep arrays of equal shapes for the gradient
            return lax.cond(flag, run(method), lambda p, x, c: (c, 0 * run(method)(p, x, c)[1]), *args)

        return jax.vmap(with_gradients(taken), in_axes=OVER_ROWS)(*args)

    def over_weights(method, *args):
        members = jax.tree.map(lambda leaf: jnp.stack([leaf, -leaf]), args)
        return jax.vmap(run(method))(*members)

    both(of_gradient, True, *inputs())
    both(over_weights, *inputs())


@pytest.mark.usefixtures("on_reference")
def test_layers_take_it_in_each_direction():
    def model(method):
        part = jaxrnn.rnn(jaxrnn.lstm(H), method=method)
        return jaxrnn.stack(jaxrnn.bidirectional(part), part)

    def apply(method, params, xs):
        return jaxrnn.unroll(model(method), params, xs, mask=HOLES)

    both(apply, random_params(model("fused"), D), inputs()[1])


@pytest.mark.usefixtures("on_reference")
def test_it_runs_without_jit_and_over_the_devices_of_a_mesh():
    args = inputs()
    expected = jax.jit(run("fused"))(*args)
    with jax.disable_jit():
        assert_close(run("cudnn")(*args), expected, 2e-6)
    spec = jax.sharding.PartitionSpec
    mesh = jax.make_mesh((1,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    axes = (spec(), spec(None, "rows"), spec("rows"))

    def sharded(*args):
        out = jax.shard_map(run("cudnn"), mesh=mesh, in_specs=axes, out_specs=(spec("rows"), spec(None, "rows")))(*args)
        return squares(out)

    found = jax.jit(jax.grad(sharded, (0, 1, 2)))(*args)
    assert_close(found, jax.jit(jax.grad(lambda *args: squares(run("fused")(*args)), (0, 1, 2)))(*args), 2e-6)


FALLBACKS = {
    "resets": (CELL, (B,), T, {"resets": HOLES}),
    "zoneout": (jaxrnn.zoneout(CELL, 0.5), (B,), T, {"key": jax.random.key(0)}),
    "recurrent dropout": (jaxrnn.recurrent_dropout(CELL, 0.5), (B,), T, {"key": jax.random.key(0)}),
    "no steps": (CELL, (B,), 0, {}),
    "no sequences": (CELL, (0,), T, {}),
}


@pytest.mark.sampled
@pytest.mark.parametrize("case", FALLBACKS)
def test_what_cudnn_has_no_notion_of_runs_in_the_engine(case):
    cell, batch, time, flow = FALLBACKS[case]
    args = inputs(batch, cell, time)
    both(lambda method, *args: run(method, flow, cell)(*args), *args)
    assert calls(run("cudnn", flow, cell), *args) == {"recurrence"}
