"""The LSTM with a matrix for a memory, against the unscaled equations in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_like, random_params, sigma

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H, N, K, V = 7, 2, 3, 6, 2, 4, 5
CELL = jaxrnn.mlstm(H, heads=N, keys=K, values=V, chunk=3)


def by_numpy(p, xs, C, n, epsilon=0.0, scale=None):
    """`C = f C + i k vᵀ`, `n = f n + i k`, `h = Cᵀ q / (max(|nᵀ q|, 1) + epsilon scale)`, of one row; no stabilizer.

    The scale is `exp(m)` with `m = max(log f + m, log i)`.
    """
    ys, scale = [], np.ones(N) if scale is None else scale.copy()
    for x in xs:
        y = 0
        for m in range(N):
            q, k, v = (x @ p[name][:, m] for name in ("query", "key", "value"))
            i = np.exp(x @ p["rate"][:, 0, m] + p["rate_bias"][0, m])
            f = sigma(x @ p["rate"][:, 1, m] + p["rate_bias"][1, m])
            C[m] = f * C[m] + i * np.outer(k, v) / np.sqrt(K)
            n[m] = f * n[m] + i * k / np.sqrt(K)
            scale[m] = max(f * scale[m], i)
            h = C[m].T @ q / (max(abs(n[m] @ q), 1) + epsilon * scale[m])
            h = p["scale"][m] * h / np.sqrt((h**2).mean() + 1e-6)
            y = y + (sigma(x @ p["gate"][:, m] + p["gate_bias"][m]) * h) @ p["out"][m]
        ys.append(y)
    return np.array(ys)


def test_equals_the_unscaled_equations():
    """From any carry: what it stands for is `exp(m) C`."""
    params = random_params(CELL, D)
    carry = random_like(CELL.init_carry(params, (B,)), seed=1)
    xs = np.random.default_rng(2).normal(size=(T, B, D))
    C = np.exp(carry.m)[..., None, None] * carry.C
    n = np.exp(carry.m)[..., None] * carry.n
    expected = np.stack([by_numpy(params, xs[:, b], C[b], n[b]) for b in range(B)], 1)
    for method in jaxrnn.methods(CELL):
        after, ys = jaxrnn.unroll(CELL, params, xs, carry, method=method)
        np.testing.assert_allclose(ys, expected, atol=1e-10)
        np.testing.assert_allclose(np.exp(after.m)[..., None, None] * after.C, C, rtol=1e-10)
        np.testing.assert_allclose(np.exp(after.m)[..., None] * after.n, n, rtol=1e-10)


def test_eps_is_added_on_the_scale_of_the_carry():
    cell = jaxrnn.mlstm(H, heads=N, keys=K, values=V, chunk=3, epsilon=0.5)
    params, xs = random_params(cell, D), np.random.default_rng(2).normal(size=(T, B, D))
    carry = random_like(cell.init_carry(params, (B,)), seed=1)
    scale = np.exp(carry.m)
    C, n = scale[..., None, None] * carry.C, scale[..., None] * carry.n
    expected = np.stack([by_numpy(params, xs[:, b], C[b], n[b], 0.5, scale[b]) for b in range(B)], 1)
    for method in jaxrnn.methods(cell):
        np.testing.assert_allclose(jaxrnn.unroll(cell, params, xs, carry, method=method)[1], expected, atol=1e-10)
    with pytest.raises(ValueError, match=r"^mlstm: epsilon is -1, expected a number of 0 or more$"):
        jaxrnn.mlstm(H, heads=N, epsilon=-1)


def test_digits_that_the_stabilizer_loses_are_given_back():
    """In single precision, of memory that decays slowly far from where it began."""
    cell = jaxrnn.mlstm(2, heads=1)
    params = jax.tree.map(np.float32, random_params(cell, 1))
    params |= {"rate": np.zeros_like(params["rate"]), "rate_bias": np.float32([[-60], [5]])}
    steps, f = 400, sigma(5.0)
    carry = jaxrnn.carries.MLSTMCarry(*(np.full(s, 1, np.float32) for s in ((1, 2, 2), (1, 2), (1,))))
    carry = carry._replace(m=np.float32([40.3]))
    for method in jaxrnn.methods(cell):
        after, _ = jaxrnn.unroll(cell, params, np.zeros((steps, 1), np.float32), carry, method=method)
        exact = np.exp(np.float64(carry.m) - after.m.astype(float) + steps * np.log(f))
        np.testing.assert_allclose(after.n, np.broadcast_to(exact, (1, 2)), rtol=2e-5)


def test_a_prefill_in_chunks_is_followed_by_single_steps():
    params, xs = random_params(CELL, D), np.random.default_rng(2).normal(size=(T, B, D))
    expected = jaxrnn.unroll(CELL, params, xs)[1]
    carry, _ = jaxrnn.unroll(CELL, params, xs[:5], method="chunked")
    for t in range(5, T):
        carry, y = jaxrnn.step(CELL, params, carry, xs[t])
        np.testing.assert_allclose(y, expected[t], rtol=0, atol=1e-12)


@pytest.mark.sampled
@pytest.mark.parametrize("forget", [-50.0, 50.0])
@pytest.mark.parametrize("gain", [-200.0, 200.0])
def test_extreme_gates_stay_finite_over_many_steps(gain, forget):
    """`exp(200)` is not a number of single precision, and `50 · 4096` not an exponent of any."""
    cell = jaxrnn.mlstm(2, heads=1)
    params = jax.tree.map(np.float32, random_params(cell, 1))
    params |= {"rate": np.zeros_like(params["rate"]), "rate_bias": np.float32([[gain], [forget]])}
    xs = np.random.default_rng(0).normal(size=(4096, 1)).astype(np.float32)
    loss = jax.jit(jax.value_and_grad(lambda params, xs: (jaxrnn.unroll(cell, params, xs)[1] ** 2).mean(), (0, 1)))
    value, grads = loss(params, xs)
    assert value.dtype == np.float32
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((value, grads)))


def test_sizes_are_checked():
    with pytest.raises(ValueError, match=r"^mlstm: heads is 4, expected a divisor of features, 6, or keys and values$"):
        jaxrnn.mlstm(6)
    assert jaxrnn.mlstm(6, keys=2, values=3).init_carry({"rate": jnp.zeros(())}).C.shape == (4, 2, 3)
