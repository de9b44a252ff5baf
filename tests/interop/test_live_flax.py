"""Outputs, final carries and all gradients against flax's own cells, run by flax's own `RNN` with `seq_lengths`."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from golden import store
from golden.outcome import CELLS as OURS
from golden.outcome import outcome, unrolled
from golden.store import B, D, H, T

from jaxrnn.interop import from_flax

pytestmark = pytest.mark.usefixtures("quick_compilation")

LENGTHS = np.array([3, 7, 1, 5])  # no 0: flax takes the carry of the last step there
SPACE = (4, 3)  # of the convolutional LSTM
CELLS = {
    "linen.LSTMCell": ("lstm", linen.LSTMCell),
    "linen.OptimizedLSTMCell": ("lstm", linen.OptimizedLSTMCell),
    "linen.GRUCell": ("gru", linen.GRUCell),
    "linen.MGUCell": ("mgu", linen.MGUCell),
    "linen.MGUCell(reset_gate=False)": ("janet", partial(linen.MGUCell, reset_gate=False)),
    "linen.ConvLSTMCell": ("conv_lstm_2d", partial(linen.ConvLSTMCell, kernel_size=(3, 2))),
    "linen.SimpleCell": ("elman", linen.SimpleCell),
    "nnx.LSTMCell": ("lstm", nnx.LSTMCell),
    "nnx.OptimizedLSTMCell": ("lstm", nnx.OptimizedLSTMCell),
    "nnx.GRUCell": ("gru", nnx.GRUCell),
    "nnx.SimpleCell": ("elman", nnx.SimpleCell),
}


def linen_rnn(cell, xs, **options):
    """`run(weights, xs, **call)` of a linen module, and weights of the right shapes."""
    module = linen.RNN(cell(H), **options)
    weights = jax.eval_shape(module.init, jax.random.key(0), xs)["params"]["cell"]
    return lambda weights, xs, **call: module.apply({"params": {"cell": weights}}, xs, **call), weights


def nnx_rnn(cell, xs, **options):
    """The same of an nnx module."""
    graph, state = nnx.split(cell(xs.shape[-1], H, rngs=nnx.Rngs(0)))

    def run(weights, xs, **call):
        return nnx.RNN(nnx.merge(graph, nnx.State(weights)), **options)(xs, **call)

    return run, nnx.to_pure_dict(state)


def flax_program(run, fields):
    """`run` with carries by name. What flax's outputs are at padding is the cell's answer to padding: here 0."""

    def program(weights, xs, carry):
        first = tuple(carry[field] for field in fields) if len(fields) > 1 else carry["h"]
        final, ys = run(weights, xs, initial_carry=first, seq_lengths=LENGTHS)
        finals = final if len(fields) > 1 else (final,)
        valid = np.arange(T)[:, None] < LENGTHS
        return {
            "ys": jnp.where(valid.reshape(T, B, *[1] * (ys.ndim - 2)), ys, 0),
            "carry": dict(zip(fields, finals, strict=True)),
        }

    return program


@pytest.mark.sampled
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("name", CELLS)
def test_agrees_with_flax(name, direction):
    kind, cell = CELLS[name]
    reverse, rnn = direction == "backward", linen_rnn if name.startswith("linen") else nnx_rnn
    space, fields = SPACE if "conv" in kind else (), OURS[kind][1]._fields
    xs = jnp.zeros((T, B, *space, D))
    run, weights = rnn(cell, xs, time_major=True, return_carry=True, reverse=reverse, keep_order=True)

    rng = np.random.default_rng(1997)
    carry = {field: (B, *space, H) for field in fields}
    inputs = store.draw(rng, {"weights": jax.tree.map(jnp.shape, weights), "xs": xs.shape, "carry": carry})
    cotangents = store.draw(rng, {"ys": (T, B, *space, H), "carry": carry})

    ours = outcome(unrolled(kind, from_flax, lengths=LENGTHS, reverse=reverse), inputs, cotangents)
    theirs = outcome(flax_program(run, fields), inputs, cotangents)
    chex.assert_trees_all_close(ours, theirs, rtol=0, atol=1e-5)
