"""`linear_scan` runs `hₜ = aₜ hₜ₋₁ + bₜ`, elementwise: one JAX primitive whose derivatives are the same primitive.

Its derivative along `(da, db)` is a scan of `da hₜ₋₁ + db`. Its transpose runs in the other direction and multiplies
the state at the end of a step instead of at its start, so that `a` is not shifted. Both need only `a` and `h`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxrnn import checks
from jaxrnn.options import checked
from jaxrnn.precision import accumulator
from jaxrnn.recurrence import affine_kernel
from jaxrnn.recurrence.affine import WAYS, Steps, times
from jaxrnn.recurrence.loop import entries, flip
from jaxrnn.recurrence.programs import PLATFORMS
from jaxrnn.recurrence.split import at_end, turned
from jaxrnn.recurrence.split_scans import affine
from jaxrnn.sharding import vary, varying
from jaxrnn.splits import split_of
from jaxrnn.types import Array


@checked
def linear_scan(
    a: Array,
    b: Array,
    carry: Array | None = None,
    *,
    resets: Array | None = None,
    reverse: bool = False,
    method: Literal["auto", "scan", "associative", "chunked", "kernel"] = "auto",
    axis_name: str | None = None,
) -> tuple[Array, Array]:
    """Runs `hₜ = aₜ hₜ₋₁ + bₜ` over the leading axis, elementwise.

    Args:
      a: the multiplier of the state, real or complex, `[T, ...]`. An axis of length 1 is broadcast to that of `b`: with
        a first axis of 1 the multiplier is the same at every step.
      b: the additive term, `[T, ...]`.
      carry: the state before the first step, `[...]`; zero if None. The sequence goes on from it.
      resets: bool, over the leading axes of `b`; True at the first step of a new sequence, which starts from zero. The
        sequences stay the same under `reverse`.
      reverse: runs from the last step to the first.
      method: `"scan"` is a loop; `"associative"` combines steps in a tree; `"chunked"` loops through `√T` chunks in
        parallel, then over their ends. `"auto"` takes the loop on the CPU and the tree elsewhere. `"kernel"` is one of
        Pallas, for TPUs and NVIDIA GPUs alone, which also runs the derivatives. It has been compiled for both, and not
        timed.
      axis_name: inside `jax.shard_map`, the mesh axis over which time is split in equal parts. The carry is then that
        of the whole sequence, on the way in and on the way out, the same on every device; all else is this device's
        part.

    Returns:
      `(carry, ys)`: the state after the last step in the direction of travel, in float32 at least, so that chunks of a
      sequence in half precision can be chained, and all states `[T, ...]` in the dtype that `a` and `b` promote to.
      Half precision is accumulated in float32.

    Raises:
      ShapeError: a shape or dtype does not fit; it names the argument.
      ValueError: an unknown `method`; no mesh axis `axis_name`; when the program is lowered, `"kernel"` on a platform
        that has none, in double precision on a TPU, or with symbols for sizes.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> a, b = jnp.array([0.5, 0.5, 0.5]), jnp.array([1.0, 1.0, 1.0])
      >>> carry, ys = jaxrnn.linear_scan(a, b)
      >>> ys.tolist()
      [1.0, 1.5, 1.75]
      >>> jaxrnn.linear_scan(a, b, carry)[1].tolist()  # goes on
      [1.875, 1.9375, 1.96875]
      >>> jaxrnn.linear_scan(a, b, resets=jnp.array([False, True, False]))[1].tolist()
      [1.0, 1.0, 1.5]
    """
    check = partial(checks.floating, "linear_scan", may_be_complex=True)
    a, b = (check(name, x, 1, "[T, ...]") for name, x in (("a", a), ("b", b)))
    carry = jnp.zeros(b.shape[1:], b.dtype) if carry is None else check("carry", carry, 0, "[...]")
    because = f"b of shape {b.shape}"
    if a.ndim != b.ndim or any(n not in (1, m) for n, m in zip(a.shape, b.shape, strict=True)):
        raise checks.ShapeError(f"linear_scan: a has shape {a.shape}, expected that of b, {b.shape}, or 1 for any axis")
    checks.check_shape("linear_scan", "carry", carry, b.shape[1:], because)
    if resets is not None:
        checks.check_array("linear_scan", "resets", resets)
        checks.check_flags("linear_scan", "resets", resets, b.shape[: max(1, jnp.ndim(resets))], because)
    checks.check_choice("linear_scan", "method", method, ("auto", *WAYS, "kernel"))
    wide = accumulator(jnp.result_type(a, b, carry))
    dtype = wide if jnp.iscomplexobj(carry) else jnp.result_type(a, b)
    carry = carry.astype(wide)
    if jnp.iscomplexobj(carry):
        a, b = a.astype(wide), b.astype(wide)
    split = split_of("linear_scan", axis_name)
    resets = entries(resets, split) if reverse else resets
    if split is not None and b.shape[0]:
        steps = a.astype(wide), b.astype(wide), resets
        split, (a, b, resets) = (turned(split), flip(steps)) if reverse else (split, steps)
        _, states = affine(partial(affine_scan, method=method), split, a, b, carry, resets)
        return at_end(split, states[-1]), (flip(states) if reverse else states).astype(dtype)
    states = affine_scan(a, b, carry, resets, reverse=reverse, method=method)
    if not b.shape[0]:
        return carry, states.astype(dtype)
    return states[0 if reverse else -1], states.astype(dtype)


def affine_scan(a: Array, b: Array, h0: Array, resets: Array | None, *, reverse: bool = False, method: str) -> Array:
    """Runs `linear_scan`, all real or all complex, in the dtype of `h0`; `resets` are in the direction of travel."""
    if b.shape[0] == 0:
        return b.astype(h0.dtype)
    flags = () if resets is None else (jnp.reshape(resets, resets.shape + (1,) * (b.ndim - resets.ndim)),)
    return _bind(a, b, h0, *flags, how=How(method, reverse, late=False))


class How(NamedTuple):
    """The static options of a scan.

    Attributes:
      method: one of `WAYS`, or `"auto"`.
      reverse: whether it runs from the last step to the first.
      late: whether it runs `hₜ = cₜ₋₁ + bₜ` with `cₜ = aₜ hₜ` and `c₋₁ = h0`.
    """

    method: str
    reverse: bool
    late: bool


# Its operands are `a` as for `linear_scan`, `b [T, ...]`, `h0 [...]` and, if there are any, resets shaped like `a`. Its
# result has the dtype of `h0`, to which `a` and `b` are widened where they are read.
linear_scan_p = Primitive("linear_scan")


def _bind(*operands: Array, how: How) -> Array:
    """Binds operands that vary over the same mesh axes, so that a loop's carry does not change its type."""
    return linear_scan_p.bind(*vary(operands, varying(operands)), how=how)


def _run(a: Array, b: Array, h0: Array, *resets: Array, how: How, platform: str | None) -> Array:
    if how.method == "kernel":
        return affine_kernel.run(Steps(a, b, *resets), h0, reverse=how.reverse, late=how.late, platform=platform)
    # By measurement the loop on the CPU is 2 to 9 times as fast as the others from 64 steps to 16384.
    auto = "scan" if platform == "cpu" else "associative"
    way = WAYS[auto if how.method == "auto" else how.method]
    wide = Steps(a.astype(h0.dtype), b.astype(h0.dtype), *resets)
    return way(wide, h0, reverse=how.reverse, late=how.late)


def _jvp(primals: Sequence[Array], tangents: Sequence[Any], *, how: How) -> tuple[Array, Array]:
    a, _, h0, *resets = primals
    da, db, dh0, *_ = tangents
    h = _bind(*primals, how=how)
    db = ad.instantiate_zeros(db).astype(h.dtype)
    if not isinstance(da, ad.Zero):
        db = db + _multiplied(da, h, h0, resets, how)
    return h, _bind(a, db, ad.instantiate_zeros(dh0), *resets, how=how)


def _multiplied(da: Array, h: Array, h0: Array, resets: Sequence[Array], how: How) -> Array:
    """Returns `da` times the states that `a` multiplies, each at the step where the product is added."""
    wide = da.astype(h.dtype)  # before it is broadcast, so that its cotangents are summed in this dtype
    da, *resets = (jnp.broadcast_to(x, (h.shape[0], *x.shape[1:])) for x in (wide, *resets))
    first, but_first, but_last = slice(0, 1), slice(1, None), slice(None, -1)
    if how.reverse:
        first, but_first, but_last = slice(-1, None), but_last, but_first

    def product(at: slice, h: Array) -> Array:
        for reset in resets:  # masking the product would not mask its transpose, which multiplies by the state
            h = jnp.where(reset[at], 0, h)
        return da[at] * h

    later = product(but_last if how.late else but_first, h[but_last])
    start = jnp.zeros_like(h[first]) if how.late else product(first, h0[None])
    return jnp.concatenate([later, start] if how.reverse else [start, later])


def _transpose(cotangent: Any, a: Array, b: Any, h0: Any, *resets: Array, how: How) -> list[Any]:
    """Returns the cotangents of `b` and `h0` from the output's cotangent."""
    cotangent = ad.instantiate_zeros(cotangent)
    back = how._replace(reverse=not how.reverse, late=not how.late)
    db = _bind(a, cotangent, jnp.zeros_like(cotangent[0]), *resets, how=back)
    first = -1 if how.reverse else 0
    # The only entry of an axis of length 1 is at both ends.
    dh0 = db[first] if how.late else times(a[first], db[first], *(r[first] for r in resets))
    d = [x.astype(given.aval.dtype) if ad.is_undefined_primal(given) else None for given, x in ((b, db), (h0, dh0))]
    return [None, *d, *[None] * len(resets)]


def _batch(operands: Sequence[Array], dims: Sequence[int | None], *, how: How) -> tuple[Array, int]:
    """Moves a mapped axis behind time, and broadcasts operands without one."""
    size = next(x.shape[dim] for x, dim in zip(operands, dims, strict=True) if dim is not None)

    def placed(x: Array, dim: int | None, axis: int, length: int) -> Array:
        if dim is not None:
            return jnp.moveaxis(x, dim, axis)
        return jnp.broadcast_to(jnp.expand_dims(x, axis), (*x.shape[:axis], length, *x.shape[axis:]))

    (a, b, h0, *resets), (of_a, of_b, of_h0, *of_resets) = operands, dims
    flags = (placed(r, dim, 1, 1) for r, dim in zip(resets, of_resets, strict=True))
    return _bind(placed(a, of_a, 1, 1), placed(b, of_b, 1, size), placed(h0, of_h0, 0, size), *flags, how=how), 1


_compiled = jax.jit(linear_scan_p.bind, static_argnames="how")


@linear_scan_p.def_impl
def _eager(*operands: Array, how: How) -> Array:
    with jax.disable_jit(False):  # only a compiled program has a platform
        return _compiled(*operands, how=how)


linear_scan_p.def_abstract_eval(lambda a, b, h0, *resets, how: b.update(dtype=h0.dtype, weak_type=False))
ad.primitive_jvps[linear_scan_p] = _jvp
ad.primitive_transposes[linear_scan_p] = _transpose
batching.primitive_batchers[linear_scan_p] = _batch
for _platform in (None, *PLATFORMS):
    _rule = mlir.lower_fun(partial(_run, platform=_platform), multiple_results=False)
    mlir.register_lowering(linear_scan_p, _rule, platform=_platform)
