"""Writes `recurrentgemma.npz`: what the residual blocks of Griffin's authors say.

    pip install recurrentgemma==1.0.1 jax==0.10.2 flax==0.12.8 "numpy<2.4"
    python tests/golden/make_recurrentgemma.py

The file holds `made` as `store.py` tells, `xs [T, B, D]`, the steps `resets [T, B]` at which sequences begin,
`cotangents [T, B, D]`, and for either kind of block, `recurrent` and `attention`, its `weights` in its own names and
layout, its outputs `ys [T, B, D]`, and `gradients`, those cotangents pulled back to `weights` and `xs`. A second run on
the same machine writes the same bytes.
"""

import os

os.environ.update(JAX_PLATFORMS="cpu")

from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import store
from recurrentgemma import common
from recurrentgemma.jax import modules

SEED = 2024
T, B, D = 11, 3, 8
SIZES = {"width": D, "mlp_expanded_width": 3 * D, "num_heads": 2, "attention_window_size": 3, "lru_width": 6}
RESETS = np.zeros((T, B), bool)
RESETS[0] = RESETS[4, 1] = RESETS[5, 1] = RESETS[9, 2] = True


def positions() -> jax.Array:
    """`[B, T]`, the position of each step in its sequence."""
    steps = np.arange(T)[:, None]
    return jnp.asarray((steps - np.maximum.accumulate(np.where(RESETS, steps, 0))).T)


def golden(kind: str, rng: np.random.Generator, xs: np.ndarray, cotangents: np.ndarray) -> dict[str, Any]:
    """The weights, outputs and gradients of one kind of block."""
    block = modules.ResidualBlock(temporal_block_type=common.TemporalBlockType[kind.upper()], **SIZES)

    def outputs(weights: Any, xs: Any) -> Any:
        ys, _ = block.apply({"params": weights}, jnp.swapaxes(xs, 0, 1), positions())
        return jnp.swapaxes(ys, 0, 1)

    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), jnp.swapaxes(xs, 0, 1), positions()))["params"]
    weights = store.draw(rng, jax.tree.map(np.shape, shapes))
    ys, pull = jax.vjp(outputs, weights, xs)
    of_weights, of_xs = pull(cotangents)
    return {"weights": weights, "ys": ys, "gradients": {"weights": of_weights, "xs": of_xs}}


def main() -> None:
    rng = np.random.default_rng(SEED)
    xs, cotangents = store.draw(rng, (T, B, D)), store.draw(rng, (T, B, D))
    versions = f"recurrentgemma {version('recurrentgemma')}, jax {version('jax')}, flax {version('flax')}"
    made = {"seed": SEED, "versions": versions, "command": "python tests/golden/make_recurrentgemma.py"}
    blocks = {kind: golden(kind, rng, xs, cotangents) for kind in ("recurrent", "attention")}
    store.save("recurrentgemma", {"xs": xs, "cotangents": cotangents, "resets": RESETS, **blocks}, **made)


if __name__ == "__main__":
    main()
