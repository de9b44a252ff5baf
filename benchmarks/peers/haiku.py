"""Haiku: its cores in hk.dynamic_unroll.

Its GRU resets the state before the product, another function of as many multiplications, so it is compared with that
form of ours. Its VanillaRNN applies ReLU; here it is the same core with tanh.
"""

from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import Contender, NotOffered, of_jax
from benchmarks.problems import Case


class TanhRNN(hk.VanillaRNN):
    """hk.VanillaRNN with one bias, and tanh in place of ReLU."""

    def __call__(self, inputs: jax.Array, prev_state: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = jnp.tanh(hk.Linear(self.hidden_size)(inputs) + hk.Linear(self.hidden_size, with_bias=False)(prev_state))
        return out, out


CORES = {"lstm": hk.LSTM, "gru": hk.GRU, "elman": TanhRNN}
NOTES = {"gru": "resets before the product", "elman": "its VanillaRNN with tanh for ReLU"}


def contender(case: Case) -> Contender:
    if case.dtype != "float32":
        raise NotOffered("half precision needs a policy of another package")

    def run(xs: jax.Array) -> jax.Array:
        core = CORES[case.cell](case.shape.H, name="core")
        return hk.dynamic_unroll(core, xs, core.initial_state(xs.shape[1]))[0]

    transformed: Any = hk.transform(run)
    computes = "gru_before" if case.cell == "gru" else ""
    return of_jax(
        "haiku",
        hk.without_apply_rng(transformed).apply,
        _params(case),
        case,
        computes=computes,
        note=NOTES.get(case.cell, ""),
    )


def _params(case: Case) -> Any:
    if case.cell == "elman":
        kernel, recurrent, bias = case.gate("h")
        return {"core/linear": {"w": kernel, "b": bias}, "core/linear_1": {"w": recurrent}}
    if case.cell == "gru":  # its update gate is one minus ours
        kernel, recurrent, bias = case.joined("zrn")
        sign = np.repeat(np.array([-1, 1, 1], np.float32), case.shape.H)
        return {"core": {"w_i": kernel * sign, "w_h": recurrent * sign, "b": bias * sign}}
    kernel, recurrent, bias = case.joined("igfo")
    bias = bias - np.repeat(np.array([0, 0, 1, 0], np.float32), case.shape.H)  # it adds one to the forget gate itself
    return {"core/linear": {"w": np.concatenate([kernel, recurrent]), "b": bias}}
