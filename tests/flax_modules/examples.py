"""Cells and inputs that both modules are tried on."""

from typing import Any

import jax
import numpy as np

import jaxrnn
from arrays import random_params

B, T, D, H = 3, 5, 3, 4
LENGTHS = np.array([5, 2, 3])
CELLS = {"elman": jaxrnn.elman(H), "lstm": jaxrnn.lstm(H), "gru": jaxrnn.gru(H)}


def normal(seed: int, *shape: int) -> Any:
    """Random numbers in single precision."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def perturbed(cell: Any) -> Any:
    """Parameters in single precision without a zero in them, so that none can be left out or swapped unseen."""
    return jax.tree.map(np.float32, random_params(cell, D))


X = normal(0, B, T, D)
