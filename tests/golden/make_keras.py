"""Writes `keras_lstm.npz`, `keras_gru.npz`, `keras_gru_before.npz` and `keras_elman.npz`: what Keras's own layers say.

    pip install keras==3.15.1 jax==0.10.2 numpy
    python tests/golden/make_keras.py

`store.py` tells what the files hold. `gru_before` is the layer with `reset_after=False`; `mask` has holes and one row
without a valid step; `backward` is `go_backwards=True`, its outputs put back at the steps of their inputs. Keras runs
on JAX, where its layers compute in float32 at most, and with `zero_output_for_mask=True`, since by default it repeats
the last output. A second run on the same machine writes the same bytes.
"""

import os

os.environ.update(KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")

from typing import Any

import jax
import keras
import numpy as np
import store
from store import B, D, H, T

SEED = 2015
MASK = np.array([[0, 1, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0]], bool).T
LAYERS = {
    "lstm": (keras.layers.LSTM, {}, ("h", "c")),
    "gru": (keras.layers.GRU, {"reset_after": True}, ("h",)),
    "gru_before": (keras.layers.GRU, {"reset_after": False}, ("h",)),
    "elman": (keras.layers.SimpleRNN, {}, ("h",)),
}


def built(layer: Any, options: dict[str, Any], *, backward: bool = False) -> Any:
    """The layer with its weights, whose values do not matter."""
    returned = {"return_sequences": True, "return_state": True, "zero_output_for_mask": True}
    module = layer(H, go_backwards=backward, **returned, **options)
    module.build((B, T, D))
    return module


def outcome(module: Any, fields: tuple[str, ...], inputs: Any, cotangents: Any, *, masked: bool) -> Any:
    """Outputs of `module`, and the gradients of its inputs when the outputs have `cotangents`."""

    def program(inputs: Any) -> Any:
        (ys, *states), _ = module.stateless_call(
            [inputs["weights"][variable.name] for variable in module.trainable_variables],
            module.non_trainable_variables,
            inputs["xs"].swapaxes(0, 1),
            initial_state=[inputs["carry"][field] for field in fields],
            mask=MASK.T if masked else None,
        )
        ys = ys.swapaxes(0, 1)
        return {"ys": ys[::-1] if module.go_backwards else ys, "carry": dict(zip(fields, states, strict=True))}

    outputs, pull = jax.vjp(program, inputs)
    (gradients,) = pull(cotangents)
    return {"outputs": outputs, "gradients": gradients}


def golden(layer: Any, options: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    """Inputs and results of one layer."""
    rng = np.random.default_rng(SEED)
    weights = {variable.name: variable.shape for variable in built(layer, options).trainable_variables}
    carry = {field: (B, H) for field in fields}
    inputs = store.draw(rng, {"weights": weights, "xs": (T, B, D), "carry": carry})
    cotangents = store.draw(rng, {"ys": (T, B, H), "carry": carry})

    def result(*, masked: bool, backward: bool) -> Any:
        return outcome(built(layer, options, backward=backward), fields, inputs, cotangents, masked=masked)

    def directions(*, masked: bool) -> dict[str, Any]:
        return {"forward": result(masked=masked, backward=False), "backward": result(masked=masked, backward=True)}

    results = {"plain": directions(masked=False), "masked": directions(masked=True)}
    return {"inputs": inputs, "mask": MASK, "cotangents": cotangents, **results}


def main() -> None:
    versions = f"keras {keras.__version__}, jax {jax.__version__}, numpy {np.__version__}"
    made = {"seed": SEED, "versions": versions, "command": "python tests/golden/make_keras.py"}
    for name, description in LAYERS.items():
        store.save(f"keras_{name}", golden(*description), **made)


if __name__ == "__main__":
    main()
