"""Defines the simplified state space layer. `kernel [D, 2, N]` has the real and imaginary parts of a complex matrix."""

import math
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxrnn import checks
from jaxrnn.cell_options import DTypeOptions
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, product
from jaxrnn.recurrence.linear import gate_inputs, linear_cell, zero_order_hold
from jaxrnn.shapes import align
from jaxrnn.types import Array, Cell, Params

SLOWEST = -1e-4  # the real parts of eigenvalues stay below it, so that the system is stable


@checked
def s5(
    features: int,
    *,
    states: int | None = None,
    blocks: int = 1,
    dt_min: float = 0.001,
    dt_max: float = 0.1,
    **options: Unpack[DTypeOptions],
) -> Cell:
    """Makes a simplified state space layer: one diagonal system with any number of inputs and outputs.

    `hₜ = Λ̄ ⊙ hₜ₋₁ + (Λ̄ − 1) / Λ ⊙ (B xₜ)`, `yₜ = 2 Re(C hₜ) + D xₜ` with `Λ̄ = exp(Λ Δ)`: the system
    `h′ = Λ h + B x` with an input that is constant for a step of `Δ` (Smith, Warrington & Linderman 2023, "Simplified
    state space layers for sequence modeling"). At first `Λ` are the eigenvalues of the normal part of HiPPO-LegS, one
    of each conjugate pair, `B` and `C` are random real matrices in its eigenbasis, and `Δ` is log-uniform.

    Args:
      features: H, the width of the output.
      states: N, the complex states, each of which stands for a conjugate pair; H if None.
      blocks: the number of equal HiPPO matrices in the initial system.
      dt_min: the least step Δ at first.
      dt_max: the greatest.
      **options: see `DTypeOptions`.

    Returns:
      A `Cell` with carry `ComplexCarry(real, imag)`.

    Raises:
      ValueError: `features`, `states` or `blocks` is not a positive int; `blocks` do not divide `states`; not
        `0 < dt_min < dt_max`.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.s5(8, states=16)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.real.shape
      ((5, 2, 8), (2, 16))
    """
    n = features if states is None else states
    if n % blocks:
        raise ValueError(f"s5: blocks is {blocks}, expected a divisor of states, {n}")
    checks.check_time_steps("s5", dt_min, dt_max)

    param_dtype = options["param_dtype"]

    def init(key: Array, in_features: int) -> Params:
        wide = accumulator(param_dtype)
        k_dt, k_kernel, k_real, k_imag, k_skip = jax.random.split(key, 5)
        eigenvalues, vectors = _hippo(n // blocks)
        all_vectors = np.kron(np.eye(blocks), vectors)
        basis = lax.complex(jnp.asarray(all_vectors.real, wide), jnp.asarray(all_vectors.imag, wide))
        B = jax.random.normal(k_kernel, (in_features, 2 * n), wide) / math.sqrt(in_features)
        C = lax.complex(*(jax.random.normal(k, (2 * n, features), wide) for k in (k_real, k_imag))) / math.sqrt(2 * n)
        kernel, readout = B.astype(basis.dtype) @ basis.conj(), basis.T @ C
        params = {
            "lambda_real": jnp.tile(eigenvalues.real, blocks),
            "lambda_imag": jnp.tile(eigenvalues.imag, blocks),
            "log_dt": jax.random.uniform(k_dt, (n,), wide, math.log(dt_min), math.log(dt_max)),
            "kernel": jnp.stack([kernel.real, kernel.imag], axis=1),
            "readout": jnp.stack([readout.real, readout.imag], axis=1),
            "skip": jax.random.normal(k_skip, (in_features, features), wide) / math.sqrt(in_features),
        }
        return {name: p.astype(param_dtype) for name, p in params.items()}

    def system(params: Params) -> tuple[Array, Array]:
        real = jnp.minimum(params["lambda_real"], SLOWEST)
        return zero_order_hold(real, params["lambda_imag"], jnp.exp(params["log_dt"]))

    def decay(params: Params) -> Array:
        return system(params)[0]

    def gates(params: Params, xs: Array) -> Array:
        u = lax.complex(*gate_inputs(params, xs))
        return align(system(params)[1], u) * u

    def readout(params: Params, h: Array, xs: Array) -> Array:
        C = params["readout"]
        real, imag = (product(part, C[:, i], xs.dtype) for i, part in enumerate((h.real, h.imag)))
        return 2 * (real - imag) + product(xs, params["skip"], xs.dtype)

    return linear_cell(gates, init, n, decay=decay, readout=readout, complex_state=True, dtype=options["dtype"])


def _hippo(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns `n` eigenvalues of the normal part of the `2n × 2n` HiPPO-LegS matrix, and their eigenvectors.

    No two are conjugate. HiPPO-LegS is that part minus a matrix of rank one, `p pᵀ`.
    """
    p = np.sqrt(np.arange(2 * n) + 0.5)
    lower = np.tril(2 * np.outer(p, p), -1) + np.diag(np.arange(2 * n) + 1.0)
    normal = np.outer(p, p) - lower  # it is −1/2 on the diagonal, and skew-symmetric elsewhere
    frequencies, vectors = np.linalg.eigh(-1j * (normal + np.eye(2 * n) / 2))
    return -0.5 + 1j * frequencies[n:], vectors[:, n:]
