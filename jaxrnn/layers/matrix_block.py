"""`matrix_block` is a cell whose state is a matrix, with a short convolution of its queries, keys and values."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxrnn import trees
from jaxrnn.driver import Options, run_layer, run_model, step_cell, step_layer
from jaxrnn.initializers import Initializer
from jaxrnn.layers.causal_conv import causal_conv
from jaxrnn.layers.layer import layer
from jaxrnn.options import checked
from jaxrnn.types import Array, Carry, Cell, Layer, Params, Steps

# It is uniform between ±1 / √kernel_size, as the authors' convolutions are at first.
uniform = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


@checked
def matrix_block(
    cell: Cell, *, kernel_size: int = 4, use_bias: bool = False, kernel_init: Initializer = uniform
) -> Layer:
    """Makes the published block around a cell whose state is a matrix: it convolves what the cell writes and reads.

    The cell has the projections, the gates, their initial values, the norm and the output projection of the block
    already. Between its projections and their activation, which is silu in these, the block has a causal depthwise
    convolution `zₜ = Σₙ wₙ ⊙ W xₜ₋ₙ + b` with `0 ≤ n < kernel_size` in the place of `W xₜ`:

    * `matrix_block(ssd(H, …), use_bias=True)` is Mamba-2's block (Dao & Gu 2024), which convolves `B`, `C` and `u`;
      its models have `heads = 2 H / 64`, `keys = 128` and `values = 64`;
    * `matrix_block(gated_delta_net(H, …))` is Gated DeltaNet's (Yang, Kautz & Hatamizadeh 2025), which convolves
      queries, keys and values, as the two below do; `keys = 256`, `values = 512` and `heads = 3 H / 1024` there;
    * `matrix_block(delta_net(H, …))` is DeltaNet's (Yang et al. 2024), `matrix_block(kda(H, …))` Kimi Linear's (Kimi
      Team 2025), both with 128 keys and values.

    `residual(stack(rms_norm(), matrix_block(cell)))` adds the norm before the block and the residual connection. The
    cells `gla`, `retention` and `hgrn2` are blocks without a convolution as they are.

    Args:
      cell: `ssd`, `delta_net`, `gated_delta_net` or `kda`, or a cell of `matrix_cell` that says what is `mixed`.
      kernel_size: the number of steps that the convolution sees, including the current one.
      use_bias: whether the convolution has a bias.
      kernel_init: draws its kernel, `(key, (kernel_size, F), dtype) -> Array`, for F channels in all. By default kernel
        and bias are uniform between `±1 / √kernel_size`; the bias is in any case.

    Returns:
      A `Layer` with a `step`. Its parameters are those of the cell under `"recurrence"`, and under `"conv"` those of
      `causal_conv`, in the dtype of the former. Its carry is `(CausalConvCarry(pending), carry of the cell)`.

    Raises:
      ValueError: `cell` is not such a cell; `kernel_size` is not a positive int.

    Example:
      >>> import jax, jaxrnn
      >>> mamba2_block = jaxrnn.matrix_block(jaxrnn.ssd(8, heads=2, keys=16, values=8), use_bias=True)
      >>> layer = jaxrnn.residual(jaxrnn.stack(jaxrnn.rms_norm(), mamba2_block))
      >>> params = layer.init(jax.random.key(0), 8)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.numpy.ones((5, 2, 8)))
      >>> ys.shape
      (5, 2, 8)
    """
    trees.check_vectors("matrix_block", cell)
    if (multiply := cell.products) is None:
        raise ValueError(
            f"matrix_block: cell is {cell!r}, expected ssd, delta_net, gated_delta_net, kda or a matrix_cell with "
            "mixed kernels; stack(causal_conv(…), cell) convolves the input of any other"
        )
    bias_init = partial(jax.random.uniform, minval=-(kernel_size**-0.5), maxval=kernel_size**-0.5)
    conv = causal_conv(kernel_size, use_bias=use_bias, kernel_init=kernel_init, bias_init=bias_init)

    def init(key: Array, in_features: int) -> Params:
        k_cell, k_conv = jax.random.split(key)
        inner = cell.init(k_cell, in_features)
        dtype = jnp.result_type(*inner.values())
        _, zs = jax.eval_shape(multiply, inner, jax.ShapeDtypeStruct((in_features,), dtype))
        drawn = conv.init(k_conv, zs.shape[-1])
        return {"recurrence": inner, "conv": {name: p.astype(dtype) for name, p in drawn.items()}}

    def init_carry(params: Params, batch_shape: tuple[int, ...]) -> Carry:
        return conv.init_carry(params["conv"], batch_shape), cell.init_carry(params["recurrence"], batch_shape)

    def run(params: Params, carry: Carry, xs: Array, steps: Steps) -> tuple[Carry, Array]:
        before, state = (None, None) if carry is None else carry
        rest, zs = multiply(params["recurrence"], xs)
        pending, mixed, _ = run_layer(conv, params["conv"], before, zs, steps)
        state, ys, _ = run_model(cell, Options(), rest, state, beside(xs, mixed, zs), steps)
        return (pending, state), ys

    def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        rest, z = multiply(params["recurrence"], x)
        pending, mixed = step_layer(conv, params["conv"], carry[0], z, None)
        state, y = step_cell(cell, rest, carry[1], beside(x, mixed, z))
        return (pending, state), y

    def beside(xs: Array, mixed: Array, zs: Array) -> Array:
        """Returns the input of the cell, in the dtype in which it computes, which is that of `zs`."""
        return jnp.concatenate([xs.astype(zs.dtype), mixed.astype(zs.dtype)], -1)

    return layer(
        "matrix_block",
        init,
        run,
        step,
        init_carry,
        draws=cell.draw is not None,
        takes_none=True,
        splits=True,
    )
