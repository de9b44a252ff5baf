"""`rnn`, `stack`, `dense`, `dropout`: each layer is what its parts are, by hand, whole and one step at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn

pytestmark = pytest.mark.usefixtures("x64")

T, B, D, H = 5, 2, 3, 4
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
every_flow = pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def params_of(layer, in_features=D):
    """Random numbers of the shapes that `init` gives."""
    shapes = jax.eval_shape(lambda key: layer.init(key, in_features), jax.random.key(0))
    leaves, tree = jax.tree.flatten(shapes)
    return jax.tree.unflatten(tree, [random(*leaf.shape, seed=i) for i, leaf in enumerate(leaves)])


def close(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(lambda a, e: np.testing.assert_allclose(a, e, rtol=0, atol=1e-12), actual, expected)


LSTM, GRU = jaxrnn.lstm(H), jaxrnn.gru(D, reset="before")
DENSE = jaxrnn.dense(2, activation=jax.nn.softmax)
STACK = jaxrnn.stack(
    jaxrnn.rnn(LSTM),
    jaxrnn.dropout(0.5),
    jaxrnn.stack(jaxrnn.rnn(GRU, reverse=True), DENSE),
    jaxrnn.rnn(jaxrnn.elman(H)),
)
CAUSAL = jaxrnn.stack(jaxrnn.rnn(LSTM), jaxrnn.dropout(0.5), jaxrnn.stack(jaxrnn.rnn(GRU), DENSE))


# --- rnn ---


@pytest.mark.parametrize("options", [{}, {"reverse": True, "method": "scan", "remat": 2, "unroll": 2}], ids=str)
def test_rnn_is_unroll(options):
    layer, params, xs = jaxrnn.rnn(LSTM, **options), params_of(LSTM), random(T, B, D)
    carry = LSTM.init_carry(params, (B,))._replace(c=random(B, H))
    for start, flow in ((None, FLOWS["lengths"]), (carry, FLOWS["mask and resets"])):
        close(layer.apply(params, start, xs, **flow), jaxrnn.unroll(LSTM, params, xs, start, **options, **flow))


def test_rnn_keeps_the_cell_s_parameters_and_carry():
    layer, key = jaxrnn.rnn(GRU), jax.random.key(3)
    close(layer.init(key, D), GRU.init(key, D))
    close(layer.init_carry(layer.init(key, D), (B,)), jaxrnn.GRUCarry(np.zeros((B, D))))


# --- dense ---


def test_dense_is_an_affine_map():
    layer, xs = jaxrnn.dense(2), random(T, B, D)
    params = params_of(layer)
    carry, ys = layer.apply(params, None, xs)
    close(ys, xs @ params["kernel"] + params["bias"])
    assert carry == layer.init_carry(params, (B,)) == ()


@pytest.mark.parametrize("flow", [{"lengths": LENGTHS}, {"mask": MASK}], ids=["lengths", "mask"])
def test_dense_is_silent_where_invalid(flow):
    params, xs = params_of(DENSE), random(T, B, D)
    valid = MASK if "mask" in flow else np.arange(T)[:, None] < LENGTHS

    def total(params, xs):
        ys = DENSE.apply(params, None, xs, **flow)[1]
        return jnp.vdot(random(*ys.shape), ys), ys

    run = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
    grads, ys = run(params, np.where(valid[..., None], xs, np.nan))
    assert (ys[~valid] == 0).all()
    assert (grads[1][~valid] == 0).all()
    close((grads, ys), run(params, xs))


def test_dense_padding_is_harmless_to_an_activation_that_zero_is_not():
    layer = jaxrnn.dense(2, activation=lambda ys: ys / jnp.linalg.norm(ys, axis=-1, keepdims=True))
    params, xs = params_of(layer) | {"bias": np.zeros(2)}, random(T, B, D)
    grads = jax.grad(lambda params: layer.apply(params, None, xs, lengths=LENGTHS)[1].sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in grads.values())


def test_dense_initial_parameters():
    layer = jaxrnn.dense(64, param_dtype=jnp.bfloat16)
    params = layer.init(jax.random.key(0), 256)
    assert {name: (p.shape, p.dtype) for name, p in params.items()} == {
        "kernel": ((256, 64), jnp.bfloat16),
        "bias": ((64,), jnp.bfloat16),
    }
    assert (params["bias"] == 0).all()
    np.testing.assert_allclose(params["kernel"].astype(float).std() * 16, 1, atol=0.03)


@pytest.mark.parametrize(
    ("dtype", "param_dtype", "xs_dtype", "expected"),
    [
        (None, "float32", "float32", "float32"),
        (None, "bfloat16", "bfloat16", "bfloat16"),
        (None, "float32", "bfloat16", "float32"),
        ("bfloat16", "float32", "float32", "bfloat16"),
        ("float32", "float64", "float64", "float32"),
    ],
)
def test_dense_dtypes(dtype, param_dtype, xs_dtype, expected):
    layer = jaxrnn.dense(2, dtype=dtype, param_dtype=param_dtype)
    params = jax.eval_shape(lambda key: layer.init(key, D), jax.random.key(0))
    assert {leaf.dtype.name for leaf in params.values()} == {param_dtype}
    ys = jax.eval_shape(
        lambda params, xs: layer.apply(params, None, xs)[1], params, jax.ShapeDtypeStruct((T, D), xs_dtype)
    )
    assert ys.dtype.name == expected


# --- stack ---


@every_flow
def test_stack_is_each_layer_by_hand(flow):
    """Lengths, masks and resets reach every layer, also those that run backwards or stand within another stack."""
    params, xs = params_of(STACK), random(T, B, D)
    inner = params["layer_2"]
    lstm_carry, hs = jaxrnn.unroll(LSTM, params["layer_0"], xs, **flow)
    gru_carry, hs = jaxrnn.unroll(GRU, inner["layer_0"], hs, reverse=True, **flow)
    _, hs = DENSE.apply(inner["layer_1"], None, hs, **{k: v for k, v in flow.items() if k != "resets"})
    elman_carry, ys = jaxrnn.unroll(jaxrnn.elman(H), params["layer_3"], hs, **flow)
    close(STACK.apply(params, None, xs, **flow), ((lstm_carry, (), (gru_carry, ()), elman_carry), ys))


def test_stack_parameters_are_named_by_place():
    params = jax.eval_shape(lambda key: STACK.init(key, D), jax.random.key(0))
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


def test_stack_hands_its_carry_on():
    params, xs = params_of(CAUSAL), random(T, B, D)
    whole = CAUSAL.apply(params, None, xs, resets=RESETS)
    carry, early = CAUSAL.apply(params, CAUSAL.init_carry(params, (B,)), xs[:2], resets=RESETS[:2])
    carry, late = CAUSAL.apply(params, carry, xs[2:], resets=RESETS[2:])
    close((carry, jnp.concatenate([early, late])), whole)


@pytest.mark.parametrize("batch", [(), (B,)], ids=str)
def test_streaming_equals_apply(batch):
    params, xs = params_of(CAUSAL), random(T, *batch, D)
    step = jax.jit(CAUSAL.step)
    carry, ys = CAUSAL.init_carry(params, batch), []
    for x in xs:
        carry, y = step(params, carry, x)
        ys.append(y)
    close((carry, jnp.stack(ys)), CAUSAL.apply(params, None, xs))


def test_stack_of_one_is_the_layer():
    params, xs = params_of(DENSE), random(T, B, D)
    _, ys = jaxrnn.stack(DENSE).apply({"layer_0": params}, None, xs)
    close(ys, DENSE.apply(params, None, xs)[1])


def test_stack_trains():
    """Gradients reach all parameters, and equal a finite difference."""
    params, xs, cotangent = params_of(STACK), random(T, B, D), random(T, B, H)
    moved = params_of(STACK) | {"layer_3": params_of(jaxrnn.elman(H), 2)}

    @jax.jit
    def loss(params):
        return jnp.vdot(cotangent, STACK.apply(params, None, xs, mask=MASK, resets=RESETS)[1])

    grads = jax.jit(jax.grad(loss))(params)
    assert all((g != 0).any() for g in jax.tree.leaves(grads))
    along = sum(jnp.vdot(g, m) for g, m in zip(jax.tree.leaves(grads), jax.tree.leaves(moved), strict=True))
    there, back = (jax.tree.map(lambda p, m, s=s: p + s * m, params, moved) for s in (1e-6, -1e-6))
    np.testing.assert_allclose(along, (loss(there) - loss(back)) / 2e-6, rtol=1e-6)


# --- dropout ---


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_dropout_zeroes_at_its_rate_and_scales_the_rest(rate):
    xs = np.ones((50, 40, 30))
    _, ys = jaxrnn.dropout(rate).apply({}, None, xs, key=jax.random.key(0))
    kept = np.asarray(ys != 0)
    np.testing.assert_allclose(ys[kept], 1 / (1 - rate), rtol=1e-12)
    for axes in ((0, 1, 2), (1, 2), (0, 2), (0, 1)):  # everywhere, and evenly over steps, rows and features
        rates, count = kept.mean(axes), np.prod([kept.shape[a] for a in axes])
        np.testing.assert_allclose(rates, 1 - rate, atol=5 * np.sqrt(rate * (1 - rate) / count))
    assert (kept[1:] != kept[:-1]).any()


def test_dropout_per_sequence_keeps_a_row_s_mask():
    layer, xs = jaxrnn.dropout(0.5, per_sequence=True), np.ones((T, 40, 30))
    _, ys = layer.apply({}, None, xs, key=jax.random.key(0))
    np.testing.assert_array_equal(ys, np.broadcast_to(ys[:1], ys.shape))
    assert (ys[0, 1:] != ys[0, :-1]).any()
    np.testing.assert_allclose((ys[0] != 0).mean(), 0.5, atol=0.07)


@pytest.mark.parametrize("layer", [jaxrnn.dropout(0.5), jaxrnn.dropout(0.0), jaxrnn.dropout(0.5, per_sequence=True)])
def test_dropout_without_a_key_or_a_rate_is_the_identity(layer):
    xs = random(T, B, D)
    close(layer.apply({}, None, xs), ((), xs))
    close(layer.step({}, (), xs[0]), ((), xs[0]))
    close(jaxrnn.dropout(0.0).apply({}, None, xs, key=jax.random.key(0)), ((), xs))


def test_dropout_is_a_function_of_its_key():
    layer, xs = jaxrnn.dropout(0.5), random(T, B, 20)
    first, again, other = (layer.apply({}, None, xs, key=jax.random.key(i))[1] for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_dropout_is_silent_where_invalid():
    xs = np.where(MASK[..., None], random(T, B, D), np.nan)
    _, ys = jaxrnn.dropout(0.5).apply({}, None, xs, mask=MASK, key=jax.random.key(0))
    assert (ys[~MASK] == 0).all()


def test_a_stack_splits_its_key():
    """Two dropouts of one stack draw apart, and no key means no noise."""
    layer, xs = jaxrnn.stack(jaxrnn.dropout(0.5), jaxrnn.dropout(0.5)), np.ones((T, B, 200))
    _, ys = layer.apply({}, None, xs, key=jax.random.key(0))
    np.testing.assert_allclose((ys != 0).mean(), 0.25, atol=0.05)  # 0.5 if both drew the same
    close(layer.apply({}, None, xs), (((), ()), xs))


def test_a_fresh_carry_can_be_donated():
    cell = jaxrnn.lstm(4)
    carry = cell.init_carry(cell.init(jax.random.key(0), 3), (2,))
    assert len({leaf.unsafe_buffer_pointer() for leaf in carry}) == 2
