"""Writes `jax_peers.npz`: outputs and gradients of recurrences of memax and discretax, two libraries of JAX.

    pip install "jax[cpu]" numpy equinox einops jaxtyping optax beartype
    pip install --no-deps memax==0.1.1 discretax==0.3.0  # the latter on Python 3.12
    python tests/golden/make_jax_peers.py

For each, `inputs` are its weights in its own names and `xs [T, H]`; `ys` are the outputs of all steps, and `gradients`
those of `sum(ys * cotangent)` in `xs`. Results are stored in float32; discretax computes them in float64, and memax in
float32, for which its dtypes are written. A second run on the same platform writes the same bytes.
"""

from importlib.metadata import version
from typing import Any

import discretax.sequence_mixers as discretax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import store
from memax.equinox.semigroups.delta import DeltaNet
from memax.equinox.semigroups.deltap import DeltaProduct
from memax.equinox.semigroups.fart import FART
from memax.equinox.semigroups.ffm import FFM
from memax.equinox.semigroups.fwp import FWP
from memax.equinox.semigroups.gdn import GDN
from memax.equinox.semigroups.lru import LRU
from store import H, T

SEED = 2025
N = 4  # states, or the width of keys and values
KEY = jax.random.key(0)
PEERS = {
    "memax": {
        "linear_attention": lambda: FART(H, N, KEY),
        "additive": lambda: FWP(H, N, KEY),
        "delta": lambda: DeltaNet(H, N, KEY),
        "gated_delta": lambda: GDN(H, N, KEY),
        "delta_product": lambda: DeltaProduct(H, N, 2, KEY),
        "ffm": lambda: FFM(H, N, 2, KEY),
        "lru": lambda: LRU(H, H, KEY),  # it checks the output against the number of states
    },
    "discretax": {
        "lru": lambda: discretax.LRUSequenceMixer(H, KEY, state_dim=N),
        "s4d": lambda: discretax.S4DSequenceMixer(H, KEY, state_dim=2 * N),
        "s5": lambda: discretax.S5SequenceMixer(H, KEY, state_dim=2 * N),
        "linoss": lambda: discretax.LinOSSSequenceMixer(H, KEY, state_dim=N, discretization="IM", damping=False),
        "linoss_explicit": lambda: discretax.LinOSSSequenceMixer(
            H, KEY, state_dim=N, discretization="IMEX", damping=False
        ),
        "delta": lambda: discretax.DeltaNetSequenceMixer(H, KEY, n_heads=2, head_dim=N, chunk_size=T),
    },
}
POSITIVE = ("A_diag",)  # a stiffness, which the cell keeps a little above 0
NEGATIVE = ("Lambda_re",)


def run(module: Any, xs: Any) -> Any:
    if not hasattr(module, "algebra"):
        return module(xs, KEY)
    start = jnp.zeros(len(xs), bool)
    return module(module.initialize_carry(), (xs, start))[1]


def weighed(module: Any, rng: np.random.Generator) -> tuple[Any, dict[str, np.ndarray]]:
    """The module with random weights, and these by their names."""
    arrays, rest = eqx.partition(module, eqx.is_inexact_array)
    leaves, structure = jax.tree_util.tree_flatten_with_path(arrays)
    weights = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        drawn = store.draw(rng, (2, *leaf.shape)) if jnp.iscomplexobj(leaf) else store.draw(rng, leaf.shape)
        sign = 1 if name.endswith(POSITIVE) else -1 if name.endswith(NEGATIVE) else None
        weights[name] = drawn if sign is None else sign * (abs(drawn) + np.float32(0.1))
    kind = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
    made = [
        jnp.asarray(w[0] + 1j * w[1] if jnp.iscomplexobj(leaf) else w, None if jnp.iscomplexobj(leaf) else kind)
        for w, (_, leaf) in zip(weights.values(), leaves, strict=True)
    ]
    return eqx.combine(jax.tree.unflatten(structure, made), rest), weights


def golden(make: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Inputs and results of one recurrence."""
    module, weights = weighed(make(), rng)
    xs, cotangent = store.draw(rng, (T, H)), store.draw(rng, (T, H))
    ys, back = jax.vjp(lambda xs: run(module, xs), jnp.asarray(xs, jnp.zeros(0).dtype))
    (gradients,) = back(jnp.asarray(cotangent, ys.dtype))
    results = {"ys": np.float32(ys), "gradients": np.float32(gradients)}
    return {"inputs": {"weights": weights, "xs": xs}, "cotangent": cotangent, **results}


def main() -> None:
    versions = ", ".join(f"{name} {version(name)}" for name in ("memax", "discretax", "jax", "equinox"))
    made = {"seed": SEED, "versions": versions, "command": "python tests/golden/make_jax_peers.py"}
    rng, results = np.random.default_rng(SEED), {}
    for package, peers in PEERS.items():
        with jax.enable_x64(package == "discretax"):
            results |= {f"{package}_{name}": golden(make, rng) for name, make in peers.items()}
    store.save("jax_peers", results, **made)


if __name__ == "__main__":
    main()
