"""One verb for cells and layers: what `unroll` and `step` take besides inputs, and the layers that come with them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxrnn
from compare import assert_close

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, V = 7, 3, 11
MODEL = jaxrnn.stack(
    jaxrnn.embedding(V, 4), jaxrnn.gru(5), jaxrnn.dropout(0.5), jnp.tanh, jaxrnn.lstm(4), jaxrnn.dense(2)
)
PARAMS = MODEL.init(jax.random.key(0), None)
TOKENS = np.random.default_rng(0).integers(0, V, (T, B))
RESETS = np.random.default_rng(1).random((T, B)) < 0.3
LENGTHS = np.array([7, 0, 4])


def streamed(model, params, xs, resets):
    carry, ys = model.init_carry(params, (B,)), []
    for x, reset in zip(xs, resets, strict=True):
        carry, y = jaxrnn.step(model, params, carry, x, resets=reset)
        ys.append(y)
    return carry, np.stack(ys)


def test_steps_with_resets_equal_the_whole_model_with_resets():
    assert_close(streamed(MODEL, PARAMS, TOKENS, RESETS), jaxrnn.unroll(MODEL, PARAMS, TOKENS, resets=RESETS), 1e-6)


@pytest.mark.sampled
@pytest.mark.parametrize("make", [jaxrnn.lstm, jaxrnn.lru, lambda n: jaxrnn.learned_carry(jaxrnn.gru(n))])
def test_steps_with_resets_equal_the_cell_with_resets(make):
    cell, xs = make(4), np.random.default_rng(2).normal(size=(T, B, 3)).astype(np.float32)
    params = jax.tree.map(lambda p: p + 0.1, cell.init(jax.random.key(0), 3))  # a learned carry that is not 0
    assert_close(streamed(cell, params, xs, RESETS), jaxrnn.unroll(cell, params, xs, resets=RESETS), 1e-5)


def test_a_model_is_its_parts_one_after_another():
    """By hand, with one-hot rows for the embedding."""
    xs = np.eye(V)[TOKENS] @ PARAMS["layer_0"]["embedding"]
    _, hs = jaxrnn.unroll(jaxrnn.gru(5), PARAMS["layer_1"], xs)
    _, hs = jaxrnn.unroll(jaxrnn.lstm(4), PARAMS["layer_4"], jnp.tanh(hs))
    assert_close(
        jaxrnn.unroll(MODEL, PARAMS, TOKENS)[1],
        np.asarray(hs @ PARAMS["layer_5"]["kernel"]) + np.asarray(PARAMS["layer_5"]["bias"]),
        1e-6,
    )


def test_ids_outside_the_vocabulary_give_nan_but_not_in_padding():
    tokens = TOKENS.copy()
    tokens[4:, 2], tokens[:, 1] = -1, V
    carry, ys = jaxrnn.unroll(MODEL, PARAMS, tokens, lengths=LENGTHS)
    assert np.isfinite(ys).all() and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(carry))
    for bad in (-1, V):
        assert np.isnan(jaxrnn.unroll(jaxrnn.embedding(V, 4), PARAMS["layer_0"], np.array([bad]))[1]).all()


def test_a_table_learns_from_its_valid_ids_alone():
    def loss(params, tokens):
        return jaxrnn.unroll(MODEL, params, tokens, lengths=LENGTHS)[1].sum()

    tokens = np.where(np.arange(T)[:, None] < LENGTHS, TOKENS % (V - 1), V - 1)
    gradient = jax.jit(jax.grad(loss))(PARAMS, tokens)["layer_0"]["embedding"]
    assert (gradient[V - 1] == 0).all() and (gradient[tokens[0, 0]] != 0).any()


def test_singular_functions_in_a_stack_see_no_padding():
    model = jaxrnn.stack(jaxrnn.gru(4), lambda ys: ys**2, jnp.sqrt, jnp.log)
    params, xs = model.init(jax.random.key(0), 3), np.ones((T, B, 3), np.float32)
    gradient = jax.grad(lambda params: jaxrnn.unroll(model, params, xs, lengths=LENGTHS)[1].sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.sampled
@pytest.mark.parametrize("model", [MODEL, jaxrnn.stack(jaxrnn.lstm(4), jaxrnn.causal_conv(3)), jaxrnn.slstm(4)])
def test_an_initial_carry_needs_no_parameters(model):
    in_features = None if model is MODEL else 3
    params = model.init(jax.random.key(3), in_features)
    assert_close(jaxrnn.initial_carry(model, in_features, (B,)), model.init_carry(params, (B,)), 0)


def test_initial_carries_of_learned_ones_are_those_that_learning_begins_with():
    cell = jaxrnn.learned_carry(jaxrnn.lstm(4))
    assert_close(jaxrnn.initial_carry(cell, 3, (B,)), cell.init_carry(cell.init(jax.random.key(0), 3), (B,)), 0)


def test_an_initial_carry_draws_nothing():
    """The compiled program has none of the bit operations of random numbers, which that of `init` has."""
    cell = jaxrnn.lstm(4)
    starts = jax.jit(lambda: jaxrnn.initial_carry(cell, 3, (B,))).lower().compile().as_text()
    draws = jax.jit(lambda: cell.init(jax.random.key(0), 3)).lower().compile().as_text()
    assert "xor" not in starts and "while" not in starts
    assert "xor" in draws or "while" in draws
    with jax.transfer_guard("disallow"):
        jaxrnn.initial_carry(cell, 3, (B,))


def test_the_last_valid_output():
    ys = np.random.default_rng(0).normal(size=(T, B, 2)).astype(np.float32)
    expected = np.stack([ys[6, 0], np.zeros(2), ys[3, 2]])
    assert_close(jaxrnn.last(ys, lengths=LENGTHS), expected, 0)
    mask = np.zeros((T, B), bool)
    mask[[0, 3, 5], 0], mask[2, 2] = True, True
    assert_close(jaxrnn.last(ys, mask=mask), np.stack([ys[5, 0], np.zeros(2), ys[2, 2]]), 0)
    assert_close(jaxrnn.last(ys), ys[-1], 0)
    assert_close(jaxrnn.last(ys[:0], lengths=np.zeros(B, int)), np.zeros((B, 2)), 0)
    assert_close(jaxrnn.last(ys[:, 0]), ys[-1, 0], 0)
    gradient = jax.grad(lambda ys: jaxrnn.last(ys, lengths=LENGTHS).sum())(ys)
    assert gradient.sum() == 4 and gradient[6, 0].sum() == 2


def test_the_last_output_of_padding_that_is_nan():
    ys = np.full((T, B, 2), np.nan, np.float32)
    ys[:2] = 1
    value, gradient = jax.value_and_grad(lambda ys: jaxrnn.last(ys, lengths=np.array([2, 0, 1])).sum())(ys)
    assert value == 4 and np.isfinite(gradient).all()


def attending():
    """A layer that adds a mean of the context, so that whole runs and steps can be compared."""

    def run(params, carry, xs, steps):
        return carry, xs + steps.context.mean(0)[None]

    def step(params, carry, x, context):
        return carry, x + context.mean(0)

    return jaxrnn.layer(
        "attending", lambda key, in_features: {}, run, step, context=jax.ShapeDtypeStruct((1, 3), "float32")
    )


def test_a_context_reaches_the_layers_that_attend():
    model = jaxrnn.stack(jaxrnn.gru(3), jaxrnn.residual(jaxrnn.stack(attending(), jnp.tanh)), jaxrnn.dense(2))
    params, xs = model.init(jax.random.key(0), 3), np.random.default_rng(0).normal(size=(T, B, 3)).astype(np.float32)
    memory = np.random.default_rng(1).normal(size=(5, B, 3)).astype(np.float32)
    _, ys = jaxrnn.unroll(model, params, xs, context=memory)
    assert np.abs(ys - jaxrnn.unroll(model, params, xs, context=0 * memory)[1]).max() > 0.01
    carry = jaxrnn.initial_carry(model, 3, (B,))
    for x, y in zip(xs, ys, strict=True):
        carry, actual = jaxrnn.step(model, params, carry, x, context=memory)
        assert_close(actual, y, 1e-6)
    with pytest.raises(ValueError, match="context is None, expected what the layers of stack"):
        jaxrnn.unroll(model, params, xs)
    both = jaxrnn.bidirectional(model)
    jaxrnn.unroll(both, both.init(jax.random.key(0), 3), xs, context=memory)


def test_costs_of_a_name_are_added_up_through_every_combinator():
    def run(params, carry, xs, steps):
        return carry, 2 * xs, steps.with_cost("size", jnp.square(xs).sum()).with_cost("count", jnp.ones(()))

    costly = jaxrnn.layer("costly", lambda key, in_features: {}, run, lambda params, carry, x: (carry, 2 * x))
    model = jaxrnn.stack(
        costly, jaxrnn.residual(jaxrnn.stack(costly)), jaxrnn.bidirectional(jaxrnn.stack(costly), merge="sum"), jnp.tanh
    )
    xs = np.ones((T, B, 1), np.float32)
    carry, ys, aux = jaxrnn.unroll_with_aux(model, {}, xs, lengths=LENGTHS)
    steps = LENGTHS.sum()
    # The inputs of the four are 1, 2, and twice 6, at valid steps.
    assert aux == {"size": steps * (1 + 4 + 36 + 36), "count": 4}
    assert_close(jaxrnn.unroll(model, {}, xs, lengths=LENGTHS), (carry, ys), 0)
    assert jaxrnn.unroll_with_aux(jaxrnn.gru(3), jaxrnn.gru(3).init(jax.random.key(0), 1), xs)[2] == {}
    gradient = jax.grad(lambda xs: jaxrnn.unroll_with_aux(model, {}, xs, lengths=LENGTHS)[2]["size"])(xs)
    np.testing.assert_allclose(gradient[0], [[2 * 77.0], [0.0], [2 * 77.0]])


def test_a_layer_that_changes_the_axis_of_time_hands_on_its_own_steps():
    """Every second step is dropped; what comes after sees the mask of those that are left."""

    def run(params, carry, xs, steps):
        valid = jnp.ones(xs.shape[:-1], bool) if steps.valid is None else steps.valid
        return carry, xs[::2], steps._replace(valid=valid[::2], resets=None)

    half = jaxrnn.layer("half", lambda key, in_features: {}, run)
    model = jaxrnn.stack(half, jaxrnn.gru(4))
    params, xs = model.init(jax.random.key(0), 3), np.random.default_rng(0).normal(size=(T, B, 3)).astype(np.float32)
    found = jaxrnn.unroll(model, params, xs, lengths=LENGTHS)
    expected = jaxrnn.unroll(jaxrnn.gru(4), params["layer_1"], xs[::2], lengths=(LENGTHS + 1) // 2)
    assert_close((found[0][1], found[1]), expected, 1e-6)


def test_a_key_reaches_only_what_draws():
    keys = {}

    def spy(name, **options):
        def run(params, carry, xs, steps):
            keys[name] = steps.key
            return carry, xs

        return jaxrnn.layer(name, lambda key, in_features: {}, run, **options)

    model = jaxrnn.stack(spy("still"), spy("random", draws=True), jaxrnn.dropout(0.5))
    jaxrnn.unroll(model, {}, np.ones((T, B, 3), np.float32), key=jax.random.key(0))
    assert keys["still"] is None and keys["random"] is not None


def test_a_layer_compiles_once():
    """A second call traces nothing."""
    traced = []

    def watched(ys):
        traced.append(None)
        return ys

    model = jaxrnn.stack(jaxrnn.gru(3), watched, jaxrnn.bidirectional(jaxrnn.gru(3)), jaxrnn.dense(2))
    params, xs = model.init(jax.random.key(0), 3), np.ones((T, B, 3), np.float32)
    counts = []
    for _ in range(3):
        jaxrnn.unroll(model, params, xs)
        counts.append(len(traced))
    assert counts == counts[:1] * 3


@pytest.mark.parametrize("face", ["linen", "nnx"])
def test_the_flax_faces_take_a_step_and_say_how_they_begin(face):
    model = jaxrnn.stack(jaxrnn.embedding(V, 4), jaxrnn.learned_carry(jaxrnn.gru(4)), jaxrnn.dense(2))
    if face == "linen":
        module = jaxrnn.linen.RNN(model)
        variables = module.init(jax.random.key(0), TOKENS.T)
        params = variables["params"]
        begin = partial(module.apply, variables, None, (B,), method="initialize_carry")
        step = partial(module.apply, variables, method="step")
        whole = partial(module.apply, variables, TOKENS.T)
        assert_close(module.initialize_carry(None, (B,)), jaxrnn.initial_carry(model, None, (B,)), 0)
    else:
        module = jaxrnn.nnx.RNN(model, None, rngs=nnx.Rngs(0))
        params = nnx.to_pure_dict(nnx.state(module))
        begin, step, whole = partial(module.initialize_carry, (B,)), module.step, partial(module, TOKENS.T)
    carry, ys = begin(), whole()
    assert_close(carry, model.init_carry(params, (B,)), 0)
    for t in range(T):
        carry, y = step(carry, TOKENS[t], resets=RESETS[t])
    after, outputs = streamed(model, params, TOKENS, RESETS)
    assert_close((carry, y), (after, outputs[-1]), 1e-6)
    assert ys.shape == (B, T, 2)


@pytest.mark.parametrize("face", ["linen", "nnx"])
def test_a_call_of_a_face_takes_unroll(face):
    cell, x = jaxrnn.gru(4), jnp.ones((B, T, 3))
    run = jaxrnn.nnx.RNN(cell, 3, rngs=nnx.Rngs(0))
    if face == "linen":
        run = partial(jaxrnn.linen.RNN(cell).apply, {"params": cell.init(jax.random.key(0), 3)})
    assert_close(run(x, unroll=3), run(x), 1e-6)
    with pytest.raises(ValueError, match="unroll is 0, expected an int of 1 or more"):
        run(x, unroll=0)


def test_a_record_made_by_hand_runs_as_its_fields_say():
    own = jaxrnn.Layer(
        lambda key, in_features: {},
        lambda params, batch_shape=(): (),
        lambda params, carry, xs, steps: ((), 2 * xs),
        lambda params, carry, x: (carry, 2 * x),
    )
    model = jaxrnn.residual(jaxrnn.stack(own, jnp.tanh))
    xs = np.linspace(-1, 1, T * B * 2, dtype=np.float32).reshape(T, B, 2)
    assert_close(jaxrnn.unroll(model, {}, xs)[1], xs + np.tanh(2 * xs), 1e-6)
    assert_close(jaxrnn.step(model, {}, ((), ()), xs[0])[1], xs[0] + np.tanh(2 * xs[0]), 1e-6)
