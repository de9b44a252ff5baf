"""`bidirectional`: both directions alone, by Python loops over rows, steps and segments; then merged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.cells import FLOWS, B, D, H, T, inputs, make
from laws.reference import definition, with_gradients

import jaxrnn
from arrays import shapes_of
from compare import assert_close
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

LSTM, GRU = make("lstm"), make("gru")
BOTH = jaxrnn.bidirectional(LSTM, GRU)
READOUT = jaxrnn.dense(3, activation=jnp.tanh)
LAYERED = jaxrnn.bidirectional(jaxrnn.stack(jaxrnn.rnn(LSTM), READOUT))
LENGTHS = np.array([3, 0])


def arguments():
    """`(params, xs, carry)` of an LSTM forward and a GRU backward."""
    (forward, xs, lstm_carry), (backward, _, gru_carry) = inputs("lstm"), inputs("gru", seed=1)
    return {"forward": forward, "backward": backward}, xs, jaxrnn.BidirectionalCarry(lstm_carry, gru_carry)


def alone(params, xs, carry, mask, resets):
    """Each direction by its definition: loops over rows and steps, without masks, flips or scans."""
    carry_f, ys_f = definition("lstm")(params["forward"], xs, carry.forward, mask, resets)
    carry_b, ys_b = definition("gru", reverse=True)(params["backward"], xs, carry.backward, mask, resets)
    return jaxrnn.BidirectionalCarry(carry_f, carry_b), jnp.concatenate([ys_f, ys_b], -1)


def merged(params, xs, carry, mask, resets):
    return jaxrnn.unroll(BOTH, params, xs, carry, mask=mask, resets=resets)


def test_equals_the_two_directions_alone():
    """Values and all gradients, whatever is masked and wherever sequences begin."""
    args = (*arguments(), *FLOWS["packed_holes"])
    assert_close(jit(with_gradients(merged))(*args), with_gradients(alone)(*args))


def test_a_layer_goes_backwards_as_a_whole():
    mask, resets = FLOWS["packed_holes"]
    (forward, xs, carry_f), (backward, _, carry_b) = inputs("lstm"), inputs("lstm", seed=1)
    readout = jax.tree.map(lambda p: np.cos(np.arange(p.size)).reshape(p.shape), READOUT.init(jax.random.key(0), H))
    params = {d: {"layer_0": p, "layer_1": readout} for d, p in (("forward", forward), ("backward", backward))}
    carry = jaxrnn.BidirectionalCarry((carry_f, ()), (carry_b, ()))
    (after_f, _), (after_b, _) = (c := jaxrnn.unroll(LAYERED, params, xs, carry, mask=mask, resets=resets))[0]
    expected_f, hs_f = definition("lstm")(forward, xs, carry_f, mask, resets)
    expected_b, hs_b = definition("lstm", reverse=True)(backward, xs, carry_b, mask, resets)
    ys = [jnp.tanh(hs @ readout["kernel"] + readout["bias"][None, None]) * mask[..., None] for hs in (hs_f, hs_b)]
    assert_close((after_f, after_b, c[1]), (expected_f, expected_b, jnp.concatenate(ys, -1)))


def test_lengths_are_a_mask_from_the_left():
    params, xs, carry = arguments()
    mask = np.arange(T)[:, None] < LENGTHS
    args = (params, xs, carry, mask, np.zeros_like(mask))
    assert_close(jaxrnn.unroll(BOTH, params, xs, carry, lengths=LENGTHS), alone(*args))


def test_begins_from_its_own_carry():
    params, xs, _ = arguments()
    carry = BOTH.init_carry(params, (B,))
    assert type(carry) is jaxrnn.BidirectionalCarry
    assert_close(jaxrnn.unroll(BOTH, params, xs), jaxrnn.unroll(BOTH, params, xs, carry))


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        ("concat", lambda f, b: np.concatenate([f, b], -1)),
        ("sum", lambda f, b: f + b),
        ("mul", lambda f, b: f * b),
        ("ave", lambda f, b: (f + b) / 2),
        (lambda f, b: f - 2 * b, lambda f, b: f - 2 * b),
    ],
    ids=["concat", "sum", "mul", "ave", "callable"],
)
def test_merges(merge, expected):
    params, xs, carry = arguments()
    layer = jaxrnn.bidirectional(LSTM, GRU, merge=merge)
    ys = jaxrnn.unroll(BOTH, params, xs, carry, lengths=LENGTHS)[1]
    after, actual = jaxrnn.unroll(layer, params, xs, carry, lengths=LENGTHS)
    assert_close(actual, expected(ys[..., :H], ys[..., H:]))
    assert_close(after, jaxrnn.unroll(BOTH, params, xs, carry, lengths=LENGTHS)[0])


def test_padding_is_silent_whatever_the_merge():
    """Also where the merge is singular at zero: no NaN in a gradient, no output at padding."""
    params, xs, carry = arguments()
    layer = jaxrnn.bidirectional(LSTM, GRU, merge=lambda f, b: jnp.sqrt(f**2 + b**2) + 1)

    def total(params):
        ys = jaxrnn.unroll(layer, params, xs, carry, lengths=LENGTHS)[1]
        return ys.sum(), ys

    grads, ys = jit(jax.grad(total, has_aux=True))(params)
    assert (ys[3:, 0] == 0).all() and (ys[:, 1] == 0).all() and (ys[:3, 0] > 1).all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("steps", [{}, {"lengths": LENGTHS}, {"mask": np.arange(T)[:, None] < LENGTHS}], ids=list)
def test_a_merge_keeps_both_apart(steps):
    params, xs, carry = arguments()
    layer = jaxrnn.bidirectional(LSTM, GRU, merge=lambda f, b: {"forward": f, "backward": 2 * b})
    ys = jaxrnn.unroll(BOTH, params, xs, carry, **steps)[1]
    assert_close(
        jaxrnn.unroll(layer, params, xs, carry, **steps)[1], {"forward": ys[..., :H], "backward": 2 * ys[..., H:]}
    )
    if "lengths" in steps:
        module = jaxrnn.linen.RNN(layer, time_major=True)
        apart = module.apply({"params": params}, xs, initial_carry=carry, seq_lengths=LENGTHS)
        assert_close(apart["forward"], ys[..., :H])


def test_what_is_kept_apart_comes_last():
    layer = jaxrnn.stack(jaxrnn.bidirectional(LSTM, merge=lambda f, b: (f, b)), READOUT)
    with pytest.raises(ValueError, match="stack: layer_0 gives a tuple, expected one array; several outputs"):
        layer.init(jax.random.key(0), D)


def test_one_cell_is_drawn_once_a_direction():
    layer = jaxrnn.bidirectional(jaxrnn.elman(H))
    params = layer.init(jax.random.key(0), D)
    assert list(params) == ["forward", "backward"]
    assert jax.tree.structure(params["forward"]) == jax.tree.structure(params["backward"])
    assert (params["forward"]["kernel"] != params["backward"]["kernel"]).all()


def test_widths_are_inferred():
    layer = jaxrnn.stack(jaxrnn.bidirectional(LSTM, make("odd")), jaxrnn.bidirectional(GRU, merge="sum"), READOUT)
    params = shapes_of(layer, D)
    assert params["layer_1"]["forward"]["kernel"].shape == (2 * H + 1, 3, H)
    assert params["layer_2"]["kernel"].shape == (H, 3)


def test_a_direction_without_parameters_has_no_entry():
    layer = jaxrnn.bidirectional(jaxrnn.dropout(0.5))
    assert layer.init(jax.random.key(0), D) == {}
    xs = np.ones((T, B, 200))
    ys = jaxrnn.unroll(layer, {}, xs, key=jax.random.key(0))[1]
    both = (ys[..., :200] != 0) & (ys[..., 200:] != 0)
    np.testing.assert_allclose(both.mean(), 0.25, atol=0.05)  # 0.5 if both drew the same
    assert_close(jaxrnn.unroll(layer, {}, xs), (layer.init_carry({}), np.ones((T, B, 400))))


UNEQUAL = jaxrnn.bidirectional(LSTM, make("odd"), merge="sum")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jaxrnn.bidirectional(jnp.tanh), "bidirectional: forward is .*, expected a Cell or a Layer"),
        (
            lambda: jaxrnn.bidirectional(LSTM, "gru"),
            "bidirectional: backward is of type str, expected a Cell or a Layer",
        ),
        (lambda: jaxrnn.bidirectional(LSTM, merge="max"), "bidirectional: merge is 'max', expected one of 'concat', "),
        (
            lambda: UNEQUAL.init(jax.random.key(0), D),
            "bidirectional: forward gives 4 features and backward 5, expected equally many for merge='sum'; merge='con",
        ),
        (lambda: jaxrnn.unroll(BOTH, arguments()[0], np.ones(D)), r"unroll: xs has shape \(3,\), expected \[T"),
        (lambda: jaxrnn.unroll(BOTH, {}, np.ones((T, D))), "unroll: params lacks .*'backward'"),
        (
            lambda: jaxrnn.unroll(BOTH, arguments()[0], np.ones((T, D)), ((), ())),
            r"unroll: carry lacks .*, expected BidirectionalCarry\(forward, backward\)",
        ),
        (
            lambda: jaxrnn.unroll(BOTH, arguments()[0], np.ones((T, B, D)), lengths=np.ones(3, int)),
            r"unroll: lengths has shape \(3,\), expected \(2,\)",
        ),
        (
            lambda: jaxrnn.unroll(BOTH, arguments()[0], np.ones((T, B, D)), lengths=np.array(3)),
            r"lengths has shape \(\), expected \(2,\)",
        ),
        (
            lambda: jaxrnn.unroll(
                jaxrnn.bidirectional(LSTM, GRU, merge=lambda f, b: (f, b[0])), arguments()[0], np.ones((T, B, D))
            ),
            rf"merge gives shape \(2, {H}\), expected \({T}, 2, 'H'\)",
        ),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
