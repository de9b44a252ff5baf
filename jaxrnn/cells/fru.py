"""Defines the Fourier recurrent unit, whose state sums its past under cosines. It has one gate, the new statistics."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import relu

from jaxrnn import initializers
from jaxrnn.carries import serializable
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked, defaults
from jaxrnn.precision import accumulator, affine, compute_dtype, product
from jaxrnn.recurrence.pointwise import cast
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Activation, Array, Cell, Params

truncated = jax.nn.initializers.truncated_normal(0.1)


@serializable
class FRUCarry(NamedTuple):
    """`u [*batch, K, S]`, the sums, and `steps [*batch]`, an integer: those since the sequence began."""

    u: Array
    steps: Array


@checked
@defaults(kernel_init=truncated, recurrent_kernel_init=truncated)
def fru(
    features: int,
    *,
    length: int = 1000,
    frequencies: int = 40,
    stats_features: int = 10,
    recurrent_features: int = 60,
    activation: Activation = relu,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a Fourier recurrent unit, whose state sums what it has seen under cosines of many frequencies.

    `gₜ = φ(W₁ uₜ₋₁ + b₁)` and `hₜ = φ(W₂ gₜ + U xₜ + b₂)`, S numbers, are added to the state of each frequency `fₖ`,
    `uₜ[k] = uₜ₋₁[k] + cos(2π (fₖ t / T + θₖ)) hₜ / T`, and the output is `oₜ = φ(W₃ uₜ + b₃)`; φ is ReLU. Nothing
    multiplies the old state, so its gradient can reach any step of T (Zhang et al. 2018, "Learning long term
    dependencies via Fourier recurrent units"). The frequencies are constants, 0 and others from 1/4 to T, evenly spread
    over their logarithm; t counts from 0, and invalid steps do not count. Both are as in the authors' code. A step has
    several products, so it runs in the plain loop.

    Args:
      features: H, the width of the output.
      length: T, the number of steps of a sequence. A longer one runs, but its sums go on to grow.
      frequencies: K, the number of frequencies.
      stats_features: S, the width of h.
      recurrent_features: R, the width of g, which is what h sees of the state.
      activation: φ.
      **options: see `CellOptions`. `kernel_init`, here a truncated normal distribution of scale 0.1, draws U,
        `kernel [D, 1, S]`, W₂, `backbone_kernel [R, 1, S]`, and W₃, `out [K S, H]`; `recurrent_kernel_init`, here the
        same, draws W₁, `recurrent_kernel [K S, 1, R]`; `bias_init` draws `bias [1, S]`, `recurrent_bias [R]` and
        `out_bias [H]`. θ, `phase [K]`, in turns, is drawn from that distribution.

    Returns:
      A `Cell` with carry `FRUCarry(u, steps)`.

    Raises:
      ValueError: `features`, `length`, `frequencies`, `stats_features` or `recurrent_features` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.fru(8, length=5, frequencies=6, stats_features=4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(cell, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape, carry.u.shape
      ((5, 2, 8), (2, 6, 4))
    """
    turns = np.concatenate([[0.0], np.geomspace(0.25, length, frequencies - 1)]) / length  # of each frequency in a step
    K, S, R, dtype = frequencies, stats_features, recurrent_features, options["dtype"]

    def init(key: Array, in_features: int) -> Params:
        keys, param_dtype, per_gate = jax.random.split(key, 8), options["param_dtype"], initializers.per_gate
        kernel_init, bias_init = options["kernel_init"], options["bias_init"]
        params = {
            "kernel": per_gate(kernel_init, keys[0], in_features, 1, S, param_dtype),
            "recurrent_kernel": per_gate(options["recurrent_kernel_init"], keys[1], K * S, 1, R, param_dtype),
            "backbone_kernel": per_gate(kernel_init, keys[2], R, 1, S, param_dtype),
            "out": per_gate(kernel_init, keys[3], K * S, 1, features, param_dtype)[:, 0],
            "phase": truncated(keys[4], (K,), accumulator(param_dtype)).astype(param_dtype),
        }
        if options["use_bias"]:
            params["bias"] = bias_init(keys[5], (1, S), param_dtype)
            params["recurrent_bias"] = bias_init(keys[6], (1, R), param_dtype)[0]
            params["out_bias"] = bias_init(keys[7], (1, features), param_dtype)[0]
        return params

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> FRUCarry:
        wide = accumulator(compute_dtype(dtype, params["recurrent_kernel"]))
        return FRUCarry(zeros((*batch_shape, K, S), wide), zeros(batch_shape, jnp.int32))

    def project(params: Params, xs: Array) -> Array:
        compute = compute_dtype(dtype, xs, params["kernel"])
        bias = params["bias"][0] if "bias" in params else None
        return affine(xs, params["kernel"][:, 0], bias, compute).astype(compute)

    def step(params: Params, carry: FRUCarry, z: Array) -> tuple[FRUCarry, Array]:
        wide = accumulator(z.dtype)
        seen = affine(_flat(carry.u), params["recurrent_kernel"][:, 0], params.get("recurrent_bias"), z.dtype)
        h = activation(z.astype(wide) + product(activation(seen), params["backbone_kernel"][:, 0], z.dtype))
        t = carry.steps[..., None].astype(wide)
        angle = 2 * np.pi * (align(jnp.asarray(turns, wide), t) * t + align(params["phase"].astype(wide), t))
        u = carry.u + jnp.cos(angle)[..., None] * h[..., None, :] / length
        y = activation(affine(_flat(u), params["out"], params.get("out_bias"), z.dtype))
        return FRUCarry(u, carry.steps + 1), y.astype(z.dtype)

    once = cast("recurrent_kernel", "backbone_kernel", "out")
    return Cell(init, init_carry, project, step, None, "dense", cast=once)


def _flat(u: Array) -> Array:
    return u.reshape(*u.shape[:-2], u.shape[-2] * u.shape[-1])
