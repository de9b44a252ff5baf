"""Defines a network in continuous time, in closed form. A step spans the time between two inputs."""

from typing import Any, Literal, Unpack

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from jaxrnn import initializers
from jaxrnn.carries import HiddenCarry
from jaxrnn.cell_options import CellOptions
from jaxrnn.options import checked, defaults
from jaxrnn.precision import accumulator, affine, compute_dtype, product
from jaxrnn.recurrence.with_gaps import with_gaps
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Activation, Array, Cell, Params


def lecun_tanh(x: Array) -> Array:
    """Computes LeCun's scaled hyperbolic tangent, with the constants of the authors' code."""
    return 1.7159 * jnp.tanh(0.666 * x)


@checked
@defaults(recurrent_kernel_init=initializers.lecun_normal)
def cfc(
    features: int,
    *,
    mode: Literal["default", "pure", "no_gate"] = "default",
    backbone_features: int = 128,
    backbone_layers: int = 1,
    activation: Activation = lecun_tanh,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a closed-form continuous-time network, for inputs at irregular times; the output is `hₜ`.

    **The last feature of each input is the time since the previous input**, and no weight sees it: `x [..., D]` is
    D − 1 features and that time gap. `unroll` turns the gaps into Δₜ, the time since the previous step in the direction
    of travel:

    * the gaps of invalid steps between two valid ones of a sequence add up, so that Δₜ is the time between the two; a
      gap that is not finite counts as 0, and so does padding before the first valid step and after the last one;
    * the first step of a sequence, at the beginning or at a reset, keeps its gap: 0, or the time since the state of the
      carry. A chunk that continues with a carry, and `step`, begin with such a gap: the time since the last valid step
      of the previous chunk, which only the caller knows;
    * under `reverse`, Δₜ is the time until the next valid step, and 0 at the last valid step of a sequence: no input
      has the time since the state of a carry.

    The backbone `s = backbone([xₜ, hₜ₋₁])` is one or more dense layers, and `f, g, a, b` are linear in s, each with its
    own weights. The state is,

    * with `mode="default"`, `hₜ = (1 − q) ⊙ tanh(f) + q ⊙ tanh(g)` with the gate `q = σ(a Δₜ + b)`;
    * with `mode="no_gate"`, `hₜ = tanh(f) + q ⊙ tanh(g)`;
    * with `mode="pure"`, `hₜ = A − A ⊙ exp(−Δₜ (|τ| + |f|)) ⊙ f`, with vectors τ and A.

    (Hasani et al. 2022, "Closed-form continuous-time neural networks"; the modes are those of the authors' code.) A
    step has several products, so it runs in the plain loop.

    Args:
      features: H, the width of the state.
      mode: one of the three equations.
      backbone_features: N, the width of the backbone's layers.
      backbone_layers: L, the number of its layers.
      activation: the backbone's nonlinearity.
      **options: see `CellOptions`. `kernel_init` draws `kernel [D − 1, 1, N]`, the backbone's further layers,
        `backbone_kernel [N, L − 1, N]`, and `head_kernel [N, 4, H]` for f, g, a, b, or `[N, 1, H]` for f alone, per
        layer and head; `recurrent_kernel_init`, here `initializers.lecun_normal` by default, draws
        `recurrent_kernel [H, 1, N]`; `bias_init` draws `bias [1, N]`, `backbone_bias [L − 1, N]` and `head_bias [4, H]`
        or `[1, H]`. A, `amplitude [H]`, starts at 1 and τ, `rate [H]`, at 0.

    Returns:
      A `Cell` with carry `HiddenCarry(h)`.

    Raises:
      ValueError: `features`, `backbone_features` or `backbone_layers` is not a positive int; an unknown `mode`; from
        `init`: inputs of a single feature, which is the gap.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> cell = jaxrnn.cfc(8)
      >>> values = jax.random.normal(jax.random.key(1), (5, 2, 3))
      >>> times = jnp.array([0.0, 0.1, 0.5, 0.6, 2.0])
      >>> gaps = jnp.diff(times, prepend=0.0)
      >>> xs = jnp.concatenate([values, jnp.broadcast_to(gaps[:, None, None], (5, 2, 1))], axis=-1)
      >>> carry, ys = jaxrnn.unroll(cell, cell.init(jax.random.key(0), 4), xs)
      >>> ys.shape
      (5, 2, 8)
    """
    heads = 1 if mode == "pure" else 4
    dtype, param_dtype = options["dtype"], options["param_dtype"]

    def init(key: Array, in_features: int) -> Params:
        keys = jax.random.split(key, 7)
        N, further = backbone_features, backbone_layers - 1
        per_gate, kernel_init, bias_init = initializers.per_gate, options["kernel_init"], options["bias_init"]
        params = {
            "kernel": per_gate(kernel_init, keys[0], in_features, 1, N, param_dtype),
            "recurrent_kernel": per_gate(options["recurrent_kernel_init"], keys[1], features, 1, N, param_dtype),
            "bias": bias_init(keys[2], (1, N), param_dtype),
            "head_kernel": per_gate(kernel_init, keys[3], N, heads, features, param_dtype),
            "head_bias": bias_init(keys[4], (heads, features), param_dtype),
        }
        if further:
            params["backbone_kernel"] = per_gate(kernel_init, keys[5], N, further, N, param_dtype)
            params["backbone_bias"] = bias_init(keys[6], (further, N), param_dtype)
        if not options["use_bias"]:
            params = {name: p for name, p in params.items() if "bias" not in name}
        if mode == "pure":
            params |= {"amplitude": jnp.ones(features, param_dtype), "rate": jnp.zeros(features, param_dtype)}
        return params

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> HiddenCarry:
        wide = accumulator(compute_dtype(dtype, params["recurrent_kernel"]))
        return HiddenCarry(zeros((*batch_shape, features), wide))

    def project(params: Params, xs: Array) -> tuple[Array]:
        compute = compute_dtype(dtype, xs, params["kernel"])
        return (_affine(params, "", xs, 0, compute).astype(compute),)

    def step(params: Params, carry: HiddenCarry, zs: tuple[Array, Array]) -> tuple[HiddenCarry, Array]:
        z, gap = zs
        wide = accumulator(z.dtype)
        s = activation(z.astype(wide) + product(carry.h, params["recurrent_kernel"][:, 0], z.dtype))
        for layer in range(backbone_layers - 1):
            s = activation(_affine(params, "backbone_", s, layer, z.dtype))
        f, *rest = (_affine(params, "head_", s, head, z.dtype) for head in range(heads))
        if mode == "pure":
            A, rate = (align(params[name].astype(wide), f) for name in ("amplitude", "rate"))
            h = A - A * jnp.exp(-gap * (jnp.abs(rate) + jnp.abs(f))) * f
        else:
            g, a, b = rest
            q = sigmoid(a * gap + b)
            h = (jnp.tanh(f) if mode == "no_gate" else (1 - q) * jnp.tanh(f)) + q * jnp.tanh(g)
        return HiddenCarry(h), h.astype(z.dtype)

    return with_gaps("cfc", Cell(init, init_carry, project, step, None, "dense"))


def _affine(params: Params, prefix: str, x: Array, layer: int, dtype: Any) -> Array:
    """Returns `x kernel + bias` of a layer, if there is a bias, accumulated in the accumulator of `dtype`."""
    bias = params.get(f"{prefix}bias")
    return affine(x, params[f"{prefix}kernel"][:, layer], None if bias is None else bias[layer], dtype)
