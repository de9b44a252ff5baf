"""`linear_scan` against loops in NumPy, under every transformation, and at the ends of what numbers can be."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec

import jaxrnn

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

METHODS = ("scan", "associative", "chunked")
every_method = pytest.mark.parametrize("method", METHODS)
every_direction = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])

T, SHAPE = 7, (2, 3)
RESETS = np.array([[0, 1], [0, 0], [1, 0], [0, 0], [0, 0], [1, 1], [0, 0]], bool)


def draw(seed, *shape, complex_=False):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) + (1j * rng.normal(size=shape) if complex_ else 0)


def example(constant=False, complex_=False):
    a = draw(0, 1, 1, SHAPE[-1], complex_=complex_) if constant else draw(0, T, *SHAPE, complex_=complex_)
    return a, draw(1, T, *SHAPE, complex_=complex_), draw(2, *SHAPE, complex_=complex_)


def by_numpy(a, b, h, resets, reverse):
    """`hₜ = aₜ hₜ₋₁ + bₜ`, each row's sequences apart."""
    a, hs, sequence = np.broadcast_to(a, b.shape), np.empty_like(b), np.cumsum(resets, axis=0)
    for row in range(b.shape[1]):
        state, here = h[row], sequence[-1 if reverse else 0, row] if reverse else 0
        for t in reversed(range(T)) if reverse else range(T):
            if sequence[t, row] != here:
                state, here = np.zeros_like(state), sequence[t, row]
            hs[t, row] = state = a[t, row] * state + b[t, row]
    return hs


def plain(a, b, h0):
    """The recurrence as JAX differentiates it."""

    def body(h, step):
        h = step[0] * h + step[1]
        return h, h

    return lax.scan(body, h0, (jnp.broadcast_to(a, b.shape), b))[1]


@pytest.mark.sampled
@pytest.mark.parametrize("case", ["real", "complex", "constant"])
@every_direction
@every_method
def test_values_and_gradients_equal_a_loop(method, reverse, case):
    args = example(constant=case == "constant", complex_=case == "complex")
    weight = draw(3, T, *SHAPE)

    @partial(jax.jit, static_argnums=4)
    def run(a, b, h0, resets, reverse):
        def loss(*args):
            carry, hs = jaxrnn.linear_scan(*args, resets=resets, reverse=reverse, method=method)
            return (weight * hs).sum().real, (carry, hs)

        return jax.grad(loss, (0, 1, 2), has_aux=True)(a, b, h0)

    for resets in (np.zeros_like(RESETS), RESETS):
        grads, (carry, hs) = run(*args, resets, reverse)
        np.testing.assert_array_equal(carry, hs[0 if reverse else -1])
        np.testing.assert_allclose(hs, by_numpy(*args, resets, reverse), atol=1e-12)
        for i, grad in enumerate(grads):  # along a real direction each
            nudge = [np.zeros_like(x) for x in args]
            nudge[i] = 1e-6 * draw(4 + i, *args[i].shape)
            moved = ([x + sign * n for x, n in zip(args, nudge, strict=True)] for sign in (1, -1))
            up, down = (by_numpy(*point, resets, reverse) for point in moved)
            slope = (weight * (up - down)).sum().real / 2
            np.testing.assert_allclose((grad * nudge[i]).sum().real, slope, rtol=1e-6, atol=1e-14)


@pytest.mark.sampled
@pytest.mark.parametrize("total", [1, 2, 5, 16, 17])
def test_any_number_of_steps(total):
    a, b, h0 = draw(0, total, 3), draw(1, total, 3), draw(2, 3)
    for method in METHODS:
        np.testing.assert_allclose(jaxrnn.linear_scan(a, b, h0, method=method)[1], plain(a, b, h0), atol=1e-12)


def test_no_steps():
    a, b, h0 = np.ones((0, 3)), np.ones((0, 3)), np.ones(3)
    carry, hs = jaxrnn.linear_scan(a, b, h0)
    assert hs.shape == (0, 3) and (carry == h0).all()
    grads = jax.grad(lambda *args: jaxrnn.linear_scan(*args)[1].sum(), (0, 1, 2))(a, b, h0)
    assert [g.shape for g in grads] == [(0, 3), (0, 3), (3,)] and not grads[2].any()


def test_without_a_state_it_begins_at_zero_and_resets_may_lack_axes():
    a, b, h0 = example()
    np.testing.assert_allclose(jaxrnn.linear_scan(a, b)[1], jaxrnn.linear_scan(a, b, np.zeros_like(h0))[1], atol=0)
    both = RESETS[:, :1] & np.ones_like(RESETS)
    for resets in (both, np.broadcast_to(both[..., None], b.shape)):
        actual = jaxrnn.linear_scan(a, b, h0, resets=both[:, 0])[1]
        np.testing.assert_allclose(actual, jaxrnn.linear_scan(a, b, h0, resets=resets)[1], atol=0)


# --- transformations -----------------------------------------------------------------------------------------------

STEPS = 3


def curved(f):
    """One number of all results, curved in each, as a function of one vector."""
    shapes = [(STEPS, 2), (STEPS, 2), (2,)]
    ends = np.cumsum([np.prod(shape) for shape in shapes])

    def scalar(vector):
        parts = [p.reshape(shape) for p, shape in zip(jnp.split(vector, ends[:-1]), shapes, strict=True)]
        return (jnp.cos(jnp.arange(STEPS * 2.0)).reshape(STEPS, 2) * jnp.sin(f(*parts))).sum()

    return scalar, draw(0, ends[-1])


def states(*args):
    return jaxrnn.linear_scan(*args)[1]


TRANSFORMATIONS = {
    "jvp": lambda f, x, v: jax.jvp(f, (x,), (v,))[1],
    "linearize": lambda f, x, v: jax.linearize(f, x)[1](v),
    "jacfwd": lambda f, x, v: jax.jacfwd(f)(x),
    "jacrev": lambda f, x, v: jax.jacrev(f)(x),
    "checkpoint": lambda f, x, v: jax.grad(jax.checkpoint(f))(x),
    "hessian": lambda f, x, v: jax.hessian(f)(x),
    "reverse over reverse": lambda f, x, v: jax.grad(lambda x: jnp.vdot(jax.grad(f)(x), v))(x),
    "reverse over forward": lambda f, x, v: jax.grad(lambda x: jax.jvp(f, (x,), (v,))[1])(x),
    "forward over reverse over reverse": lambda f, x, v: jax.jvp(
        jax.grad(lambda x: jnp.vdot(jax.grad(f)(x), v)), (x,), (v,)
    )[1],
    "gradients of many": lambda f, x, v: jax.vmap(jax.grad(f))(jnp.stack([x, v])),
    "gradient of as many as steps": lambda f, x, v: jax.grad(lambda xs: jax.vmap(jax.jit(f))(xs).sum())(
        jnp.stack([x, v, x - v])
    ),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations_equal_those_of_a_plain_scan(name):
    """Under one method: the rules are those of the operation, whatever runs it."""
    (actual, point), (expected, _) = curved(states), curved(plain)
    transform = jax.jit(TRANSFORMATIONS[name], static_argnums=0)
    direction = draw(9, *point.shape)
    want = transform(expected, point, direction)
    np.testing.assert_allclose(transform(actual, point, direction), want, atol=1e-11 * abs(want).max())


@pytest.mark.parametrize("mapped", [0, 1, 2, 3])
def test_one_mapped_argument_meets_shared_ones(mapped):
    flags = np.array([[0, 1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 0, 1, 0]], bool)
    args = [draw(0, T, 1), draw(1, T, 3), draw(2, 3), flags[0]]
    many = [np.stack([x, 2 * x]) for x in args[:3]] + [flags]

    def run(a, b, h0, resets):
        return jaxrnn.linear_scan(a, b, h0, resets=resets)[1]

    together = [*args[:mapped], many[mapped], *args[mapped + 1 :]]
    actual = jax.vmap(run, [0 if i == mapped else None for i in range(4)])(*together)
    for i in range(2):
        alone = [*args[:mapped], many[mapped][i], *args[mapped + 1 :]]
        np.testing.assert_allclose(actual[i], run(*alone), atol=1e-12)


def test_without_jit():
    args = example()
    with jax.disable_jit():
        hs = jaxrnn.linear_scan(*args)[1]
    np.testing.assert_allclose(hs, plain(*args), atol=1e-12)


@every_method
def test_within_shard_map(method):
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    rows = PartitionSpec(None, "data")

    def run(a, b):
        return jaxrnn.linear_scan(a, b, method=method)[1]

    sharded = jax.shard_map(run, mesh=mesh, in_specs=(PartitionSpec(), rows), out_specs=rows)
    a, b = draw(0, T, 1), draw(1, T, 2)
    gradient = jax.jit(jax.grad(lambda a, b: (sharded(a, b) ** 2).sum(), (0, 1)))
    expected = jax.grad(lambda a, b: (plain(a, b, jnp.zeros(2)) ** 2).sum(), (0, 1))
    for actual, want in zip(gradient(a, b), expected(a, b), strict=True):
        np.testing.assert_allclose(actual, want, atol=1e-10)


def test_the_gradient_keeps_multipliers_and_states_alone():
    a, b, h0 = (x.astype(np.float32) for x in example())
    _, pull = jax.vjp(lambda *args: jaxrnn.linear_scan(*args)[1], a, b, h0)
    assert sum(leaf.size for leaf in jax.tree.leaves(pull)) <= a.size + b.size + h0.size


# --- precision and extremes ----------------------------------------------------------------------------------------


@every_method
def test_half_precision_is_summed_in_single(method):
    ones = jnp.ones((1000,), jnp.bfloat16)
    carry, hs = jaxrnn.linear_scan(ones, ones, method=method)
    assert hs.dtype == jnp.bfloat16
    np.testing.assert_allclose(hs[-1].astype(float), 1000, rtol=0.01)  # a sum in bfloat16 stays at 256
    assert carry.dtype == jnp.float32 and carry == 1000
    later, hs = jaxrnn.linear_scan(ones, ones, carry, method=method)  # a second chunk
    assert later == 2000 and hs.dtype == jnp.bfloat16
    assert jaxrnn.linear_scan(ones, ones.astype(jnp.complex64))[1].dtype == jnp.complex64
    assert jaxrnn.linear_scan(ones, ones, jnp.complex64(0))[1].dtype == jnp.complex64


@cache
def with_gradients(method):
    def loss(a, b):
        hs = plain(a, b, jnp.zeros_like(b[0])) if method == "plain" else jaxrnn.linear_scan(a, b, method=method)[1]
        return hs.sum(), hs

    return jax.jit(lambda a, b: jax.tree.leaves(jax.grad(loss, (0, 1), has_aux=True)(a, b)))


@pytest.mark.parametrize("a", [0.0, 1.0, np.exp(-50.0), -1.0])
@every_method
def test_extreme_multipliers_over_many_steps(method, a):
    a, b = np.full((4096, 1), a, np.float32), draw(0, 4096, 1).astype(np.float32)
    actual = with_gradients(method)(a, b)
    for value, want in zip(actual, with_gradients("plain")(a.astype(float), b.astype(float)), strict=True):
        np.testing.assert_allclose(value, want, rtol=0, atol=1e-5 * max(1, abs(want).max()))


@pytest.mark.sampled
@every_direction
@every_method
def test_not_even_nan_crosses_a_reset(method, reverse):
    a, b, h0 = example()
    resets = np.arange(T) == 3
    bad, good = (slice(3, T), slice(0, 3)) if reverse else (slice(0, 3), slice(3, T))

    def gradients(a, b, h0):
        def run(*args):
            return jaxrnn.linear_scan(*args, resets=resets, reverse=reverse, method=method)[1]

        return run(a, b, h0), jax.grad(lambda *args: (run(*args)[good] ** 2).sum(), (0, 1, 2))(a, b, h0)

    hs, (da, db, dh0) = gradients(a, b, h0)
    broken = b.copy()
    broken[bad] = np.nan
    hs_, (da_, db_, dh0_) = gradients(a, broken, np.full_like(h0, np.inf))
    assert np.isnan(hs_[bad]).all() and not dh0_.any() and not dh0.any()
    for actual, expected in ((hs_, hs), (da_, da), (db_, db)):
        np.testing.assert_array_equal(actual[good], expected[good])


def test_parity_needs_a_negative_multiplier():
    """`a = 1 − 2x` flips the state at every 1: the parity of 1000 bits, exactly."""
    bits = np.random.default_rng(0).integers(0, 2, (1000, 4))
    for method in METHODS:
        hs = jaxrnn.linear_scan(1.0 - 2 * bits, np.zeros((1000, 4)), np.ones(4), method=method)[1]
        np.testing.assert_array_equal((1 - hs) / 2, np.cumsum(bits, 0) % 2)


# --- errors --------------------------------------------------------------------------------------------------------

x = np.ones((3, 2))
ERRORS = {
    "a is a list, expected an array": lambda: jaxrnn.linear_scan([1.0], x),
    r"b has shape \(\), expected \[T, ...\]": lambda: jaxrnn.linear_scan(x, np.float32(1)),
    "b has dtype int64, expected a floating or complex one": lambda: jaxrnn.linear_scan(x, np.ones((3, 2), int)),
    r"a has shape \(3,\), expected that of b, \(3, 2\), or 1 for any axis": lambda: jaxrnn.linear_scan(x[:, 0], x),
    r"a has shape \(2, 2\), expected that of b, \(3, 2\)": lambda: jaxrnn.linear_scan(x[:2], x),
    r"carry has shape \(3,\), expected \(2,\) from b of shape \(3, 2\)": lambda: jaxrnn.linear_scan(x, x, np.ones(3)),
    r"resets has shape \(2,\), expected \(3,\)": lambda: jaxrnn.linear_scan(x, x, resets=np.ones(2, bool)),
    "resets has dtype float64, expected bool": lambda: jaxrnn.linear_scan(x, x, resets=x),
    "resets is a list, expected an array": lambda: jaxrnn.linear_scan(x, x, resets=[True] * 3),
    "method is 'fused', expected one of 'auto', 'scan'": lambda: jaxrnn.linear_scan(x, x, method="fused"),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    with pytest.raises(ValueError, match=f"^linear_scan: {message}"):
        ERRORS[message]()
