"""Writes `torchrecurrent.npz`: outputs and gradients of the cells of torchrecurrent.

    pip install torch==2.13.0 numpy && pip install --no-deps torchrecurrent==0.2.5
    python tests/golden/make_torchrecurrent.py

For each cell, `inputs` are its weights in torchrecurrent's names, `xs [T, B, D]`, and the initial `carry`; `ys` are the
outputs of all steps, and `gradients` those of `sum(ys * cotangent)` in `xs`. Results are computed in float64 and stored
in float32. A second run writes the same bytes. Some of its biases have no counterpart in the papers: they are zero.
"""

from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import store
import torch
import torchrecurrent
from store import B, D, H, T

SEED = 2018
DELAY = 3


class Delayed(torchrecurrent.tauGRUCell):
    """The cell with the state of `DELAY` steps before, as its layer gives it."""

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        self.states = [*getattr(self, "states", [torch.zeros_like(state)] * DELAY), state]
        return super().forward(x, state, self.states[-1 - DELAY])


CELLS = {
    "ugrnn": torchrecurrent.UGRNNCell,
    "intersection_rnn": torchrecurrent.IntersectionRNNCell,
    "fast_rnn": torchrecurrent.FastRNNCell,
    # Its gate has tanh by default, although its documentation and the paper have a sigmoid.
    "fast_grnn": partial(torchrecurrent.FastGRNNCell, nonlinearity="sigmoid"),
    "li_gru": torchrecurrent.LiGRUCell,
    "star": torchrecurrent.STARCell,
    "minimal_rnn": torchrecurrent.MinimalRNNCell,
    "ran": torchrecurrent.RANCell,
    "atr": torchrecurrent.ATRCell,
    "cfn": torchrecurrent.CFNCell,
    "mut1": torchrecurrent.MUT1Cell,
    "mut2": torchrecurrent.MUT2Cell,
    "mut3": torchrecurrent.MUT3Cell,
    "original_lstm": torchrecurrent.OriginalLSTMCell,
    "multiplicative_lstm": torchrecurrent.MultiplicativeLSTMCell,
    "sgu": torchrecurrent.SGUCell,
    "dsgu": torchrecurrent.DSGUCell,
    "nbr": torchrecurrent.NBRCell,
    "light_ru": torchrecurrent.LightRUCell,
    "sgrn": torchrecurrent.SGRNCell,
    "mi_ru1": torchrecurrent.MiRU1Cell,
    "mi_ru2": torchrecurrent.MiRU2Cell,
    "t_rnn": torchrecurrent.TRNNCell,
    "t_gru": torchrecurrent.TGRUCell,
    "t_lstm": torchrecurrent.TLSTMCell,
    "res_lstm": torchrecurrent.ResLSTMCell,
    "unicornn": partial(torchrecurrent.UnICORNNCell, dt=0.3, alpha=2.0, recurrent_bias=True),
    "wmc_lstm": torchrecurrent.WMCLSTMCell,
    "nas": torchrecurrent.NASCell,
    "scrn": partial(torchrecurrent.SCRNCell, alpha=0.75),
    "tau_gru": Delayed,
    "memory_controller_lstm": torchrecurrent.MCLSTMCell,
}
# Of a cell's biases, the gates that its paper does not have.
ZERO = {
    "atr": ("bias_hh", slice(None)),
    "cfn": ("bias_ih", slice(2 * H, None)),
    "mut1": ("bias_ih", slice(2 * H, None)),
    "multiplicative_lstm": ("bias_hh", slice(None)),
    "sgu": ("bias_hh", slice(H)),
    "dsgu": ("bias_hh", slice(H)),
    "light_ru": ("bias_ih", slice(H)),
    "sgrn": ("bias_ih", slice(None)),
    "t_rnn": ("bias_ih", slice(H)),
    "wmc_lstm": ("bias_mh", slice(None)),
    "scrn": ("bias_ih", slice(H)),
}
# Of the cells that have another state beside `h`; x is the last input.
LSTM_STATES = {"h": (B, H), "c": (B, H)}
TYPED_STATES = {"c": (B, H), "x": (B, D)}
STATES: dict[str, dict[str, tuple[int, int]]] = {
    "ran": LSTM_STATES,
    "original_lstm": LSTM_STATES,
    "multiplicative_lstm": LSTM_STATES,
    "wmc_lstm": LSTM_STATES,
    "nas": LSTM_STATES,
    "res_lstm": LSTM_STATES,
    "t_gru": TYPED_STATES,
    "t_lstm": TYPED_STATES,
    "unicornn": {"h": (B, H), "v": (B, H)},
    "scrn": {"h": (B, H), "s": (B, H)},
    "memory_controller_lstm": LSTM_STATES,
}
APART = ("intersection_rnn", "t_lstm", "memory_controller_lstm")  # the output is not the state
WIDE = ("intersection_rnn",)  # inputs are as wide as the state


def golden(name: str, rng: np.random.Generator) -> dict[str, Any]:
    """Inputs and results of one cell."""
    width = H if name in WIDE else D
    cell = CELLS[name](width, H).double()
    weights = {key: weight for key, weight in cell.named_parameters() if weight.ndim}  # a number keeps its value
    shapes = {key: tuple(weight.shape) for key, weight in weights.items()}
    states = STATES.get(name, {"h": (B, H)})
    inputs = store.draw(rng, {"weights": shapes, "xs": (T, B, width), "carry": states})
    if name in ZERO:
        key, rows = ZERO[name]
        inputs["weights"][key][rows] = 0
    if name == "multiplicative_lstm":
        inputs["weights"]["bias_ih"][:H] = 0
    with torch.no_grad():
        for key, weight in weights.items():
            weight.copy_(torch.from_numpy(inputs["weights"][key]))
    xs = torch.tensor(inputs["xs"], dtype=torch.float64, requires_grad=True)
    state: Any = tuple(torch.tensor(inputs["carry"][field], dtype=torch.float64) for field in states)
    state = state if name in STATES else state[0]
    ys = []
    for x in xs:
        made = cell(x, state)
        y, state = made if name in APART else (made[0] if name in STATES else made, made)
        ys.append(y)
    cotangent = store.draw(rng, (T, B, H))
    out = torch.stack(ys)
    (out * torch.tensor(cotangent, dtype=torch.float64)).sum().backward()
    results = {"ys": out.detach().float().numpy(), "gradients": xs.grad.float().numpy()}
    return {"inputs": inputs, "cotangent": cotangent, **results}


def main() -> None:
    versions = f"torchrecurrent {version('torchrecurrent')}, torch {torch.__version__}, numpy {np.__version__}"
    made = {"seed": SEED, "versions": versions, "command": "python tests/golden/make_torchrecurrent.py"}
    rng = np.random.default_rng(SEED)
    store.save("torchrecurrent", {name: golden(name, rng) for name in CELLS}, **made)


if __name__ == "__main__":
    main()
