"""Writes `haiku_lstm.npz`, `haiku_gru_before.npz` and others: what Haiku's own cores say.

    pip install dm-haiku==0.0.17 jax==0.10.2 numpy
    python tests/golden/make_haiku.py

`store.py` tells what the files hold, `lengths` and `packed` aside: Haiku has no padding. `backward` is
`dynamic_unroll(reverse=True)`; the convolutional LSTM's arrays have a spatial axis before the last. A second run on the
same machine writes the same bytes.
"""

import os

os.environ.update(JAX_PLATFORMS="cpu")

from functools import partial
from typing import Any

import haiku as hk
import jax
import numpy as np
import store
from store import B, D, H, T

SEED = 2014
SPACE, WINDOW = (4,), 3
CORES = {
    "lstm": (hk.LSTM, ("h", "c"), ()),
    "gru_before": (hk.GRU, ("h",), ()),
    "elman_relu": (hk.VanillaRNN, ("h",), ()),
    "conv_lstm": (partial(hk.Conv1DLSTM, SPACE, kernel_shape=WINDOW), ("h", "c"), SPACE),
}


def golden(core: Any, fields: tuple[str, ...], space: tuple[int, ...]) -> dict[str, Any]:
    """Inputs and results of one core, over images if there is `space`."""

    def unroll(xs: Any, carry: Any, *, reverse: bool) -> Any:
        state = hk.LSTMState(carry["h"], carry["c"]) if "c" in carry else carry["h"]
        ys, final = hk.dynamic_unroll(core(**{size: H}), xs, state, reverse=reverse)
        return {"ys": ys, "carry": dict(zip(fields, final if "c" in carry else (final,), strict=True))}

    size = "output_channels" if space else "hidden_size"
    network = hk.without_apply_rng(hk.transform(unroll))
    rng = np.random.default_rng(SEED)
    carry = {field: (B, *space, H) for field in fields}
    drawn = store.draw(rng, {"xs": (T, B, *space, D), "carry": carry})
    shapes = jax.eval_shape(lambda key: network.init(key, **drawn, reverse=False), jax.random.key(0))
    inputs = {
        "weights": store.draw(rng, {name: dict(jax.tree.map(np.shape, own)) for name, own in shapes.items()}),
        **drawn,
    }
    cotangents = store.draw(rng, {"ys": (T, B, *space, H), "carry": carry})

    def result(*, reverse: bool) -> Any:
        def program(inputs: Any) -> Any:
            return network.apply(inputs["weights"], inputs["xs"], inputs["carry"], reverse=reverse)

        outputs, pull = jax.vjp(program, inputs)
        (gradients,) = pull(cotangents)
        return {"outputs": outputs, "gradients": gradients}

    plain = {"forward": result(reverse=False), "backward": result(reverse=True)}
    return {"inputs": inputs, "cotangents": cotangents, "plain": plain}


def hk_versions() -> str:
    """What a file is made with."""
    return f"dm-haiku {hk.__version__}, jax {jax.__version__}, numpy {np.__version__}"


def main() -> None:
    made = {"seed": SEED, "versions": hk_versions(), "command": "python tests/golden/make_haiku.py"}
    for name, description in CORES.items():
        store.save(f"haiku_{name}", golden(*description), **made)


if __name__ == "__main__":
    main()
