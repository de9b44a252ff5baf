"""flax.linen: OptimizedLSTMCell, GRUCell and SimpleCell in nn.RNN."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.peers import Contender, of_jax
from benchmarks.problems import Case

CELLS = {"lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell, "elman": nn.SimpleCell}


def contender(case: Case) -> Contender:
    model = nn.RNN(CELLS[case.cell](case.shape.H, dtype=case.dtype), time_major=True)
    # A SimpleCell keeps its carry in the dtype of the computation, but does not begin so.
    carry = jnp.zeros((case.shape.B, case.shape.H), case.dtype) if case.cell == "elman" else None

    def apply(params: Any, xs: jax.Array) -> Any:
        return model.apply({"params": {"cell": params}}, xs, initial_carry=carry)

    return of_jax("flax linen", apply, _params(case), case)


def _params(case: Case) -> Any:
    if case.cell == "elman":
        kernel, recurrent, bias = case.gate("h")
        return {"i": {"kernel": kernel, "bias": bias}, "h": {"kernel": recurrent}}
    if case.cell == "lstm":
        gates = {gate: case.gate(gate) for gate in "ifgo"}
        inputs = {f"i{gate}": {"kernel": kernel} for gate, (kernel, _, _) in gates.items()}
        return inputs | {f"h{gate}": {"kernel": u, "bias": bias} for gate, (_, u, bias) in gates.items()}
    gates = {gate: case.gate(gate) for gate in "rzn"}
    inputs = {f"i{gate}": {"kernel": kernel, "bias": bias} for gate, (kernel, _, bias) in gates.items()}
    states: dict[str, Any] = {f"h{gate}": {"kernel": recurrent} for gate, (_, recurrent, _) in gates.items()}
    states["hn"]["bias"] = case.params["recurrent_bias"]
    return inputs | states
