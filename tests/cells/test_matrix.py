"""Cells with a matrix for a state against loops in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_like, random_params, sigma, silu, softplus

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H, N, K, V = 7, 2, 3, 6, 2, 4, 5


def norm(x):
    return x / np.sqrt((x**2).mean() + 1e-6)


def unit(x):
    return x / np.sqrt((x**2).sum() + 1e-6)


# Each takes parameters, one input of one row and the state of all heads, changes the state, and gives the output.


def gla(p, x, S):
    """`S = α S + k vᵀ`, `o = Sᵀ q / √K`, `y = W_o (silu(W_g x) norm(o))`."""
    y = 0
    for n in range(N):
        q, k, v = (x @ p[name][:, n] for name in ("query", "key", "value"))
        a = sigma(x @ p["decay_down"][:, 0] @ p["decay_up"][:, n] + p["decay_bias"][n]) ** (1 / 16)
        S[n] = a[:, None] * S[n] + np.outer(k, v)
        o = p["scale"][n] * norm(S[n].T @ q / np.sqrt(K))
        y = y + (silu(x @ p["gate"][:, n]) * o) @ p["out"][n]
    return y


def ssd(p, x, S):
    """`S = exp(−A Δ) S + B (Δ u)ᵀ`, `o = Sᵀ C + d u`, `y = W_o norm(silu(W_z x) o)`, normalized over all heads."""
    B, C = (silu(x @ p[name][:, 0]) for name in ("input", "read"))
    os = []
    for n in range(N):
        u = silu(x @ p["value"][:, n])
        step = softplus(x @ p["step_kernel"][:, 0, n] + p["step_bias"][n])
        S[n] = np.exp(-np.exp(p["log_rate"][n]) * step) * S[n] + np.outer(B, step * u)
        os.append(silu(x @ p["gate"][:, n]) * (S[n].T @ C + p["skip"][n] * u))
    return (norm(np.concatenate(os)) * p["scale"].ravel()) @ p["out"].reshape(N * V, H)


def delta(p, x, S, n, strength, a=1.0):
    """`S = a (I − β k kᵀ) S + β k vᵀ`; gives `Sᵀ q`."""
    q, k, v = (silu(x @ p[name][:, n]) for name in ("query", "key", "value"))
    q, k, beta = unit(q), unit(k), strength * sigma(x @ p["rate"][:, n])
    S[n] = a * (np.eye(K) - beta * np.outer(k, k)) @ S[n] + beta * np.outer(k, v)
    return S[n].T @ q


def delta_net(p, x, S, strength=1):
    return sum((p["scale"][n] * norm(delta(p, x, S, n, strength))) @ p["out"][n] for n in range(N))


def delta_net_signed(p, x, S):
    return delta_net(p, x, S, 2)


def gated_delta_net(p, x, S):
    y = 0
    for n in range(N):
        a = np.exp(-np.exp(p["log_rate"][n]) * softplus(x @ p["step_kernel"][:, n] + p["step_bias"][n]))
        o = p["scale"][n] * norm(delta(p, x, S, n, 1, a))
        y = y + (silu(x @ p["gate"][:, n]) * o) @ p["out"][n]
    return y


def kda(p, x, S):
    """`S = (I − β k kᵀ) Diag(α) S + β k vᵀ`, `y = W_o (σ(W_g x) norm(Sᵀ q))`; `W_g` and that of `α` have a low rank."""
    y = 0
    for n in range(N):
        step = softplus(x @ p["step_down"][:, 0] @ p["step_up"][:, n] + p["step_bias"][n])
        S[n] = np.diag(np.exp(-np.exp(p["log_rate"][n]) * step)) @ S[n]
        o = p["scale"][n] * norm(delta(p, x, S, n, 1))
        y = y + (sigma(x @ p["gate_down"][:, 0] @ p["gate_up"][:, n]) * o) @ p["out"][n]
    return y


def linear_attention(p, x, S):
    """`S = S + φ(k) vᵀ`, `z = z + φ(k)`, `y = W_o (Sᵀ φ(q) / zᵀ φ(q))`; the last column is `z`."""
    y = 0
    for n in range(N):
        q, k, v = (x @ p[name][:, n] for name in ("query", "key", "value"))
        q, k = (np.where(a > 0, a + 1, np.exp(a)) for a in (q, k))
        S[n, :, :V] += np.outer(k, v)
        S[n, :, V] += k
        y = y + (S[n, :, :V].T @ q / (S[n, :, V] @ q + 1e-6)) @ p["out"][n]
    return y


def retention(p, x, S):
    """`S = γ S + k vᵀ`, `y = W_o (silu(W_g x) norm(Sᵀ q / √K))`, with `γ = 1 − 1/32` and `1 − 1/64`."""
    y = 0
    for n, gamma in enumerate((31 / 32, 63 / 64)):
        q, k, v = (x @ p[name][:, n] for name in ("query", "key", "value"))
        S[n] = gamma * S[n] + np.outer(k, v)
        y = y + (silu(x @ p["gate"][:, n]) * p["scale"][n] * norm(S[n].T @ q / np.sqrt(K))) @ p["out"][n]
    return y


def hgrn2(p, x, S, low=0.0):
    """`S = Diag(f) S + (1 − f) iᵀ`, `y = W_y norm(Sᵀ o)`, normalized over all heads."""
    os = []
    for n in range(N):
        f = low + (1 - low) * sigma(x @ p["gate"][:, n])
        S[n] = np.diag(f) @ S[n] + np.outer(1 - f, silu(x @ p["value"][:, n]))
        os.append(S[n].T @ sigma(x @ p["query"][:, n]))
    return (norm(np.concatenate(os)) * p["scale"].ravel()) @ p["out"].reshape(N * V, H)


def hgrn2_bounded(p, x, S):
    return hgrn2(p, x, S, 0.25)


def delta_product(p, x, S, strength=2):
    """Three steps of the delta rule, each with a key, a value and a rate of its own, and one query."""
    y = 0
    for n in range(N):
        for i in range(3 * n, 3 * n + 3):
            k, v = unit(silu(x @ p["key"][:, i])), silu(x @ p["value"][:, i])
            beta = strength * sigma(x @ p["rate"][:, i])
            S[n] = (np.eye(K) - beta * np.outer(k, k)) @ S[n] + beta * np.outer(k, v)
        y = y + (p["scale"][n] * norm(S[n].T @ unit(silu(x @ p["query"][:, n])))) @ p["out"][n]
    return y


def delta_product_positive(p, x, S):
    return delta_product(p, x, S, 1)


def fast_weight_programmer(p, x, S):
    """`S = S + β φ(k) (v − Sᵀ φ(k))ᵀ`, `y = W_o Sᵀ φ(q)`; `φ` has the products of `r` with itself, moved by 1 and 2."""

    def phi(k):
        r = [max(a, 0) for a in (*k, *-k)]
        products = np.array([r[i] * r[i - j] for j in (1, 2) for i in range(2 * K)])
        return products / (products.sum() + 1e-6)

    y = 0
    for n in range(N):
        q, k, v = (x @ p[name][:, n] for name in ("query", "key", "value"))
        S[n] += sigma(x @ p["rate"][:, n]) * np.outer(phi(k), v - S[n].T @ phi(k))
        y = y + (S[n].T @ phi(q)) @ p["out"][n]
    return y


SIZES = {"heads": N, "keys": K, "values": V, "chunk": 3}
CELLS = {
    gla: jaxrnn.gla(H, **SIZES),
    ssd: jaxrnn.ssd(H, **SIZES),
    delta_net: jaxrnn.delta_net(H, **SIZES),
    delta_net_signed: jaxrnn.delta_net(H, eigenvalues="signed", **SIZES),
    gated_delta_net: jaxrnn.gated_delta_net(H, **SIZES),
    delta_product: jaxrnn.delta_product(H, householders=3, **SIZES),
    delta_product_positive: jaxrnn.delta_product(H, householders=3, eigenvalues="positive", **SIZES),
    fast_weight_programmer: jaxrnn.fast_weight_programmer(H, shifts=2, **SIZES),
    kda: jaxrnn.kda(H, **SIZES),
    linear_attention: jaxrnn.linear_attention(H, **SIZES),
    retention: jaxrnn.retention(H, **SIZES),
    hgrn2: jaxrnn.hgrn2(H, **SIZES),
    hgrn2_bounded: jaxrnn.hgrn2(H, lower_bound=0.25, **SIZES),
}
every_cell = pytest.mark.parametrize("equation", CELLS, ids=lambda e: e.__name__)


@every_cell
def test_equals_a_loop_in_numpy(equation):
    cell = CELLS[equation]
    params = random_params(cell, D)
    carry = random_like(cell.init_carry(params, (B,)), seed=1)
    xs = np.random.default_rng(2).normal(size=(T, B, D))
    S = np.array(carry.S)
    expected = np.array([[equation(params, x[b], S[b]) for b in range(B)] for x in xs])
    for method in ("auto", "scan"):
        after, ys = jaxrnn.unroll(cell, params, xs, carry, method=method)
        np.testing.assert_allclose(ys, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(after.S, S, rtol=0, atol=1e-12)


def test_linear_attention_is_a_mean_of_values():
    """So that values which agree come out as they are, whatever their keys."""
    cell = jaxrnn.linear_attention(V, heads=1, keys=K)
    params = random_params(cell, D) | {"out": np.eye(V)[None]}
    params["value"] = np.concatenate([np.ones((1, 1, V)), np.zeros((D - 1, 1, V))])
    xs = np.random.default_rng(2).normal(size=(T, B, D))
    xs[..., 0] = 3
    np.testing.assert_allclose(jaxrnn.unroll(cell, params, xs)[1], 3, rtol=1e-5)


def test_one_step_of_delta_product_is_delta_net():
    cells = jaxrnn.delta_product(H, householders=1, **SIZES), jaxrnn.delta_net(H, eigenvalues="signed", **SIZES)
    params = random_params(cells[0], D)
    xs = np.random.default_rng(2).normal(size=(T, B, D))
    product, net = (jaxrnn.unroll(cell, params, xs) for cell in cells)
    jax.tree.map(np.testing.assert_array_equal, product, net)


def test_two_reflections_of_delta_product_rotate_the_state():
    """By twice the angle between their keys, 2 × 60° here, so that three steps without values lead back."""
    cell = jaxrnn.delta_product(2, heads=1, keys=2, values=2)
    params = random_params(cell, 1)
    # The keys lie 15° and 75° from the first axis.
    grid = np.linspace(0, 9, 90001)
    near, far = np.interp(np.sin(np.deg2rad([15, 75])), silu(grid), grid)
    params["key"] = np.array([[[far, near], [near, far]]])
    params |= {"value": np.zeros((1, 2, 2)), "rate": np.full((1, 2), 50.0)}
    start = jaxrnn.MatrixCarry(np.random.default_rng(1).normal(size=(1, 2, 2)))
    one, _ = jaxrnn.unroll(cell, params, np.ones((1, 1)), start)
    turn = np.array([[-1, -np.sqrt(3)], [np.sqrt(3), -1]]) / 2
    np.testing.assert_allclose(one.S[0], turn @ start.S[0], atol=1e-4)
    three, _ = jaxrnn.unroll(cell, params, np.ones((3, 1)), start)
    np.testing.assert_allclose(three.S, start.S, atol=1e-4)


def test_a_fast_weight_programmer_recalls_the_value_of_a_key():
    """With full strength a step replaces the value of its key, and keeps those whose features do not meet it."""
    cell = jaxrnn.fast_weight_programmer(V, heads=1, keys=4, values=V)
    params = random_params(cell, 4 + V) | {"out": np.eye(V)[None], "rate": np.full((4 + V, 1), 50.0)}
    params["query"] = params["key"] = np.eye(4 + V, 4)[:, None]
    params["value"] = np.eye(4 + V, V, -4)[:, None]
    keys = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0]])
    values = np.random.default_rng(2).uniform(1, 2, size=(3, V))
    carry, ys = jaxrnn.unroll(cell, params, np.concatenate([keys, values], 1))
    np.testing.assert_allclose(ys, values, atol=1e-5)
    np.testing.assert_allclose(carry.S[0, [1, 3]], values[[2, 1]], atol=1e-5)  # `r` has neighbours in 0, 1 and in 2, 3


def test_a_prefill_in_chunks_is_followed_by_single_steps():
    cell = CELLS[gated_delta_net]
    params = random_params(cell, D)
    xs = np.random.default_rng(2).normal(size=(T, B, D))
    expected = jaxrnn.unroll(cell, params, xs)[1]
    carry, _ = jaxrnn.unroll(cell, params, xs[:5], method="chunked")
    for t in range(5, T):
        carry, y = jaxrnn.step(cell, params, carry, xs[t])
        np.testing.assert_allclose(y, expected[t], rtol=0, atol=1e-12)


def test_a_learned_initial_state_is_what_resets_start_from():
    """The engine knows it inside chunks, too."""
    cell = jaxrnn.learned_carry(CELLS[gated_delta_net])
    params = random_params(cell, D)
    xs = np.random.default_rng(2).normal(size=(T, D))
    resets = np.array([0, 0, 1, 0, 1, 1, 0], bool)
    expected = jaxrnn.unroll(cell, params, xs, resets=resets, method="scan")[1]
    np.testing.assert_allclose(
        jaxrnn.unroll(cell, params, xs, resets=resets, method="chunked")[1], expected, atol=1e-12
    )
    np.testing.assert_allclose(expected[5:], jaxrnn.unroll(cell, params, xs[5:])[1], atol=1e-12)


def test_attention_without_a_readout_puts_heads_side_by_side():
    def inputs(params, xs):
        q, k, v = (jnp.einsum("...d,dnk->...nk", xs, params["kernel"][:, i]) for i in range(3))
        return {"q": q, "k": k, "v": v}

    def init(key, in_features):
        return {"kernel": jax.random.normal(key, (in_features, 3, N, K))}

    cell = jaxrnn.matrix_cell(inputs, init, heads=N, keys=K, values=K)
    params = {"kernel": np.random.default_rng(0).normal(size=(D, 3, N, K))}
    xs = np.random.default_rng(1).normal(size=(T, D))
    q, k, v = (xs @ params["kernel"][:, i, 1] for i in range(3))
    _, ys = jaxrnn.unroll(cell, params, xs)
    np.testing.assert_allclose(ys[:, K:], np.tril(q @ k.T) @ v, atol=1e-11)


# --- errors --------------------------------------------------------------------------------------------------------

ERRORS = {
    "gla: heads is 4, expected a divisor of features, 6, or keys and values": lambda: jaxrnn.gla(6),
    "delta_net: heads is 0, expected an int of 1 or more": lambda: jaxrnn.delta_net(6, heads=0),
    "delta_net: eigenvalues is 'complex', expected": lambda: jaxrnn.delta_net(4, eigenvalues="complex"),
    "gated_delta_net: keys is 0, expected": lambda: jaxrnn.gated_delta_net(4, keys=0),
    "gated_delta_net: eigenvalues is 'complex'": lambda: jaxrnn.gated_delta_net(4, eigenvalues="complex"),
    "delta_product: householders is 0, expected": lambda: jaxrnn.delta_product(4, householders=0),
    "delta_product: heads is 4, expected a divisor of features, 6": lambda: jaxrnn.delta_product(6),
    "delta_product: eigenvalues is 'complex'": lambda: jaxrnn.delta_product(4, eigenvalues="complex"),
    "fast_weight_programmer: shifts is 0, expected": lambda: jaxrnn.fast_weight_programmer(8, shifts=0),
    "fast_weight_programmer: heads is 4, expected a divisor of features, 6": lambda: jaxrnn.fast_weight_programmer(6),
    "fast_weight_programmer: keys and shifts are both 1, expected": lambda: jaxrnn.fast_weight_programmer(4, keys=1),
    "kda: heads is 4, expected a divisor of features, 6": lambda: jaxrnn.kda(6),
    "kda: eigenvalues is 'complex'": lambda: jaxrnn.kda(4, eigenvalues="complex"),
    "linear_attention: heads is 4, expected a divisor of features, 6": lambda: jaxrnn.linear_attention(6),
    "retention: keys is 0, expected": lambda: jaxrnn.retention(4, keys=0),
    "hgrn2: values is -1, expected": lambda: jaxrnn.hgrn2(4, values=-1),
    "hgrn2: lower_bound is 1.0, expected a number with 0": lambda: jaxrnn.hgrn2(4, lower_bound=1.0),
    "ssd: features is 0, expected": lambda: jaxrnn.ssd(0),
    "ssd: dt_min is 0.2 and dt_max 0.1, expected 0 < dt_min < dt_max": lambda: jaxrnn.ssd(4, dt_min=0.2),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ERRORS[message]()
