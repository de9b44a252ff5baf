"""What people write first: an example input for a width, parameters in any mapping, and wrong calls of all kinds."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from flax.core import freeze

import jaxrnn

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(0)
XS = jnp.ones((5, 2, 3))
CELL = jaxrnn.elman(4)
SHAPES = {"kernel": (3, 1, 4), "recurrent_kernel": (4, 1, 4), "bias": (1, 4)}
PARAMS = {name: np.full(shape, 0.5, np.float32) for name, shape in SHAPES.items()}
BOXED = PARAMS | {"kernel": linen.Partitioned(PARAMS["kernel"], (None, None, "model"))}
STACK = jaxrnn.stack(jaxrnn.rnn(CELL), jaxrnn.dropout(0.5))
H = np.zeros((2, 4), np.float32)


def unroll(params=PARAMS, xs=XS, carry=None, *, cell=CELL, **options):
    return jaxrnn.unroll(cell, params, xs, carry, **options)


@pytest.mark.parametrize("example", [XS, np.ones((2, 3), np.float32), np.int64(3)], ids=["sequence", "step", "number"])
@pytest.mark.parametrize("made", [CELL, STACK, jaxrnn.zoneout(CELL, 0.5)], ids=["cell", "layer", "transform"])
def test_init_takes_an_example_input(made, example):
    drawn, expected = (jax.eval_shape(lambda key, given=given: made.init(key, given), KEY) for given in (example, 3))
    assert drawn == expected


@pytest.mark.parametrize("mapping", [freeze, OrderedDict])
def test_parameters_are_any_mapping(mapping):
    expected = unroll()[1]
    np.testing.assert_array_equal(unroll(mapping(PARAMS))[1], expected)
    np.testing.assert_array_equal(jaxrnn.unroll(STACK, mapping({"layer_0": mapping(PARAMS)}), XS)[1], expected)


def test_gradients_come_in_the_mapping_of_the_parameters():
    frozen = freeze(PARAMS)
    shapes = jax.eval_shape(jax.grad(lambda params: unroll(params)[1].sum()), frozen)
    assert jax.tree.structure(shapes) == jax.tree.structure(frozen)


def test_a_negative_length_that_cannot_be_read_counts_as_none():
    shape = jax.eval_shape(lambda n: unroll(lengths=n)[1], jnp.array([-1, 2]))
    assert shape.shape == (5, 2, 4)


# Each a call and what its one line begins with, and ends with.
def unroll_stack(**options):
    return jaxrnn.unroll(STACK, {"layer_0": PARAMS}, XS, **options)


WRONG = [
    (lambda: CELL.init(3), "elman.init: key is 3, expected one PRNG key", "of a seed"),
    (lambda: CELL.init(KEY, True), "elman.init: in_features is True, expected an int of 1 or more", ""),
    (lambda: CELL.init(KEY, XS.shape), "elman.init: in_features is (5, 2, 3), expected", "an example input"),
    (lambda: CELL.init_carry(PARAMS, 8), "elman.init_carry: batch_shape is 8, expected a tuple", "(8,) has one batch"),
    (lambda: jaxrnn.lstm(64, 128), "lstm: 2 given by position, expected at most 1 (features)", "by name"),
    (lambda: jaxrnn.lstm(hidden_size=8), "lstm: unknown argument hidden_size, expected one of features", ""),
    (lambda: jaxrnn.lstm(), "lstm: missing a required argument: 'features'", ""),
    (lambda: jaxrnn.lstm(4, activation="tanh"), "lstm: activation is 'tanh', expected a function", "jnp.tanh is one"),
    (lambda: jaxrnn.lstm(4, activation=lambda: 0), "lstm: activation is", "expected a function of 1 argument"),
    (lambda: jaxrnn.lstm(4, kernel_init="zeros"), "lstm: kernel_init is 'zeros'", "jax.nn.initializers.zeros is one"),
    (lambda: jaxrnn.lstm(4, dtype="bf16"), "lstm: dtype is 'bf16', expected a floating dtype", "jnp.bfloat16"),
    (lambda: jaxrnn.lstm(4, dtype=jnp.complex64), "lstm: dtype is ", "expected a floating dtype"),
    (lambda: jaxrnn.lstm(4, param_dtype=None), "lstm: param_dtype is None, expected a floating dtype", ""),
    (lambda: jaxrnn.lstm(4, use_bias="no"), "lstm: use_bias is 'no', expected True or False", ""),
    (lambda: jaxrnn.lstm(4, forget_bias=float("nan")), "lstm: forget_bias is nan, expected a finite number", ""),
    (lambda: jaxrnn.slstm(4, forget_bias=(3.0, 6.0)), "slstm: forget_bias is (3.0, 6.0), expected a finite number", ""),
    (lambda: jaxrnn.min_gru(4, recurrent_kernel_init=None), "min_gru: unknown argument recurrent_kernel_init", ""),
    (lambda: jaxrnn.lru(4, max_phase=-1.0), "lru: max_phase is -1.0, expected an angle above 0", ""),
    (lambda: jaxrnn.gla(4, chunk=0), "gla: chunk is 0, expected an int of 1 or more", ""),
    (lambda: jaxrnn.elman(4, bias_init=lambda key, *_: XS).init(KEY, 3), "elman: bias_init gives shape (5, 2, 3)", ""),
    (lambda: jaxrnn.rnn(CELL, method="associative"), "rnn: method is 'associative', expected one of 'auto'", "'fused'"),
    (
        lambda: jaxrnn.rnn(CELL, remat=-1),
        "rnn: remat is -1, expected one of 'step', 'carries', 'sqrt', 'recursive'",
        "an int",
    ),
    (lambda: jaxrnn.rnn(CELL, unroll=0), "rnn: unroll is 0, expected an int of 1 or more", ""),
    (lambda: CELL(XS), "Cell: a cell is a record", "jaxrnn.unroll(cell, params, xs) runs it"),
    (lambda: STACK(XS), "Layer: a layer is a record", "jaxrnn.unroll(layer, params, xs) runs it"),
    (lambda: unroll(reverse="False"), "unroll: reverse is 'False', expected True or False", ""),
    (lambda: jax.jit(lambda r: unroll(reverse=r))(True), "unroll: reverse is a traced value", "static_argnames"),
    (lambda: unroll(key=0), "unroll: key is 0, expected one PRNG key", "jax.random.key(0) makes one"),
    (lambda: unroll(key=jax.random.split(KEY)), "unroll: key is an array of shape (2,)", "jax.vmap takes several"),
    (lambda: unroll(xs=(XS,)), "unroll: xs is a tuple, expected an array", ""),
    (lambda: unroll(xs=None), "unroll: xs is None, expected an array", ""),
    (lambda: unroll(xs=jnp.ones((5, 2, 0))), "unroll: xs has shape (5, 2, 0), expected", "D of 1 or more"),
    (lambda: unroll(lengths=np.array([1, -3])), "unroll: lengths has an entry -3", "0 or more"),
    (lambda: unroll(lengths=jnp.array([1, -3])), "unroll: lengths has an entry -3", "0 or more"),
    (lambda: unroll(BOXED), "unroll: params['kernel'] is a Partitioned of Flax", "flax.linen.unbox(params)"),
    (lambda: unroll(nnx.State({"kernel": nnx.Param(XS)})), "unroll: params is a State of Flax", "nnx.to_pure_dict"),
    (lambda: unroll({"params": PARAMS}), "unroll: params lacks", "give params['params']"),
    (lambda: unroll(carry={"h": H}), "unroll: carry lacks", "HiddenCarry(**carry) makes one"),
    (lambda: unroll(carry=[H]), "unroll: carry lacks", "HiddenCarry(*carry) makes one"),
    (
        lambda: jaxrnn.unroll(STACK, {"layer_0": PARAMS}, XS, {"0": H}),
        "unroll: carry is a dict, expected a tuple of 2",
        "from_state_dict",
    ),
    (lambda: unroll_stack(key=0), "unroll: key is 0, expected one PRNG key", ""),
    (
        lambda: jaxrnn.unroll(jaxrnn.dropout(0.5), {}, XS, H),
        "unroll: carry",
        "expected () from xs of shape",
    ),
    (lambda: jaxrnn.linen.RNN(CELL, deterministic="no"), "linen.RNN: deterministic is 'no', expected True or", ""),
    (lambda: jaxrnn.nnx.RNN(CELL, 3, rngs=0), "nnx.RNN: rngs is 0, expected nnx.Rngs(params=seed)", ""),
    (lambda: jaxrnn.linear_scan(XS, XS, reverse="x"), "linear_scan: reverse is 'x', expected True or False", ""),
]


@pytest.mark.parametrize(("call", "begins", "tells"), WRONG, ids=[begins[:40] for _, begins, _ in WRONG])
def test_a_wrong_call_gets_one_line(call, begins, tells):
    with pytest.raises((ValueError, TypeError)) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(begins)
    assert tells in message


def test_a_merge_acts_on_each_step():
    layer = jaxrnn.bidirectional(CELL, merge=lambda forward, backward: forward.sum() + backward.sum())
    with pytest.raises(jaxrnn.ShapeError, match="bidirectional: merge gives shape"):
        jax.eval_shape(lambda: jaxrnn.unroll(layer, {"forward": PARAMS, "backward": PARAMS}, XS))


def test_a_gate_that_a_bias_has_not_is_no_gate():
    for init in (
        jaxrnn.initializers.chrono(9, forget=4),
        jaxrnn.initializers.gate_offset(jaxrnn.initializers.zeros, 4, 1.0),
    ):
        with pytest.raises(ValueError, match="is 4, expected one of the 4 gates"):
            init(KEY, (4, 2), jnp.float32)
