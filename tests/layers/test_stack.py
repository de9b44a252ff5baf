"""`rnn` and `stack`: each is what its parts are, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params, shapes_of
from compare import assert_close
from layers.cases import GRU, LSTM, SOFTMAX, B, D, H, T, random

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")
MASK = np.array([[1, 1], [0, 1], [1, 0], [1, 0], [0, 0]], bool)
RESETS = np.array([[0, 0], [1, 0], [0, 0], [0, 1], [0, 0]], bool)
LENGTHS = np.array([3, 0])
FLOWS = {
    "plain": {},
    "lengths": {"lengths": LENGTHS},
    "mask": {"mask": MASK},
    "resets": {"resets": RESETS},
    "mask and resets": {"mask": MASK, "resets": RESETS},
}
STACK = jaxrnn.stack(
    jaxrnn.rnn(LSTM),
    jaxrnn.dropout(0.5),
    jaxrnn.stack(jaxrnn.rnn(GRU, reverse=True), SOFTMAX),
    jaxrnn.rnn(jaxrnn.elman(H)),
)


@pytest.mark.parametrize("options", [{}, {"reverse": True, "method": "scan", "remat": 2, "unroll": 2}], ids=str)
def test_rnn_is_unroll(options):
    layer, params, xs = jaxrnn.rnn(LSTM, **options), random_params(LSTM, D), random(T, B, D)
    carry = LSTM.init_carry(params, (B,))._replace(c=random(B, H))
    for start, flow in ((None, FLOWS["lengths"]), (carry, FLOWS["mask and resets"])):
        assert_close(
            jaxrnn.unroll(layer, params, xs, start, **flow), jaxrnn.unroll(LSTM, params, xs, start, **options, **flow)
        )


def test_rnn_keeps_the_cell_s_parameters_and_carry():
    layer, key = jaxrnn.rnn(GRU), jax.random.key(3)
    assert_close(layer.init(key, D), GRU.init(key, D))
    assert_close(layer.init_carry(layer.init(key, D), (B,)), jaxrnn.HiddenCarry(np.zeros((B, D))))


@pytest.mark.sampled
@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_stack_is_each_layer_by_hand(flow):
    """Lengths, masks and resets reach every layer, also those that run backwards or stand within another stack."""
    params, xs = random_params(STACK, D), random(T, B, D)
    inner = params["layer_2"]
    lstm_carry, hs = jaxrnn.unroll(LSTM, params["layer_0"], xs, **flow)
    gru_carry, hs = jaxrnn.unroll(GRU, inner["layer_0"], hs, reverse=True, **flow)
    _, hs = jaxrnn.unroll(SOFTMAX, inner["layer_1"], hs, **{k: v for k, v in flow.items() if k != "resets"})
    elman_carry, ys = jaxrnn.unroll(jaxrnn.elman(H), params["layer_3"], hs, **flow)
    assert_close(jaxrnn.unroll(STACK, params, xs, **flow), ((lstm_carry, (), (gru_carry, ()), elman_carry), ys))


def test_stack_parameters_are_named_by_place():
    params = shapes_of(STACK, D)
    assert set(params) == {"layer_0", "layer_2", "layer_3"}  # dropout has none
    assert set(params["layer_2"]) == {"layer_0", "layer_1"}
    assert params["layer_0"]["kernel"].shape == (D, 4, H)
    assert params["layer_2"]["layer_0"]["kernel"].shape == (H, 3, D)
    assert params["layer_2"]["layer_1"]["kernel"].shape == (D, 2)
    assert params["layer_3"]["kernel"].shape == (2, 1, H)


def test_stack_draws_each_layer_apart():
    layer = jaxrnn.stack(jaxrnn.rnn(jaxrnn.elman(H)), jaxrnn.rnn(jaxrnn.elman(H)))
    first, second = layer.init(jax.random.key(0), H).values()
    assert (first["kernel"] != second["kernel"]).all()


def test_stack_of_one_is_the_layer():
    params, xs = random_params(SOFTMAX, D), random(T, B, D)
    _, ys = jaxrnn.unroll(jaxrnn.stack(SOFTMAX), {"layer_0": params}, xs)
    assert_close(ys, jaxrnn.unroll(SOFTMAX, params, xs)[1])


@pytest.mark.every
def test_stack_trains():
    """Gradients reach all parameters, and equal a finite difference."""
    params, xs, cotangent = random_params(STACK, D), random(T, B, D), random(T, B, H)
    moved = random_params(STACK, D) | {"layer_3": random_params(jaxrnn.elman(H), 2)}

    @jax.jit
    def loss(params):
        return jnp.vdot(cotangent, jaxrnn.unroll(STACK, params, xs, mask=MASK, resets=RESETS)[1])

    grads = jax.jit(jax.grad(loss))(params)
    assert all((g != 0).any() for g in jax.tree.leaves(grads))
    along = sum(jnp.vdot(g, m) for g, m in zip(jax.tree.leaves(grads), jax.tree.leaves(moved), strict=True))
    there, back = (jax.tree.map(lambda p, m, s=s: p + s * m, params, moved) for s in (1e-6, -1e-6))
    np.testing.assert_allclose(along, (loss(there) - loss(back)) / 2e-6, rtol=1e-6)


def test_a_stack_splits_its_key():
    """Two dropouts of one stack draw apart, and no key means no noise."""
    layer, xs = jaxrnn.stack(jaxrnn.dropout(0.5), jaxrnn.dropout(0.5)), np.ones((T, B, 200))
    _, ys = jaxrnn.unroll(layer, {}, xs, key=jax.random.key(0))
    np.testing.assert_allclose((ys != 0).mean(), 0.25, atol=0.05)  # 0.5 if both drew the same
    assert_close(jaxrnn.unroll(layer, {}, xs), (((), ()), xs))


def test_a_fresh_carry_can_be_donated():
    cell = jaxrnn.lstm(4)
    carry = cell.init_carry(cell.init(jax.random.key(0), 3), (2,))
    assert len({leaf.unsafe_buffer_pointer() for leaf in carry}) == 2


def test_a_layer_may_be_told_that_a_sequence_begins():
    """Through every layer of layers; one that does not ask gets its initial carry."""
    seen = []

    def run(params, carry, xs, steps):
        seen.append(carry if carry is None else int(carry.shape[-1]))
        return jnp.zeros((*xs.shape[1:-1], D)), xs

    def spy(takes_none):
        first = lambda params, batch: jnp.zeros((*batch, D))  # noqa: E731
        return jaxrnn.layer("spy", lambda key, n: {}, run, None, first, takes_none=takes_none)

    asks, not_asks = spy(True), spy(False)
    model = jaxrnn.stack(jaxrnn.residual(jaxrnn.stack(asks, not_asks)), jaxrnn.bidirectional(asks, merge="sum"))
    xs = random(T, B, D)
    with jax.disable_jit():
        carry, ys = jaxrnn.unroll(model, {}, xs)
        begun = list(seen)
        seen.clear()
        again, _ = jaxrnn.unroll(model, {}, xs, model.init_carry({}, (B,)))
    assert begun[-4:] == [None, D, None, None] and seen[-4:] == [D] * 4
    assert_close(again, carry)
    assert ys.shape == (T, B, D)
