"""Chooses the dtypes of computation and of accumulation."""

import re
import string
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Primitive
from jax.interpreters import ad, batching, mlir

from jaxrnn.shapes import align
from jaxrnn.sharding import einsum_sharding, vary, varying
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
    """Returns `einsum` of `a [..., K]` and `b [K, *N]`, `[..., *N]`."""
    n = _letters(b.ndim - 1)
    return einsum(f"...k,k{n}->...{n}", a, b, dtype)


def affine(a: Array, b: Array, bias: Array | None, dtype: Any) -> Array:
    """Returns `product(a, b, dtype)` plus the bias, if there is one."""
    y = product(a, b, dtype)
    return y if bias is None else y + align(bias.astype(y.dtype), y)


def transposed_product(a: Array, b: Array, dtype: Any) -> Array:
    """Returns `einsum` of `a [..., *N]` and `b [K, *N]`, `[..., K]`."""
    n = _letters(b.ndim - 1)
    return einsum(f"...{n},k{n}->...k", a, b, dtype)


def outer(a: Array, b: Array, dtype: Any) -> Array:
    """Returns `einsum` of `a [..., K]` and `b [..., *N]`, `[K, *N]`: a sum over all that leads in `a`."""
    n = _letters(b.ndim - a.ndim + 1)
    return einsum(f"...k,...{n}->k{n}", a, b, dtype)


def _letters(count: int) -> str:
    """Returns letters in the order of the alphabet, in which JAX sums them; another order would transpose an array."""
    return "mnpqrstuvw"[:count]


def einsum(form: str, a: Array, b: Array, dtype: Any) -> Array:
    """Returns `jnp.einsum(form, a, b)` with inputs in `dtype`, accumulated and returned in `accumulator(dtype)`.

    So are the products in its gradient: their cotangents are rounded to `dtype`. An axis of one input is also one of
    the other or of the result, and what `...` stands for is not sharded in one of them alone.
    """
    if accumulator(dtype) == dtype:
        return plain_einsum(a, b, form=form, dtype=dtype)
    return einsum_p.bind(*vary((a, b), varying((a, b))), form=form, dtype=jnp.dtype(dtype))


def plain_einsum(a: Array, b: Array, *, form: str, dtype: Any) -> Array:
    """Returns `einsum(form, a, b, dtype)` in operations of JAX's own, with the gradient that JAX gives them."""
    a, b = a.astype(dtype), b.astype(dtype)
    placed = einsum_sharding(form, a, b)
    return jnp.einsum(form, a, b, preferred_element_type=accumulator(dtype), out_sharding=placed)


# --- products in half precision -------------------------------------------------------------------------------------

# The gradient of JAX's own product would multiply a cotangent of float32 by an operand in half precision, for which
# GPUs and TPUs convert the operand and compute in float32.
einsum_p = Primitive("half_einsum")


def _jvp(primals: Sequence[Array], tangents: Sequence[Any], *, form: str, dtype: Any) -> tuple[Array, Array]:
    (a, b), (da, db) = primals, tangents
    pairs = ((da, b), (a, db))
    parts = [einsum(form, x, y, dtype) for x, y in pairs if not isinstance(x, ad.Zero) and not isinstance(y, ad.Zero)]
    return einsum(form, a, b, dtype), sum(parts[1:], parts[0])


def _transpose(cotangent: Any, a: Any, b: Any, *, form: str, dtype: Any) -> list[Any]:
    cotangent = ad.instantiate_zeros(cotangent)
    of_a, of_b, out = re.split(",|->", form)
    if ad.is_undefined_primal(a):
        return [einsum(f"{out},{of_b}->{of_a}", cotangent, b, dtype).astype(a.aval.dtype), None]
    return [None, einsum(f"{of_a},{out}->{of_b}", a, cotangent, dtype).astype(b.aval.dtype)]


def _batch(operands: Sequence[Array], dims: Sequence[int | None], *, form: str, dtype: Any) -> tuple[Array, int]:
    """Gives a mapped axis a letter of its own, so that one product computes all."""
    letter = next(letter for letter in string.ascii_uppercase if letter not in form)
    *inputs, out = re.split(",|->", form)
    inputs = [of if dim is None else letter + of for of, dim in zip(inputs, dims, strict=True)]
    a, b = (x if dim is None else jnp.moveaxis(x, dim, 0) for x, dim in zip(operands, dims, strict=True))
    return einsum(f"{','.join(inputs)}->{letter}{out}", a, b, dtype), 0


def in_plain_products(closed: ClosedJaxpr) -> ClosedJaxpr:
    """Returns a program with `plain_einsum` for `einsum`: compilers of kernels know JAX's own operations alone."""

    def plain(eqn: Any) -> Any:
        if eqn.primitive is not einsum_p:
            return eqn
        traced = jax.make_jaxpr(jax.jit(partial(plain_einsum, **eqn.params)))(*(v.aval for v in eqn.invars))
        return traced.eqns[0].replace(invars=eqn.invars, outvars=eqn.outvars)

    return ClosedJaxpr(closed.jaxpr.replace(eqns=[plain(eqn) for eqn in closed.jaxpr.eqns]), closed.consts)


einsum_p.def_impl(jax.jit(plain_einsum, static_argnames=("form", "dtype")))
einsum_p.def_abstract_eval(lambda a, b, **how: jax.make_jaxpr(partial(plain_einsum, **how))(a, b).out_avals[0])
mlir.register_lowering(einsum_p, mlir.lower_fun(plain_einsum, multiple_results=False))
ad.primitive_jvps[einsum_p] = _jvp
ad.primitive_transposes[einsum_p] = _transpose
batching.primitive_batchers[einsum_p] = _batch
