"""The blocks of Mamba-2, DeltaNet, Gated DeltaNet and Kimi Linear against their equations in float64 NumPy."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_like, random_params, sigma, silu, softplus
from compare import assert_close
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, B, D, H, N, K, V, WINDOW = 7, 2, 3, 6, 2, 4, 5, 3
SIZES = {"heads": N, "keys": K, "values": V, "chunk": 3}


def norm(x):
    return x / np.sqrt((x**2).mean() + 1e-6)


def unit(x):
    return x / np.sqrt((x**2).sum() + 1e-6)


def convolved(p, xs, name, channels):
    """`silu(Σ w[s] (W x)[t − s] + b)` at the last step, in heads; these channels of the convolution are its own."""
    kernel, w = p["recurrence"][name], p["conv"]["depthwise_kernel"][:, channels]
    zs = [np.tensordot(x, kernel, 1).ravel() for x in xs]
    z = sum(w[s] * zs[-1 - s] for s in range(min(len(zs), WINDOW)))
    return silu(z + p["conv"]["bias"][channels] if "bias" in p["conv"] else z).reshape(kernel.shape[1:])


# Each takes parameters, the inputs so far of one row and the state of all heads, changes the state, gives the output.


def mamba2(p, xs, S):
    """`S = exp(−A Δ) S + Δ u Bᵀ`, `y = W_o norm(silu(z) (S C + d u))`, normalized over all heads; S is as published."""
    c, x = p["recurrence"], xs[-1]
    (b,) = convolved(p, xs, "input", slice(K))
    (read,) = convolved(p, xs, "read", slice(K, 2 * K))
    u = convolved(p, xs, "value", slice(2 * K, None))
    os = []
    for n in range(N):
        dt = softplus(x @ c["step_kernel"][:, 0, n] + c["step_bias"][n])
        S[n] = np.exp(-np.exp(c["log_rate"][n]) * dt) * S[n] + np.outer(dt * u[n], b).T
        os.append(silu(x @ c["gate"][:, n]) * (S[n].T @ read + c["skip"][n] * u[n]))
    return (norm(np.concatenate(os)) * c["scale"].ravel()) @ c["out"].reshape(N * V, H)


def delta_rule(p, xs, S, decay, gate):
    """`S = (I − β k kᵀ) Diag(a) S + β k vᵀ`, `y = W_o (gate norm(Sᵀ q))`."""
    c, y = p["recurrence"], 0
    q = convolved(p, xs, "query", slice(N * K))
    k = convolved(p, xs, "key", slice(N * K, 2 * N * K))
    v = convolved(p, xs, "value", slice(2 * N * K, None))
    for n in range(N):
        beta, key = sigma(xs[-1] @ c["rate"][:, n]), unit(k[n])
        S[n] = decay(n)[:, None] * S[n]
        S[n] = S[n] + beta * np.outer(key, v[n] - S[n].T @ key)
        y = y + (gate(n) * c["scale"][n] * norm(S[n].T @ unit(q[n]))) @ c["out"][n]
    return y


def delta_net(p, xs, S):
    return delta_rule(p, xs, S, lambda n: np.ones(K), lambda n: 1)


def gated_delta_net(p, xs, S):
    c, x = p["recurrence"], xs[-1]
    dt = softplus(x @ c["step_kernel"] + c["step_bias"])
    decay = np.exp(-np.exp(c["log_rate"]) * dt)
    return delta_rule(p, xs, S, lambda n: np.full(K, decay[n]), lambda n: silu(x @ c["gate"][:, n]))


def kda(p, xs, S):
    c, x = p["recurrence"], xs[-1]
    gate = x @ c["gate_down"][:, 0]
    step = x @ c["step_down"][:, 0]

    def decay(n):
        return np.exp(-np.exp(c["log_rate"][n]) * softplus(step @ c["step_up"][:, n] + c["step_bias"][n]))

    return delta_rule(p, xs, S, decay, lambda n: sigma(gate @ c["gate_up"][:, n]))


BLOCKS = {
    mamba2: jaxrnn.matrix_block(jaxrnn.ssd(H, **SIZES), kernel_size=WINDOW, use_bias=True),
    delta_net: jaxrnn.matrix_block(jaxrnn.delta_net(H, **SIZES), kernel_size=WINDOW),
    gated_delta_net: jaxrnn.matrix_block(jaxrnn.gated_delta_net(H, **SIZES), kernel_size=WINDOW),
    kda: jaxrnn.matrix_block(jaxrnn.kda(H, **SIZES), kernel_size=WINDOW),
}


def numbers(layer, time=T):
    return random_params(layer, D), np.random.default_rng(2).normal(size=(time, B, D))


@cache
def compiled(equation):
    return jit(partial(jaxrnn.unroll, BLOCKS[equation]))


@pytest.mark.parametrize("equation", BLOCKS, ids=lambda e: e.__name__)
def test_equals_a_loop_in_numpy(equation):
    layer = BLOCKS[equation]
    params, xs = numbers(layer)
    S = random_like(jax.eval_shape(lambda p: layer.init_carry(p, (B,))[1].S, params), seed=1)
    start = layer.init_carry(params, (B,))[0], jaxrnn.MatrixCarry(S.copy())
    expected = np.array([[equation(params, xs[: t + 1, b], S[b]) for b in range(B)] for t in range(T)])
    (_, after), ys = compiled(equation)(params, xs, start)
    assert_close((ys, after.S), (expected, S), 1e-12)


@pytest.mark.every
def test_gradients_are_those_of_single_steps():
    """In parameters, inputs and the carry before, of outputs and the carry after."""
    layer = BLOCKS[gated_delta_net]
    params, xs = numbers(layer)
    start = random_like(jax.eval_shape(lambda p: layer.init_carry(p, (B,)), params), seed=1)

    def by_steps(params, xs, carry):
        return jax.lax.scan(lambda carry, x: jaxrnn.step(layer, params, carry, x), carry, xs)

    out = by_steps(params, xs, start)
    cotangents = random_like(out, seed=3)
    for after in (lambda run: jit(run)(params, xs, start), lambda run: pulled(run, (params, xs, start), cotangents)):
        assert_close(after(partial(jaxrnn.unroll, layer)), after(by_steps), 1e-11)


def pulled(run, arguments, cotangents):
    return jit(lambda arguments: jax.vjp(run, *arguments)[1](cotangents))(arguments)


@pytest.mark.every
@pytest.mark.parametrize("cell", [jaxrnn.ssd, jaxrnn.delta_net, jaxrnn.gated_delta_net, jaxrnn.kda])
def test_a_convolution_that_changes_nothing_leaves_the_cell(cell):
    """With a learned state, too, from which resets start."""
    cell = jaxrnn.learned_carry(cell(H, **SIZES))
    layer = jaxrnn.matrix_block(cell, kernel_size=WINDOW)
    params, xs = numbers(layer)
    kernel = params["conv"]["depthwise_kernel"]
    params["conv"]["depthwise_kernel"] = np.eye(WINDOW)[0][:, None] * np.ones_like(kernel)
    resets = np.zeros((T, B), bool)
    resets[4, 1] = True
    (_, carry), ys = jit(partial(jaxrnn.unroll, layer))(params, xs, resets=resets)
    assert_close((carry, ys), jit(partial(jaxrnn.unroll, cell))(params["recurrence"], xs, resets=resets), 1e-12)


def test_half_precision():
    """The convolution sums in float32, the block returns what its cell does, and states stay in float32."""
    cell = jaxrnn.gated_delta_net(H, dtype=jnp.bfloat16, **SIZES)
    layer = jaxrnn.matrix_block(cell, kernel_size=WINDOW)
    params, xs = jax.tree.map(np.float32, numbers(layer))
    carry, ys = jit(partial(jaxrnn.unroll, layer))(params, xs)
    zero = jax.tree.map(np.float64, layer.init_carry(params, (B,)))
    _, expected = compiled(gated_delta_net)(*jax.tree.map(np.float64, (params, xs)), zero)
    assert ys.dtype == jnp.bfloat16 and {leaf.dtype for leaf in jax.tree.leaves(carry)} == {np.dtype(np.float32)}
    assert 1e-6 < abs(ys.astype(np.float32) - expected).max() / abs(expected).max() < 0.1


def test_initial_values():
    """The cell's own, and those of its convolution, uniform between `±1 / √kernel_size`."""
    layer = jaxrnn.matrix_block(jaxrnn.ssd(16, heads=64, keys=128, values=8), use_bias=True)
    params = jax.jit(layer.init, static_argnums=1)(jax.random.key(0), 32)
    conv, cell = params["conv"], params["recurrence"]
    assert conv["depthwise_kernel"].shape == (4, 2 * 128 + 64 * 8) and conv["bias"].shape == (2 * 128 + 64 * 8,)
    for p in conv.values():
        assert 0.49 < abs(p).max() < 0.5
        np.testing.assert_allclose(p.std(), 0.5 / np.sqrt(3), rtol=0.05)
    rates, steps = np.exp(cell["log_rate"]), softplus(np.asarray(cell["step_bias"]))
    assert rates.min() >= 1 and rates.max() <= 16 and abs(rates.mean() - 8.5) < 1.5
    assert steps.min() > 0.00099 and steps.max() < 0.101 and abs(np.log10(steps).mean() + 2) < 0.2
    assert (cell["skip"] == 1).all() and (cell["scale"] == 1).all()
    half = jaxrnn.matrix_block(jaxrnn.ssd(4, param_dtype=jnp.bfloat16))
    shapes = jax.eval_shape(lambda: half.init(jax.random.key(0), 3))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.bfloat16)}


def test_a_cell_of_ones_own_says_what_is_mixed():
    """Its readout gets the products as well."""
    assert_close(*linear_attention_with_its_values(jaxrnn.matrix_block))


def linear_attention_with_its_values(block):
    def init(key, in_features):
        return {name: jax.random.normal(key, (in_features, N, K)) for name in ("key", "value")}

    def inputs(params, xs, k, v):
        return {"q": k, "k": k, "v": v}

    def readout(params, ys, xs, k, v):
        return (ys + v).reshape(*xs.shape[:-1], -1)

    names = ("key", "value")
    cell = jaxrnn.matrix_cell(inputs, init, heads=N, keys=K, values=K, mixed=names, readout=readout)
    layer = block(cell, kernel_size=2)
    params, xs = numbers(layer, time=3)
    zs = np.concatenate([np.einsum("tbd,dnk->tbnk", xs, params["recurrence"][name]) for name in names], -1)
    w = np.moveaxis(params["conv"]["depthwise_kernel"].reshape(2, 2, N, K), 1, 2).reshape(2, N, 2 * K)
    zs = w[0] * zs + w[1] * np.concatenate([np.zeros_like(zs[:1]), zs[:-1]])
    k, v = np.split(zs, 2, -1)
    scores = np.einsum("tbnk,sbnk->tsbn", k, k) * np.tri(3)[..., None, None]
    expected = (np.einsum("tsbn,sbnk->tbnk", scores, v) + v).reshape(3, B, -1)
    return jaxrnn.unroll(layer, params, xs)[1], expected


# --- errors --------------------------------------------------------------------------------------------------------


def mixing(*names):
    """A cell that draws one kernel and a vector and says this of them."""

    def init(key, in_features):
        return {"query": jnp.ones((in_features, N, K)), "bias": jnp.ones(K)}

    return jaxrnn.matrix_cell(lambda params, xs, q: {"q": q, "k": q, "v": q}, init, N, K, K, mixed=names)


ERRORS = {
    r"matrix_block: cell is lstm\(3\), expected ssd, delta_net, gated_delta_net, kda or a matrix_cell with mixed "
    r"kernels; stack\(causal_conv\(…\), cell\) convolves the input of any other": lambda: jaxrnn.matrix_block(
        jaxrnn.lstm(3)
    ),
    r"matrix_block: cell is gla\(4\), expected ssd": lambda: jaxrnn.matrix_block(jaxrnn.gla(4)),
    r"matrix_block: cell is the layer dense\(3\), expected a Cell": lambda: jaxrnn.matrix_block(jaxrnn.dense(3)),
    "matrix_block: kernel_size is 0, expected an int of 1 or more": lambda: jaxrnn.matrix_block(
        jaxrnn.ssd(4), kernel_size=0
    ),
    r"matrix_cell: mixed is 'query', expected a tuple of names": lambda: jaxrnn.matrix_cell(
        lambda params, xs, q: {}, lambda key, in_features: {}, N, K, K, mixed="query"
    ),
    r"matrix_cell: mixed has 'key', expected a kernel \[D, heads, N\] among {'query': \(3, 2, 4\), 'bias': \(4,\)}": (
        lambda: mixing("query", "key").init(jax.random.key(0), D)
    ),
    r"matrix_cell: mixed has 'bias', expected a kernel": lambda: mixing("bias").init(jax.random.key(0), D),
    "unroll: params": lambda: jaxrnn.unroll(BLOCKS[kda], random_params(BLOCKS[kda], D)["recurrence"], jnp.ones((T, D))),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ERRORS[message]()
