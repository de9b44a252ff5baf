"""Carries from and to Flax and Haiku, round trips, and errors.

Outputs from PyTorch's and Keras's states, and what becomes of these, stand in `test_torch.py` and
`test_keras.py`.
"""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from golden import store
from golden.store import B, D, H, T

import jaxrnn
from jaxrnn import interop

pytestmark = pytest.mark.usefixtures("quick_compilation")

RNG = np.random.default_rng(0)
XS = store.draw(RNG, (T, B, D))
LSTM, GRU = jaxrnn.lstm(H), jaxrnn.gru(H)
DEEP = jaxrnn.stack(jaxrnn.bidirectional(LSTM), jaxrnn.dropout(0.5), jaxrnn.bidirectional(LSTM))
DEEP_PARAMS = DEEP.init(jax.random.key(0), D)


def states(*shape, count):
    return [store.draw(RNG, shape) for _ in range(count)]


@pytest.mark.every
def test_linen_goes_on_from_a_carry_and_back():
    rnns = [linen.RNN(linen.LSTMCell(H)) for _ in range(2)]
    module = linen.Bidirectional(*rnns, time_major=True, return_carry=True)
    weights = module.init(jax.random.key(0), XS)["params"]
    layer, params = interop.from_flax(weights)
    c, h, c_back, h_back = states(B, H, count=4)
    first = ((c, h), (c_back, h_back))
    theirs = module.apply({"params": weights}, XS, initial_carry=first)
    carry, ys = jaxrnn.unroll(layer, params, XS, interop.carry_from_flax(layer, params, first))
    chex.assert_trees_all_close((interop.carry_to_flax(carry), ys), theirs, rtol=0, atol=1e-5)


def test_nnx_goes_on_from_a_carry_and_back():
    cell = nnx.GRUCell(D, H, rngs=nnx.Rngs(0))
    layer, params = interop.from_flax(nnx.to_pure_dict(nnx.state(cell, nnx.Param)))
    (h,) = states(B, H, count=1)
    theirs, y = cell(h, XS[0])
    carry, ours = layer.step(params, interop.carry_from_flax(layer, params, h), XS[0])
    chex.assert_trees_all_close((interop.carry_to_flax(carry), ours), (theirs, y), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["lstm", "gru_before", "elman_relu", "conv_lstm"])
def test_haiku_goes_on_from_a_carry_and_back(kind):
    golden = store.load(f"haiku_{kind}")
    inputs, outputs = golden["inputs"], golden["plain"]["forward"]["outputs"]
    layer, params = interop.from_haiku(inputs["weights"])

    def state(carry):
        return (carry["h"], carry["c"]) if "c" in carry else carry["h"]

    carry, ys = jaxrnn.unroll(
        layer, params, inputs["xs"], interop.carry_from_haiku(layer, params, state(inputs["carry"]))
    )
    expected = (state(outputs["carry"]), outputs["ys"])
    chex.assert_trees_all_close((interop.carry_to_haiku(carry), ys), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["torch", "keras", "flax", "haiku"])
def test_round_trip_of_a_deep_carry(name):
    """Every state stands where it came from, whatever the order in between, and in more than one batch axis."""
    carry = DEEP.init_carry(DEEP_PARAMS, (3, 2))
    leaves, tree = jax.tree.flatten(carry)
    carry = jax.tree.unflatten(tree, [leaf + i for i, leaf in enumerate(leaves)])
    read, write = (getattr(interop, f"carry_{way}_{name}") for way in ("from", "to"))
    chex.assert_trees_all_equal(read(DEEP, DEEP_PARAMS, write(carry)), carry)


def test_orders():
    """Of an LSTM in both directions, whose states are numbered in the order of `BidirectionalCarry`'s leaves."""
    layer = jaxrnn.bidirectional(LSTM)
    leaves, tree = jax.tree.flatten(layer.init_carry(layer.init(jax.random.key(0), D)))
    carry = jax.tree.unflatten(tree, [jnp.full((1, H), float(i)) for i in range(len(leaves))])

    def numbers(state):
        return jax.tree.map(lambda leaf: leaf[..., 0].ravel().tolist(), state)

    assert numbers(interop.carry_to_torch(carry)) == ([1, 3], [0, 2])
    assert numbers(interop.carry_to_keras(carry)) == [[1], [0], [3], [2]]
    assert numbers(interop.carry_to_flax(carry)) == (([0], [1]), ([2], [3]))
    assert numbers(interop.carry_to_haiku(carry)) == (([1], [0]), ([3], [2]))


def test_states_of_different_widths():
    layer = jaxrnn.rnn(jaxrnn.projected_lstm(H, 2))
    params = layer.init(jax.random.key(0), D)
    h, c = np.ones((1, B, 2)), np.ones((1, B, H))
    carry = interop.carry_from_torch(layer, params, (h, c))
    assert (carry.h.shape, carry.c.shape) == ((B, 2), (B, H))
    with pytest.raises(
        ValueError, match=r"carry\.c has shape \(4, 2\), expected \(4, 5\) from the layer and a first sta"
    ):
        interop.carry_from_torch(layer, params, (c[..., :2], h))


ONE = np.ones((B, H), np.float32)
PARAMS = {cell: cell.init(jax.random.key(0), D) for cell in (LSTM, GRU)}
LRU = jaxrnn.lru(H)
WRONG = [
    (
        lambda: interop.carry_from_flax(LSTM, PARAMS[LSTM], ONE),
        "carry_from_flax: state has 1 arrays, expected 2 from th",
    ),
    (
        lambda: interop.carry_from_keras(GRU, PARAMS[GRU], [ONE, ONE]),
        "state has 2 arrays, expected 1 from the layer: h",
    ),
    (
        lambda: interop.carry_from_haiku(GRU, PARAMS[GRU], ONE[:, :3]),
        "carry.h has shape (4, 3), expected (4, 5) from th",
    ),
    (lambda: interop.carry_from_haiku(GRU, PARAMS[GRU], jnp.ones((B, H), int)), "'state' has dtype int32, expected a "),
    (lambda: interop.carry_from_flax(LSTM, PARAMS[LSTM], (ONE, ONE[:3])), "carry.h has shape (3, 5), expected (4, 5) "),
    (
        lambda: interop.carry_from_torch(GRU, PARAMS[GRU], ONE),
        "shapes [(4, 5)], expected [1, *batch, H] from the layer",
    ),
    (
        lambda: interop.carry_from_torch(GRU, PARAMS[GRU], (ONE[None],) * 2),
        "state has 2 arrays, expected 1 from the la",
    ),
    (
        lambda: interop.carry_from_flax(LRU, LRU.init(jax.random.key(0), D), ONE),
        "the carry holds a ComplexCarry, expec",
    ),
    (lambda: interop.carry_from_flax("lstm", {}, ONE), "layer is of type str, expected a Cell or a Layer"),
    (
        lambda: interop.carry_to_flax({"h": ONE}),
        "the carry holds a ndarray, expected cells with the states h, or c and h",
    ),
    (
        lambda: interop.carry_to_keras(((), ())),
        "carry_to_keras: the carry is empty, expected that of at least one cell",
    ),
    (
        lambda: interop.carry_to_torch((jaxrnn.HiddenCarry(ONE), jaxrnn.LSTMCarry(ONE, ONE))),
        "carry has cells of different kinds or sizes, expected equal ones",
    ),
    (
        lambda: interop.carry_to_flax(jaxrnn.LSTMCarry(ONE, None)),
        "carry_to_flax: carry.h is None, expected an array",
    ),
    (
        lambda: interop.carry_to_keras(jaxrnn.LSTMCarry(np.ones((7, H)), np.ones((2, H)))),
        f"carry_to_keras: carry has leaves of shapes [(7, {H}), (2, {H})], expected one batch",
    ),
    (
        lambda: interop.carry_from_torch(jaxrnn.lstm(H), {"a": ONE}, (ONE, ONE)),
        "carry_from_torch: params do not fit layer: KeyError('recurrent_kernel'); expected what layer.init makes",
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_states_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
