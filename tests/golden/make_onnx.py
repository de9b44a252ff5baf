"""Writes `onnx_peephole_lstm.npz`: what the reference evaluator of ONNX says of an LSTM with peepholes.

    pip install onnx==1.23.2 numpy
    python tests/golden/make_onnx.py

The file holds `made` and `inputs` as `store.py` tells, in ONNX's own names and layout (gates `i o f c`, peepholes
`i o f`, an axis of directions in front), and `outputs`: `ys [T, B, H]` and the final `h [B, H]`. The evaluator has no
gradients, and does not give the final memory. A second run writes the same bytes.
"""

import numpy as np
import onnx
import store
from onnx import helper
from onnx.reference import ReferenceEvaluator
from store import B, D, H, T

SEED = 2002
NAMES = ("X", "W", "R", "B", "", "initial_h", "initial_c", "P")  # the empty one: lengths of sequences


def evaluated(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """`Y [T, 1, B, H]` and `Y_h [1, B, H]`."""
    node = helper.make_node("LSTM", NAMES, ["Y", "Y_h"], hidden_size=H)
    kind = onnx.TensorProto.FLOAT
    given = [helper.make_tensor_value_info(name, kind, array.shape) for name, array in inputs.items()]
    found = [helper.make_tensor_value_info(name, kind, None) for name in ("Y", "Y_h")]
    model = helper.make_model(helper.make_graph([node], "lstm", given, found))
    return ReferenceEvaluator(model).run(None, inputs)


def main() -> None:
    shapes = {
        "X": (T, B, D),
        "W": (1, 4 * H, D),
        "R": (1, 4 * H, H),
        "B": (1, 8 * H),
        "initial_h": (1, B, H),
        "initial_c": (1, B, H),
        "P": (1, 3 * H),
    }
    inputs = store.draw(np.random.default_rng(SEED), shapes)
    ys, h = evaluated(inputs)
    versions = f"onnx {onnx.__version__}, numpy {np.__version__}"
    made = {"seed": SEED, "versions": versions, "command": "python tests/golden/make_onnx.py"}
    golden = {"inputs": inputs, "outputs": {"ys": ys[:, 0], "h": h[0]}}
    store.save("onnx_peephole_lstm", golden, **made)


if __name__ == "__main__":
    main()
