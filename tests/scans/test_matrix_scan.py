"""`matrix_scan` against loops in NumPy, under every transformation, and at the ends of what numbers can be."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxrnn
from jaxrnn.recurrence.chunkwise import inverse

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, N, K, V = 7, 2, 2, 4, 3
RULES = {  # which decay, and whether it is the delta rule
    "attention": (None, False),
    "gated": ("head", False),
    "channels": ("channel", False),
    "delta": (None, True),
    "gated delta": ("head", True),
    "channels delta": ("channel", True),
}
RESETS = np.array([[0, 1], [0, 0], [1, 0], [0, 0], [0, 0], [1, 1], [0, 0]], bool)
every_rule = pytest.mark.parametrize("rule", RULES)
every_method = pytest.mark.parametrize("method", ["scan", "chunked"])


def example(rule, total=T, seed=0):
    """`(q, k, v, options)` with keys of length 1."""
    draw = np.random.default_rng(seed)
    q, k, v = (draw.normal(size=(total, B, N, width)) for width in (K, K, V))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    decay, delta = RULES[rule]
    options = {"carry": draw.normal(size=(B, N, K, V))}
    if decay is not None:
        options["log_decay"] = -draw.exponential(size=(total, B, N, K)[: 3 if decay == "head" else 4])
    if delta:
        options["beta"] = draw.uniform(0, 2, size=(total, B, N))
    return q, k, v, options


def by_numpy(q, k, v, carry, log_decay=None, beta=None, resets=None):
    """`Sₜ = (I − β k kᵀ)(α ⊙ Sₜ₋₁) + β k vᵀ`, or `α ⊙ Sₜ₋₁ + k vᵀ`; `yₜ = Sₜᵀ qₜ`."""
    S, ys = carry.copy(), np.empty_like(v)
    for t, b, n in np.ndindex(v.shape[:-1]):
        here = S[b, n]
        if resets is not None and resets[t, b]:
            here = np.zeros_like(here)
        if log_decay is not None:
            here = np.exp(log_decay[t, b, n].reshape(-1, 1)) * here
        rate = 1 if beta is None else beta[t, b, n]
        if beta is not None:
            here = here - rate * np.outer(k[t, b, n], k[t, b, n]) @ here
        S[b, n] = here + rate * np.outer(k[t, b, n], v[t, b, n])
        ys[t, b, n] = S[b, n].T @ q[t, b, n]
    return S, ys


@pytest.mark.sampled
@every_rule
@every_method
def test_equals_a_loop_in_numpy(rule, method):
    q, k, v, options = example(rule)
    for resets in (None, RESETS):
        expected = by_numpy(q, k, v, **options, resets=resets)
        actual = jaxrnn.matrix_scan(q, k, v, **options, resets=resets, chunk=3, method=method)
        for a, e in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=0, atol=1e-12)


@pytest.mark.sampled
@every_rule
def test_single_precision_over_many_steps(rule):
    """More than one chunk, of blocks within which decays are taken apart; relative to the largest entry."""
    q, k, v, options = example(rule, total=200)
    expected = by_numpy(q, k, v, **options)
    actual = jaxrnn.matrix_scan(
        *jax.tree.map(np.float32, (q, k, v)), **jax.tree.map(np.float32, options), method="chunked"
    )
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * abs(e).max())


def losses(rule, method, resets=None, chunk=3, total=T):
    """One number of all results, as a function of one vector of all arguments; and the vector."""
    q, k, v, options = example(rule, total)
    point, restore = ravel_pytree((q, k, v, options))

    def loss(vector):
        q, k, v, options = restore(vector)
        out = jaxrnn.matrix_scan(q, k, v, **options, resets=resets, chunk=chunk, method=method)
        return sum((jnp.cos(jnp.arange(x.size)) * jnp.sin(x.ravel())).sum() for x in out)

    return loss, point


@pytest.mark.sampled
@pytest.mark.parametrize("rule", ["attention", "gated delta", "channels delta"])
def test_chunks_have_the_gradients_of_the_steps(rule):
    """Of a final state, too, in all that goes in; with resets where there is a decay."""
    resets = None if rule == "attention" else RESETS
    expected, point = losses(rule, "scan", resets)
    want = jax.jit(jax.grad(expected))(point)
    value, actual = jax.jit(jax.value_and_grad(losses(rule, "auto", resets)[0]))(point)
    np.testing.assert_allclose(value, expected(point), atol=1e-11)
    np.testing.assert_allclose(actual, want, atol=1e-11 * abs(want).max())


TRANSFORMATIONS = {
    "jvp": lambda f, x, v: jax.jvp(f, (x,), (v,))[1],
    "reverse over reverse": lambda f, x, v: jax.grad(lambda x: jnp.vdot(jax.grad(f)(x), v))(x),
    "reverse over forward": lambda f, x, v: jax.grad(lambda x: jax.jvp(f, (x,), (v,))[1])(x),
    "gradients of many": lambda f, x, v: jax.vmap(jax.grad(f))(jnp.stack([x, v])),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations_equal_those_of_the_steps(name):
    transform = jax.jit(TRANSFORMATIONS[name], static_argnums=0)
    expected, point = losses("channels", "scan", total=3)
    direction = np.abs(np.random.default_rng(1).normal(size=point.shape)) / 2
    want = transform(expected, point, direction)
    actual = transform(losses("channels", "auto", chunk=2, total=3)[0], point, direction)
    np.testing.assert_allclose(actual, want, atol=1e-10 * abs(want).max())


@every_method
def test_any_number_of_batch_axes_and_steps(method):
    q, k, v, options = example("gated delta")
    S, ys = jaxrnn.matrix_scan(q, k, v, **options)
    row = jax.tree.map(lambda x: x[:, 0], (q, k, v)), {n: x[0] if n == "carry" else x[:, 0] for n, x in options.items()}
    alone = jaxrnn.matrix_scan(*row[0], **row[1], method=method)
    np.testing.assert_allclose(alone[0], S[0], atol=1e-12)
    np.testing.assert_allclose(alone[1], ys[:, 0], atol=1e-12)
    nothing = {n: x if n == "carry" else x[:0] for n, x in options.items()}
    S, ys = jaxrnn.matrix_scan(q[:0], k[:0], v[:0], **nothing, method=method)
    np.testing.assert_array_equal(S, options["carry"])
    assert ys.shape == (0, B, N, V)


def test_chunks_then_single_steps_equal_the_whole():
    """No carry is rescaled between the two."""
    q, k, v, options = example("channels delta")
    start = {"carry": options.pop("carry")}

    def run(steps, start, method):
        part = {name: x[steps] for name, x in options.items()}
        return jaxrnn.matrix_scan(q[steps], k[steps], v[steps], **part, **start, method=method, chunk=2)

    S, expected = run(slice(0, T), start, "scan")
    state, early = run(slice(0, 4), start, "chunked")
    late = []
    for t in range(4, T):
        state, y = run(slice(t, t + 1), {"carry": state}, "scan")
        late.append(y)
    np.testing.assert_allclose(np.concatenate([early, *late]), expected, atol=1e-12)
    np.testing.assert_allclose(state, S, atol=1e-12)


# --- memory, precision and extremes --------------------------------------------------------------------------------


def test_training_keeps_no_state_a_step():
    """Temporaries of a gradient: a state a chunk, and not one a step."""
    total, size = 4096, 16
    shapes = [jax.ShapeDtypeStruct((total, 1, size), np.float32)] * 3

    def temporaries(method):
        grad = jax.grad(lambda q, k, v: (jaxrnn.matrix_scan(q, k, v, chunk=32, method=method)[1] ** 2).sum(), (0, 1, 2))
        return jax.jit(grad).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    states = 4 * total * size * size
    assert temporaries("auto") < states / 2 < temporaries("scan")


@pytest.mark.parametrize("rule", ["gated", "channels delta"])
def test_extreme_gates_stay_finite_over_many_steps(rule):
    draw = np.random.default_rng(0)
    q, k, v = (draw.normal(size=(4096, 1, 4)).astype(np.float32) for _ in range(3))
    k /= np.linalg.norm(k, axis=-1, keepdims=True)
    options = {"beta": np.full((4096, 1), 2, np.float32)} if "delta" in rule else {}

    @jax.jit
    def results(q, k, v, gate):
        def loss(*args):
            S, ys = jaxrnn.matrix_scan(*args[:3], log_decay=args[3], **options, method="chunked")
            return (ys**2).mean() + (S**2).mean()

        return jax.value_and_grad(loss, (0, 1, 2, 3))(q, k, v, gate)

    keeps = np.zeros((4096, 1) if rule == "gated" else (4096, 1, 4), np.float32)
    forgets = np.full_like(keeps, -50)
    both = np.where(np.arange(4096)[(slice(None), *[None] * (keeps.ndim - 1))] % 3, forgets, keeps)
    for gate in (keeps, forgets, both):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results(q, k, v, gate)))


@pytest.mark.parametrize("least", [-1e9, -np.inf])
def test_a_step_may_forget_everything(least):
    """What decays after it, in the same chunk, is not lost beside it."""
    q, k, v = (np.ones((32, 1, 1), np.float32) for _ in range(3))
    gate = np.where(np.arange(32) == 5, least, -0.05).astype(np.float32)[:, None]

    def results(method):
        def loss(gate):
            return jnp.sin(jaxrnn.matrix_scan(q, k, v, log_decay=gate, method=method)[1]).sum()

        return jax.value_and_grad(loss)(gate)

    for got, expected in zip(results("chunked"), results("scan"), strict=True):
        np.testing.assert_allclose(got, expected, atol=5e-4 * np.abs(expected).max())


def test_half_precision_is_summed_in_single():
    ones = jnp.ones((1000, 1, 1), jnp.bfloat16)
    for method in ("scan", "chunked"):
        state, ys = jaxrnn.matrix_scan(ones, ones, ones, method=method)
        assert state == 1000 and state.dtype == jnp.float32  # a sum in bfloat16 stays at 256
        assert ys.dtype == jnp.bfloat16


@every_method
def test_not_even_nan_crosses_a_reset(method):
    q, k, v, options = example("gated delta")
    resets = np.broadcast_to((np.arange(T) == 3)[:, None], (T, B))

    @jax.jit
    def gradients(*args):
        def loss(q, k, v, options):
            run = partial(jaxrnn.matrix_scan, resets=resets, method=method)
            S, ys = run(q, k, v, **options)
            return (ys[3:] ** 2).sum() + (S**2).sum(), (S, ys)

        return jax.grad(loss, (0, 1, 2, 3), has_aux=True)(*args)

    expected, (S, ys) = jax.block_until_ready(gradients(q, k, v, options))  # JAX may look at the arrays until then
    for x in (q, k, v, options["beta"]):
        x[1] = np.nan
    options["carry"][:] = np.inf
    actual, (S_, ys_) = gradients(q, k, v, options)
    assert np.isnan(ys_[1:3]).all()
    np.testing.assert_allclose(S_, S, atol=1e-12)
    np.testing.assert_allclose(ys_[3:], ys[3:], atol=1e-12)
    del actual[3]["carry"], expected[3]["carry"]  # of the sequence that ended
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a[3:], e[3:], atol=1e-12)


def test_what_is_not_finite_lasts_until_a_reset():
    """In chunks as in steps: from where it comes in, or from the start where the state brings it."""
    q, k, v, options = example("gated")
    options["carry"][0, 0, 0, 0] = np.nan
    v[4, 0, 1] = np.inf
    for method in ("scan", "chunked"):
        S, ys = jaxrnn.matrix_scan(q, k, v, **options, resets=RESETS, chunk=2, method=method)
        bad = ~np.isfinite(ys).all(-1)
        expected = np.zeros((T, B, N), bool)
        expected[:2, 0, 0] = expected[4, 0, 1] = True
        np.testing.assert_array_equal(bad, expected)
        assert np.isfinite(S).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_inverse_s_gradient_under_vmap_is_that_of_each_alone(axis):
    """Its rule leaves the mapped axis where the function itself does."""
    A, weights = np.random.default_rng(0).normal(size=(2, 3, 3, 3))

    def loss(A, inverse):
        return jnp.vdot(weights, jax.vmap(inverse, axis)(A))

    actual, expected = (
        jax.jit(jax.grad(loss), static_argnums=1)(A, f)
        for f in (jax.jit(lambda A: inverse(jnp.tril(A, -1))), lambda A: jnp.linalg.inv(jnp.eye(3) + jnp.tril(A, -1)))
    )
    np.testing.assert_allclose(actual, expected, atol=1e-11)


@pytest.mark.sampled
@pytest.mark.parametrize("n", [1, 2, 5, 16, 48, 64, 65])
def test_the_inverse_of_a_triangle(n):
    A = np.tril(np.random.default_rng(n).normal(size=(2, n, n)), -1) / np.sqrt(n)
    np.testing.assert_allclose(inverse(A) @ (np.eye(n) + A), np.broadcast_to(np.eye(n), A.shape), atol=1e-9)


# --- errors --------------------------------------------------------------------------------------------------------

x, gate = np.ones((3, 2, 1, 4)), np.ones((3, 2, 1))
ERRORS = {
    "q is a list, expected an array": ([1.0], x, x, {}),
    r"q has shape \(3, 4\), expected \[T, \*batch, heads, channels\]": (x[:, 0, 0], x, x, {}),
    r"k has shape \(3, 2, 1, 2\), expected \(3, 2, 1, 4\) from q": (x, x[..., :2], x, {}),
    r"v has shape \(2, 2, 1, 4\), expected \(3, 2, 1, 4\) from q": (x, x, x[:2], {}),
    r"log_decay has shape \(3, 2\), expected \(3, 2, 1\) from q": (x, x, x, {"log_decay": gate[..., 0]}),
    r"log_decay has shape \(3, 2, 1, 2\), expected \(3, 2, 1, 4\)": (x, x, x, {"log_decay": x[..., :2]}),
    r"beta has shape \(3, 2, 1, 4\), expected \(3, 2, 1\)": (x, x, x, {"beta": x}),
    r"carry has shape \(4,\), expected \[\*batch, heads, K, V\]": (x, x, x, {"carry": x[0, 0, 0]}),
    r"carry has shape \(2, 1, 4\), expected \(2, 1, 4, 4\) from q": (x, x, x, {"carry": x[0]}),
    "resets has dtype float64, expected bool": (x, x, x, {"resets": gate[..., 0]}),
    r"resets has shape \(3, 2, 1\), expected \(3, 2\)": (x, x, x, {"resets": gate > 0}),
    "chunk is 0, expected an int of 1 or more": (x, x, x, {"chunk": 0}),
    "method is 'associative', expected one of 'auto', 'scan', 'chunked'": (x, x, x, {"method": "associative"}),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    q, k, v, options = ERRORS[message]
    with pytest.raises(ValueError, match=f"^matrix_scan: ({message})"):
        jaxrnn.matrix_scan(q, k, v, **options)
