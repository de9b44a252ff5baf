"""Writes `haiku_resets.npz`: an `hk.LSTM` in a `ResetCore`, from both ends of its inputs.

    pip install dm-haiku==0.0.17 jax==0.10.2 numpy
    python tests/golden/make_haiku_resets.py

The file holds `made` and `inputs` as `store.py` tells, `resets [T, B]`, and the outputs `ys [T, B, H]` of `forward` and
of `backward`, which is `dynamic_unroll(reverse=True)`, both from the core's initial state. A second run on the same
machine writes the same bytes.
"""

from typing import Any

import haiku as hk
import jax
import numpy as np
import store
from make_haiku import hk_versions
from store import B, D, H, T

SEED = 2020
RESETS = np.array([[0, 0, 1, 0, 0, 0, 0], [1, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0]], bool).T


def unroll(xs: Any, *, reverse: bool) -> Any:
    core = hk.ResetCore(hk.LSTM(H))
    return hk.dynamic_unroll(core, (xs, RESETS), core.initial_state(B), reverse=reverse)[0]


def main() -> None:
    rng, network = np.random.default_rng(SEED), hk.without_apply_rng(hk.transform(unroll))
    xs = store.draw(rng, (T, B, D))
    shapes = jax.eval_shape(lambda key: network.init(key, xs, reverse=False), jax.random.key(0))
    weights = store.draw(rng, {name: dict(jax.tree.map(np.shape, own)) for name, own in shapes.items()})
    ys = {way: network.apply(weights, xs, reverse=way == "backward") for way in ("forward", "backward")}
    made = {"seed": SEED, "versions": hk_versions(), "command": "python tests/golden/make_haiku_resets.py"}
    store.save("haiku_resets", {"inputs": {"weights": weights, "xs": xs}, "resets": RESETS, "ys": ys}, **made)


if __name__ == "__main__":
    main()
