"""Converts weights and carries from and to other frameworks, as NumPy arrays, without importing the frameworks."""

from jaxrnn.interop.flax import from_flax, to_flax
from jaxrnn.interop.haiku import from_haiku, to_haiku
from jaxrnn.interop.keras import from_keras, to_keras
from jaxrnn.interop.states import (
    carry_from_flax,
    carry_from_haiku,
    carry_from_keras,
    carry_from_torch,
    carry_to_flax,
    carry_to_haiku,
    carry_to_keras,
    carry_to_torch,
)
from jaxrnn.interop.torch import from_torch, to_torch

__all__ = [
    "carry_from_flax",
    "carry_from_haiku",
    "carry_from_keras",
    "carry_from_torch",
    "carry_to_flax",
    "carry_to_haiku",
    "carry_to_keras",
    "carry_to_torch",
    "from_flax",
    "from_haiku",
    "from_keras",
    "from_torch",
    "to_flax",
    "to_haiku",
    "to_keras",
    "to_torch",
]
