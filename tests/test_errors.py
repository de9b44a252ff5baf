"""Bad input gets one error of one line: it names the argument, what was found, what was expected, and what to do."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import zero_params

pytestmark = pytest.mark.usefixtures("quick_compilation")

XS = jnp.ones((5, 2, 3))
ROW = np.array([1, 2])
FLAGS = np.ones((5, 2), bool)


CELL = jaxrnn.lstm(4)
PARAMS = zero_params(CELL, 3)
CARRY = CELL.init_carry(PARAMS, (2,))
STACK = jaxrnn.stack(jaxrnn.rnn(CELL), jaxrnn.dropout(0.5), jaxrnn.dense(2))
STACK_PARAMS = zero_params(STACK, 3)
DENSE = jaxrnn.dense(2)
DENSE_PARAMS = zero_params(DENSE, 3)


def unroll(xs=XS, carry=None, *, cell=CELL, params=PARAMS, **options):
    return jaxrnn.unroll(cell, params, xs, carry, **options)


def step(x=XS[0], carry=CARRY, *, cell=CELL, params=PARAMS):
    return jaxrnn.step(cell, params, carry, x)


def stack(xs=XS, carry=None, *, params=STACK_PARAMS, **options):
    return jaxrnn.unroll(STACK, params, xs, carry, **options)


def dense(xs=XS, *, params=DENSE_PARAMS, **options):
    return jaxrnn.unroll(DENSE, params, xs, **options)


def pointwise_cell(carry=jaxrnn.HiddenCarry, **options):
    """A cell of the one gate `a`."""
    return jaxrnn.pointwise_cell(lambda params, carry, gates: (carry, gates[0]), 4, carry, gates=("a",), **options)


# Each a call and fragments of the message, in order.
UNROLL = [
    (lambda: unroll(cell=STACK), "unroll: params", "expected a dict with keys ['layer_0', 'layer_2']"),
    (
        lambda: unroll(cell=None),
        "unroll: model is of type NoneType, expected a Cell or a Layer such as jaxrnn.lstm(128)",
    ),
    (lambda: unroll(XS[0, 0]), "unroll: xs has shape (3,), expected [T, *batch, D]; ", "xs[..., None]"),
    (lambda: unroll(XS.astype(int)), "unroll: xs has dtype int32, expected a floating one; ", "embed"),
    (
        lambda: unroll(jnp.ones((5, 2, 7))),
        "unroll: params['kernel'] has shape (3, 4, 4), expected (7, 4, 4)",
        "(T=5, 2, 7)",
    ),
    (lambda: unroll(cell=jaxrnn.gru(4)), "unroll: params lacks", "recurrent_bias", "expected a dict with keys"),
    (lambda: unroll(params=PARAMS | {"peephole": XS}), "unroll: params has unknown", "peephole"),
    (
        lambda: unroll(params=PARAMS | {"bias": np.zeros((4, 4), int)}),
        "unroll: params['bias'] has dtype int",
        "floating",
    ),
    (lambda: unroll(params=None), "unroll: params", "expected a dict with keys"),
    (
        lambda: unroll(carry=CELL.init_carry(PARAMS, (8,))),
        "unroll: carry.c has shape (8, 4), expected (2, 4)",
        "(T=5, 2, 3)",
    ),
    (lambda: unroll(carry=jaxrnn.HiddenCarry(CARRY.h)), "unroll: carry lacks ['.c']", "expected LSTMCarry(c, h)"),
    (lambda: unroll(carry=tuple(CARRY)), "unroll: carry", "expected LSTMCarry(c, h)"),
    (lambda: unroll(carry=CARRY._replace(c=np.zeros((2, 4), int))), "unroll: carry.c has dtype int", "a floating one"),
    (lambda: unroll(lengths=ROW, mask=FLAGS), "unroll: lengths and mask are both given, expected at most one; ", "put"),
    (
        lambda: unroll(lengths=np.array([1, 2, 3])),
        "unroll: lengths has shape (3,), expected (2,)",
        "xs of shape (T=5, 2, 3)",
    ),
    (lambda: unroll(lengths=ROW / 2), "unroll: lengths has dtype float", "expected an integer one"),
    (lambda: unroll(lengths=ROW > 0), "unroll: lengths has dtype bool, expected an integer one"),
    (lambda: unroll(lengths=[1, 2]), "unroll: lengths is a list, expected an array"),
    (
        lambda: jaxrnn.unroll(DENSE, DENSE_PARAMS, XS, mask=[[True, True]] * 5),
        "unroll: mask is a list, expected an array",
    ),
    (lambda: unroll(mask=FLAGS.T), "unroll: mask has shape (2, 5), expected (5, 2)", "xs of shape (T=5, 2, 3)"),
    (lambda: unroll(mask=FLAGS * 1.0), "unroll: mask has dtype float", "expected bool; ", "compare with 0"),
    (lambda: unroll(resets=FLAGS[:, 0]), "unroll: resets has shape (5,), expected (5, 2)", "xs of shape (T=5, 2, 3)"),
    (lambda: unroll(resets=FLAGS * 1), "unroll: resets has dtype int", "expected bool"),
    (lambda: unroll(method="newton"), "unroll: method is 'newton', expected one of 'auto', 'scan', 'fused'"),
    (
        lambda: unroll(remat=0),
        "unroll: remat is 0, expected None, 'step', 'carries', 'sqrt', 'recursive' or an int of 1 or more",
    ),
    (lambda: unroll(remat=True), "unroll: remat is True, expected None"),
    (lambda: unroll(remat="all"), "unroll: remat is 'all', expected None"),
    (lambda: unroll(unroll=0), "unroll: unroll is 0, expected an int of 1 or more"),
    (lambda: unroll(unroll=1.5), "unroll: unroll is 1.5, expected an int of 1 or more"),
]
STEP = [
    (lambda: step(cell=jnp.tanh), "step: model is of type ", "expected a Cell or a Layer"),
    (
        lambda: step(cell=jaxrnn.stack(STACK, jaxrnn.residual(jaxrnn.stack(DENSE, jaxrnn.bidirectional(CELL))))),
        "step: the layer is not causal, since layer_1.layer_1 (bidirectional) looks ahead",
        "jaxrnn.unroll",
    ),
    (lambda: step(cell=jaxrnn.rnn(CELL, reverse=True)), "since rnn with reverse=True looks ahead, expected one with"),
    (lambda: step(cell=DENSE._replace(step=None)), "step: the layer is not causal, since the layer looks ahead"),
    (lambda: step(1.0), "step: x has shape (), expected [*batch, D]"),
    (lambda: step(XS[0].astype(int)), "step: x has dtype int32, expected a floating one; ", "embed"),
    (
        lambda: step(jnp.ones((2, 7))),
        "step: params['kernel'] has shape (3, 4, 4), expected (7, 4, 4)",
        "x of shape (2, 7)",
    ),
    (lambda: step(XS[0, 0]), "step: carry.c has shape (2, 4), expected (4,)", "x of shape (3,)"),
    (lambda: step(carry=None), "step: carry", "expected LSTMCarry(c, h)"),
]
MAKERS = [
    (lambda: jaxrnn.gru(4, reset="v3"), "gru: reset is 'v3', expected one of 'after', 'before', 'to_bias'"),
    (lambda: pointwise_cell(paired=("b",)), "pointwise_cell: paired names ['b'], expected names from gates=('a',)"),
    (
        lambda: pointwise_cell(carry=tuple),
        "pointwise_cell: carry has fields (), expected a NamedTuple class with a field 'h'",
    ),
    (
        lambda: pointwise_cell(offsets={"b": 1.0}),
        "pointwise_cell: offsets names ['b'], expected names from gates=('a',)",
    ),
    (
        lambda: pointwise_cell(offsets={"a": "1"}),
        "pointwise_cell: offsets is {'a': '1'}, expected a dict whose keys are",
    ),
    (lambda: pointwise_cell(extra={"p": 1}), "pointwise_cell: extra is {'p': 1}, expected a dict whose keys are names"),
    (
        lambda: pointwise_cell(extra={"p": lambda key, shape, dtype: jnp.ones(3)}).init(jax.random.key(0), 3),
        "pointwise_cell: extra['p'] gives shape (3,)",
        "expected (4,)",
    ),
    (
        lambda: jaxrnn.step_cell(jnp.add, 4, tuple, gates=("a",)),
        "step_cell: carry has fields (), expected a NamedTuple class",
    ),
    (lambda: jaxrnn.methods(STACK), "methods: cell is the layer stack(", "expected a Cell"),
    *(
        (lambda make=make, n=n: make(n), f"{make.__name__}: features is {n!r}, expected an int of 1 or more")
        for make in (jaxrnn.elman, jaxrnn.lstm, jaxrnn.gru, jaxrnn.dense)
        for n in (0, 2.5, "64", None, True)
    ),
]
LAYERS = [
    (lambda: jaxrnn.stack(), "stack: no layers, expected one or more"),
    (lambda: jaxrnn.stack(DENSE, 5), "stack: layer_1 is 5, expected a Cell, a Layer, or a plain function such as"),
    (lambda: jaxrnn.stack(flax.linen.Dense(3)), "stack: layer_0 is ", "expected a Cell, a Layer, or a plain function"),
    (lambda: jaxrnn.rnn(DENSE), "rnn: cell is the layer dense(", "expected a Cell"),
    (lambda: stack(method="scan"), "unroll: method is 'scan', expected 'auto' for a layer; rnn(cell, method=…)"),
    (lambda: stack(context=XS), "unroll: context is given, expected None: no layer of stack("),
    (lambda: jaxrnn.dropout(1.0), "dropout: rate is 1.0, expected a number with 0 ≤ rate < 1"),
    (lambda: jaxrnn.dropout(-0.1), "dropout: rate is -0.1, expected a number with 0 ≤ rate < 1"),
    (lambda: jaxrnn.dropout(float("nan")), "dropout: rate is nan, expected a finite number"),
    (lambda: stack(XS[0, 0]), "unroll: xs has shape (3,), expected [T, *batch, D]"),
    (lambda: stack(jnp.ones((5, 2, 7))), "unroll: params['layer_0']['kernel'] has shape (3, 4, 4), expected (7, 4, 4)"),
    (lambda: stack(params={"layer_0": PARAMS}), "unroll: params lacks", "layer_2", "expected a dict with keys"),
    (lambda: stack(carry=(CARRY,)), "unroll: carry has 1 entries, expected a tuple of 3 from xs"),
    (
        lambda: stack(carry={"layer_0": CARRY}),
        "unroll: carry is a dict, expected a tuple of 3 from xs",
        "from_state_dict",
    ),
    (lambda: stack(carry=STACK.init_carry(STACK_PARAMS, (8,))), "carry", ".c has shape (8, 4), expected (2, 4)"),
    (lambda: stack(lengths=ROW[:1]), "lengths has shape (1,), expected (2,)", "xs of shape (T=5, 2, 3)"),
    (lambda: jaxrnn.step(STACK, {}, STACK.init_carry(STACK_PARAMS, (2,)), XS[0]), "step: params lacks", "layer_0"),
    (lambda: jaxrnn.step(STACK, STACK_PARAMS, (), XS[0]), "step: carry has 0 entries, expected a tuple of 3 from x"),
    (
        lambda: dense(params={"kernel": DENSE_PARAMS["kernel"]}),
        "unroll: params lacks",
        "bias",
        "expected a dict with keys",
    ),
    (lambda: dense(XS.astype(int)), "unroll: xs has dtype int32, expected a floating one"),
    (lambda: dense(mask=FLAGS[:, :1]), "unroll: mask has shape (5, 1), expected (5, 2)"),
    (lambda: dense(mask=FLAGS[..., None]), "unroll: mask has shape (5, 2, 1), expected (5, 2)"),
    (lambda: dense(resets=FLAGS, mask=FLAGS[:, 0]), "unroll: mask has shape (5,), expected (5, 2)"),
    (lambda: jaxrnn.layer_norm(epsilon=0.0), "layer_norm: epsilon is 0.0, expected ε > 0"),
    (lambda: jaxrnn.rms_norm(epsilon=0.0), "rms_norm: epsilon is 0.0, expected ε > 0"),
    (
        lambda: jaxrnn.stack(jaxrnn.rnn(jaxrnn.with_carry(CELL)), DENSE).init(jax.random.key(0), 3),
        "stack: layer_0 gives a tuple, expected one array; several outputs can only come last",
    ),
    (lambda: jaxrnn.unroll(jaxrnn.residual(jaxrnn.with_carry(CELL)), PARAMS, XS), "residual: model gives a tuple"),
    (
        lambda: jaxrnn.bidirectional(jaxrnn.with_carry(CELL)).init(jax.random.key(0), 3),
        "bidirectional: forward gives a",
    ),
    (lambda: jaxrnn.residual("lstm"), "residual: model is of type str, expected a Cell or a Layer"),
    (
        lambda: jaxrnn.residual(CELL).init(jax.random.key(0), 3),
        "residual: model gives 4 features for 3, expected equally many; ",
        "residual(stack(model, dense(3)))",
    ),
    (lambda: jaxrnn.unroll(jaxrnn.residual(CELL), PARAMS, XS), "residual: model gives 4 features for 3"),
    (lambda: jaxrnn.step(jaxrnn.residual(CELL), PARAMS, CARRY, XS[0]), "residual: model gives 4 features for 3"),
    (
        lambda: jaxrnn.step(DENSE, DENSE_PARAMS, (), jnp.ones(7)),
        "step: params['kernel'] has shape (3, 2), expected (7, 2)",
        "(7,)",
    ),
    (
        lambda: jaxrnn.unroll(jaxrnn.dropout(0.5), {}, XS, lengths=ROW, mask=FLAGS),
        "unroll: lengths and mask are both given",
    ),
]


@pytest.mark.sampled
@pytest.mark.parametrize("case", UNROLL + STEP + MAKERS + LAYERS, ids=lambda case: case[1])
def test_message(case):
    call, *fragments = case
    with pytest.raises(ValueError) as raised:
        call()
    message, at = str(raised.value), 0
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message[at:], message
        at = message.index(fragment, at) + len(fragment)


@pytest.mark.parametrize("kind", [jaxrnn.ShapeError, AssertionError, ValueError])
def test_a_shape_error_is_chex_s_and_python_s(kind):
    with pytest.raises(kind, match="xs has shape"):
        unroll(XS[0, 0])


def test_errors_are_the_same_under_jit():
    with pytest.raises(jaxrnn.ShapeError, match="unroll: xs has shape"):
        jax.jit(unroll)(XS[0, 0])


def test_a_layer_that_looks_ahead_has_no_step():
    backwards = jaxrnn.rnn(CELL, reverse=True)
    assert backwards.step is None
    assert jaxrnn.stack(DENSE, backwards).step is None


@pytest.mark.parametrize("maker", [jaxrnn.elman, jaxrnn.lstm, jaxrnn.gru, jaxrnn.dense])
def test_features_may_be_an_integer_of_numpy(maker):
    assert zero_params(maker(np.int64(4)), 3)["kernel"].shape[-1] == 4
