"""Outputs and gradients against memax and discretax, whose results `golden/make_jax_peers.py` keeps.

Where memax has another equation than the paper, `PEERS` has memax's, from the engines of this package, and a test
further down shows in what it differs from the cell.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import store
from golden.store import H, T
from jax import lax
from jax.nn import elu, relu, sigmoid, silu

import jaxrnn
from compare import assert_close
from quick import jit

pytestmark = pytest.mark.usefixtures("quick_compilation")

GOLDEN = store.load("jax_peers")
N = 4


def linear(w, name, xs):
    y = xs @ w[f"{name}.weight"].T
    return y + jnp.broadcast_to(w[f"{name}.bias"], y.shape) if f"{name}.bias" in w else y


def outputs(cell, params, xs):
    return jaxrnn.unroll(cell, params, xs)[1]


# --- the cells themselves ------------------------------------------------------------------------------------------


def lru(w, xs):
    params = {"nu": w["nu_log"], "theta": w["theta_log"], "gamma": w["gamma_log"], "skip": np.diag(w["D"])}
    params["kernel"] = np.stack([w["B_re"].T, w["B_im"].T], axis=1)
    params["readout"] = np.stack([w["C_re"].T, w["C_im"].T], axis=1)
    return outputs(jaxrnn.lru(H, states=len(w["nu_log"])), params, xs)


def s4d(w, xs):
    """The peer has neither a kernel before the system nor a way past it."""
    params = {"kernel": np.eye(H, dtype=np.float32)[:, None], "skip": np.zeros(H, np.float32), "modes": w["kernel.C"]}
    params |= {"log_dt": w["kernel.log_dt"], "log_rate": w["kernel.log_a_real"], "lambda_imag": w["kernel.A_imag"]}
    return outputs(jaxrnn.s4d(H, states=N), params, xs)


def s5(w, xs):
    params = {"lambda_real": w["Lambda_re"], "lambda_imag": w["Lambda_im"], "log_dt": w["log_step"][:, 0]}
    params |= {"kernel": w["B"].transpose(1, 2, 0), "readout": w["C"].transpose(1, 2, 0), "skip": np.diag(w["D"])}
    return outputs(jaxrnn.s5(H, states=N), params, xs)


def linoss(w, xs, discretization="implicit"):
    """The peer's `B` and `C` are complex: each of its oscillators is two of the cell's, of the same stiffness."""
    (B, B_imag), (C, C_imag) = (np.moveaxis(w[name], -1, 0) for name in ("B", "C"))
    params = {"stiffness": np.tile(w["A_diag"], 2), "dt_logit": np.tile(w["steps"], 2), "skip": np.diag(w["D"])}
    params |= {"kernel": np.concatenate([B, B_imag]).T[:, None], "readout": np.concatenate([C, -C_imag], axis=1).T}
    return outputs(jaxrnn.linoss(H, states=2 * N, discretization=discretization), params, xs)


# --- the engines under what a peer does around them ------------------------------------------------------------------


def discretax_delta(w, xs):
    """`delta_net` with one rate for all heads, and without nonlinearities and a norm."""
    q, k, v = (linear(w, f"{name}_proj", xs).reshape(T, 2, N) for name in "qkv")
    q, k = (a / (jnp.linalg.norm(a, axis=-1, keepdims=True) + 1e-6) for a in (q, k))
    beta = jnp.broadcast_to(sigmoid(linear(w, "beta_proj", xs)), (T, 2))
    return linear(w, "out_proj", jaxrnn.matrix_scan(q, k, v, beta=beta)[1].reshape(T, 2 * N))


def read_by(q, k, v):
    """`Σ (vᵢ kᵢᵀ) q`, of one head."""
    return jaxrnn.matrix_scan(q[:, None], k[:, None], v[:, None])[1][:, 0]


def memax_linear_attention(w, xs):
    """It is divided by `φ(kₜ)ᵀ φ(qₜ)`, of the last key alone, and the input is added."""
    q, k = (1 + elu(linear(w, name, xs)) for name in "QK")
    read = read_by(q, k, linear(w, "V", xs)) / (1e-6 + (q * k).sum(-1, keepdims=True))
    return linear(w, "output", read) + xs


def memax_additive(w, xs):
    """Linear attention without a normaliser, in which keys and values have changed places."""
    q, k = (1 + elu(linear(w, name, xs)) for name in "QK")
    return linear(w, "output", read_by(q, linear(w, "V", xs), k))


def memax_delta(w, xs, phi, rank=1):
    """`X = α (I − β k kᵀ) X + β v kᵀ`, `y = X q`, where the paper has `X (I − β k kᵀ)`.

    Several keys of one step have the elementwise product of their `β k kᵀ`, where the paper has a product of matrices.
    """
    q, alpha = phi(linear(w, "Q", xs)), sigmoid(linear(w, "alpha", xs)) if "alpha.weight" in w else jnp.ones((T, 1))
    k, v = phi(linear(w, "K", xs)).reshape(T, N, rank), linear(w, "V", xs).reshape(T, N, rank)
    beta = 2 * sigmoid(linear(w, "w", xs))
    q, k = (a / (jnp.sqrt((a**2).reshape(T, -1).sum(-1)) + 1e-6).reshape(T, *[1] * (a.ndim - 1)) for a in (q, k))
    erased = alpha[..., None] * (jnp.eye(N)[None] - jnp.einsum("tr,tir,tjr->tijr", beta, k, k).prod(-1))
    added = jnp.einsum("tr,tir,tjr->tij", beta, v, k)

    def step(X, x):
        erased, added, q = x
        X = erased @ X + added
        return X, X @ q

    return linear(w, "output", lax.scan(step, jnp.zeros((N, N)), (erased, added, q))[1])


def memax_ffm(w, xs, gated_first=True):
    """It normalises the gated sum and not the sum, and takes the input itself past the state."""
    kernel, bias = (np.stack([w[f"pre.{it}"].T, w[f"gate_in.linear.{it}"].T]) for it in ("weight", "bias"))
    params = {"kernel": kernel.swapaxes(0, 1), "bias": bias}
    params |= {"alpha": w["algebra.algebra.params.0"], "omega": w["algebra.algebra.params.1"]}
    mix = w["mix.weight"].T.reshape(N, 2, 2, H).transpose(0, 2, 1, 3).reshape(2 * N, 2, H)
    params |= {"readout": mix, "readout_bias": w["mix.bias"]}
    gate, eye = w["gate_out.linear.weight"].T, np.eye(H, dtype=np.float32)
    params["output_kernel"] = np.stack([gate, eye], axis=1)
    params["output_bias"] = np.stack([w["gate_out.linear.bias"], np.zeros(H, np.float32)])
    cell = jaxrnn.ffm(H, traces=N, contexts=2)
    if not gated_first:
        return outputs(cell, params, xs)

    def step(carry, x):
        carry, _ = jaxrnn.step(cell, params, carry, x)
        return carry, carry

    _, states = lax.scan(step, cell.init_carry(params), xs)
    z = states.real @ mix[:, 0] + states.imag @ mix[:, 1] + jnp.broadcast_to(w["mix.bias"], (T, H))
    g = sigmoid(linear(w, "gate_out.linear", xs))
    z = z * g - (z * g).mean(-1, keepdims=True)
    return z / jnp.sqrt((z**2).mean(-1, keepdims=True) + 1e-5) + xs * (1 - g)


PEERS = {
    "memax_lru": lru,
    "discretax_lru": lru,
    "discretax_s4d": s4d,
    "discretax_s5": s5,
    "discretax_linoss": linoss,
    "discretax_linoss_explicit": lambda w, xs: linoss(w, xs, "implicit_explicit"),
    "discretax_delta": discretax_delta,
    "memax_linear_attention": memax_linear_attention,
    "memax_additive": memax_additive,
    "memax_delta": lambda w, xs: memax_delta(w, xs, relu),
    "memax_gated_delta": lambda w, xs: memax_delta(w, xs, silu),
    "memax_delta_product": lambda w, xs: memax_delta(w, xs, silu, rank=2),
    "memax_ffm": memax_ffm,
}


@pytest.mark.parametrize("name", PEERS)
def test_agrees_with_the_peer(name):
    golden = GOLDEN[name]
    weights = golden["inputs"]["weights"]

    def weighed(xs):
        ys = PEERS[name](weights, xs)
        return (ys * golden["cotangent"]).sum(), ys

    gradients, ys = jit(jax.grad(weighed, has_aux=True))(golden["inputs"]["xs"])
    assert_close((ys, gradients), (golden["ys"], golden["gradients"]), 1e-5)


# --- where memax has another equation than the paper -----------------------------------------------------------------


def differs_after_the_first_step(name, ys):
    golden = GOLDEN[name]["ys"]
    np.testing.assert_allclose(ys[0], golden[0], rtol=1e-4, atol=1e-5)
    assert abs(ys[1:] - golden[1:]).max() > 0.1


def test_linear_attention_divides_by_all_keys_so_far():
    inputs = GOLDEN["memax_linear_attention"]["inputs"]
    w, xs = inputs["weights"], inputs["xs"]
    params = {name: w[f"{name[0].upper()}.weight"].T[:, None] for name in ("query", "key", "value")}
    params["out"] = w["output.weight"].T[None]
    ys = outputs(jaxrnn.linear_attention(H, heads=1, keys=N, values=N), params, xs)
    differs_after_the_first_step("memax_linear_attention", ys + xs + w["output.bias"][None])


def test_the_delta_rule_removes_the_value_of_the_key():
    """At first there is no value to remove."""
    inputs = GOLDEN["memax_delta"]["inputs"]
    w, xs = inputs["weights"], inputs["xs"]
    q, k = (relu(linear(w, name, xs)) for name in "QK")
    q, k = (a / (jnp.linalg.norm(a, axis=-1, keepdims=True) + 1e-6) for a in (q, k))
    q, k, v = (a[:, None] for a in (q, k, linear(w, "V", xs)))
    read = jaxrnn.matrix_scan(q, k, v, beta=2 * sigmoid(linear(w, "w", xs)))[1]
    differs_after_the_first_step("memax_delta", linear(w, "output", read[:, 0]))


def test_ffm_gates_what_is_normalised():
    inputs = GOLDEN["memax_ffm"]["inputs"]
    ys = memax_ffm(inputs["weights"], inputs["xs"], gated_first=False)
    assert abs(ys - GOLDEN["memax_ffm"]["ys"]).max() > 0.1


def test_file_says_how_it_was_made():
    made = {name: value.item() for name, value in GOLDEN["made"].items()}
    script = made["command"].removeprefix("python tests/golden/")
    assert f"SEED = {made['seed']}" in (store.FOLDER / script).read_text()
    assert made["versions"].startswith("memax ")
    assert set(GOLDEN) - {"made"} == set(PEERS)
