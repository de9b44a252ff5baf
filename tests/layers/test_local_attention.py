"""Attention to a window of steps against loops in float64 NumPy, and what its programs need."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params
from compare import assert_close, assert_equal
from jaxrnn.recurrence import ring
from layers.cases import D, random
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, H = 75, 2, 16
MASK, RESETS = np.random.default_rng(5).random((T, B)) < 0.7, np.zeros((T, B), bool)
RESETS[[20, 21, 50], [0, 0, 1]] = True


def turned(x, position, features, base):
    """`x [heads, K]` with its first features, in pairs of halves, rotated."""
    pairs = x[:, :features].reshape(len(x), 2, -1)
    angles = position * base ** (-2 * np.arange(features // 2) / features)
    a, b = pairs[:, 0], pairs[:, 1]
    turned = np.concatenate([a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)], 1)
    return np.concatenate([turned, x[:, features:]], 1)


def looped(p, xs, window, rotary_features=None, base=10_000.0):
    """`yₜ = W_o Σₛ softmax(R(t) qₜ · R(s) kₛ / √K) vₛ` of one sequence, head by head."""
    heads, K, ys = p["query"].shape[1], p["query"].shape[2], []
    turn = partial(turned, features=rotary_features or K, base=base)
    q, k, v = (np.einsum("td,dhk->thk", xs, p[name]) for name in ("query", "key", "value"))
    q, k = (np.array([turn(x, t) for t, x in enumerate(rows)]) for rows in (q, k))
    shared = heads // k.shape[1]
    for t in range(len(xs)):
        y = p.get("out_bias", 0)
        for head in range(heads):
            seen = slice(max(0, t - window + 1), t + 1)
            weights = np.exp(k[seen, head // shared] @ q[t, head] / np.sqrt(K))
            y = y + weights / weights.sum() @ v[seen, head // shared] @ p["out"][head]
        ys.append(y)
    return np.array(ys)


def apart(p, xs, mask, resets, window, **options):
    """`looped` for each sequence of each row alone, at its valid steps."""
    ys = np.zeros((T, B, p["out"].shape[-1]))
    sequences = np.cumsum(resets, 0)
    for b in range(B):
        for sequence in np.unique(sequences[:, b]):
            at = np.flatnonzero((sequences[:, b] == sequence) & mask[:, b])
            if len(at):
                ys[at, b] = looped(p, xs[at, b], window, **options)
    return ys


CASES = {  # a window, and options; blocks are of 32 steps, but of all where the window is as long as the sequence
    "window": (4, {}),
    "one step": (1, {"kv_heads": 2, "base": 100.0}),
    "longer than a block": (40, {"rotary_features": 2}),
    "longer than the sequence": (80, {"kv_heads": 1, "use_bias": True}),
}
every_case = pytest.mark.parametrize("name", CASES)


def case(name):
    """The layer, its parameters, and the outputs that it should have under `MASK` and `RESETS`."""
    window, options = CASES[name]
    layer = jaxrnn.local_attention(4, window, features=H, **options)
    params, xs = random_params(layer, D), random(T, B, D)
    told = {name: options[name] for name in ("rotary_features", "base") if name in options}
    return layer, params, xs, apart(params, xs, MASK, RESETS, window, **told)


@pytest.mark.sampled
@every_case
def test_equals_a_loop_in_numpy(name):
    """All at once, from the beginning and from an initial carry, and in chunks: under holes and resets."""
    layer, params, xs, expected = case(name)
    xs = np.where(MASK[..., None], xs, np.nan)

    @jit
    def ways(params, xs, mask, resets):
        whole = jaxrnn.unroll(layer, params, xs, mask=mask, resets=resets)
        carry, chunks = layer.init_carry(params, (B,)), []
        for part in (slice(0, 30), slice(30, 31), slice(31, T)):
            carry, ys = jaxrnn.unroll(layer, params, xs[part], carry, mask=mask[part], resets=resets[part])
            chunks.append(ys)
        return whole, (carry, jnp.concatenate(chunks))

    (carry, ys), chunked = ways(params, xs, MASK, RESETS)
    assert_close(ys, expected, 1e-12)
    assert_close(chunked, (carry, expected), 1e-12)
    assert carry.position.tolist() == [MASK[21:, 0].sum(), MASK[50:, 1].sum()]


@pytest.mark.parametrize("window", [3, 40])
def test_a_stream_with_holes_and_resets_equals_the_whole(window):
    layer = jaxrnn.local_attention(2, window, features=8)
    params, xs = random_params(layer, D), random(T, B, D)

    @jit
    def streamed(params, xs, mask, resets):
        def step(carry, at):
            x, valid, reset = at
            fresh = layer.init_carry(params, (B,))
            spread = lambda flag, leaf: flag.reshape(-1, *[1] * (leaf.ndim - 1))  # noqa: E731
            carry = jax.tree.map(lambda new, old: jnp.where(spread(reset, old), new, old), fresh, carry)
            new, y = jaxrnn.step(layer, params, carry, x)
            carry = jax.tree.map(lambda new, old: jnp.where(spread(valid, old), new, old), new, carry)
            return carry, jnp.where(valid[:, None], y, 0)

        return jax.lax.scan(step, layer.init_carry(params, (B,)), (xs, mask, resets))

    whole = jit(partial(jaxrnn.unroll, layer))(params, xs, mask=MASK, resets=RESETS)
    assert_close(streamed(params, xs, MASK, RESETS), whole, 1e-12)


def test_a_row_without_a_step_keeps_its_carry_to_the_last_digit():
    layer = jaxrnn.local_attention(2, 5)
    params, xs = random_params(layer, 4), random(9, 1, 4)
    run = jit(partial(jaxrnn.unroll, layer))
    carry, _ = run(params, xs)
    assert_equal(run(params, xs, carry, lengths=np.array([0]))[0], carry)


def test_long_sequences_take_memory_in_proportion_to_their_length():
    """No program has an array of all pairs of steps; the gradient's needs less than a window of scores a step."""
    layer, window = jaxrnn.local_attention(2, 64), 64
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), 16))

    def loss(params, xs, mask):
        return (jaxrnn.unroll(layer, params, xs, mask=mask)[1] ** 2).sum()

    def needed(total):
        shapes = jax.ShapeDtypeStruct((total, 1, 16), np.float32), jax.ShapeDtypeStruct((total, 1), bool)
        program = jax.jit(jax.grad(loss, (0, 1))).lower(params, *shapes).compile()
        largest = max(
            np.prod([int(n) for n in found.split(",")]) for found in re.findall(r"\[([\d,]+)\]", program.as_text())
        )
        return largest, program.memory_analysis().temp_size_in_bytes, program.cost_analysis()["flops"]

    short, long = needed(4096), needed(8192)
    assert long[0] <= 8192 * window and long[1] < 8192 * 2 * 2 * window * 4
    assert all(b < 2.2 * a for a, b in zip(short, long, strict=True))


def test_half_precision_has_scores_and_a_carry_in_single():
    layer = jaxrnn.local_attention(2, 4)
    params, xs = jax.tree.map(lambda a: jnp.asarray(a, jnp.bfloat16), (random_params(layer, 8), random(9, 8)))
    run = jit(partial(jaxrnn.unroll, layer))
    carry, ys = run(params, xs)
    exact = looped(*jax.tree.map(lambda a: np.asarray(a, np.float64), (params, xs)), 4)
    assert {leaf.dtype.name for leaf in carry} == {"float32", "int32"} and ys.dtype == jnp.bfloat16
    assert_close(ys, exact, 0.03)
    start = layer.init_carry(params)
    for x, y in zip(xs, ys, strict=True):
        start, streamed = jaxrnn.step(layer, params, start, x)
        assert_close(streamed, y, 0.05)  # keys are rounded in another rotation
    large = run(jax.tree.map(lambda a: a * 30, params), xs)[1]
    assert np.isfinite(np.asarray(large, np.float32)).all()  # scores near 10⁴ do not overflow a softmax
    wide = jaxrnn.local_attention(2, 4, dtype=jnp.bfloat16)
    assert wide.init(jax.random.key(0), 8)["query"].dtype == jnp.float32
    assert jaxrnn.unroll(wide, jax.tree.map(jnp.float32, params), xs)[1].dtype == jnp.bfloat16


@pytest.mark.sampled
@pytest.mark.parametrize("total", [12, 70])
def test_what_is_not_finite_is_seen_in_its_window_alone(total):
    """As by single steps, though products meet it with weights of 0; a reset ends it at once."""
    layer = jaxrnn.local_attention(2, 4, features=8)
    params, xs = random_params(layer, D), random(total, 2, D)
    resets = np.zeros((total, 2), bool)
    resets[6, 1] = True
    broken = xs.copy()
    broken[5] = np.nan, np.inf, 1
    run = jit(partial(jaxrnn.unroll, layer))
    ys, expected = run(params, broken, resets=resets)[1], run(params, xs, resets=resets)[1]
    bad = np.zeros((total, 2), bool)
    bad[5:9, 0] = bad[5, 1] = True
    assert (np.isnan(ys).all(-1) == bad).all() and np.isfinite(ys[~bad]).all()
    assert_close(ys[~bad], expected[~bad], 1e-12)
    carry, _ = run(params, broken[:6])
    assert_close(run(params, xs[6:], carry)[1][:, 0], ys[6:, 0], 1e-12)
    begun = run(params, xs[6:, 1:], jax.tree.map(lambda leaf: leaf[1:], carry), resets=resets[6:, 1:])[1]
    assert_close(begun[:, 0], ys[6:, 1], 1e-12)


def test_a_carry_hands_on_its_gradient():
    """Of two chunks as of the whole; the position has none."""
    layer = jaxrnn.local_attention(2, 4, features=8)
    params, xs, weights = random_params(layer, D), random(11, 2, D), random(11, 2, 8, seed=1)

    def loss(params, xs, cut):
        carry, first = jaxrnn.unroll(layer, params, xs[:cut])
        _, second = jaxrnn.unroll(layer, params, xs[cut:], carry)
        return jnp.vdot(weights, jnp.concatenate([first, second]))

    grads = [jit(jax.grad(partial(loss, cut=cut), (0, 1)))(params, xs) for cut in (0, 6)]
    assert_close(grads[1], grads[0], 1e-12)
    carry, _ = jaxrnn.unroll(layer, params, xs)
    of_carry = jax.grad(lambda carry: jaxrnn.unroll(layer, params, xs, carry)[1].sum(), allow_int=True)(carry)
    assert of_carry.position.dtype == jax.dtypes.float0 and (of_carry.keys != 0).any()


def test_a_stream_has_no_end(monkeypatch):
    """Positions begin again before their integers end, and nobody can tell."""
    layer = jaxrnn.local_attention(2, 3)
    params, xs = random_params(layer, 4), random(20, 4)
    carry, ys = jaxrnn.unroll(layer, params, xs)
    monkeypatch.setattr(ring, "LAST", 7)
    layer = jaxrnn.local_attention(2, 3, base=10_000)  # compiled anew
    wrapped, streamed = layer.init_carry(params), []
    for x in xs[:15]:
        wrapped, y = jaxrnn.step(layer, params, wrapped, x)
        streamed.append(y)
    wrapped, last = jaxrnn.unroll(layer, params, xs[15:], wrapped)
    assert_close(np.concatenate([streamed, last]), ys, 1e-12)
    assert_close(wrapped._replace(position=0), carry._replace(position=0), 1e-12)
    assert 3 <= wrapped.position < 9 and (carry.position - wrapped.position) % 3 == 0


def test_positions_far_on_are_as_exact_as_the_first():
    """Only distances count: rotated by their own positions, features would lose digits."""
    layer = jaxrnn.local_attention(1, 4)
    params, xs = jax.tree.map(np.float32, (random_params(layer, 4), random(8, 4)))
    carry, _ = jaxrnn.unroll(layer, params, xs[:4])
    late = carry._replace(position=carry.position + 4 * 10**7)
    run = jit(partial(jaxrnn.unroll, layer))
    assert_equal(run(params, xs[4:], late)[1], run(params, xs[4:], carry)[1])
    assert_equal(jaxrnn.step(layer, params, late, xs[4])[1], jaxrnn.step(layer, params, carry, xs[4])[1])


LAYER = jaxrnn.local_attention(2, 4)
ERRORS = {
    "local_attention: window is 0, expected an int of 1 or more": lambda: jaxrnn.local_attention(2, 0),
    "local_attention: heads is 0, expected an int of 1 or more": lambda: jaxrnn.local_attention(0, 4),
    "local_attention: heads is 3, expected a divisor of features, 8": lambda: jaxrnn.local_attention(3, 4, features=8),
    "local_attention: heads is 2, expected a divisor of in_features, 3": lambda: LAYER.init(jax.random.key(0), 3),
    "local_attention: kv_heads is 3, expected a divisor of heads, 4": lambda: jaxrnn.local_attention(4, 4, kv_heads=3),
    "local_attention: a head has 3 features, features 6 of 2 heads, expected an even number": lambda: (
        jaxrnn.local_attention(2, 4, features=6)
    ),
    "local_attention: a head has 1 features, in_features 2 of 2 heads, expected an even number": lambda: LAYER.init(
        jax.random.key(0), 2
    ),
    "local_attention: rotary_features is 3, expected an even number": lambda: jaxrnn.local_attention(
        2, 4, rotary_features=3
    ),
    "local_attention: rotary_features is 6, expected at most the features of a head, 4": lambda: jaxrnn.local_attention(
        2, 4, features=8, rotary_features=6
    ),
    "local_attention: base is 1.0, expected a number above 1": lambda: jaxrnn.local_attention(2, 4, base=1.0),
    r"unroll: carry\.position has dtype float32, expected an integer one": lambda: jaxrnn.unroll(
        LAYER,
        random_params(LAYER, 4),
        jnp.ones((3, 4)),
        LAYER.init_carry(random_params(LAYER, 4))._replace(position=np.float32(0)),
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ERRORS[message]()
