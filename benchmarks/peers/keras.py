"""Keras on its JAX backend: LSTM, GRU and SimpleRNN layers through stateless_call. Its layers are batch-major."""

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"  # read once, when keras is imported

import jax
import keras
import numpy as np

from benchmarks.peers import Contender, of_jax
from benchmarks.problems import Case

LAYERS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "elman": keras.layers.SimpleRNN}
ORDERS = {"lstm": "ifgo", "gru": "zrn", "elman": "h"}


def contender(case: Case) -> Contender:
    # The initializer is named because the default one cannot draw in half precision; its values are replaced below.
    options = {"return_sequences": True, "recurrent_initializer": "glorot_uniform", "dtype": case.dtype}
    layer = LAYERS[case.cell](case.shape.H, **options)
    layer.build((case.shape.B, case.shape.T, case.shape.D))
    kernel, recurrent, bias = case.joined(ORDERS[case.cell])
    if case.cell == "gru":
        states_bias = np.zeros_like(bias)
        states_bias[2 * case.shape.H :] = case.params["recurrent_bias"]
        bias = np.stack([bias, states_bias])
    layer.set_weights([kernel, recurrent, bias])
    params = [variable.value for variable in layer.trainable_variables]
    rest = [variable.value for variable in layer.non_trainable_variables]

    def apply(params: Any, xs: jax.Array) -> jax.Array:
        return layer.stateless_call(params, rest, xs)[0]

    return of_jax("keras", apply, params, case, batch_major=True)
