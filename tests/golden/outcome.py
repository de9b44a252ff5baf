"""What a recurrent program yields and how it pulls cotangents back, in the form of the golden files."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array

import jaxrnn
from golden.store import D, H, draw

Program = Callable[[Any, Array, dict[str, Array]], dict[str, Any]]

CELLS = {
    "lstm": (jaxrnn.lstm(H), jaxrnn.LSTMCarry),
    "gru": (jaxrnn.gru(H), jaxrnn.HiddenCarry),
    "gru_before": (jaxrnn.gru(H, reset="before"), jaxrnn.HiddenCarry),
    "mgu": (jaxrnn.mgu(H, gate="keep"), jaxrnn.HiddenCarry),
    "janet": (jaxrnn.janet(H, beta=0.0), jaxrnn.HiddenCarry),
    "conv_lstm": (jaxrnn.conv_lstm(H, (3,)), jaxrnn.LSTMCarry),
    "conv_lstm_2d": (jaxrnn.conv_lstm(H, (3, 2)), jaxrnn.LSTMCarry),
    "elman": (jaxrnn.elman(H), jaxrnn.HiddenCarry),
    "elman_relu": (jaxrnn.elman(H, activation=jax.nn.relu), jaxrnn.HiddenCarry),
}


def unrolled(kind: str, read: Callable[[Any], tuple[jaxrnn.Layer, dict[str, Array]]], **options: Any) -> Program:
    """jaxrnn's cell as a program of another framework's weights: `unroll` with `options` of what `read` makes of them.

    Readers are linear, so that gradients pulled back through them agree exactly when those of the parameters do.
    """
    cell, named = CELLS[kind]

    def program(weights: Any, xs: Array, carry: dict[str, Array]) -> dict[str, Any]:
        final, ys = jaxrnn.unroll(cell, read(weights)[1], xs, named(**carry), **options)
        return {"ys": ys, "carry": final._asdict()}

    return program


def drawn(layer: jaxrnn.Layer) -> Any:
    """Parameters of a layer for inputs of D features, of no special values."""
    shapes = jax.eval_shape(lambda key: layer.init(key, D), jax.random.key(0))
    return draw(np.random.default_rng(0), jax.tree.map(np.shape, shapes))


@partial(jax.jit, static_argnums=0)
def outcome(program: Program, inputs: dict[str, Any], cotangents: dict[str, Any]) -> dict[str, Any]:
    """`outputs`, and the `gradients` of every input when those outputs have `cotangents`."""
    outputs, pull = jax.vjp(lambda inputs: program(**inputs), inputs)
    (gradients,) = pull(cotangents)
    return {"outputs": outputs, "gradients": gradients}
