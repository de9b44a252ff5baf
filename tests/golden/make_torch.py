"""Writes `torch_lstm.npz`, `torch_gru.npz` and `torch_elman.npz`: what PyTorch's own layers say.

    pip install torch==2.13.0 numpy
    python tests/golden/make_torch.py

`store.py` tells what the files hold. `packed` is a `PackedSequence` of unsorted lengths, one of them 1; `backward` is
the second direction of a bidirectional layer, given the weights that `forward` has. Results are computed in float64 and
stored in float32, once PyTorch's own float32 has come within 5e-6 of them. A second run writes the same bytes.
"""

from typing import Any

import numpy as np
import store
import torch
from store import B, D, H, T
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

SEED = 2017
LENGTHS = (3, 7, 1, 5)
LAYERS = {"lstm": (torch.nn.LSTM, 4, ("h", "c")), "gru": (torch.nn.GRU, 3, ("h",)), "elman": (torch.nn.RNN, 1, ("h",))}


def outcome(layer: Any, inputs: Any, cotangents: Any, dtype: torch.dtype, *, packed: bool, backward: bool) -> Any:
    """Outputs of one direction of `layer`, and the gradients of their product with the cotangents."""
    module = layer(D, H, bidirectional=backward, dtype=dtype)
    suffix = "_l0_reverse" if backward else "_l0"
    weights = {name: getattr(module, name + suffix) for name in inputs["weights"]}
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(torch.from_numpy(inputs["weights"][name]))
    xs = torch.tensor(inputs["xs"], dtype=dtype, requires_grad=True)
    carry = {name: torch.tensor(leaf, dtype=dtype, requires_grad=True) for name, leaf in inputs["carry"].items()}

    sequence = pack_padded_sequence(xs, torch.tensor(LENGTHS), enforce_sorted=False) if packed else xs
    states = [torch.stack([torch.zeros_like(leaf), leaf] if backward else [leaf]) for leaf in carry.values()]
    if layer is torch.nn.LSTM:
        ys, states = module(sequence, tuple(states))
    else:
        ys, *states = module(sequence, *states)
    if packed:
        ys, _ = pad_packed_sequence(ys, total_length=T)
    ys = ys[..., -H:]
    final = {name: state[-1] for name, state in zip(carry, states, strict=True)}

    def weighed(cotangent: np.ndarray, output: torch.Tensor) -> torch.Tensor:
        return (torch.tensor(cotangent, dtype=dtype) * output).sum()

    loss = weighed(cotangents["ys"], ys) + sum(weighed(cotangents["carry"][name], final[name]) for name in final)
    loss.backward()
    return {
        "outputs": {"ys": ys.detach(), "carry": {name: leaf.detach() for name, leaf in final.items()}},
        "gradients": {
            "weights": {name: weight.grad for name, weight in weights.items()},
            "xs": xs.grad,
            "carry": {name: leaf.grad for name, leaf in carry.items()},
        },
    }


def rounded(exact: Any, single: Any) -> Any:
    """A float64 result in float32, having checked that the one computed in float32 says the same."""
    if isinstance(exact, dict):
        return {name: rounded(exact[name], single[name]) for name in exact}
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=5e-6)
    return exact.float().numpy()


def golden(layer: Any, gates: int, fields: tuple[str, ...]) -> dict[str, Any]:
    """Inputs and results of one layer."""
    rng = np.random.default_rng(SEED)
    biases = {"bias_ih": (gates * H,), "bias_hh": (gates * H,)}
    weights = {"weight_ih": (gates * H, D), "weight_hh": (gates * H, H), **biases}
    carry = {field: (B, H) for field in fields}
    inputs = store.draw(rng, {"weights": weights, "xs": (T, B, D), "carry": carry})
    cotangents = store.draw(rng, {"ys": (T, B, H), "carry": carry})

    def result(**way: bool) -> Any:
        return rounded(*(outcome(layer, inputs, cotangents, dtype, **way) for dtype in (torch.float64, torch.float32)))

    def directions(*, packed: bool) -> dict[str, Any]:
        return {"forward": result(packed=packed, backward=False), "backward": result(packed=packed, backward=True)}

    results = {"plain": directions(packed=False), "packed": directions(packed=True)}
    return {"inputs": inputs, "lengths": np.array(LENGTHS), "cotangents": cotangents, **results}


def main() -> None:
    versions = f"torch {torch.__version__}, numpy {np.__version__}"
    made = {"seed": SEED, "versions": versions, "command": "python tests/golden/make_torch.py"}
    for name, description in LAYERS.items():
        store.save(f"torch_{name}", golden(*description), **made)


if __name__ == "__main__":
    main()
