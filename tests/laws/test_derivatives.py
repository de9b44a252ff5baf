"""Every composition of derivatives through a faster method equals the plain scan's, and a finite difference."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.flatten_util import ravel_pytree

from arrays import random_like
from compare import assert_close
from laws.cells import FLOWS, inputs
from laws.reference import compiled, cotangent, floating, together, unrolled, with_gradients
from laws.table import law
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

STEPS = 3


def flat(name, method):
    """`unrolled` as a function of one vector that holds parameters, inputs and carry; its result is one vector too."""
    flow = tuple(flags[:STEPS] for flags in FLOWS["packed_holes"])
    point, restore = ravel_pytree(inputs(name, time=STEPS))
    return point, lambda vector: numbers(unrolled(name, method)(*restore(vector), *flow))


def numbers(tree):
    """One vector."""
    return finite(ravel_pytree(tree)[0])


def finite(tree):
    """A carry that starts at −∞ has no derivative there."""
    return jax.tree.map(lambda leaf: jnp.where(jnp.isinf(leaf), 0, leaf), tree)


def scalar(f):
    """One number of all outputs, curved in each."""
    return lambda vector: jnp.vdot(cotangent(f(vector)), jnp.sin(f(vector)))


@cache
def jacobian_by_scan(name):
    point, f = flat(name, "scan")
    return np.asarray(jit(jax.jacrev(f))(point))


@cache
def hessian_by_scan(name):
    point, f = flat(name, "scan")
    return np.asarray(jit(jax.hessian(scalar(f)))(point))


def directions(point, count):
    return np.random.default_rng(2).normal(size=(count, point.size))


@pytest.mark.parametrize("derivative", [jax.jacfwd, jax.jacrev])
@law
def test_jacobian(name, method, derivative):
    point, f = flat(name, method)
    assert_close(jit(derivative(f))(point), jacobian_by_scan(name))


@law
def test_jvp_and_its_vmap(name, method):
    point, f = flat(name, method)
    vs = directions(point, 2)
    actual = jit(jax.vmap(lambda v: jax.jvp(f, (point,), (v,))[1]))(vs)
    assert_close(actual, vs @ jacobian_by_scan(name).T)


@law
def test_linearize_and_its_transpose(name, method):
    point, f = flat(name, method)
    v = directions(point, 1)[0]
    w = cotangent(jacobian_by_scan(name)[:, 0])

    @jit
    def push_and_pull(v, w):
        push = jax.linearize(f, point)[1]
        return push(v), jax.linear_transpose(push, point)(w)[0]

    assert_close(push_and_pull(v, w), (jacobian_by_scan(name) @ v, w @ jacobian_by_scan(name)))


HESSIAN_TIMES_VECTOR = {
    "reverse over forward": lambda g, x, v: jax.grad(lambda x: jax.jvp(g, (x,), (v,))[1])(x),
    "reverse over reverse": lambda g, x, v: jax.grad(lambda x: jnp.vdot(jax.grad(g)(x), v))(x),
}


@pytest.mark.sampled
@pytest.mark.parametrize("order", HESSIAN_TIMES_VECTOR)
@law
def test_second_derivatives_along_a_direction(name, method, order):
    point, f = flat(name, method)
    v = directions(point, 1)[0]
    actual = jit(partial(HESSIAN_TIMES_VECTOR[order], scalar(f)))(point, v)
    assert_close(actual, hessian_by_scan(name) @ v)


@law
def test_forward_over_forward(name, method):
    point, f = flat(name, method)
    v, w = directions(point, 2)

    def along_v(x):
        return jax.jvp(scalar(f), (x,), (v,))[1]

    assert_close(jit(lambda x: jax.jvp(along_v, (x,), (w,))[1])(point), v @ hessian_by_scan(name) @ w)


@law
def test_forward_over_reverse(name, method):
    point, f = flat(name, method)
    assert_close(jit(jax.hessian(scalar(f)))(point), hessian_by_scan(name))


@law
def test_checkpoint(name, method):
    point, f = flat(name, method)
    cotangents = cotangent(jacobian_by_scan(name)[:, 0])
    actual = jit(jax.grad(lambda x: jnp.vdot(cotangents, jax.checkpoint(f)(x))))(point)
    assert_close(actual, cotangents @ jacobian_by_scan(name))


@law
def test_within_a_scan(name, method):
    """Truncated windows inside an outer loop: the carry is handed on, the gradient runs through all of them."""

    def windows(params, xs, carry, mask, resets):
        parts = jax.tree.map(lambda a: jnp.reshape(a, (2, 2, *a.shape[1:])), (xs, mask, resets))
        carry, ys = lax.scan(lambda c, part: unrolled(name, method)(params, part[0], c, *part[1:]), carry, parts)
        return carry, ys.reshape(4, *ys.shape[2:])

    params, xs, carry = inputs(name, time=4)
    args = (params, xs, carry, *(flags[:4] for flags in FLOWS["packed_holes"]))
    assert_close(jit(with_gradients(windows))(*args), compiled(name, "scan")(*args))


@law
def test_jvp_equals_a_finite_difference(name, method):
    """The vector and the differences are NumPy's, so that there is one program, which does no more than this."""
    args, flow = inputs(name), FLOWS["packed_holes"]
    point = floating(args)
    v = random_like(point, seed=2)

    def f(x):
        return finite(floating(unrolled(name, method)(*together(x, args), *flow)))

    f_and_jvp = jit(lambda x: jax.jvp(f, (x,), (v,)))

    def moved(step):
        return jax.tree.map(np.asarray, f_and_jvp(jax.tree.map(lambda a, b: a + step * b, point, v))[0])

    def difference(step):
        return jax.tree.map(lambda ahead, behind: (ahead - behind) / (2 * step), moved(step), moved(-step))

    near, far = difference(1e-4), difference(2e-4)
    expected = jax.tree.map(lambda a, b: (4 * a - b) / 3, near, far)  # without the error of second order in the step
    assert_close(f_and_jvp(point)[1], expected, 1e-8)
