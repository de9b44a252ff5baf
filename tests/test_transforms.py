"""Cells made of cells: what is random is tested by its distribution, what is not by its definition."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import shapes_of
from compare import assert_close
from jaxrnn.recurrence.loop import select

D, H, T, B = 3, 4, 6, 2
pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")
KEY = jax.random.key(7)


def problem(cell, *, time=T, batch=(B,), seed=0):
    """Random `(params, xs, carry)` for `cell`."""
    draw = np.random.default_rng(seed)

    def random(shape):
        return jnp.asarray(0.7 * draw.normal(size=shape.shape))

    params = jax.tree.map(random, shapes_of(cell, D))
    carry = jax.tree.map(random, jax.eval_shape(lambda p: cell.init_carry(p, batch), params))
    return params, random(jax.ShapeDtypeStruct((time, *batch, D), np.float64)), carry


def gradients(cell, method, args, **how):
    """Outputs, the last carry, and the gradients of a curved function of both."""

    def loss(params, xs, carry):
        out = jaxrnn.unroll(cell, params, xs, carry, method=method, **how)
        return sum(jnp.sum(jnp.sin(leaf + 0.1)) for leaf in jax.tree.leaves(out)), out

    return jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))(*args)


@cache
def all_at_once():
    """Every transformation that draws or reparametrizes, one around the other."""
    inner = jaxrnn.learned_carry(jaxrnn.weight_norm(jaxrnn.gru(H)))
    dropped = jaxrnn.weight_dropout(jaxrnn.recurrent_dropout(inner, 0.4), 0.3)
    return jaxrnn.with_carry(jaxrnn.zoneout(jaxrnn.zoneout(dropped, 0.3), {"h": 0.2}))


MASK = np.array([[1, 0, 1, 1, 0, 1], [1, 1, 1, 0, 0, 0]], bool).T
RESETS = np.array([[0, 0, 1, 0, 0, 1], [0, 1, 0, 0, 0, 0]], bool).T


@pytest.mark.parametrize(
    "how",
    [
        {"reverse": True},
        *(
            pytest.param(how, marks=pytest.mark.every)
            for how in ({}, {"remat": "carries"}, {"remat": 4}, {"key": None})
        ),
    ],
    ids=str,
)
def test_the_engine_equals_the_loop_with_the_same_masks(how):
    args = problem(all_at_once())
    how = {"key": KEY, "mask": MASK, "resets": RESETS} | how
    assert_close(gradients(all_at_once(), "fused", args, **how), gradients(all_at_once(), "scan", args, **how))


def test_vmap_over_keys_is_each_key_alone():
    cell, keys = all_at_once(), jax.random.split(KEY, 2)
    params, xs, carry = problem(cell)
    together = jax.vmap(lambda key: jaxrnn.unroll(cell, params, xs, carry, key=key))(keys)
    for i, key in enumerate(keys):
        alone = jaxrnn.unroll(cell, params, xs, carry, key=key)
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone)


def test_a_draw_is_another_for_another_key_and_the_same_for_the_same():
    cell, args = all_at_once(), problem(all_at_once())
    one, again, other = (jaxrnn.unroll(cell, *args, key=jax.random.key(seed))[1][0] for seed in (1, 1, 2))
    assert_close(one, again)
    assert not np.allclose(one, other)


def test_streaming_is_deterministic():
    cell = all_at_once()
    params, xs, carry = problem(cell)
    whole = jaxrnn.unroll(cell, params, xs, carry)
    ys = []
    for x in xs:
        carry, y = jaxrnn.step(cell, params, carry, x)
        ys.append(y)
    assert_close((carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *ys)), whole)


def test_zoneout_is_the_expectation_without_a_key():
    cell = jaxrnn.zoneout(jaxrnn.lstm(H), {"c": 0.5, "h": 0.1})
    params, xs, carry = problem(cell)
    _, plain = jaxrnn.unroll(jaxrnn.lstm(H), params, xs[:1], carry)
    after, ys = jaxrnn.unroll(cell, params, xs[:1], carry)
    assert_close(ys, 0.1 * carry.h[None] + 0.9 * plain)
    assert_close(after.h, ys[0])


def test_zoneout_keeps_each_feature_at_its_rate():
    """Where it keeps one the state is exactly that of before; everywhere else it is exactly the cell's."""
    rates = {"c": 0.5, "h": 0.1}
    cell, plain = jaxrnn.zoneout(jaxrnn.lstm(H), jaxrnn.LSTMCarry(**rates)), jaxrnn.lstm(H)
    params, xs, carry = problem(cell, time=1, batch=(5000,))
    after, ys = jaxrnn.unroll(cell, params, xs, carry, key=KEY)
    full, _ = jaxrnn.unroll(plain, params, xs, carry)
    for field, rate in rates.items():
        old, new, now = (getattr(state, field) for state in (carry, full, after))
        kept = now == old
        np.testing.assert_allclose(np.where(kept, new, now), new, rtol=0, atol=1e-12)
        assert abs(kept.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
    assert_close(ys[0], after.h)


def test_zoneout_draws_anew_at_every_step():
    cell = jaxrnn.zoneout(jaxrnn.elman(H), 0.5)
    params, xs, carry = problem(cell, time=500)
    hs = np.concatenate([carry.h[None], jaxrnn.unroll(cell, params, xs, carry, key=KEY)[1]])
    kept = hs[1:] == hs[:-1]
    assert abs((kept[1:] & kept[:-1]).mean() - 0.25) < 0.03
    assert kept.mean(axis=0).min() > 0.4


def test_recurrent_dropout_drops_the_same_of_a_row_at_every_step():
    """Row by row it is the plain cell, some rows of whose recurrent kernel are zero and the rest larger."""
    rate = 0.4
    cell, plain = jaxrnn.recurrent_dropout(jaxrnn.gru(H), rate), jaxrnn.gru(H)
    params, xs, carry = problem(cell)
    mask = cell.draw(KEY, params, xs.shape[:-1])[2].state
    assert set(np.unique(mask)) <= {0.0, 1 / (1 - rate)}
    actual = jaxrnn.unroll(cell, params, xs, carry, key=KEY)
    for b in range(B):
        own = params | {"recurrent_kernel": params["recurrent_kernel"] * mask[b][:, None, None]}
        expected = jaxrnn.unroll(plain, own, xs[:, b], jax.tree.map(lambda leaf, b=b: leaf[b], carry))
        assert_close(jax.tree.map(lambda leaf, b=b: leaf[b], actual[0]), expected[0])
        assert_close(actual[1][:, b], expected[1])


def test_recurrent_dropout_drops_at_its_rate_row_by_row():
    cell = jaxrnn.recurrent_dropout(jaxrnn.gru(H), 0.3)
    params, _, _ = problem(cell)
    mask = cell.draw(KEY, params, (T, 5000))[2].state
    assert abs(mask.mean() - 1) < 5 * np.sqrt(0.3 / 0.7 / mask.size)
    assert abs((mask == 0).mean() - 0.3) < 5 * np.sqrt(0.21 / mask.size)
    assert np.ptp(np.asarray(mask), axis=0).min() > 0


def test_weight_dropout_drops_entries_of_the_kernel_for_all_rows():
    cell, rate = jaxrnn.weight_dropout(jaxrnn.lstm(50), 0.3), 0.3
    params, xs, carry = problem(cell)
    dropped = cell.draw(KEY, params, xs.shape[:-1])[1]
    kernel, before = dropped["recurrent_kernel"], params["recurrent_kernel"]
    kept = kernel != 0
    assert_close(kernel, np.where(kept, before / (1 - rate), 0))
    assert abs((~kept).mean() - rate) < 5 * np.sqrt(0.21 / kept.size)
    expected = jaxrnn.unroll(jaxrnn.lstm(50), params | {"recurrent_kernel": kernel}, xs, carry)
    assert_close(jaxrnn.unroll(cell, params, xs, carry, key=KEY), expected)


def test_weight_dropout_takes_cells_of_the_plain_loop():
    cell = jaxrnn.weight_dropout(jaxrnn.gru(H, reset="before"), 0.5)
    args = problem(cell)
    plain, noisy = jaxrnn.unroll(cell, *args), jaxrnn.unroll(cell, *args, key=KEY)
    assert_close(plain, jaxrnn.unroll(jaxrnn.gru(H, reset="before"), *args))
    assert not np.allclose(plain[1], noisy[1])


def test_weight_norm_starts_as_the_cell_and_keeps_lengths_apart():
    cell, plain = jaxrnn.weight_norm(jaxrnn.lstm(H)), jaxrnn.lstm(H)
    params, xs = cell.init(KEY, D), problem(plain)[1]
    assert_close(jaxrnn.unroll(cell, params, xs), jaxrnn.unroll(plain, plain.init(KEY, D), xs), 1e-6)
    longer = params | {name: 3 * params[name] for name in ("kernel", "recurrent_kernel")}
    assert_close(jaxrnn.unroll(cell, longer, xs), jaxrnn.unroll(cell, params, xs), 1e-6)
    scaled = plain.init(KEY, D)
    scaled["recurrent_kernel"] = scaled["recurrent_kernel"] * 2
    twice = params | {"recurrent_kernel_scale": 2 * params["recurrent_kernel_scale"]}
    assert_close(jaxrnn.unroll(cell, twice, xs), jaxrnn.unroll(plain, scaled, xs), 1e-6)


def test_weight_norm_leaves_a_column_of_zeros_finite():
    cell = jaxrnn.weight_norm(jaxrnn.lstm(H, kernel_init=jax.nn.initializers.zeros))
    params, xs = cell.init(KEY, D), problem(jaxrnn.lstm(H))[1]
    grads = jax.grad(lambda p: jaxrnn.unroll(cell, p, xs)[1].sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_a_cell_that_needs_two_inputs_is_taken():
    for cell in (jaxrnn.zoneout(jaxrnn.cfc(H), 0.1), jaxrnn.weight_dropout(jaxrnn.cfc(H), 0.1)):
        args = problem(cell)
        assert not np.allclose(*(jaxrnn.unroll(cell, *args, key=key)[1] for key in (None, KEY)))


def test_with_carry_emits_what_streaming_passes_through():
    cell = jaxrnn.with_carry(jaxrnn.lstm(H))
    params, xs, carry = problem(cell)
    _, (ys, carries) = jaxrnn.unroll(cell, params, xs, carry, mask=MASK)
    for t in range(T):
        new, y = jaxrnn.step(jaxrnn.lstm(H), params, carry, xs[t])
        valid = jnp.asarray(MASK[t][:, None])
        carry = select(valid, new, carry)
        assert_close(ys[t], valid * y)
        assert_close(
            jax.tree.map(lambda leaf, t=t: leaf[t], carries), jax.tree.map(lambda n, valid=valid: valid * n, new)
        )


def test_with_carry_keeps_the_state_out_of_half_precision():
    cell = jaxrnn.with_carry(jaxrnn.lstm(H, dtype=jnp.bfloat16))
    _, (ys, carries) = jaxrnn.unroll(cell, cell.init(KEY, D), jnp.ones((T, D)))
    assert (ys.dtype, carries.c.dtype) == (jnp.bfloat16, jnp.float32)


def test_learned_carry_is_where_sequences_and_resets_begin():
    cell, plain = jaxrnn.learned_carry(jaxrnn.lstm(H)), jaxrnn.lstm(H)
    params, xs, _ = problem(cell)
    start = jaxrnn.carries.LSTMCarry(params["initial_c"], params["initial_h"])
    own = {name: p for name, p in params.items() if not name.startswith("initial_")}
    _, ys = jaxrnn.unroll(cell, params, xs[:, 0], resets=RESETS[:, 0])
    for first, last in ((0, 2), (2, 5), (5, 6)):
        assert_close(ys[first:last], jaxrnn.unroll(plain, own, xs[first:last, 0], start)[1])
    grads = jax.grad(lambda p: jaxrnn.unroll(cell, p, xs)[1].sum())(params)
    assert np.abs(grads["initial_c"]).min() > 0


@pytest.mark.parametrize("make", [jaxrnn.gru, partial(jaxrnn.antisymmetric, gated=True)], ids=["gru", "antisymmetric"])
def test_heads_are_blocks_of_a_dense_kernel(make):
    """Also of a kernel that the cell makes another of before it runs."""
    cell, plain = jaxrnn.heads(make(H), 2), make(H)
    params, xs, carry = problem(cell)
    whole = np.zeros((H, params["recurrent_kernel"].shape[2], H))
    for n, block in enumerate(params["recurrent_kernel"]):
        part = slice(2 * n, 2 * n + 2)
        whole[part, :, part] = block
    expected = jaxrnn.unroll(plain, params | {"recurrent_kernel": jnp.asarray(whole)}, xs, carry)
    for method in ("scan", "fused"):
        assert_close(jaxrnn.unroll(cell, params, xs, carry, method=method), expected)


def test_heads_are_drawn_one_by_one():
    drawn = jaxrnn.heads(jaxrnn.gru(H), 2).init(KEY, D)["recurrent_kernel"][1, :, 2]
    assert_close(drawn @ drawn.T, jnp.eye(2), 1e-6)


def test_a_layer_hands_its_key_to_the_cell():
    layer = jaxrnn.stack(jaxrnn.rnn(jaxrnn.zoneout(jaxrnn.gru(H), 0.5)), jaxrnn.dense(2))
    params, xs = layer.init(KEY, D), problem(jaxrnn.gru(H))[1]
    plain, noisy = (jaxrnn.unroll(layer, params, xs, key=key)[1] for key in (None, KEY))
    assert not np.allclose(plain, noisy)


ERRORS = [
    (lambda: jaxrnn.zoneout(jaxrnn.lstm(4), 1.0), "zoneout: rate of c is 1.0, expected a number with 0 ≤"),
    (lambda: jaxrnn.zoneout(jaxrnn.lstm(4), {"m": 0.1}), r"zoneout: rate names \['m'\], expected fields of the carry"),
    (lambda: jaxrnn.zoneout(jaxrnn.sru(4), 0.1), "zoneout: the output of cell is not the field h of its carry"),
    (lambda: jaxrnn.zoneout(jaxrnn.mamba(4, dtype=jnp.bfloat16), 0.1), "zoneout: the output of cell is not the field"),
    (lambda: jaxrnn.zoneout(jaxrnn.dense(4), 0.1), "zoneout: cell is the layer"),
    (lambda: jaxrnn.recurrent_dropout(jaxrnn.lstm(4), -0.1), "recurrent_dropout: rate is -0.1, expected a number"),
    (lambda: jaxrnn.recurrent_dropout(jaxrnn.gru(4, reset="before"), 0.1), "recurrent_dropout: cell has methods"),
    (lambda: jaxrnn.weight_dropout(jaxrnn.lstm(4), "half"), "weight_dropout: rate is 'half', expected a finite number"),
    (lambda: jaxrnn.weight_norm(jaxrnn.dense(4)), "weight_norm: cell is the layer"),
    (lambda: jaxrnn.heads(jaxrnn.lstm(4), 3), "heads: count is 3, expected a divisor of 4, the width of the state"),
    (lambda: jaxrnn.heads(jaxrnn.gru(4, reset="before"), 2), "heads: cell has methods"),
    (
        lambda: jaxrnn.heads(jaxrnn.weight_norm(jaxrnn.lstm(4)), 2),
        r"heads: cell does not run on a recurrent_kernel in blocks, .*: weight_norm\(heads\(cell, 2\)\)",
    ),
    (lambda: jaxrnn.heads(jaxrnn.lstm(4), 0), "heads: count is 0, expected an int of 1 or more"),
    (lambda: jaxrnn.with_carry(3), "with_carry: cell is 3, expected a Cell"),
    (
        lambda: jaxrnn.learned_carry(jaxrnn.zoneout(jaxrnn.learned_carry(jaxrnn.lstm(4)), 0.1)),
        r"learned_carry: cell has parameters \['initial_c', 'initial_h'\], expected one whose carry is not learned yet",
    ),
    (lambda: jaxrnn.learned_carry(None), "learned_carry: cell is None, expected a Cell"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message for _, message in ERRORS])
def test_an_error_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
