"""`growth` makes vectors orthonormal and says how much each had grown; it is differentiable at lost directions, too."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.types import Array


@jax.custom_jvp
def growth(a: Array) -> tuple[Array, Array]:
    """Returns `(Q, log |diag R|)` of `A = Q R`, `A [..., n, m]` with m ≤ n.

    A column that depends on those before it, to rounding, has the logarithm −inf. JAX's derivative of a QR would be NaN
    there; this one leaves such columns out.
    """
    q, _, logs, _ = _parts(a)
    return q, logs


def _parts(a: Array) -> tuple[Array, Array, Array, Array]:
    """Returns Q, R, the logarithms, and bool `[..., m]`: which columns are lost."""
    q, r = jnp.linalg.qr(a)
    sizes = jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1))
    lost = sizes <= jnp.finfo(a.dtype).eps * jnp.linalg.norm(a, axis=-2)
    return q, r, jnp.where(lost, -jnp.inf, jnp.log(jnp.where(lost, 1, sizes))), lost


@growth.defjvp
def _growth_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Returns the values and their changes: `dQ = X − Q W + Q (L − Lᵀ)`, and the diagonal of W for the logarithms.

    Here `X = dA R⁻¹`, `W = Qᵀ X`, and L is the part of W below its diagonal.
    """
    (a,), (da,) = primals, tangents
    q, r, logs, lost = _parts(a)
    eye = jnp.eye(r.shape[-1], dtype=bool)
    r = jnp.where(lost[..., None], eye.astype(r.dtype), r)  # a lost column has no part in those after it
    x = lax.linalg.triangular_solve(r, da, left_side=False)
    x = jnp.where(lost[..., None, :], 0, x)
    w = jnp.swapaxes(q, -1, -2) @ x
    below = jnp.tril(w, -1)
    dq = x - q @ w + q @ (below - jnp.swapaxes(below, -1, -2))
    return (q, logs), (dq, jnp.diagonal(w, axis1=-2, axis2=-1))
