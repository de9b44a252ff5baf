"""Weights from and to other frameworks, as mappings of NumPy arrays; the frameworks themselves are not needed."""

from jaxrnn.interop.flax import from_flax, to_flax
from jaxrnn.interop.haiku import from_haiku, to_haiku
from jaxrnn.interop.keras import from_keras, to_keras
from jaxrnn.interop.torch import from_torch, to_torch

__all__ = ["from_flax", "from_haiku", "from_keras", "from_torch", "to_flax", "to_haiku", "to_keras", "to_torch"]
