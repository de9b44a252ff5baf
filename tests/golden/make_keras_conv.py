"""Writes `keras_conv_lstm.npz`: what Keras's ConvLSTM2D says.

    pip install keras==3.15.1 jax==0.10.2 numpy
    python tests/golden/make_keras_conv.py

The file holds `made` and `inputs` as `store.py` tells, in Keras's own names and layout (batch first, gates `i f c o`
side by side in the last axis), and `outputs`: `ys [B, T, *spatial, H]` and the final carry. A second run on the same
machine writes the same bytes.
"""

import jax
import numpy as np
import store
from make_keras import keras
from store import B, D, H, T

SEED = 2015
WINDOW, SPACE = (3, 2), (4, 5)


def evaluated(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    layer = keras.layers.ConvLSTM2D(H, WINDOW, padding="same", return_sequences=True, return_state=True)
    layer.build(inputs["xs"].shape)
    layer.set_weights([inputs[name] for name in ("kernel", "recurrent_kernel", "bias")])
    with jax.default_matmul_precision("highest"):
        found = layer(inputs["xs"], initial_state=[inputs["h"], inputs["c"]])
    return [np.asarray(array) for array in found]


def main() -> None:
    shapes = {
        "xs": (B, T, *SPACE, D),
        "kernel": (*WINDOW, D, 4 * H),
        "recurrent_kernel": (*WINDOW, H, 4 * H),
        "bias": (4 * H,),
        "h": (B, *SPACE, H),
        "c": (B, *SPACE, H),
    }
    inputs = store.draw(np.random.default_rng(SEED), shapes)
    ys, h, c = evaluated(inputs)
    versions = f"keras {keras.__version__}, jax {jax.__version__}, numpy {np.__version__}"
    made = {"seed": SEED, "versions": versions, "command": "python tests/golden/make_keras_conv.py"}
    store.save("keras_conv_lstm", {"inputs": inputs, "outputs": {"ys": ys, "h": h, "c": c}}, **made)


if __name__ == "__main__":
    main()
