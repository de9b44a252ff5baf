"""`gated`: a layer in one branch, a gate in the other; what the blocks around recurrences have in common."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn import checks, initializers, trees
from jaxrnn.initializers import Initializer
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence.loop import silence, valid_steps
from jaxrnn.shapes import align
from jaxrnn.types import Array, Carry, Layer, Params


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
    """`yₜ = W_o (branch(W_x x)ₜ ⊙ activation(W_g xₜ))`; its carry is the branch's.

    Parameters are `kernel [D, 2, width]` (branch, gate), `out [width, features]`, `"branch"`, and with `use_bias`
    `bias [2, width]` and `out_bias [features]`.
    """

    def init(key: Array, in_features: int) -> Params:
        k_kernel, k_branch, k_out = jax.random.split(key, 3)
        out = kernel_init(k_out, (width, features), accumulator(param_dtype)).astype(param_dtype)
        params = {
            "kernel": initializers.per_gate(kernel_init, k_kernel, in_features, 2, width, param_dtype),
            "branch": branch.init(k_branch, width),
            "out": out,
        }
        biases = {"bias": jnp.zeros((2, width), param_dtype), "out_bias": jnp.zeros(features, param_dtype)}
        return params | (biases if use_bias else {})

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        return branch.init_carry(params["branch"], batch_shape)

    def run(params: Params, xs: Array, inner: Callable[[Array], tuple[Carry, Array]]) -> tuple[Carry, Array]:
        compute = compute_dtype(dtype, xs, params["kernel"])
        x, gate = (product(xs, params["kernel"][:, i], compute) for i in (0, 1))
        if use_bias:
            x, gate = (z + align(bias.astype(z.dtype), z) for z, bias in zip((x, gate), params["bias"], strict=True))
        carry, hs = inner(x.astype(compute))
        ys = product(hs.astype(gate.dtype) * activation(gate), params["out"], compute)
        return carry, (ys + align(params["out_bias"].astype(ys.dtype), ys) if use_bias else ys).astype(compute)

    def apply(
        params: Params,
        carry: Carry | None,
        xs: Array,
        *,
        lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Carry, Array]:
        del key  # nothing is random
        xs = checks.xs_of(where, xs)
        trees.check_params(where, layer, params, xs.shape[-1], checks.shape_words(xs))
        checks.check_steps(where, xs, lengths, mask, resets)
        valid = valid_steps(lengths, mask, xs.shape[0])

        def inner(xs: Array) -> tuple[Carry, Array]:
            return branch.apply(params["branch"], carry, xs, mask=valid, resets=resets)

        carry_after, ys = run(params, silence(valid, xs), inner)
        return carry_after, silence(valid, ys)

    step_branch = trees.step_of(where, branch)

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        x = checks.xs_of(where, x, name="x", axes=1, layout="[*batch, D]")
        trees.check_params(where, layer, params, x.shape[-1], f"x of shape {x.shape}")
        return run(params, x, lambda x: step_branch(params["branch"], carry, x))

    layer = Layer(init, init_carry, apply, step, draws=False)
    return layer
