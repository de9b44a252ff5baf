"""Writes `keras_images_*.npz`: what Keras's `ConvLSTM1D`, `2D` and `3D` say, with their options.

    pip install keras==3.15.1 jax==0.10.2 numpy
    python tests/golden/make_keras_images.py

The files hold `made` and `inputs` as `store.py` tells, with `weights` by their paths, time first and the states, a list
of `[B, *spatial, H]`, as the carry; and `outputs`: `ys [T, B, *spatial, H]` and the final states. A second run on the
same machine writes the same bytes.
"""

from typing import Any

import jax
import numpy as np
import store
from make_keras import keras
from store import B, D, H

SEED, T = 2016, 3
LAYERS = {  # the layer, its window and options, whether in both directions, and the images
    "line": (keras.layers.ConvLSTM1D, 3, {"dilation_rate": 2, "use_bias": False}, False, (7,)),
    "plane": (keras.layers.ConvLSTM2D, (3, 2), {"strides": (2, 1), "padding": "same"}, True, (5, 4)),
    "volume": (keras.layers.ConvLSTM3D, 2, {"strides": 2, "recurrent_activation": "hard_sigmoid"}, False, (4, 2, 5)),
}


def golden(layer: Any, window: Any, options: dict[str, Any], both: bool, space: tuple[int, ...]) -> dict[str, Any]:
    """Inputs and results of one layer."""
    rng = np.random.default_rng(SEED)
    keras.utils.clear_session()  # names count from the start
    module = layer(H, window, return_sequences=True, return_state=True, **options)
    module = keras.layers.Bidirectional(module) if both else module
    images = np.zeros((B, T, *space, D), np.float32)
    module.build(images.shape)
    states = [state.shape for state in module(images)[1:]]
    weights = {variable.path: variable.shape for variable in module.weights}
    carry = {str(i): state for i, state in enumerate(states)}
    inputs = store.draw(rng, {"weights": weights, "xs": (T, B, *space, D), "carry": carry})
    module.set_weights(list(inputs["weights"].values()))
    with jax.default_matmul_precision("highest"):
        ys, *final = module(inputs["xs"].swapaxes(0, 1), initial_state=list(inputs["carry"].values()))
    outputs = {"ys": np.asarray(ys).swapaxes(0, 1), "carry": {str(i): np.asarray(s) for i, s in enumerate(final)}}
    return {"inputs": inputs, "outputs": outputs}


def main() -> None:
    versions = f"keras {keras.__version__}, jax {jax.__version__}, numpy {np.__version__}"
    made = {"seed": SEED, "versions": versions, "command": "python tests/golden/make_keras_images.py"}
    for name, description in LAYERS.items():
        store.save(f"keras_images_{name}", golden(*description), **made)


if __name__ == "__main__":
    main()
