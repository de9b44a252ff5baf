"""The blocks of Mamba-2, Gated DeltaNet and Kimi Linear against those of transformers; see `make_transformers.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import store

import jaxrnn
from compare import assert_close
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

D, HEADS, KEYS, VALUES = 6, 2, 4, 3
SIZES = {"heads": HEADS, "keys": KEYS, "values": VALUES, "chunk": 4}
BLOCKS = {
    "mamba2": jaxrnn.matrix_block(jaxrnn.ssd(D, **SIZES), use_bias=True),
    "gated_delta_net": jaxrnn.matrix_block(jaxrnn.gated_delta_net(D, **SIZES)),
    "kda": jaxrnn.matrix_block(jaxrnn.kda(D, **SIZES | {"values": KEYS})),
}


def in_heads(weight, heads=HEADS):
    """A matrix `[heads * N, D]` of theirs as a kernel `[D, heads, N]`."""
    return jnp.moveaxis(weight.reshape(heads, -1, weight.shape[-1]), -1, 0)


def taps(weight):
    """Theirs end with the current step."""
    return weight[:, 0, ::-1].T


def out(weight):
    return weight.T.reshape(HEADS, -1, D)


def mamba2(w):
    width = HEADS * VALUES
    gate, value, B, C, step = jnp.split(w["in_proj.weight"], np.cumsum([width, width, KEYS, KEYS]))
    order = np.roll(np.arange(width + 2 * KEYS), -width)  # they convolve the values first
    return {
        "recurrence": {
            **{"gate": in_heads(gate), "value": in_heads(value), "input": in_heads(B, 1), "read": in_heads(C, 1)},
            **{"step_kernel": in_heads(step, 1), "step_bias": w["dt_bias"], "log_rate": w["A_log"], "skip": w["D"]},
            **{"scale": w["norm.weight"].reshape(HEADS, VALUES), "out": out(w["out_proj.weight"])},
        },
        "conv": {"depthwise_kernel": taps(w["conv1d.weight"])[:, order], "bias": w["conv1d.bias"][order]},
    }


def gated_delta_net(w):
    by_head = w["in_proj_qkvz.weight"].reshape(HEADS, -1, D)
    parts = jnp.split(by_head, np.cumsum([KEYS, KEYS, VALUES]), 1)
    query, key, value, gate = (jnp.moveaxis(part, -1, 0) for part in parts)
    rate, step = jnp.moveaxis(w["in_proj_ba.weight"].reshape(HEADS, 2, D), 0, -1)
    return {
        "recurrence": {
            **{"query": query, "key": key, "value": value, "gate": gate, "rate": rate, "step_kernel": step},
            **{"step_bias": w["dt_bias"], "log_rate": w["A_log"], "out": out(w["out_proj.weight"])},
            "scale": jnp.broadcast_to(w["norm.weight"], (HEADS, VALUES)),  # all heads share theirs
        },
        "conv": {"depthwise_kernel": taps(w["conv1d.weight"])},
    }


def kda(w):
    return {
        "recurrence": {
            **{name: in_heads(w[f"{name[0]}_proj.weight"]) for name in ("query", "key", "value")},
            "rate": w["b_proj.weight"].T,
            **{"gate_down": in_heads(w["g_a_proj.weight"], 1), "gate_up": in_heads(w["g_b_proj.weight"])},
            "step_down": in_heads(w["forget_gate.f_a_proj.weight"], 1),
            "step_up": in_heads(w["forget_gate.f_b_proj.weight"]),
            "step_bias": w["forget_gate.dt_bias"].reshape(HEADS, KEYS),
            "log_rate": w["forget_gate.A_log"].ravel(),
            "scale": jnp.broadcast_to(w["o_norm.weight"], (HEADS, KEYS)),
            "out": out(w["o_proj.weight"]),
        },
        "conv": {"depthwise_kernel": taps(w["conv1d.weight"])},
    }


@pytest.mark.sampled
@pytest.mark.parametrize("read", [mamba2, gated_delta_net, kda], ids=lambda read: read.__name__)
def test_a_block_is_that_of_transformers(read):
    """Outputs, and gradients in their weights and in the inputs."""
    golden = store.load("transformers")
    own = golden[read.__name__]

    def loss(weights, xs):
        ys = jaxrnn.unroll(BLOCKS[read.__name__], read(weights), xs)[1]
        return (ys * golden["cotangents"]).sum(), ys

    given = jax.tree.map(np.float64, (own["weights"], golden["xs"]))
    grads, ys = jit(jax.grad(loss, (0, 1), has_aux=True))(*given)
    assert_close(ys, own["ys"], 1e-5)
    assert_close(grads, (own["gradients"]["weights"], own["gradients"]["xs"]), 1e-5)


def test_the_file_says_how_it_was_made():
    made = {name: value.item() for name, value in store.load("transformers")["made"].items()}
    script = store.FOLDER / made["command"].removeprefix("python tests/golden/")
    assert f"SEED = {made['seed']}" in script.read_text() and made["versions"].startswith("transformers ")
