"""`jacobian_spectrum` against the singular values of the product, and exact ones where the product has no digits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxrnn
from arrays import random_params
from compare import assert_close
from diagnose.models import linear
from jaxrnn.diagnose import jacobian_spectrum
from jaxrnn.diagnose.product_svd import identity, log_singular_values, times

T, B, D, H = 8, 2, 3, 3

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def by_product(model: Any, params: Any, xs: np.ndarray, t: int, k: int) -> np.ndarray:
    """Of one sequence: NumPy's singular values of the derivative of `unroll`."""
    begun, _ = jaxrnn.unroll(model, params, xs[:t])
    vector, back = ravel_pytree(begun)

    def rest(vector: Any) -> Any:
        return ravel_pytree(jaxrnn.unroll(model, params, xs[t : t + k], back(vector))[0])[0]

    return np.linalg.svd(jax.jacobian(rest)(vector), compute_uv=False)


@pytest.mark.sampled
@pytest.mark.parametrize(
    "model", [jaxrnn.lstm(H), jaxrnn.stack(jaxrnn.gru(H), jaxrnn.dense(2), jaxrnn.elman(2))], ids=["lstm", "stack"]
)
def test_it_equals_numpy(model: Any) -> None:
    params, xs = random_params(model, D), random(T, B, D)
    for t, k in ((0, 1), (2, 5)):
        found = jacobian_spectrum(model, params, xs, t, k)
        assert_close(found, np.stack([by_product(model, params, xs[:, b], t, k) for b in range(B)]))


def test_an_initial_carry() -> None:
    cell = jaxrnn.gru(H)
    params, xs = random_params(cell, D), random(T, B, D)
    carry, _ = jaxrnn.unroll(cell, params, xs[:3])
    assert_close(jacobian_spectrum(cell, params, xs[3:], 1, 4, carry), jacobian_spectrum(cell, params, xs, 4, 4))


@jax.jit
def logs_of(factors: Any) -> Any:
    product, _ = jax.lax.scan(lambda p, factor: (times(p, factor @ p.q), None), identity(factors[0, ..., 0]), factors)
    return log_singular_values(product)


def test_values_far_apart_have_all_their_digits() -> None:
    """50 steps of a matrix whose values are 1, 0.1, 0.01 and 0.001, between other bases: from 1 to 1e-150."""
    bases = np.linalg.qr(random(51, 4, 4))[0]
    values = np.array([0.1, 1.0, 0.001, 0.01])
    factors = bases[1:] * values @ np.swapaxes(bases[:-1], -1, -2)
    assert_close(logs_of(factors), 50 * np.log([1, 0.1, 0.01, 0.001]), 1e-13)


def test_a_linear_cell_far_below_the_smallest_float() -> None:
    cell = linear(H)
    basis = np.linalg.qr(random(H, H))[0]
    params = random_params(cell, D) | {"recurrent_kernel": (basis * [1e-3, 1.0, 1e-4] @ basis.T)[:, None]}
    params, xs = jax.tree.map(np.float32, (params, random(100, D)))
    found = jacobian_spectrum(cell, params, xs, 0, 10)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.asarray(found, float), [1, 1e-30, 0], rtol=1e-3, atol=1e-39)


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 3])
def test_products_of_any_size(size: int, count: int) -> None:
    factors = random(count, 2, size, size)
    product = factors[0]
    for factor in factors[1:]:
        product = factor @ product
    assert_close(jnp.exp(logs_of(factors)), np.linalg.svd(product, compute_uv=False))


def test_matrices_without_an_inverse_and_equal_values() -> None:
    lost = random(3, 4, 4)
    lost[1, 2] = 0
    assert_close(jnp.exp(logs_of(lost)), np.linalg.svd(lost[2] @ lost[1] @ lost[0], compute_uv=False))
    assert np.isneginf(logs_of(np.zeros((2, 3, 3)))).all()
    assert_close(logs_of(np.linalg.qr(random(6, 4, 4))[0]), np.zeros(4))
