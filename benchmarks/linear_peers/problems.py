"""What is timed: recurrences and layers with fresh random data, time-major as jaxrnn has it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

import jaxrnn
from benchmarks.linear import normal, uniform

REAL, COMPLEX, DELTA = "h = a h + b", "complex h = a h + b", "gated delta rule"
LRU, RG_LRU = "LRU layer", "RG-LRU layer"
SHAPES: dict[str, list[tuple[int, ...]]] = {  # T, B and H; T, B, heads and K for matrices
    REAL: [(4096, 8, 256), (16384, 1, 64), (512, 32, 512), (64, 64, 64)],
    COMPLEX: [(4096, 8, 64), (512, 32, 256)],
    DELTA: [(512, 1, 4, 64), (512, 4, 4, 32)],
    LRU: [(2048, 4, 128), (128, 32, 128)],
    RG_LRU: [(2048, 4, 128), (128, 32, 128)],
}
LAYERS: dict[str, Callable[[int], jaxrnn.Cell]] = {
    LRU: jaxrnn.lru,
    RG_LRU: partial(jaxrnn.rg_lru, use_value_kernel=False, bias_init=jax.nn.initializers.normal(0.1)),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """A function's arguments, all NumPy.

    Attributes:
      kind: one of the names above.
      arrays: the arguments of jaxrnn's function; for a layer its parameters and its inputs.
      cotangent: of the outputs.
    """

    kind: str
    arrays: tuple[Any, ...]
    cotangent: np.ndarray


def quick_shape(kind: str) -> tuple[int, ...]:
    return (5, 2, 4, 4) if kind == DELTA else (5, 2, 4)


def make_problem(kind: str, shape: tuple[int, ...], seed: int) -> Problem:
    """A problem drawn from `seed`."""
    rng = np.random.default_rng([seed, *shape, *kind.encode()])
    arrays = {REAL: real, COMPLEX: rotating, DELTA: delta}.get(kind, partial(layer, kind))(rng, *shape)
    cotangent = turning(rng, *shape) if kind == COMPLEX else normal(rng, *shape)
    return Problem(kind, arrays, cotangent)


def real(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, ...]:
    return uniform(rng, 0.5, 1, *shape), normal(rng, *shape)


def rotating(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, ...]:
    """The multiplier is the same at every step and in every row."""
    a = uniform(rng, 0.5, 1, shape[-1]) * np.exp(1j * uniform(rng, 0, np.pi, shape[-1]))
    return a.astype(np.complex64)[None, None], turning(rng, *shape)


def turning(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (normal(rng, *shape) + 1j * normal(rng, *shape)).astype(np.complex64)


def delta(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, ...]:
    """`q`, `k`, `v`, `log_decay` and `beta`, keys of length 1."""
    q, k, v = (normal(rng, *shape) for _ in range(3))
    q, k = q / np.float32(np.sqrt(shape[-1])), k / np.linalg.norm(k, axis=-1, keepdims=True)
    return q, k, v, uniform(rng, -0.2, 0, *shape[:-1]), uniform(rng, 0, 1, *shape[:-1])


def layer(kind: str, rng: np.random.Generator, *shape: int) -> tuple[Any, ...]:
    cell = LAYERS[kind](shape[-1])
    params = jax.tree.map(np.array, cell.init(jax.random.key(rng.integers(2**31)), shape[-1]))
    if "skip" in params:  # others have its diagonal alone
        params["skip"] = np.diag(np.diag(params["skip"]))
    return params, normal(rng, *shape)
