"""`with_cudnn` gives an LSTM the method `"cudnn"`: its value and its gradient are single calls of cuDNN.

There is a JAX primitive for the value, for the derivative along a direction, and for its transpose, the gradient, as in
`primitive.py`. The engine stands for cuDNN in all that cuDNN does not know: forward-mode and second derivatives, and
`vmap` but for a value whose weights are shared, in which a mapped axis becomes a batch axis.

cuDNN rounds the inputs of its products to TF32 where XLA would do so: by default, unless
`jax.default_matmul_precision` is `"highest"` or `"float32"`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from jaxrnn.recurrence import cudnn_calls
from jaxrnn.recurrence.cudnn_calls import Inputs
from jaxrnn.recurrence.primitive import (
    SHARED,
    anywhere,
    batched,
    bind,
    mapped,
    plain_rule,
    register,
    transpose,
    types_of,
)
from jaxrnn.sizes import is_known
from jaxrnn.types import Array, Carry, Cell, Flow, Params

HAVE_CUDNN = ("cuda",)


class How(NamedTuple):
    """The static options of a run.

    Attributes:
      cell: the LSTM without cuDNN.
      unroll: steps written out in one iteration of the engine's loop.
      precision: `HIGHEST` for products of float32, `HIGH` for those of TF32.
    """

    cell: Cell
    unroll: int | None
    precision: lax.Precision


def with_cudnn(cell: Cell) -> Cell:
    """Returns `cell`, an LSTM of `pointwise_cell` with its usual activations, with the method `"cudnn"`."""

    def scan(
        params: Params, carry: Carry, xs: Array, flow: Flow, *, method: str, remat: Any, unroll: int | None
    ) -> tuple[Carry, Any]:
        if method == "cudnn":
            _check(cell, params, xs, remat)
            method = "fused"
            if all(other is None for other in flow[1:]) and 0 not in xs.shape:
                return _run(How(cell, unroll, _precision()), Inputs(params, carry, xs), flow.valid)
        assert cell.scan is not None  # `pointwise_cell` has one
        return cell.scan(params, carry, xs, flow, method=method, remat=remat, unroll=unroll)

    return cell._replace(scan=scan, kernels=(*cell.kernels, "cudnn"))


def _check(cell: Cell, params: Params, xs: Array, remat: Any) -> None:
    """Checks what is known before the platform is."""
    problem = ""
    dtype = jax.tree.leaves(jax.eval_shape(cell.project, params, xs))[0].dtype
    kernel = params["recurrent_kernel"]
    if dtype != jnp.float32:
        problem = f"computes in float32, found {dtype}"
    elif kernel.ndim != 3 or "projection" in params:
        problem = f"expects recurrent_kernel [H, 4, H] and no projection, found {kernel.shape} in {sorted(params)}"
    elif remat is not None:
        problem = f"cannot store carries alone, found remat={remat!r}, expected None, 'sqrt', 'recursive' or a number"
    elif not all(map(is_known, xs.shape)):
        problem = f"needs known sizes, found xs of shape {xs.shape}"
    if problem:
        raise ValueError(f"unroll: method='cudnn' {problem}; method='fused' takes it")


def _precision() -> lax.Precision:
    config: Any = jax.config
    exact = config.jax_default_matmul_precision in ("highest", "float32")
    return lax.Precision.HIGHEST if exact else lax.Precision.HIGH


def _run(how: How, inputs: Inputs, valid: Array | None) -> tuple[Carry, Array]:
    *carry, ys = bind(forward_p, (inputs, valid), how=how, save=False)
    return jax.tree.unflatten(jax.tree.structure(inputs.carry), carry), ys


# --- programs: the engine's, and cuDNN's -----------------------------------------------------------------------------


def _engine(how: How, inputs: Inputs, valid: Array | None) -> tuple[Carry, Array]:
    assert how.cell.scan is not None
    return how.cell.scan(*inputs, Flow(valid), method="fused", remat=None, unroll=how.unroll)


def _plain_forward(*leaves: Array, how: How, tree: Any, save: bool) -> list[Array]:
    inputs, valid = jax.tree.unflatten(tree, leaves)
    out = jax.tree.leaves(_engine(how, inputs, valid))
    return [*out, _kept(*leaves, how=how, tree=tree)] if save else out


def _kept(*leaves: Array, how: How, tree: Any) -> Array:
    """Returns an array of the shape of what cuDNN keeps for its gradient."""
    inputs, _ = jax.tree.unflatten(tree, leaves)
    return jnp.zeros(cudnn_calls.reserve_shape(inputs, how.precision), jnp.float32)


def _tangent(*leaves: Array, how: How, tree: Any) -> list[Array]:
    inputs, valid, _, _, d = jax.tree.unflatten(tree, leaves)
    return jax.tree.leaves(jax.jvp(lambda inputs: _engine(how, inputs, valid), (inputs,), (d,))[1])


def _plain_backward(*leaves: Array, how: How, tree: Any) -> list[Array]:
    inputs, valid, _, _, dcarry, dys = jax.tree.unflatten(tree, leaves)
    return jax.tree.leaves(jax.vjp(lambda inputs: _engine(how, inputs, valid), inputs)[1]((dcarry, dys)))


def _forward(*leaves: Array, how: How, tree: Any, save: bool, platform: str | None) -> list[Array]:
    _check_platform(platform)
    out = cudnn_calls.forward(*jax.tree.unflatten(tree, leaves), precision=how.precision)
    return jax.tree.leaves(out if save else out[:-1])


def _backward(*leaves: Array, how: How, tree: Any, platform: str | None) -> list[Array]:
    _check_platform(platform)
    return jax.tree.leaves(cudnn_calls.backward(*jax.tree.unflatten(tree, leaves), precision=how.precision))


def _check_platform(platform: str | None) -> None:
    if platform not in HAVE_CUDNN:
        raise ValueError(
            f"unroll: method='cudnn' has no program for platform {platform!r}, expected 'cuda'; "
            "method='fused' runs everywhere"
        )


# --- derivatives -----------------------------------------------------------------------------------------------------

forward_p = Primitive("cudnn_lstm")
tangent_p = Primitive("cudnn_lstm_tangent")
backward_p = Primitive("cudnn_lstm_backward")


def _forward_jvp(primals: Sequence[Array], tangents: Sequence[Any], *, how: How, tree: Any, save: bool) -> Any:
    inputs, valid = jax.tree.unflatten(tree, primals)
    *out, ys, reserve = forward_p.bind(*primals, how=how, tree=tree, save=True)
    shape: Any = jax.tree.structure(inputs)
    d = jax.tree.unflatten(shape, [ad.instantiate_zeros(t) for t in tangents[: shape.num_leaves]])
    moves = bind(tangent_p, (inputs, valid, ys, reserve, d), how=how)
    # What cuDNN keeps is a function of the inputs, which the derivatives of its readers know themselves.
    kept = [reserve] if save else []
    return [*out, ys, *kept], [*moves, *map(jnp.zeros_like, kept)]


# --- vmap ------------------------------------------------------------------------------------------------------------


def _batch(leaves: Sequence[Array], dims: Sequence[int | None], *, save: bool, **static: Any) -> Any:
    """Makes a mapped axis a batch axis. The gradient of a mapped run is the engine's, which reads no `reserve`."""
    axes = (Inputs(*cast(Any, (SHARED, 0, 1))), 1)
    out, places = batched(_plain_forward, forward_p, axes, leaves, dims, **static, save=False)
    if not save:
        return out, places
    kept = jax.vmap(partial(_kept, **static), in_axes=tuple(dims), out_axes=None)(*leaves)  # of the unmapped shape
    return [*out, kept], [*places, None]


# --- registration ----------------------------------------------------------------------------------------------------


register(forward_p, types_of(_plain_forward), _forward)
register(tangent_p, types_of(_tangent), anywhere(_tangent))
register(backward_p, types_of(_plain_backward), _backward)
ad.primitive_jvps[forward_p] = _forward_jvp
ad.primitive_jvps[tangent_p] = plain_rule(_tangent)
ad.primitive_jvps[backward_p] = plain_rule(_plain_backward)
ad.primitive_transposes[tangent_p] = transpose(
    backward_p, 4, lambda inputs, *_, how: jax.tree.structure((inputs.carry, 0))
)
ad.primitive_transposes[backward_p] = transpose(tangent_p, 4, lambda inputs, *_, how: jax.tree.structure((inputs,)))
batching.primitive_batchers[forward_p] = _batch
batching.primitive_batchers[tangent_p] = partial(mapped, _tangent)
batching.primitive_batchers[backward_p] = partial(mapped, _plain_backward)
