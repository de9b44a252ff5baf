"""Writes `torch_network_*.npz`: what PyTorch's modules of several layers, directions and options say.

    pip install torch==2.13.0 numpy
    python tests/golden/make_torch_networks.py

As those of `make_torch.py`, but with outputs of packed sequences alone, and with `weights` as a `state_dict` has them.
The initial and the final `carry` are PyTorch's, `[layers * directions, B, …]`. A second run writes the same bytes.
"""

from typing import Any

import numpy as np
import store
import torch
from make_torch import LENGTHS, rounded
from store import B, D, H, T
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

SEED = 1997
NETWORKS = {
    "lstm": (torch.nn.LSTM, {"num_layers": 2, "bidirectional": True}),
    "lstm_projected": (torch.nn.LSTM, {"num_layers": 2, "bidirectional": True, "proj_size": 2}),
    "lstm_projected_without_bias": (torch.nn.LSTM, {"proj_size": 2, "bias": False}),
    "gru": (torch.nn.GRU, {"num_layers": 2, "bidirectional": True}),
    "gru_without_bias": (torch.nn.GRU, {"num_layers": 3, "bias": False}),
    "rnn_relu": (torch.nn.RNN, {"num_layers": 2, "bidirectional": True, "nonlinearity": "relu"}),
    "rnn_without_bias": (torch.nn.RNN, {"bidirectional": True, "bias": False}),
}


def outcome(module: Any, inputs: Any, dtype: torch.dtype) -> Any:
    """Outputs of `module` in one precision."""
    module = module.to(dtype)
    module.load_state_dict({name: torch.tensor(weight, dtype=dtype) for name, weight in inputs["weights"].items()})
    xs = torch.tensor(inputs["xs"], dtype=dtype)
    carry = {name: torch.tensor(leaf, dtype=dtype) for name, leaf in inputs["carry"].items()}
    with torch.no_grad():
        packed = pack_padded_sequence(xs, torch.tensor(LENGTHS), enforce_sorted=False)
        ys, final = module(packed, (carry["h"], carry["c"]) if "c" in carry else carry["h"])
    ys, _ = pad_packed_sequence(ys, total_length=T)
    return {"ys": ys, "carry": dict(zip(("h", "c"), final, strict=True)) if "c" in carry else {"h": final}}


def golden(layer: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Inputs and results of one module."""
    rng = np.random.default_rng(SEED)
    module = layer(D, H, **options)
    count = module.num_layers * (1 + module.bidirectional)
    carry = {"h": (count, B, module.proj_size or H)} | ({"c": (count, B, H)} if layer is torch.nn.LSTM else {})
    weights = {name: tuple(weight.shape) for name, weight in module.state_dict().items()}
    inputs = store.draw(rng, {"weights": weights, "xs": (T, B, D), "carry": carry})

    outputs = rounded(*(outcome(module, inputs, dtype) for dtype in (torch.float64, torch.float32)))
    return {"inputs": inputs, "lengths": np.array(LENGTHS), "packed": {"outputs": outputs}}


def main() -> None:
    versions = f"torch {torch.__version__}, numpy {np.__version__}"
    made = {"seed": SEED, "versions": versions, "command": "python tests/golden/make_torch_networks.py"}
    for name, description in NETWORKS.items():
        store.save(f"torch_network_{name}", golden(*description), **made)


if __name__ == "__main__":
    main()
