"""Writes `keras_network_*.npz`: what Keras's layers say in `Bidirectional`, and without a bias.

    pip install keras==3.15.1 jax==0.10.2 numpy
    python tests/golden/make_keras_networks.py

As those of `make_keras.py`, but with outputs under a mask alone, and with `weights` by their paths. The initial and
the final `carry` are Keras's, a list of `[B, H]`. A second run on the same machine writes the same bytes.
"""

from typing import Any

import jax
import numpy as np
import store
from make_keras import MASK, keras
from store import B, D, H, T

SEED = 1991
NETWORKS = {
    "lstm": (keras.layers.LSTM, {}, "concat"),
    "lstm_without_bias": (keras.layers.LSTM, {"use_bias": False}, None),
    "lstm_hard_sigmoid": (keras.layers.LSTM, {"recurrent_activation": "hard_sigmoid"}, None),
    "gru": (keras.layers.GRU, {"reset_after": True}, "sum"),
    "gru_hard_sigmoid": (keras.layers.GRU, {"recurrent_activation": "hard_sigmoid", "activation": "elu"}, "concat"),
    "gru_before": (keras.layers.GRU, {"reset_after": False}, "ave"),
    "gru_without_bias": (keras.layers.GRU, {"use_bias": False}, None),
    "gru_before_without_bias": (keras.layers.GRU, {"use_bias": False, "reset_after": False}, None),
    "simple_rnn": (keras.layers.SimpleRNN, {"use_bias": False, "activation": "relu"}, "mul"),
}


def golden(layer: Any, options: dict[str, Any], merge: str | None) -> dict[str, Any]:
    """Inputs and results of one layer, in `Bidirectional` if it merges."""
    rng = np.random.default_rng(SEED)
    keras.utils.clear_session()  # names count from the start
    module = layer(H, return_sequences=True, return_state=True, zero_output_for_mask=True, **options)
    module = module if merge is None else keras.layers.Bidirectional(module, merge_mode=merge)
    module.build((B, T, D))
    states = [(B, H)] * (1 + (layer is keras.layers.LSTM)) * (1 if merge is None else 2)
    weights = {variable.path: variable.shape for variable in module.weights}
    inputs = store.draw(rng, {"weights": weights, "xs": (T, B, D), "carry": {str(i): s for i, s in enumerate(states)}})

    (ys, *final), _ = module.stateless_call(
        [inputs["weights"][variable.path] for variable in module.trainable_variables],
        module.non_trainable_variables,
        inputs["xs"].swapaxes(0, 1),
        initial_state=list(inputs["carry"].values()),
        mask=MASK.T,
    )
    outputs = {"ys": ys.swapaxes(0, 1), "carry": {str(i): state for i, state in enumerate(final)}}
    return {"inputs": inputs, "mask": MASK, "masked": {"outputs": jax.tree.map(np.asarray, outputs)}}


def main() -> None:
    versions = f"keras {keras.__version__}, jax {jax.__version__}, numpy {np.__version__}"
    made = {"seed": SEED, "versions": versions, "command": "python tests/golden/make_keras_networks.py"}
    for name, description in NETWORKS.items():
        store.save(f"keras_network_{name}", golden(*description), **made)


if __name__ == "__main__":
    main()
