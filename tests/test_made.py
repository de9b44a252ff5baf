"""Cells and layers equal by value: equal calls give one record, which prints, pickles and compiles as one."""

import copy
import gc
import pickle
import threading
import weakref

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import jaxrnn

MAKES = {
    "lstm(8)": lambda: jaxrnn.lstm(8),
    "lstm(8, forget_bias=0.0)": lambda: jaxrnn.lstm(8, forget_bias=0.0),
    "lstm(8, activation=relu)": lambda: jaxrnn.lstm(8, activation=jax.nn.relu),
    "gru(8, dtype=bfloat16)": lambda: jaxrnn.gru(features=8, dtype=jnp.bfloat16),
    "conv_lstm(2, (3, 3))": lambda: jaxrnn.conv_lstm(2, (3, 3)),
    "zoneout(recurrent_dropout(lstm(4), 0.5), 0.1)": lambda: jaxrnn.zoneout(
        jaxrnn.recurrent_dropout(jaxrnn.lstm(4), 0.5), 0.1
    ),
    "learned_carry(gru(4))": lambda: jaxrnn.learned_carry(jaxrnn.gru(4)),
    "rnn(gru(4), reverse=True)": lambda: jaxrnn.rnn(jaxrnn.gru(4), reverse=True),
    "stack(embedding(9, 4), gru(32), dropout(0.5), tanh, bidirectional(lstm(3)), dense(5))": lambda: jaxrnn.stack(
        jaxrnn.embedding(9, 4),
        jaxrnn.gru(32),
        jaxrnn.dropout(0.5),
        jnp.tanh,
        jaxrnn.bidirectional(jaxrnn.lstm(3)),
        jaxrnn.dense(5),
    ),
    "stack(conv(8, 3, stride=2), pool(2, kind='mean'))": lambda: jaxrnn.stack(
        jaxrnn.conv(8, 3, stride=2), jaxrnn.pool(2, kind="mean")
    ),
    "griffin(8, depth=3, heads=2, window=4)": lambda: jaxrnn.griffin(8, depth=3, heads=2, window=4),
    "residual(stack(layer_norm(), griffin_block(4)))": lambda: jaxrnn.residual(
        jaxrnn.stack(jaxrnn.layer_norm(), jaxrnn.griffin_block(4))
    ),
}
every_call = pytest.mark.parametrize("call", MAKES)


@every_call
def test_equal_calls_give_one_record_that_prints_as_the_call(call):
    model = MAKES[call]()
    assert model is MAKES[call]()
    assert model == MAKES[call]() and hash(model) == hash(MAKES[call]())
    assert repr(model) == call


@every_call
def test_a_copy_is_the_record_itself(call):
    model = MAKES[call]()
    assert pickle.loads(pickle.dumps(model)) is model
    assert copy.copy(model) is model
    assert copy.deepcopy({"model": model})["model"] is model
    assert jax.tree.map(lambda leaf: leaf, model) is model  # as Flax rebuilds the tuples in a module


def test_a_default_that_is_given_changes_nothing():
    assert jaxrnn.lstm(8, forget_bias=1.0) is jaxrnn.lstm(features=8)


def test_arguments_of_other_values_or_types_give_other_records():
    models = [
        jaxrnn.lstm(8),
        jaxrnn.lstm(9),
        jaxrnn.gru(8),
        jaxrnn.lstm(8, forget_bias=0.0),
        jaxrnn.lstm(8, forget_bias=-0.0),
        jaxrnn.lstm(8, forget_bias=1),
        jaxrnn.lstm(8, dtype=jnp.float32),
    ]
    assert len(set(models)) == len(models)
    assert models[0] != models[3]


def test_an_argument_of_another_type_is_an_error_and_not_what_was_made_before():
    jaxrnn.dense(5)
    with pytest.raises(ValueError, match=r"dense: features is 5\.0, expected an int"):
        jaxrnn.dense(5.0)


def test_what_was_replaced_equals_itself_alone():
    cell = jaxrnn.lstm(8)
    first, second = cell._replace(methods=("scan",)), cell._replace(methods=("scan",))
    assert first == first and first != second and first != cell
    assert cell._replace(methods=cell.methods) != cell
    assert "lstm" not in repr(first)
    assert copy.deepcopy(first) is first
    with pytest.raises(pickle.PicklingError, match="_replace drops the call"):
        pickle.dumps(first)


class Unhashable:
    """An initializer that compares by value, and has no hash."""

    def __call__(self, key, shape, dtype):
        return jnp.ones(shape, dtype)

    def __eq__(self, other):
        return isinstance(other, Unhashable)

    __hash__ = None


def test_arguments_that_cannot_be_hashed_make_a_record_each():
    cells = [jaxrnn.lstm(4, kernel_init=Unhashable()) for _ in range(2)]
    assert cells[0] != cells[1]
    assert cells[0].init(jax.random.key(0), 3)["kernel"].sum() == 3 * 4 * 4


def test_a_thousand_equal_cells_take_the_memory_of_one():
    models = [jaxrnn.stack(jaxrnn.gru(31), jaxrnn.dense(5)) for _ in range(1000)]
    assert len({id(model) for model in models}) == 1


def test_what_nobody_holds_is_forgotten():
    held = [weakref.ref(vars(jaxrnn.lstm(features))["call"]) for features in range(1000, 1020)]
    gc.collect()
    assert not any(call() for call in held)


def test_threads_get_the_same_record():
    found, start = [], threading.Barrier(8)

    def make():
        start.wait()
        found.append(jaxrnn.gru(77))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_cells_made_inline_compile_once():
    traced = []

    def watched(x):
        traced.append(x)
        return jnp.tanh(x)

    params, xs = jaxrnn.lstm(4).init(jax.random.key(0), 3), jnp.ones((5, 2, 3))
    counts = []
    for _ in range(3):
        jaxrnn.unroll(jaxrnn.lstm(4, activation=watched), params, xs)
        counts.append(len(traced))
    assert counts == counts[:1] * 3 and counts[0] > 0


def test_equal_nnx_models_are_traced_once():
    traced = []

    @nnx.jit
    def run(model, x):
        traced.append(None)
        return model(x)

    for seed in range(3):
        run(jaxrnn.nnx.RNN(jaxrnn.stack(jaxrnn.lstm(4), jnp.tanh), 3, rngs=nnx.Rngs(seed)), jnp.ones((2, 5, 3)))
    assert len(traced) == 1


def test_equal_linen_modules_are_equal():
    assert jaxrnn.linen.RNN(jaxrnn.lstm(4)) == jaxrnn.linen.RNN(jaxrnn.lstm(4))
    assert hash(jaxrnn.linen.RNN(jaxrnn.lstm(4))) == hash(jaxrnn.linen.RNN(jaxrnn.lstm(4)))
