"""Defines the Legendre memory unit, whose memory holds a window of one signal. It has one gate, its state."""

from functools import cache, partial
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry, serializable
from jaxrnn.cell_options import CellOptions
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked, defaults
from jaxrnn.precision import product
from jaxrnn.recurrence.pointwise import cast, step_cell
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Activation, Array, Cell, Params

glorot_normal = jax.nn.initializers.glorot_normal()
lecun_uniform = jax.nn.initializers.lecun_uniform()


@serializable
class LMUCarry(NamedTuple):
    """`h [*batch, H]`, the state, and `m [*batch, N]`, the memory."""

    h: Array
    m: Array


@checked
@defaults(kernel_init=glorot_normal, recurrent_kernel_init=glorot_normal, use_bias=False)
def lmu(
    features: int,
    *,
    memory_size: int = 32,
    theta: float = 128.0,
    activation: Activation = jnp.tanh,
    encoder_init: Initializer = lecun_uniform,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a Legendre memory unit: a nonlinear state, and a linear memory of a window of time; the output is `hₜ`.

    The memory is written by one signal, `uₜ = eₓ · xₜ + eₕ · hₜ₋₁ + eₘ · mₜ₋₁`, and follows the differential equation
    `θ m′ = A m + B u`, in which, for i and j from 0 to N − 1, `Aᵢⱼ = (2i + 1) (−1)^(i − j + 1)` where i ≥ j and
    `−(2i + 1)` where i < j, and `Bᵢ = (2i + 1) (−1)ⁱ`. For a signal that is constant within each step, its solution is
    exactly `mₜ = Ā mₜ₋₁ + B̄ uₜ` with `Ā = exp(A / θ)` and `B̄ = A⁻¹ (Ā − I) B`, both constants. Then
    `hₜ = tanh(Wₓ xₜ + Wₕ hₜ₋₁ + Wₘ mₜ)` (Voelker, Kajić & Eliasmith 2019, "Legendre memory units: continuous-time
    representation in recurrent neural networks").

    The memory holds the last θ steps: `u(t − r θ) ≈ Σᵢ mᵢ Pᵢ(2r − 1)` for 0 ≤ r ≤ 1, with the Legendre polynomials Pᵢ.
    A step has several products, so it runs in the plain loop; those of the memory are never in half precision.

    Args:
      features: H, the width of the state.
      memory_size: N, the number of polynomials. It has to grow with the number of times that the signal changes within
        the window.
      theta: θ, the length of the window in steps.
      activation: the nonlinearity of the state.
      encoder_init: draws eₓ, `encoder [D]`, and eₕ, `recurrent_encoder [H]`, each as a matrix `(D, 1)` or `(H, 1)`; eₘ,
        `memory_encoder [N]`, starts at 0.
      **options: see `CellOptions`. `kernel_init`, here Glorot's normal distribution, draws Wₓ, `kernel [D, 1, H]`, and
        Wₘ, `memory_kernel [N, 1, H]`; `recurrent_kernel_init`, here the same, draws Wₕ, `recurrent_kernel [H, 1, H]`.
        There is no bias by default, as in the paper; with one it is `bias [1, H]`.

    Returns:
      A `Cell` with carry `LMUCarry(h, m)`.

    Raises:
      ValueError: `features` or `memory_size` is not a positive int; `theta` is not positive.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.lmu(8, memory_size=6, theta=20.0)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.m.shape
      ((5, 2, 8), (2, 6))
    """
    if not theta > 0:
        raise ValueError(f"lmu: theta is {theta!r}, expected a positive number of steps")
    keeps, writes = _memory(memory_size, theta)

    def step(params: Params, carry: LMUCarry, zs: tuple[Array, ...]) -> tuple[LMUCarry, Array]:
        z, u = zs
        wide, dot = u.dtype, partial(product, dtype=z.dtype)
        h, m = carry.h.astype(wide), carry.m.astype(wide)
        heard = (align(params["recurrent_encoder"], h) * h).sum(-1, keepdims=True)
        u = u + heard + (align(params["memory_encoder"], m) * m).sum(-1, keepdims=True)
        m = product(m, jnp.asarray(keeps.T, wide), wide) + align(jnp.asarray(writes, wide), m) * u
        state = dot(h, params["recurrent_kernel"][:, 0]) + dot(m, params["memory_kernel"][:, 0])
        h = activation(z.astype(wide) + state)
        return LMUCarry(h, m), h.astype(z.dtype)

    cell = step_cell(step, features, HiddenCarry, gates=("h",), **options)

    def init(key: Array, in_features: int) -> Params:
        k_cell, k_memory, k_input, k_state = jax.random.split(key, 4)
        dtype = options["param_dtype"]

        def encoder(key: Array, rows: int) -> Array:
            return initializers.per_gate(encoder_init, key, rows, 1, 1, dtype)[:, 0, 0]

        return cell.init(k_cell, in_features) | {
            "memory_kernel": initializers.per_gate(options["kernel_init"], k_memory, memory_size, 1, features, dtype),
            "encoder": encoder(k_input, in_features),
            "recurrent_encoder": encoder(k_state, features),
            "memory_encoder": jnp.zeros(memory_size, dtype),
        }

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> LMUCarry:
        h = cell.init_carry(params, batch_shape).h
        return LMUCarry(h, zeros((*batch_shape, memory_size), h.dtype))

    def project(params: Params, xs: Array) -> tuple[Array, Array]:
        (z,) = cell.project(params, xs)
        return z, product(xs, params["encoder"][:, None], z.dtype)

    once = cast("recurrent_kernel", "memory_kernel")
    return cell._replace(init=init, init_carry=init_carry, project=project, cast=once)


@cache
def _memory(size: int, theta: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Returns Ā `[N, N]` and B̄ `[N]`, in double precision: both are in the exponential of one larger matrix."""
    from scipy.linalg import expm  # of JAX's own requirements; nothing else here needs it

    i = np.arange(size)
    lower, signs = i[:, None] >= i, (-1.0) ** i
    system = np.zeros((size + 1, size + 1))
    system[:-1, :-1] = (2 * i[:, None] + 1) * np.where(lower, -np.outer(signs, signs), -1)
    system[:-1, -1] = (2 * i + 1) * signs
    exponential = expm(system / theta)
    return exponential[:-1, :-1], exponential[:-1, -1]
