"""`griffin_block` and `mamba_block`: a short convolution and a recurrence in one branch, a gate in the other."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxrnn import checks, initializers
from jaxrnn.cells.mamba import mamba
from jaxrnn.cells.rg_lru import rg_lru
from jaxrnn.initializers import Initializer
from jaxrnn.layers.causal_conv import causal_conv
from jaxrnn.layers.rnn import rnn
from jaxrnn.layers.stack import stack
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence.loop import silence, valid_steps
from jaxrnn.types import Array, Carry, Layer, Params


def griffin_block(
    features: int,
    *,
    width: int | None = None,
    kernel_size: int = 4,
    eigenvalues: Literal["positive", "signed"] = "positive",
    kernel_init: Initializer = initializers.lecun_normal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Griffin's recurrent block: `yₜ = W_o (rg_lru(conv(W_x x))ₜ ⊙ gelu(W_g xₜ))`, with biases.

    De et al. 2024, "Griffin: mixing gated linear recurrences with local attention for efficient language models". The
    norm before the block and the sum with its input are left to the caller:
    `residual(stack(layer_norm(), griffin_block(D)))`. The gates of the `rg_lru` are full matrices here; the paper's
    models have block-diagonal ones.

    Args:
      features: H, the width of the output.
      width: E, of the recurrence; H if None. The paper's models have about `4 H / 3`.
      kernel_size: of the causal convolution, which is depthwise.
      eigenvalues: as for `rg_lru`.
      kernel_init: draws each kernel as a matrix: `(key, (inputs, outputs), dtype) -> Array`.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Layer` with a `step`. Its parameters are `kernel [D, 2, E]` (branch, gate), `bias [2, E]`, `out [E, H]`,
      `out_bias [H]` and, under `"branch"`, those of `stack(causal_conv(…), rnn(rg_lru(…)))`, whose carry is its own.

    Raises:
      ValueError: `features`, `width` or `kernel_size` is not a positive int; unknown `eigenvalues`.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), jaxrnn.griffin_block(8)))
      >>> params = layer.init(jax.random.key(0), 8)
      >>> carry, ys = layer.apply(params, None, jax.numpy.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 8)
    """
    checks.check_positive("griffin_block", "features", features)
    width = features if width is None else width
    checks.check_positive("griffin_block", "width", width)
    common = {"kernel_init": kernel_init, "dtype": dtype, "param_dtype": param_dtype}
    branch = stack(
        causal_conv(kernel_size, **common),
        rnn(rg_lru(width, eigenvalues=eigenvalues, use_value_kernel=False, **common)),
    )
    return _gated("griffin_block", branch, width, features, activation=jax.nn.gelu, use_bias=True, **common)


def mamba_block(
    features: int,
    *,
    expand: int = 2,
    states: int = 16,
    rank: int | None = None,
    kernel_size: int = 4,
    kernel_init: Initializer = initializers.lecun_normal,
    dtype: Any = None,
    param_dtype: Any = jnp.float32,
) -> Layer:
    """Mamba's block: `yₜ = W_o (s6(silu(conv(W_x x)))ₜ ⊙ silu(W_g xₜ))`; of biases, the convolution has one.

    Gu & Dao 2023, "Mamba: linear-time sequence modeling with selective state spaces". The norm before the block and the
    sum with its input are left to the caller: `residual(stack(layer_norm(), mamba_block(D)))`.

    Args:
      features: H, the width of the output.
      expand: how many times wider the state space is, `E = expand * H`.
      states: N, the states of each of its features.
      rank: R, of the matrix from which steps come; `H / 16`, rounded up, if None.
      kernel_size: of the causal convolution, which is depthwise.
      kernel_init: draws each kernel as a matrix: `(key, (inputs, outputs), dtype) -> Array`.
      dtype: of the computation; None: what inputs and parameters promote to.
      param_dtype: of the parameters.

    Returns:
      A `Layer` with a `step`. Its parameters are `kernel [D, 2, E]` (branch, gate), `out [E, H]` and, under `"branch"`,
      those of `stack(causal_conv(…), rnn(mamba(…)))`, whose carry is its own.

    Raises:
      ValueError: an argument is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), jaxrnn.mamba_block(8, states=4)))
      >>> params = layer.init(jax.random.key(0), 8)
      >>> carry, ys = layer.apply(params, None, jax.numpy.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 8)
    """
    for name, value in (("features", features), ("expand", expand)):
        checks.check_positive("mamba_block", name, value)
    width = expand * features
    rank = -(-features // 16) if rank is None else rank
    common = {"kernel_init": kernel_init, "dtype": dtype, "param_dtype": param_dtype}
    branch = stack(
        causal_conv(kernel_size, activation=jax.nn.silu, **common),
        rnn(mamba(width, states=states, rank=rank, use_value_kernel=False, **common)),
    )
    return _gated("mamba_block", branch, width, features, activation=jax.nn.silu, use_bias=False, **common)


def _gated(
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
    """`yₜ = W_o (branch(W_x x)ₜ ⊙ activation(W_g xₜ))`; its carry is the branch's."""

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
            x, gate = (z + bias.astype(z.dtype) for z, bias in zip((x, gate), params["bias"], strict=True))
        carry, hs = inner(x.astype(compute))
        ys = product(hs.astype(gate.dtype) * activation(gate), params["out"], compute)
        return carry, (ys + params["out_bias"].astype(ys.dtype) if use_bias else ys).astype(compute)

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
        checks.check_params(where, layer, params, xs.shape[-1], checks.shape_words(xs))
        checks.check_steps(where, xs, lengths, mask, resets)
        valid = valid_steps(lengths, mask, len(xs))

        def inner(xs: Array) -> tuple[Carry, Array]:
            return branch.apply(params["branch"], carry, xs, mask=valid, resets=resets)

        carry_after, ys = run(params, silence(valid, xs), inner)
        return carry_after, silence(valid, ys)

    step_branch = checks.step_of(where, branch)

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        x = checks.xs_of(where, x, name="x", axes=1, layout="[*batch, D]")
        checks.check_params(where, layer, params, x.shape[-1], f"x of shape {x.shape}")
        return run(params, x, lambda x: step_branch(params["branch"], carry, x))

    layer = Layer(init, init_carry, apply, step, draws=False)
    return layer
