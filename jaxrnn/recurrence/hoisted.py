"""Splits a function of parameters and other arguments: what depends on parameters alone can leave a loop or a kernel.

A kernel cannot do everything that an array program can, such as take a row of a parameter. It also computes with padded
features, for which it has to know whether a function treats each feature alone.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from jaxrnn.types import Array

# In all of these an element of the result depends on the elements at its own place.
_ELEMENTWISE = (
    "abs acos acosh add and asin asinh atan atan2 atanh broadcast_in_dim cbrt ceil clamp convert_element_type copy cos "
    "cosh custom_jvp_call div eq erf_inv exp exp2 expm1 floor ge gt integer_pow is_finite jit le log log1p logistic lt "
    "max min mul ne neg nextafter not or pow rem rsqrt select_n sign sin sinh sqrt square sub tan tanh xor"
)
ELEMENTWISE = set(_ELEMENTWISE.split())
REDUCTIONS = {"iota", "reduce_max", "reduce_min", "reduce_sum", "reshape", "squeeze"}


class Hoisted(NamedTuple):
    """A function in two parts.

    Attributes:
      known: `(params) -> values`, floating arrays, which depend on the parameters alone.
      rest: `(values, *args) -> result` of the function.
      values: the shapes of the values.
      primitives: the names of all primitives in `rest`, in order, each with the numbers that it is given.
    """

    known: Callable[[Any], list[Array]]
    rest: Callable[..., Any]
    values: list[jax.ShapeDtypeStruct]
    primitives: list[tuple[Any, ...]]


def hoist(function: Callable[..., Any], params: Any, *args: Any) -> Hoisted:
    """Splits `function(params, *args)`; arrays that it closes over count as parameters."""
    closed, shape = jax.make_jaxpr(function, return_shape=True)(params, *args)
    jaxpr, tree = closed.jaxpr, jax.tree.structure(shape)
    count = len(jax.tree.leaves(params))
    known = {*jaxpr.constvars, *jaxpr.invars[:count]}
    first, then = [], []
    for eqn in jaxpr.eqns:
        floating = all(jnp.issubdtype(out.aval.dtype, jnp.floating) for out in eqn.outvars)
        if floating and not eqn.effects and all(isinstance(v, Literal) or v in known for v in eqn.invars):
            first.append(eqn)
            known.update(eqn.outvars)
        else:
            then.append(eqn)
    used = [v for eqn in then for v in eqn.invars] + jaxpr.outvars
    needed = list(dict.fromkeys(v for v in used if not isinstance(v, Literal) and v in known))
    before = jaxpr.replace(invars=jaxpr.invars[:count], eqns=first, outvars=needed)
    after = jaxpr.replace(constvars=[], invars=[*needed, *jaxpr.invars[count:]], eqns=then)

    def of_params(params: Any) -> list[Array]:
        return list(jaxpr_as_fun(ClosedJaxpr(before, closed.consts))(*jax.tree.leaves(params)))

    def rest(values: list[Array], *args: Any) -> Any:
        return jax.tree.unflatten(tree, jaxpr_as_fun(ClosedJaxpr(after, []))(*values, *jax.tree.leaves(args)))

    values = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in needed]
    return Hoisted(of_params, rest, values, list(_primitives(after)))


def mixing(exact: Hoisted, padded: Hoisted) -> bool:
    """Returns whether a function, here at its own width and at a padded one, uses one feature for another.

    It does not if all of it is elementwise and no number depends on the width.
    """
    names = {primitive for primitive, *_ in exact.primitives}
    return not names <= ELEMENTWISE or exact.primitives != padded.primitives


def unknown(hoisted: Hoisted) -> list[str]:
    """Returns the primitives in `rest` of which it is not known that a kernel can compute them."""
    return sorted({primitive for primitive, *_ in hoisted.primitives} - ELEMENTWISE - REDUCTIONS)


def _primitives(jaxpr: Jaxpr) -> Iterator[tuple[Any, ...]]:
    for eqn in jaxpr.eqns:
        yield (eqn.primitive.name, *(str(v.val) for v in eqn.invars if isinstance(v, Literal)))
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if isinstance(inner, Jaxpr):
                yield from _primitives(inner)
