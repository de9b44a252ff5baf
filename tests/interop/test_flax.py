"""Weights from and to Flax: round trips of every cell, agreement in two directions, and errors.

`test_live_flax.py` holds one cell each against Flax's, gradients included.
"""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from golden import store
from golden.outcome import drawn
from golden.store import B, D, H, T

import jaxrnn
from jaxrnn.interop import from_flax, to_flax

pytestmark = pytest.mark.usefixtures("quick_compilation")

LINEN = {
    "linen.LSTMCell": linen.LSTMCell,
    "linen.OptimizedLSTMCell": linen.OptimizedLSTMCell,
    "linen.GRUCell": linen.GRUCell,
    "linen.MGUCell": linen.MGUCell,
    "linen.MGUCell(reset_gate=False)": partial(linen.MGUCell, reset_gate=False),
    "linen.SimpleCell": linen.SimpleCell,
    "linen.ConvLSTMCell": partial(linen.ConvLSTMCell, kernel_size=(3, 2)),
}
NNX = {
    "nnx.LSTMCell": nnx.LSTMCell,
    "nnx.OptimizedLSTMCell": nnx.OptimizedLSTMCell,
    "nnx.GRUCell": nnx.GRUCell,
    "nnx.SimpleCell": nnx.SimpleCell,
}
XS = store.draw(np.random.default_rng(1), (T, B, D))
LENGTHS = np.array([3, 7, 1, 5])


def weights_like(tree):
    return store.draw(np.random.default_rng(0), jax.tree.map(jnp.shape, tree))


def weights_of(name):
    """Of one cell, as Flax nests them."""
    if name in LINEN:
        module = linen.RNN(LINEN[name](H))
        xs = XS if "Conv" not in name else np.ones((B, T, 4, 4, D))
        return weights_like(jax.eval_shape(module.init, jax.random.key(0), xs)["params"])["cell"]
    return weights_like(nnx.to_pure_dict(nnx.state(NNX[name](D, H, rngs=nnx.Rngs(0)), nnx.Param)))


@pytest.mark.sampled
@pytest.mark.parametrize("name", [*LINEN, *NNX])
def test_round_trip(name):
    weights = weights_of(name)
    layer, params = from_flax({"params": {"RNN_0": {"cell": weights}}})
    again = to_flax(layer, params, cell=name)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(again))
    if "Conv" in name:  # two biases are one, and 1 is added to the forget gate and taken from it
        weights["ih"]["bias"] += weights["hh"]["bias"]
        weights["hh"]["bias"][:] = 0
    forget = 2e-7 * ("Conv" in name)
    chex.assert_trees_all_close(again, weights, rtol=0, atol=forget)
    chex.assert_trees_all_close(from_flax(again)[1], params, rtol=0, atol=forget)


@pytest.mark.parametrize("name", ["lstm", "gru", "elman"])
def test_a_layer_without_a_bias_has_zeros_in_flax(name):
    layer = jaxrnn.rnn(getattr(jaxrnn, name)(H, use_bias=False))
    params = drawn(layer)
    again = from_flax(to_flax(layer, params))[1]
    chex.assert_trees_all_equal({key: again.pop(key) for key in params}, params)
    assert "bias" in again and not any(leaf.any() for leaf in again.values())


def test_agrees_with_linen_in_both_directions():
    rnns = [linen.RNN(linen.GRUCell(H, activation_fn=jnp.sin)) for _ in range(2)]
    module = linen.Bidirectional(*rnns, merge_fn=lambda a, b: a + b, time_major=True, return_carry=True)
    weights = weights_like(jax.eval_shape(module.init, jax.random.key(0), XS)["params"])
    layer, params = from_flax(weights, merge="sum", activation=jnp.sin)
    chex.assert_trees_all_equal(to_flax(layer, params, merge="sum", activation=jnp.sin), weights)

    theirs, ys_theirs = module.apply({"params": weights}, XS, seq_lengths=LENGTHS)
    carry, ys = jaxrnn.unroll(layer, params, XS, lengths=LENGTHS)
    valid = np.arange(T)[:, None] < LENGTHS
    chex.assert_trees_all_close(ys[valid], ys_theirs[valid], rtol=0, atol=1e-5)
    chex.assert_trees_all_close((carry.forward.h, carry.backward.h), theirs, rtol=0, atol=1e-5)


def test_agrees_with_nnx_in_both_directions():
    rnns = [nnx.RNN(nnx.OptimizedLSTMCell(D, H, rngs=nnx.Rngs(seed))) for seed in (0, 1)]
    module = nnx.Bidirectional(*rnns, time_major=True)
    layer, params = from_flax(nnx.state(module, nnx.Param))  # as it is
    drawn = weights_like(params)
    nnx.update(module, to_flax(layer, drawn, cell="nnx.OptimizedLSTMCell"))
    chex.assert_trees_all_close(jaxrnn.unroll(layer, drawn, XS)[1], module(XS), rtol=0, atol=1e-5)


def test_both_directions_of_one_cell():
    """Flax keeps the weights once, under the direction that came to them first in linen and last in NNX."""
    cell = linen.GRUCell(H)
    module = linen.Bidirectional(linen.RNN(cell), linen.RNN(cell), time_major=True)
    weights = weights_like(jax.eval_shape(module.init, jax.random.key(0), XS)["params"])
    assert list(weights) == ["forward_rnn"]
    layer, params = from_flax({"encoder": weights})
    chex.assert_trees_all_equal(params["forward"], params["backward"])
    chex.assert_trees_all_close(jaxrnn.unroll(layer, params, XS)[1], module.apply({"params": weights}, XS), atol=1e-5)
    chex.assert_trees_all_equal(from_flax(to_flax(layer, params))[1], params)

    one = from_flax(weights["forward_rnn"])[1]
    chex.assert_trees_all_equal(one, params["forward"])
    lone = from_flax({"backward_rnn": weights["forward_rnn"]})[1]  # NNX's name for it
    chex.assert_trees_all_equal(lone, params)


LSTM = weights_of("linen.LSTMCell")
WRONG = {
    "missing": (
        {"cell": {gate: module for gate, module in LSTM.items() if gate != "hf"}},
        "from_flax: cell: weights lack ['hf/kernel', 'hf/bias'], expected ['ii/kernel', 'if/kernel', ",
    ),
    "unknown": (
        {**LSTM, "scale": np.ones(3)},
        "from_flax: 'scale' is unknown, expected names that end in dense_h/bias, d",
    ),
    "of another cell": (
        {**LSTM, "i": {"kernel": np.ones((D, H))}},
        "weights have unknown ['i/kernel'], expected ['ii/k",
    ),
    "shape": (
        {**LSTM, "hf": {**LSTM["hf"], "bias": np.ones(7)}},
        "'hf/bias' has shape (7,), expected (5,) from 5 features",
    ),
    "axes": ({**LSTM, "hi": {**LSTM["hi"], "kernel": np.ones(7)}}, "'hi/kernel' has shape (7,), expected 2 axes"),
    "gates": (
        {
            "dense_i": {"kernel": np.ones((D, 2 * H))},
            "dense_h": {"kernel": np.ones((H, 2 * H)), "bias": np.ones(2 * H)},
        },
        "'dense_i/kernel' has shape (3, 10), expected (3, 20) from 5 features",
    ),
    "two cells": (
        {"LSTMCell_0": LSTM, "LSTMCell_1": LSTM},
        "are those of ['LSTMCell_0', 'LSTMCell_1'], expected one cell's",
    ),
    "random state": (
        {"cell": LSTM, "rngs": {"count": np.ones((), np.uint32)}},
        "'rngs/count' has dtype uint32, expected a",
    ),
}


@pytest.mark.parametrize(("weights", "message"), WRONG.values(), ids=WRONG.keys())
def test_weights_that_do_not_fit(weights, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_flax(weights)


@pytest.mark.sampled
@pytest.mark.parametrize("name", [name for name in (*LINEN, *NNX) if "Simple" not in name and "Conv" not in name])
def test_gates_of_another_activation(name):
    """One step of Flax's own cell with a `gate_fn` for which `1 − g(x)` is not `g(−x)`."""
    options = {"gate_fn": lambda x: jnp.sin(x) ** 2, "activation_fn": jax.nn.elu}
    given = {"gate_activation": options["gate_fn"], "activation": options["activation_fn"]}
    weights = weights_of(name)
    layer, params = from_flax(weights, **given)
    carry = drawn_carry(layer, params)
    first = tuple(carry) if len(carry) > 1 else carry.h
    if name in LINEN:
        after, y = LINEN[name](H, **options).apply({"params": weights}, first, XS[0])
    else:
        module = NNX[name](D, H, rngs=nnx.Rngs(0), **options)
        nnx.update(module, weights)
        after, y = module(first, XS[0])
    chex.assert_trees_all_close(layer.step(params, carry, XS[0]), (type(carry)(*jax.tree.leaves(after)), y), atol=1e-5)
    with pytest.raises(ValueError, match="layer computes something else than flax would"):
        to_flax(layer, params, cell=name, activation=jax.nn.elu)
    chex.assert_trees_all_equal(from_flax(to_flax(layer, params, cell=name, **given), **given)[1], params)


def drawn_carry(layer, params):
    shapes = jax.tree.map(jnp.shape, layer.init_carry(params, (B,)))
    return type(shapes)(**store.draw(np.random.default_rng(2), shapes._asdict()))


def test_cells_whose_activations_are_fixed():
    with pytest.raises(ValueError, match=r" activation is .*, expected jnp\.tanh: ConvLSTMCell has no other"):
        from_flax(weights_of("linen.ConvLSTMCell"), activation=jax.nn.relu)
    with pytest.raises(ValueError, match=r"gate_activation is .*, expected jax\.nn\.sigmoid: ConvLSTM"):
        from_flax(weights_of("linen.ConvLSTMCell"), gate_activation=jax.nn.relu)
    with pytest.raises(ValueError, match=r"gate_activation is .*: a SimpleCell has no gates"):
        from_flax(weights_of("nnx.SimpleCell"), gate_activation=jax.nn.relu)


def test_cells_that_flax_has_not():
    def convert(layer, **options):
        return to_flax(layer, drawn(layer), **options)

    with pytest.raises(ValueError, match="recurrent_bias is not zero, expected zeros: this cell has none"):
        convert(jaxrnn.rnn(jaxrnn.gru(H)), cell="nnx.GRUCell")
    with pytest.raises(ValueError, match=r"cell is 'nnx\.GRUCell', expected one of 'linen\.SimpleCell', "):
        convert(jaxrnn.rnn(jaxrnn.elman(H)), cell="nnx.GRUCell")
    with pytest.raises(ValueError, match=r"params have 3 gates and the entries .*, expected those of one"):
        convert(jaxrnn.rnn(jaxrnn.gru(H, reset="before")))
    with pytest.raises(ValueError, match="layer computes something else than flax would"):
        convert(jaxrnn.bidirectional(jaxrnn.elman(H), merge="mul"))
