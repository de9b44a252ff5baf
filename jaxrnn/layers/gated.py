"""`gated` has a layer in one branch and a gate in the other, as the blocks around recurrences do."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.driver import run_layer, step_layer
from jaxrnn.initializers import Initializer
from jaxrnn.layers.layer import layer
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.shapes import align
from jaxrnn.types import Array, Carry, Layer, Params, Steps


def gated(
    where: str,
    branch: Layer,
    width: int,
    features: int,
    *,
    activation: Callable[[Array], Array],
    use_bias: bool,
    kernel_init: Initializer,
    dtype: Any,
    param_dtype: Any,
) -> Layer:
    """Makes a layer `yₜ = W_o (branch(W_x x)ₜ ⊙ activation(W_g xₜ))` with the carry of its branch.

    Parameters are `kernel [D, 2, width]` (branch, gate), `out [width, features]`, with `use_bias` `bias [2, width]` and
    `out_bias [features]`, and `"branch"`, if the branch has any.
    """

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_branch, k_out = jax.random.split(key, 3)
        out = kernel_init(k_out, (width, features), accumulator(param_dtype)).astype(param_dtype)
        kernel = initializers.per_gate(kernel_init, k_kernel, in_features, 2, width, param_dtype)
        inner = branch.init(k_branch, width)
        biases = {"bias": jnp.zeros((2, width), param_dtype), "out_bias": jnp.zeros(features, param_dtype)}
        params = {"kernel": kernel, "out": out} | (biases if use_bias else {})
        return params | ({"branch": inner} if inner else {})  # as `stack` does

    def both(params: Params, xs: Array, inner: Callable[[Array], tuple[Carry, Array]]) -> tuple[Carry, Array]:
        compute = compute_dtype(dtype, xs, params["kernel"])
        x, gate = (product(xs, params["kernel"][:, i], compute) for i in (0, 1))
        if use_bias:
            x, gate = (z + align(bias.astype(z.dtype), z) for z, bias in zip((x, gate), params["bias"], strict=True))
        carry, hs = inner(x.astype(compute))
        ys = product(hs.astype(gate.dtype) * activation(gate), params["out"], compute)
        return carry, (ys + align(params["out_bias"].astype(ys.dtype), ys) if use_bias else ys).astype(compute)

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Array]:
        return both(params, xs, lambda xs: run_layer(branch, params.get("branch", {}), carry, xs, steps)[:2])

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        return both(params, x, lambda x: step_layer(branch, params.get("branch", {}), carry, x, None))

    def init_carry(params: Params, batch_shape: tuple[int, ...]) -> Carry:
        return branch.init_carry(params.get("branch", {}), batch_shape)

    return layer(where, init, run, step, init_carry, any_axes=branch.any_axes, takes_none=True, splits=True)
