"""`matrix_cell` makes a cell from the queries, keys and values of gated linear attention; the engine owns the state."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn.carries import MatrixCarry
from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype, product
from jaxrnn.recurrence.chunkwise import Inputs, advance
from jaxrnn.recurrence.loop import silence
from jaxrnn.recurrence.matrix_scan import METHODS, run
from jaxrnn.recurrence.segments import in_segments
from jaxrnn.shapes import align, zeros
from jaxrnn.types import Array, Carry, Cell, Flow, Params


class Projected(NamedTuple):
    """A projected input.

    Attributes:
      inputs: the recurrence's.
      x: the input itself, in the dtype of the computation.
    """

    inputs: Inputs
    x: Array


@checked
def matrix_cell(
    inputs: Callable[..., dict[str, Array]],
    init: Callable[..., Params],
    heads: int,
    keys: int,
    values: int,
    *,
    mixed: Sequence[str] = (),
    readout: Callable[..., Array] | None = None,
    chunk: int = 64,
    dtype: Any = None,
) -> Cell:
    """Makes a cell whose state is a matrix per head, as `matrix_scan` runs it.

    Functions get the parameters in float32 at least, and the inputs in the dtype of the computation.

    Args:
      inputs: `(params, xs [..., D]) -> {"q": q, "k": k, "v": v}` over any leading axes: `q` and `k [..., heads, K]`,
        `v [..., heads, V]`; and `"log_decay"` and `"beta"` as `matrix_scan` has them, if there are any. In place of
        `"beta"` there may be `"read"` and `"erase"`, r and `e [..., heads, K]` in
        `Sₜ = (I − eₜ rₜᵀ)(αₜ ⊙ Sₜ₋₁) + kₜ vₜᵀ`.
      init: `(key, in_features) -> params`.
      heads: the number of matrices in the state.
      keys: K, their rows.
      values: V, their columns.
      mixed: names of parameters that are kernels `[D, heads, N]`. `inputs` and `readout` get their products with `xs`,
        `[..., heads, N]`, as further arguments, and `matrix_block` convolves these.
      readout: `(params, ys [..., heads, V], xs) -> y`, the output; the heads side by side if None.
      chunk: steps of a chunk.
      dtype: of the computation; None: promoted from inputs and parameters. States are float32 at least.

    Returns:
      A `Cell` of structure `"linear_matrix"` with methods `"scan"` and `"chunked"`, on TPUs and NVIDIA GPUs `"kernel"`,
      as `matrix_scan` has them, and carry `MatrixCarry(S)`, zero at first.

    Raises:
      ValueError: an argument is of another kind; `init` raises it if it draws no kernel of a name in `mixed`.

    Example:
      Linear attention (Katharopoulos et al. 2020) without a normaliser:

      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> def init(key, in_features):
      ...     return {"kernel": jax.random.normal(key, (in_features, 3, 2, 4))}
      >>> def inputs(params, xs):
      ...     q, k, v = (jnp.einsum("...d,dnk->...nk", xs, params["kernel"][:, i]) for i in range(3))
      ...     return {"q": jax.nn.elu(q) + 1, "k": jax.nn.elu(k) + 1, "v": v}
      >>> cell = jaxrnn.matrix_cell(inputs, init, heads=2, keys=4, values=4)
      >>> carry, ys = jaxrnn.unroll(cell, cell.init(jax.random.key(0), 3), jnp.ones((5, 2, 3)))
      >>> ys.shape, carry.S.shape
      ((5, 2, 8), (2, 2, 4, 4))
    """

    def draw(key: Array, in_features: int) -> Params:
        params = init(key, in_features)
        for name in mixed:
            if name not in params or params[name].ndim != 3:
                found = {key: p.shape for key, p in params.items()}
                raise ValueError(f"matrix_cell: mixed has {name!r}, expected a kernel [D, heads, N] among {found}")
        return params

    def parted(params: Params, xs: Array) -> list[Array]:
        """Returns the input and its products with the kernels in `mixed`; `xs` has both if these have no rows."""
        kernels = [params[name] for name in mixed]
        if not kernels or kernels[0].shape[0]:
            return [xs, *(heads_of(xs, kernel) for kernel in kernels)]
        sizes = [math.prod(kernel.shape[1:]) for kernel in kernels]
        x, *flat = lax.split(xs, (xs.shape[-1] - sum(sizes), *sizes), xs.ndim - 1)
        pairs = zip(flat, kernels, strict=True)
        return [x, *(z.reshape(*z.shape[:-1], *kernel.shape[1:]).astype(kernel.dtype) for z, kernel in pairs)]

    def products(params: Params, xs: Array) -> tuple[Params, Array]:
        xs = xs.astype(compute_dtype(dtype, xs, *params.values()))
        _, *made = parted(wide(params, xs.dtype), xs)
        rest = params | {name: jnp.zeros((0, *params[name].shape[1:]), params[name].dtype) for name in mixed}
        return rest, jnp.concatenate([lax.collapse(z, -2) for z in made], -1).astype(xs.dtype)

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        kind = accumulator(compute_dtype(dtype, *params.values()))
        return MatrixCarry(zeros((*batch_shape, heads, keys, values), kind))

    def project(params: Params, xs: Array) -> Projected:
        compute = compute_dtype(dtype, xs, *params.values())
        xs = xs.astype(compute)
        params = wide(params, compute)
        made = inputs(params, *parted(params, xs))
        axes = made["q"].ndim  # inputs with one number per head get as many
        return Projected(Inputs(**{name: a if a.ndim == axes else a[..., None] for name, a in made.items()}), xs)

    def output(params: Params, ys: Array, x: Array) -> Array:
        if readout is None:
            return lax.collapse(ys, -2).astype(x.dtype)
        params = wide(params, x.dtype)
        return readout(params, ys, *parted(params, x)).astype(x.dtype)

    def step(params: Params, carry: Carry, z: Projected) -> tuple[Carry, Array]:
        S, y = advance(carry.S, z.inputs)
        return MatrixCarry(S), output(params, y, z.x)

    def scan(
        params: Params,
        carry: Carry,
        xs: Array,
        flow: Flow,
        *,
        method: str,
        remat: Any,
        unroll: int | None,
    ) -> tuple[Carry, Array]:
        del unroll

        def whole(params: Params, carry: Carry, xs: Array, flow: Flow) -> tuple[Carry, Array]:
            z = project(params, xs)
            steps = under(flow, z.inputs)
            fresh = None if flow.fresh is None else flow.fresh.S
            S, ys = run(steps, carry.S, fresh, chunk=chunk, method=method, split=flow.split)
            return MatrixCarry(S), silence(flow.valid, output(params, ys, z.x))

        how = {"method": method, "remat": remat}
        return in_segments(whole, params, carry, xs, flow, step_bytes=input_bytes(carry.S), multiple=chunk, **how)

    return Cell(
        draw,
        init_carry,
        project,
        step,
        scan,
        "linear_matrix",
        METHODS,
        kernels=("kernel",),
        splits=True,
        products=products if mixed else None,
    )


def input_bytes(S: Array) -> int:
    """Returns the bytes of the queries, keys and values of one step, for states `S`."""
    keys, values = S.shape[-2:]
    return S.size // (keys * values) * (2 * keys + values) * S.dtype.itemsize


def under(flow: Flow, inputs: Inputs) -> Inputs:
    """Applies masks and resets to inputs: an invalid step adds nothing to a state that does not decay."""
    if flow.valid is not None:
        names = ("k", "log_decay", "beta", "read", "erase")
        inputs = inputs._replace(**{name: silence(flow.valid, getattr(inputs, name)) for name in names})
    return inputs if flow.resets is None else inputs._replace(resets=flow.resets[..., None])


def wide(params: Params, dtype: Any) -> Params:
    """Casts parameters to float32 at least, for a computation in `dtype`."""
    return {name: p.astype(accumulator(dtype)) for name, p in params.items()}


def heads_of(xs: Array, kernel: Array) -> Array:
    """Returns `xs [..., D]` times `kernel [D, heads, K]`, `[..., heads, K]` in float32 at least."""
    flat = product(xs, kernel.reshape(kernel.shape[0], -1), xs.dtype)
    return flat.reshape(*xs.shape[:-1], *kernel.shape[1:])


def low_rank(xs: Array, down: Array, up: Array) -> Array:
    """Returns `xs [..., D]` times `down [D, 1, R]` and `up [R, heads, K]`, `[..., heads, K]` in float32 at least."""
    return heads_of(heads_of(xs, down)[..., 0, :].astype(xs.dtype), up)


def merged(ys: Array, kernel: Array, dtype: Any) -> Array:
    """Returns `ys [..., heads, V]` times `kernel [heads, V, H]`, `[..., H]`."""
    return product(lax.collapse(ys, -2), lax.collapse(kernel, 0, 2), dtype)


def normalized(ys: Array, scale: Array) -> Array:
    """Divides each head of `ys [..., heads, V]` by its root mean square, and multiplies by `scale [heads, V]`."""
    return ys * lax.rsqrt(jnp.square(ys).mean(-1, keepdims=True) + 1e-6) * align(scale, ys)


def unit(x: Array) -> Array:
    """Divides `x` by its length; zero stays zero, and has a gradient."""
    return x * lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-6)


def normalized_output(params: Params, ys: Array, xs: Array, *products: Array) -> Array:
    """Returns the readout `W_o norm(y)`."""
    del products
    return merged(normalized(ys, params["scale"]), params["out"], xs.dtype)


def gated_output(params: Params, ys: Array, xs: Array, *products: Array) -> Array:
    """Returns the readout `W_o (silu(W_g x) ⊙ norm(y))`."""
    del products
    ys = jax.nn.silu(heads_of(xs, params["gate"])) * normalized(ys, params["scale"])
    return merged(ys, params["out"], xs.dtype)
