"""Defines the mass-conserving LSTM. Gate order: `i` of each mass, `o`, and the rows of R where it is gated."""

from typing import Literal, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, softmax

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, affine, compute_dtype, einsum, product
from jaxrnn.shapes import zeros
from jaxrnn.types import Array, Cell, Params


@checked
def mc_lstm(
    features: int,
    *,
    masses: int = 1,
    redistribution: Literal["constant", "gated"] = "constant",
    output_bias: float = -3.0,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a mass-conserving LSTM, which neither makes nor loses any of the mass in its inputs; the output is `hₜ`.

    **The first features of each input are masses**, and the others are auxiliary inputs `aₜ`, which gates alone see:
    `x [..., D]` is M masses `xₜ` and D − M auxiliary inputs. All cells together have the mass that came in and has not
    gone out: `Σ cₜ + Σ hₜ = Σ cₜ₋₁ + Σ xₜ`, up to the rounding of float32 or float64.

    `iₜ = softmax(W aₜ + U cₜ₋₁ / ‖cₜ₋₁‖₁ + b)` for each mass, which shares it among the cells,
    `oₜ = σ(W aₜ + U cₜ₋₁ / ‖cₜ₋₁‖₁ + b)`, each with its own weights, `mₜ = cₜ₋₁ R + xₜ iₜ`, `hₜ = oₜ ⊙ mₜ` and
    `cₜ = (1 − oₜ) ⊙ mₜ` (Hoedt et al. 2021, "MC-LSTM: mass-conserving LSTM"). Each row of R is a softmax, which shares
    the mass of one cell among all cells; where it is gated, it depends on `aₜ` and `cₜ₋₁` as `iₜ` does, with H³
    further weights. An empty state counts as 0 in the gates. `MCLSTM` of `torchrecurrent` is another cell,
    `memory_controller_lstm`. A step has two products, so it runs in the plain loop.

    Args:
      features: H, the number of cells.
      masses: M, the number of masses in an input.
      redistribution: whether R is a parameter or depends on the step.
      output_bias: the number added to the output gate's initial bias; at first a negative one lets little mass out.
      **options: see `CellOptions`. With G of M + 1, or M + 1 + H if R is gated, the parameters are
        `kernel [D − M, G, H]`, `recurrent_kernel [H, G, H]` and `bias [G, H]`. What R is a softmax of starts as an
        identity matrix, as in the authors' code: in `redistribution_bias [H, H]`, or in `bias` if R is gated.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`, where `h` is the cell state `c`, not the output.

    Raises:
      ValueError: `features` or `masses` is not a positive int; an unknown `redistribution`; from `init`: no auxiliary
        inputs beside the masses.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.mc_lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jax.random.uniform(jax.random.key(1), (5, 2, 3))
      >>> carry, ys = jaxrnn.unroll(cell, params, xs)
      >>> bool(jax.numpy.allclose(xs[..., 0].sum(0), ys.sum((0, -1)) + carry.h.sum(-1)))
      True
    """
    gated = redistribution == "gated"
    gates, dtype, param_dtype = masses + 1 + gated * features, options["dtype"], options["param_dtype"]

    def init(key: Array, in_features: int) -> Params:
        if in_features <= masses:
            raise ValueError(
                f"mc_lstm: inputs have {in_features} features, expected {masses + 1} or more: the first "
                f"{masses} are masses, which gates do not see"
            )
        params = initializers.dense_params(
            key,
            in_features - masses,
            features,
            gates,
            kernel_init=options["kernel_init"],
            recurrent_kernel_init=options["recurrent_kernel_init"],
            use_bias=options["use_bias"],
            bias_init=initializers.gate_offset(options["bias_init"], masses, output_bias),
            param_dtype=param_dtype,
        )
        identity = jnp.eye(features, dtype=param_dtype)
        if not gated:
            return params | {"redistribution_bias": identity}
        return params | ({"bias": params["bias"].at[masses + 1 :].add(identity)} if "bias" in params else {})

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> HiddenCarry:
        wide = accumulator(compute_dtype(dtype, params["recurrent_kernel"]))
        return HiddenCarry(zeros((*batch_shape, features), wide))

    def project(params: Params, xs: Array) -> tuple[Array, Array]:
        compute = compute_dtype(dtype, xs, params["kernel"])
        z = affine(xs[..., masses:], params["kernel"], params.get("bias"), compute)
        return xs[..., :masses].astype(z.dtype), z.astype(compute)

    def step(params: Params, carry: HiddenCarry, zs: tuple[Array, Array]) -> tuple[HiddenCarry, Array]:
        (x, z), c = zs, carry.h
        total = jnp.abs(c).sum(-1, keepdims=True)
        share = c / jnp.where(total == 0, 1, total)
        z, compute = z.astype(c.dtype) + product(share, params["recurrent_kernel"], z.dtype), z.dtype
        i, o = softmax(z[..., :masses, :]), sigmoid(z[..., masses, :])
        with jax.default_matmul_precision("highest"):  # less would make or lose mass
            m = einsum("...k,...kn->...n", x.astype(c.dtype), i, c.dtype)
            if gated:
                m = m + einsum("...k,...kn->...n", c, softmax(z[..., masses + 1 :, :]), c.dtype)
            else:
                m = m + product(c, softmax(params["redistribution_bias"].astype(c.dtype)), c.dtype)
        h = o * m
        return HiddenCarry(m - h), h.astype(compute)

    return Cell(init, init_carry, project, step, None, "dense", example_features=masses + 1)
