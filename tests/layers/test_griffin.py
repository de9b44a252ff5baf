"""`griffin` by its parts, and these against its authors' code, whose results `golden/make_recurrentgemma.py` keeps."""

from functools import partial

import jax
import numpy as np
import pytest
from golden import store

import jaxrnn
from arrays import random_params
from compare import assert_close
from layers.cases import random
from quick import jit

pytestmark = pytest.mark.usefixtures("quick_compilation")

D, HEADS, WIDTH, WINDOW = 8, 2, 6, 4  # the authors do not count the current step: theirs is 3


def block(kind):
    """One block without the last norm of a network."""
    mixing = {
        "recurrent": jaxrnn.griffin_block(D, width=WIDTH),
        "attention": jaxrnn.local_attention(HEADS, WINDOW, kv_heads=1, rotary_features=2, use_bias=True),
    }[kind]
    parts = (mixing, jaxrnn.gated_mlp(D))
    return jaxrnn.stack(*(jaxrnn.residual(jaxrnn.stack(jaxrnn.rms_norm(), part)) for part in parts))


def read(weights, kind):
    """The authors' weights as ours; linear up to the 1 that they add to scales, so that gradients can be compared."""
    mlp = weights["mlp_block"]
    up, up_bias = mlp["ffw_up"]["w"][::-1].swapaxes(0, 1), mlp["ffw_up"]["b"][::-1, 0, 0]  # their gate comes first
    down = {"out": mlp["ffw_down"]["kernel"], "out_bias": mlp["ffw_down"]["bias"]}
    return {
        "layer_0": {
            "layer_0": weights["temporal_pre_norm"],
            "layer_1": (recurrent if kind == "recurrent" else attention)(weights[f"{kind}_block"]),
        },
        "layer_1": {
            "layer_0": weights["channel_pre_norm"],
            "layer_1": {"kernel": up, "bias": up_bias, **down},
        },
    }


def recurrent(p):
    unit = p["rg_lru"]
    gates = [unit[name] for name in ("a_gate", "input_gate")]
    kernel = np.zeros((WIDTH, 2, WIDTH), np.float32)  # of blocks along the diagonal, as many as heads
    for i, gate in enumerate(gates):
        for n, part in enumerate(np.split(np.arange(WIDTH), HEADS)):
            kernel[part[:, None], i, part] = gate["w"][n]
    lines = [p[name] for name in ("linear_x", "linear_y")]
    return {
        **{
            "kernel": np.stack([line["kernel"] for line in lines], 1),
            "bias": np.stack([line["bias"] for line in lines]),
        },
        **{"out": p["linear_out"]["kernel"], "out_bias": p["linear_out"]["bias"]},
        "branch": {
            "layer_0": {"depthwise_kernel": p["conv_1d"]["w"][::-1], "bias": p["conv_1d"]["b"]},
            "layer_1": {
                "kernel": kernel,
                "bias": np.stack([gate["b"].reshape(-1) for gate in gates]),
                "decay": unit["a_param"],
            },
        },
    }


def attention(p):
    names = {"query": "proj_q", "key": "proj_k", "value": "proj_v"}
    params = {own: p[their]["kernel"].reshape(D, -1, D // HEADS) for own, their in names.items()}
    out = p["proj_final"]
    return params | {"out": out["kernel"].reshape(HEADS, -1, D), "out_bias": out["bias"]}


def scaled(params):
    """Scales are 1 more than theirs."""
    return jax.tree_util.tree_map_with_path(lambda path, p: p + 1 if path[-1].key == "scale" else p, params)


def without_gaps(kind, grads):
    """Their gates have no weights between blocks: the gradients there are no part of the comparison."""
    if kind == "recurrent":
        kernel = grads["layer_0"]["layer_1"]["branch"]["layer_1"]["kernel"]
        apart = np.kron(np.eye(HEADS), np.ones((WIDTH // HEADS,) * 2))[:, None]
        grads["layer_0"]["layer_1"]["branch"]["layer_1"]["kernel"] = np.asarray(kernel) * apart
    return grads


@pytest.mark.parametrize("kind", ["recurrent", "attention"])
def test_a_block_is_that_of_its_authors(kind):
    golden = store.load("recurrentgemma")
    own = golden[kind]
    layer, xs, resets = block(kind), golden["xs"], golden["resets"]

    def loss(params, xs):
        ys = jaxrnn.unroll(layer, scaled(params), xs, resets=resets)[1]
        return (ys * golden["cotangents"]).sum(), ys

    grads, ys = jit(jax.grad(loss, (0, 1), has_aux=True))(read(own["weights"], kind), xs)
    assert_close(ys, own["ys"], 1e-5)
    gradients = own["gradients"]
    assert_close((without_gaps(kind, grads[0]), grads[1]), (read(gradients["weights"], kind), gradients["xs"]), 1e-5)


def test_the_file_says_how_it_was_made():
    made = {name: value.item() for name, value in store.load("recurrentgemma")["made"].items()}
    script = store.FOLDER / made["command"].removeprefix("python tests/golden/")
    assert f"SEED = {made['seed']}" in script.read_text() and made["versions"].startswith("recurrentgemma ")


@pytest.mark.every
def test_a_network_is_its_blocks_and_a_norm():
    """Blocks follow the pattern, again and again."""
    network = jaxrnn.griffin(
        D, depth=3, heads=HEADS, window=WINDOW, width=WIDTH, rotary_features=2, pattern=("attention", "recurrent")
    )
    params, xs = random_params(network, D), random(7, 2, D)
    hs = xs
    for i, kind in enumerate(("attention", "recurrent", "attention")):
        own = {"layer_0": params[f"layer_{2 * i}"], "layer_1": params[f"layer_{2 * i + 1}"]}
        _, hs = jit(partial(jaxrnn.unroll, block(kind)))(own, hs)
    _, expected = jaxrnn.unroll(jaxrnn.rms_norm(), params["layer_6"], hs)
    assert_close(jit(partial(jaxrnn.unroll, network))(params, xs)[1], expected, 1e-5)
    assert len(params) == 7


def test_a_gated_mlp_is_its_equation():
    layer = jaxrnn.gated_mlp(3, expansion=2, activation=jax.numpy.tanh)
    p, xs = random_params(layer, 5), random(4, 5)
    value, gate = (xs @ p["kernel"][:, i] + p["bias"][i] for i in (0, 1))
    expected = (value * np.tanh(gate)) @ p["out"] + p["out_bias"]
    assert p["kernel"].shape == (5, 2, 6) and "branch" not in p
    assert_close(jaxrnn.unroll(layer, p, xs), ((), expected), 1e-5)
    assert set(jaxrnn.gated_mlp(3, use_bias=False).init(jax.random.key(0), 5)) == {"kernel", "out"}


@pytest.mark.every
def test_a_network_trains():
    """A few steps of plain gradient descent on one batch."""
    network = jaxrnn.stack(
        jaxrnn.griffin(D, depth=2, heads=HEADS, window=3, pattern=("recurrent", "attention")), jaxrnn.dense(1)
    )
    xs = np.random.default_rng(0).normal(size=(12, 4, D)).astype(np.float32)
    target = np.roll(xs[..., :1], 2, 0)  # what was seen two steps before

    @jit
    def step(params):
        loss, grads = jax.value_and_grad(lambda p: ((jaxrnn.unroll(network, p, xs)[1] - target) ** 2)[2:].mean())(
            params
        )
        return loss, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)

    params, losses = network.init(jax.random.key(0), D), []
    for _ in range(60):
        loss, params = step(params)
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]


ERRORS = {
    r"griffin: pattern is \(\), expected a tuple": lambda: jaxrnn.griffin(8, depth=1, heads=2, window=4, pattern=()),
    r"griffin: pattern is \('mamba',\), expected a tuple, each entry one of 'recurrent', 'attention'": lambda: (
        jaxrnn.griffin(8, depth=1, heads=2, window=4, pattern=("mamba",))
    ),
    "griffin: depth is 0, expected an int of 1 or more": lambda: jaxrnn.griffin(8, depth=0, heads=2, window=4),
    "local_attention: heads is 3, expected a divisor of features, 8": lambda: jaxrnn.griffin(
        8, depth=3, heads=3, window=4
    ),
    "gated_mlp: expansion is 0, expected an int of 1 or more": lambda: jaxrnn.gated_mlp(8, expansion=0),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_say_what_is_wrong(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        ERRORS[message]()
