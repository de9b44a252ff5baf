"""The layers that the laws hold for, one of each constructor at least, and numbers to try them on."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params

T, B, D, H = 5, 2, 3, 4
RESETS = np.array([[0, 0], [0, 0], [0, 0], [1, 0], [0, 0]], bool)  # 3 steps and 2; 5 steps
LSTM, GRU = jaxrnn.lstm(H), jaxrnn.gru(D, reset="before")
SOFTMAX = jaxrnn.dense(2, activation=jax.nn.softmax)


def neighbours(features: int) -> jaxrnn.Cell:
    """A cell with one spatial axis: `hₜ = tanh(W xₜ + R shifted(hₜ₋₁))`."""

    def init(key: jax.Array, in_features: int) -> dict[str, jax.Array]:
        kernel, recurrent = jax.random.normal(key, (in_features + features, features)), jnp.eye(features) / 2
        return {"kernel": kernel[:in_features], "recurrent_kernel": recurrent}

    def init_carry(params: dict[str, jax.Array], batch_shape: tuple[int, ...] = ()) -> jaxrnn.HiddenCarry:
        return jaxrnn.HiddenCarry(jnp.zeros((*batch_shape, features), params["kernel"].dtype))

    def project(params: dict[str, jax.Array], xs: jax.Array) -> jax.Array:
        return xs @ params["kernel"]

    def step(params: dict[str, jax.Array], carry: jaxrnn.HiddenCarry, z: jax.Array) -> tuple:
        h = jnp.tanh(z + jnp.roll(carry.h, 1, axis=-2) @ params["recurrent_kernel"])
        return jaxrnn.HiddenCarry(h), h

    return jaxrnn.Cell(init, init_carry, project, step, None, "dense", num_feature_axes=2)


def from_contributing() -> jaxrnn.Layer:
    """The layer that CONTRIBUTING.md writes in 10 lines."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    snippet = re.search(r"^## Write a layer.*?^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert snippet is not None
    names: dict[str, Any] = {"__name__": "snippet", "jax": jax, "jnp": jnp, "jaxrnn": jaxrnn}
    exec(compile(snippet[1], "CONTRIBUTING.md", "exec"), names)
    return names["smoothed"]


LAYERS = {
    "from_contributing": from_contributing(),
    "dense": SOFTMAX,
    "dropout": jaxrnn.dropout(0.5),
    "layer_norm": jaxrnn.layer_norm(),
    "blocks": jaxrnn.stack(
        jaxrnn.causal_conv(3, features=H, activation=jnp.exp), jaxrnn.griffin_block(H, width=2, kernel_size=2)
    ),
    "conv": jaxrnn.stack(
        jaxrnn.conv(H, 4, dilation=2, activation=jnp.exp),
        jaxrnn.pool(2, stride=1, kind="mean"),
        jaxrnn.pool(3, stride=1),
    ),
    "attention": jaxrnn.local_attention(2, 3, features=H, use_bias=True),
    "griffin": jaxrnn.stack(
        jaxrnn.dense(H), jaxrnn.griffin(H, depth=2, heads=2, window=2, width=2, pattern=("recurrent", "attention"))
    ),
    "mlstm_block": jaxrnn.mlstm_block(2, heads=2, block_size=2, kernel_size=3, chunk=2),
    "matrix_block": jaxrnn.matrix_block(
        jaxrnn.ssd(H, heads=2, keys=2, values=3, chunk=2), kernel_size=3, use_bias=True
    ),
    "noisy": jaxrnn.rnn(jaxrnn.zoneout(jaxrnn.weight_dropout(GRU, 0.5), 0.5)),
    "stack": jaxrnn.stack(
        jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), jaxrnn.rnn(LSTM), jaxrnn.dense(D))),
        jaxrnn.dropout(0.5),
        SOFTMAX,
    ),
    "bidirectional": jaxrnn.stack(
        jaxrnn.bidirectional(jaxrnn.stack(jaxrnn.rnn(GRU), jaxrnn.dropout(0.5)), merge="ave"),
        jaxrnn.residual(jaxrnn.bidirectional(jaxrnn.zoneout(jaxrnn.elman(D), 0.5), merge="mul")),
    ),
    "spatial": jaxrnn.stack(
        jaxrnn.rnn(neighbours(H)),
        jaxrnn.dropout(0.5),
        jaxrnn.layer_norm(),
        jaxrnn.residual(jaxrnn.dense(H)),
        jaxrnn.bidirectional(neighbours(D)),
    ),
    "spatial_causal": jaxrnn.residual(neighbours(D)),
    "adaptive": jaxrnn.stack(
        jaxrnn.act(jaxrnn.zoneout(LSTM, 0.5), 3), jaxrnn.skip(GRU, update_bias=-0.5), jaxrnn.dense(D)
    ),
    "attending": jaxrnn.stack(
        jaxrnn.attending(jaxrnn.zoneout(LSTM, 0.5), heads=2, memory_features=6, features=3), jaxrnn.dense(D)
    ),
}
CAUSAL = [name for name, layer in LAYERS.items() if layer.step is not None]
every_layer = pytest.mark.parametrize("name", LAYERS)
every_causal_layer = pytest.mark.parametrize("name", CAUSAL)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def unroll(name: str, params: Any, xs: Any, carry: Any = None, **steps: Any) -> Any:
    """`jaxrnn.unroll` of a layer by name, with a context where it reads one."""
    return jaxrnn.unroll(LAYERS[name], params, xs, carry, **steps, **context(name, xs.shape[1:-1]))


def step(name: str, params: Any, carry: Any, x: Any) -> Any:
    """`jaxrnn.step` of a layer by name, with a context where it reads one."""
    return jaxrnn.step(LAYERS[name], params, carry, x, **context(name, x.shape[:-1]))


def context(name: str, batch: tuple[int, ...]) -> dict[str, jaxrnn.Memory]:
    """The same memory for each sequence, some of it NaN and invalid."""
    if LAYERS[name].context is None:
        return {}
    depth = LAYERS[name].context.values.shape[-1]
    valid, values = np.array([True, False, True, True]), random(4, depth, seed=1)
    values[1] = np.nan
    axes = [1] * len(batch)
    values = jnp.broadcast_to(values.reshape(4, *axes, depth), (4, *batch, depth))
    return {"context": jaxrnn.Memory(values, jnp.broadcast_to(valid.reshape(4, *axes), (4, *batch)))}


def numbers(name: str, time: int = T) -> tuple[dict, np.ndarray]:
    """`(params, xs)` of a layer, xs `[time, B, *spatial, D]`."""
    layer = LAYERS[name]
    return random_params(layer, D), random(time, B, *[3] * (layer.num_feature_axes - 1), D)
