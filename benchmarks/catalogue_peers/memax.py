"""memax: its layers over each sequence of a batch, in which the recurrence of a linear cell is an associative scan.

Its matrix states have as many entries as ours, in one head. Its layers differ from ours around the recurrence, so
parameters are counted and not copied; `benchmarks.packages` compares values where the two compute the same.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from memax.equinox.semigroups.delta import DeltaNet
from memax.equinox.semigroups.deltap import DeltaProduct
from memax.equinox.semigroups.fart import FART
from memax.equinox.semigroups.ffm import FFM
from memax.equinox.semigroups.fwp import FWP
from memax.equinox.semigroups.gdn import GDN
from memax.equinox.semigroups.lru import LRU
from memax.equinox.semigroups.s6 import S6
from memax.equinox.set_actions.elman import Elman
from memax.equinox.set_actions.gru import GRU
from memax.equinox.set_actions.lstm import LSTM
from memax.equinox.set_actions.mgu import MGU

from benchmarks.catalogue_peers import Peer, matched
from benchmarks.problems import Shape
from jaxrnn.cells import CONSTRUCTORS

NAME = "memax"
RENAMED = {
    "linear_attention": "FART",
    "fast_weight_programmer": "FWP",
    "gated_delta_net": "GDN",
    "mamba": "S6",
}
LAYERS: dict[str, Callable[[int, Any], Any]] = {
    "Elman": lambda H, key: Elman(recurrent_size=H, hidden_size=H, key=key),
    "LSTM": lambda H, key: LSTM(recurrent_size=H, key=key),
    "GRU": lambda H, key: GRU(recurrent_size=H, key=key),
    "MGU": lambda H, key: MGU(recurrent_size=H, key=key),
    "LRU": lambda H, key: LRU(recurrent_size=H, hidden_size=H, key=key),
    "S6": lambda H, key: S6(recurrent_size=H, hidden_size=H, key=key),
    "FFM": lambda H, key: FFM(hidden_size=H, trace_size=4, context_size=H // 4, key=key),
    "FART": lambda H, key: FART(hidden_size=H, recurrent_size=H // 2, key=key),
    "FWP": lambda H, key: FWP(hidden_size=H, recurrent_size=H // 2, key=key),
    "DeltaNet": lambda H, key: DeltaNet(hidden_size=H, recurrent_size=H // 2, key=key),
    "DeltaProduct": lambda H, key: DeltaProduct(hidden_size=H, recurrent_size=H // 2, rank=2, key=key),
    "GDN": lambda H, key: GDN(hidden_size=H, recurrent_size=H // 2, key=key),
}
NOTES = {"S6": "has one state for each feature, where mamba has 16"}


def names() -> dict[str, str]:
    """Its layers by our names."""
    return matched(CONSTRUCTORS, LAYERS, RENAMED)


def peer(name: str, shape: Shape, seed: int) -> Peer:
    """The layer of one cell, whose inputs are as wide as its outputs."""
    k_layer, k_xs, k_cotangent = jax.random.split(jax.random.key(seed), 3)
    params, rest = eqx.partition(LAYERS[names()[name]](shape.H, k_layer), eqx.is_inexact_array)
    xs, cotangent = (jax.random.normal(key, (shape.B, shape.T, shape.H)) for key in (k_xs, k_cotangent))
    starts = jnp.zeros(shape.T, bool)

    def weighed(params: Any, xs: jax.Array) -> jax.Array:
        layer = eqx.combine(params, rest)
        ys = jax.vmap(lambda x: layer(layer.initialize_carry(), (x, starts))[1])(xs)
        return (ys * cotangent).sum()

    both = jax.jit(jax.value_and_grad(weighed, argnums=(0, 1)))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    layer = names()[name]
    return Peer(NAME, layer, lambda: jax.block_until_ready(both(params, xs)), count, "counts", NOTES.get(layer, ""))
