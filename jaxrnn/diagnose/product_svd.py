"""Singular values of a product of matrices, the small ones as accurate as the large, without forming the product.

The product of k contracting steps has singular values from 1 to far below the smallest float. Here it is `Q D N`: an
orthogonal matrix, the lengths D of rows, as logarithms, and these rows with length 1. Triangular factors (as in Golub,
Sølna & Van Dooren 2000, "Computing the SVD of a general matrix product/quotient") keep N well conditioned, and then
rotations of rows find all singular values to the precision of N (one-sided Jacobi; Demmel & Veselić 1992, "Jacobi's
method is more accurate than QR").
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxrnn.types import Array

MOST_SWEEPS = 30  # of all pairs of rows; 256 rows are orthogonal after about 8


class Product(NamedTuple):
    """A product of matrices `[n, n]` for each sequence.

    Attributes:
      q: an orthogonal matrix, `[*batch, n, n]`.
      rows: N, `[*batch, n, n]`, each of length 1 or 0.
      logs: the logarithms of the lengths, `[*batch, n]`.
    """

    q: Array
    rows: Array
    logs: Array


def identity(like: Array) -> Product:
    """Returns the product of no matrices, for states of the shape of `like [*batch, n]`."""
    eye = jnp.broadcast_to(jnp.eye(like.shape[-1], dtype=like.dtype), (*like.shape, like.shape[-1]))
    return Product(eye, eye, jnp.zeros_like(like))


def times(product: Product, moved: Array) -> Product:
    """Returns `A product`, where `moved` is `A product.q`."""
    q, r = jnp.linalg.qr(moved)
    sizes = jnp.log(jnp.abs(r)) + product.logs[..., None, :]
    largest = _finite(sizes.max(-1, keepdims=True))
    rows, logs = _unit((jnp.sign(r) * jnp.exp(sizes - largest)) @ product.rows)
    return Product(q, rows, logs + largest[..., 0])


def log_singular_values(product: Product) -> Array:
    """Returns the logarithms of the singular values, `[*batch, n]`, descending."""
    return -jnp.sort(-_orthogonal(product.rows, product.logs), -1)


def _orthogonal(rows: Array, logs: Array) -> Array:
    """Returns the logarithms of the rows' lengths after rotations in pairs until all are orthogonal."""
    size = rows.shape[-1]
    if size == 1:
        return logs
    rounds = jnp.asarray(_rounds(size))
    tolerance = jnp.finfo(rows.dtype).eps * np.sqrt(size)

    def rotate(state: tuple[Array, Array, Array], pair: Array) -> tuple[tuple[Array, Array, Array], None]:
        rows, logs, worst = state
        (u, v), (log_u, log_v), cosine = _rotated(rows[..., pair, :], logs[..., pair])
        rows = rows.at[..., pair[0], :].set(u).at[..., pair[1], :].set(v)
        logs = logs.at[..., pair[0]].set(log_u).at[..., pair[1]].set(log_v)
        return (rows, logs, jnp.maximum(worst, cosine.max(-1))), None

    def sweep(state: Any) -> Any:
        rows, logs, _, count = state
        return *lax.scan(rotate, (rows, logs, jnp.zeros_like(logs[..., 0])), rounds)[0], count + 1

    def goes_on(state: Any) -> Array:
        return (state[2] > tolerance).any() & (state[3] < MOST_SWEEPS)

    return lax.while_loop(goes_on, sweep, (rows, logs, jnp.ones_like(logs[..., 0]), 0))[1]


def _rotated(rows: Array, logs: Array) -> tuple[tuple[Array, Array], tuple[Array, Array], Array]:
    """Returns pairs of rows after the rotation that makes them orthogonal, and the cosines of the angles before.

    `rows` is `[*batch, 2, pairs, n]`, of length 1, and `logs` `[*batch, 2, pairs]`. With ρ ≤ 1 the ratio of the
    lengths, the tangent of the rotation's angle is `τ ρ`, whose τ does not underflow.
    """
    swap = (logs[..., 0, :] < logs[..., 1, :])[..., None, :]
    rows, logs = jnp.where(swap[..., None], rows[..., ::-1, :, :], rows), jnp.where(swap, logs[..., ::-1, :], logs)
    long, short = rows[..., 0, :, :], rows[..., 1, :, :]
    cosine = (long * short).sum(-1)
    ratio = jnp.exp(logs[..., 1, :] - _finite(logs[..., 0, :]))
    gap = 1 - ratio**2
    scale = gap + jnp.sqrt(gap**2 + 4 * (cosine * ratio) ** 2)
    tau = -2 * cosine / jnp.where(scale == 0, 1, scale)
    turned = jnp.stack([long - (tau * ratio**2)[..., None] * short, short + tau[..., None] * long], -3)
    turned, growth = _unit(turned * lax.rsqrt(1 + (tau * ratio) ** 2)[..., None, :, None])
    logs = logs + growth
    rows, logs = jnp.where(swap[..., None], turned[..., ::-1, :, :], turned), jnp.where(swap, logs[..., ::-1, :], logs)
    return (rows[..., 0, :, :], rows[..., 1, :, :]), (logs[..., 0, :], logs[..., 1, :]), jnp.abs(cosine)


def _unit(rows: Array) -> tuple[Array, Array]:
    """Returns the rows with length 1, except that zeros stay, and the logarithms of their lengths."""
    length = jnp.linalg.norm(rows, axis=-1)
    return rows / jnp.where(length == 0, 1, length)[..., None], jnp.log(length)


def _finite(logs: Array) -> Array:
    """Returns 0 for the logarithm of 0, which has no difference to itself."""
    return jnp.where(logs == -jnp.inf, 0, logs)


def _rounds(size: int) -> np.ndarray:
    """Returns all pairs of rows, `[rounds, 2, pairs]`, with no row twice in a round: a round-robin tournament."""
    even = size + size % 2
    others = np.arange(1, even)
    rounds = []
    for turn in range(even - 1):
        order = np.concatenate([[0], np.roll(others, turn)])
        pairs = np.stack([order[: even // 2], order[: even // 2 - 1 : -1]])
        rounds.append(pairs[:, (pairs < size).all(0)])  # with an odd number of rows, one rests
    return np.array(rounds)
