"""Random arrays of the shapes that a model has, and functions that NumPy lacks."""

from typing import Any

import jax
import numpy as np

import jaxrnn


def shapes_of(model: jaxrnn.Cell | jaxrnn.Layer, in_features: int) -> Any:
    """The shapes and dtypes of a model's parameters."""
    return jax.eval_shape(lambda key: model.init(key, in_features), jax.random.key(0))


def random_like(tree: Any, seed: int = 0) -> Any:
    """Random numbers, in double precision, of the shapes of a pytree's leaves."""
    draw = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: 0.7 * draw.normal(size=leaf.shape), tree)


def random_params(model: jaxrnn.Cell | jaxrnn.Layer, in_features: int, seed: int = 0) -> Any:
    """Random numbers in place of all of a model's parameters, zeros and ones among them, too."""
    return random_like(shapes_of(model, in_features), seed)


def zero_params(model: jaxrnn.Cell | jaxrnn.Layer, in_features: int) -> Any:
    """Zeros in place of a model's parameters, in the dtypes of these."""
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes_of(model, in_features))


def sigma(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def silu(x: Any) -> Any:
    return x * sigma(x)


def softplus(x: Any) -> Any:
    return np.log1p(np.exp(x))
