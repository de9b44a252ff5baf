"""Cells whose gradients and exponents are known."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jaxrnn


def linear(features: int) -> jaxrnn.Cell:
    """The map `hₜ = U hₜ₋₁ + W xₜ`."""
    return jaxrnn.elman(features, activation=jax.nn.identity, use_bias=False)


class Point(NamedTuple):
    """A point of the plane."""

    x: jax.Array
    y: jax.Array


def henon() -> jaxrnn.Cell:
    """The map of Hénon 1976, `(x, y) → (1 − a x² + y, b x)`, which reads no input; its output is x."""

    def init(key: Any, in_features: int) -> dict[str, jax.Array]:
        return {"a": jnp.array(1.4), "b": jnp.array(0.3)}

    def init_carry(params: Any, batch_shape: tuple[int, ...] = ()) -> Point:
        return Point(jnp.full(batch_shape, 0.1, params["a"].dtype), jnp.full(batch_shape, 0.1, params["a"].dtype))

    def step(params: Any, carry: Point, z: jax.Array) -> tuple[Point, jax.Array]:
        x = 1 - params["a"] * carry.x**2 + carry.y
        return Point(x, params["b"] * carry.x), x[..., None]

    return jaxrnn.Cell(init, init_carry, lambda params, xs: xs, step, None, "dense")
