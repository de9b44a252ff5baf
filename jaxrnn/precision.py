"""Chooses the dtypes of computation and of accumulation."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Primitive
from jax.interpreters import ad, batching, mlir

from jaxrnn.sharding import outer_sharding, vary, varying
from jaxrnn.types import Array, Params


def compute_dtype(dtype: Any, *arrays: Array) -> Any:
    """Returns `dtype` if it is given, else the dtype that the arrays promote to, as in Flax; it must be floating."""
    found = jnp.dtype(dtype) if dtype is not None else jnp.result_type(*arrays)
    if not jnp.issubdtype(found, jnp.floating):
        what = "parameters promote to" if dtype is None else "dtype is"
        raise ValueError(f"{what} {found}, expected a floating one such as jnp.float32, in which cells compute")
    return found


def accumulator(dtype: Any) -> Any:
    """Returns the dtype of carries and of sums of products: float32 for half precision, else `dtype` itself."""
    return jnp.dtype(dtype) if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def cast_once(params: Params, cast: Callable[[Params], Params]) -> Callable[[], Params]:
    """Calls `cast(params)` once, before a loop whose body calls the result; XLA on a GPU would cast in each step.

    Gradients are those of a cast in the body: a parameter's gradient is accumulated in the parameter's own dtype.
    """
    made = jax.tree.map(jax.lax.stop_gradient, cast(params))
    return lambda: {name: a if a.dtype == made[name].dtype else _made(a, made[name]) for name, a in params.items()}


@jax.custom_jvp
def _made(a: Array, cast: Array) -> Array:
    """Returns `cast`, which is `a` in another dtype, with the derivatives of that conversion."""
    return cast


@_made.defjvp
def _made_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    return primals[1], tangents[0].astype(primals[1].dtype)


def product(a: Array, b: Array, dtype: Any) -> Array:
    """Returns `a[..., K] @ b[K, N]` with inputs in `dtype`, accumulated and returned in `accumulator(dtype)`.

    So are the products in its gradient: their cotangents are rounded to `dtype`.
    """
    if accumulator(dtype) == dtype:
        return plain_product(a, b, dtype)
    return product_p.bind(*vary((a, b), varying((a, b))), dtype=jnp.dtype(dtype))


def plain_product(a: Array, b: Array, dtype: Any) -> Array:
    """Returns `product(a, b, dtype)` as an operation of JAX's own, with the gradient that JAX gives it."""
    return _dot(a, b, ((a.ndim - 1,), (0,)), dtype)


def outer(a: Array, b: Array, dtype: Any) -> Array:
    """Returns `Σ aᵀ b` over every axis but the last, `[K, N]`.

    It contracts the leading axes without a reshape, which would gather a sharded batch.
    """
    over = tuple(range(a.ndim - 1))
    return _dot(a, b, (over, over), dtype, out_sharding=outer_sharding(a, b))


def _dot(
    a: Array, b: Array, contract: tuple[tuple[int, ...], tuple[int, ...]], dtype: Any, out_sharding: Any = None
) -> Array:
    a, b = a.astype(dtype), b.astype(dtype)
    wide = accumulator(dtype)
    return lax.dot_general(a, b, (contract, ((), ())), preferred_element_type=wide, out_sharding=out_sharding)


# --- the product in half precision ----------------------------------------------------------------------------------

# The gradient of JAX's own product would multiply a cotangent of float32 by an operand in half precision, for which
# GPUs and TPUs convert the operand and compute in float32.
product_p = Primitive("half_product")


def _jvp(primals: Sequence[Array], tangents: Sequence[Any], *, dtype: Any) -> tuple[Array, Array]:
    (a, b), (da, db) = primals, tangents
    pairs = ((da, b), (a, db))
    parts = [product(x, y, dtype) for x, y in pairs if not isinstance(x, ad.Zero) and not isinstance(y, ad.Zero)]
    return product(a, b, dtype), sum(parts[1:], parts[0])


def _transpose(cotangent: Any, a: Any, b: Any, *, dtype: Any) -> list[Any]:
    cotangent = ad.instantiate_zeros(cotangent)
    if ad.is_undefined_primal(a):
        return [product(cotangent, b.T, dtype).astype(a.aval.dtype), None]
    return [None, outer(a, cotangent, dtype).astype(b.aval.dtype)]


def _batch(operands: Sequence[Array], dims: Sequence[int | None], *, dtype: Any) -> tuple[Array, int]:
    (a, b), (of_a, of_b) = operands, dims
    if of_b is not None:
        return jax.vmap(partial(plain_product, dtype=dtype), in_axes=(of_a, of_b))(a, b), 0
    return product(jnp.moveaxis(a, of_a or 0, 0), b, dtype), 0


def in_plain_products(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Returns a program with `plain_product` for `product`: compilers of kernels know JAX's own operations alone."""

    def plain(eqn: Any) -> Any:
        if eqn.primitive is not product_p:
            return eqn
        traced = jax.make_jaxpr(jax.jit(partial(plain_product, **eqn.params)))(*(v.aval for v in eqn.invars))
        return traced.eqns[0].replace(invars=eqn.invars, outvars=eqn.outvars)

    return ClosedJaxpr(closed.jaxpr.replace(eqns=[plain(eqn) for eqn in closed.jaxpr.eqns]), closed.consts)


product_p.def_impl(jax.jit(plain_product, static_argnames="dtype"))
product_p.def_abstract_eval(lambda a, b, dtype: jax.make_jaxpr(partial(plain_product, dtype=dtype))(a, b).out_avals[0])
mlir.register_lowering(product_p, mlir.lower_fun(plain_product, multiple_results=False))
ad.primitive_jvps[product_p] = _jvp
ad.primitive_transposes[product_p] = _transpose
batching.primitive_batchers[product_p] = _batch
