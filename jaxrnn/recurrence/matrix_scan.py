"""`matrix_scan` runs recurrences whose state is a matrix, step by step or as matrix products inside chunks."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxrnn import checks
from jaxrnn.options import checked
from jaxrnn.precision import accumulator
from jaxrnn.recurrence.chunkwise import Inputs, chunked, stepwise
from jaxrnn.recurrence.matrix_primitive import run as as_kernels
from jaxrnn.recurrence.quickest import quickest
from jaxrnn.recurrence.split import at_end
from jaxrnn.recurrence.split_scans import matrix
from jaxrnn.sharding import vary, varying
from jaxrnn.splits import split_of
from jaxrnn.types import Array, Split

METHODS = ("scan", "chunked")
WAYS = {"auto": quickest, "chunked": chunked, "kernel": as_kernels}
CHUNK = 64


@checked
def matrix_scan(
    q: Array,
    k: Array,
    v: Array,
    carry: Array | None = None,
    *,
    log_decay: Array | None = None,
    beta: Array | None = None,
    resets: Array | None = None,
    chunk: int | None = None,
    method: Literal["auto", "scan", "chunked", "kernel"] = "auto",
    axis_name: str | None = None,
) -> tuple[Array, Array]:
    """Runs `Sₜ = αₜ ⊙ Sₜ₋₁ + kₜ vₜᵀ`, `yₜ = Sₜᵀ qₜ`, with `αₜ = exp(log_decay)`.

    With `beta` it is the (gated) delta rule, `Sₜ = (I − βₜ kₜ kₜᵀ)(αₜ ⊙ Sₜ₋₁) + βₜ kₜ vₜᵀ`.

    Args:
      q: queries, `[T, *batch, heads, K]`.
      k: keys, like `q`. For the delta rule `β ‖k‖²` has to lie between 0 and 2.
      v: values, `[T, *batch, heads, V]`.
      carry: the state before the first step, `[*batch, heads, K, V]`; zero if None. The sequence goes on from it.
      log_decay: at most 0; `[T, *batch, heads]`, or `[T, *batch, heads, K]`, with a decay for each row of the state. 0
        if None.
      beta: `[T, *batch, heads]`.
      resets: bool `[T, *batch]`, True at the first step of a new sequence, which starts from zero.
      chunk: the steps of one chunk; 64 if None. A kernel takes the largest power of two up to it, from 16 to 64.
      method: `"scan"` is a loop over steps; `"chunked"` one over chunks, whose gradient stores one state per chunk.
        `"auto"` takes chunks, on the CPU of 32 steps at most; there the forward pass of a decay per channel takes steps
        if nothing is differentiated. `"kernel"` runs all chunks as one kernel of Pallas, for TPUs and NVIDIA GPUs
        alone, and the gradient as another. It has been compiled for both, and not timed.
      axis_name: inside `jax.shard_map`, the mesh axis over which time is split in equal parts. The carry is then that
        of the whole sequence, on the way in and on the way out, the same on every device; all else is this device's
        part.

    Returns:
      `(carry, ys)`: the state after the last step, in float32 at least, and outputs `[T, *batch, heads, V]` in the
      dtype that the inputs promote to.

    Raises:
      ShapeError: a shape or dtype does not fit; it names the argument.
      ValueError: an unknown `method`; `chunk` is not a positive int; no mesh axis `axis_name`; when the program is
        lowered, `"kernel"` on a platform that has none, in double precision, with symbols for sizes, or for states that
        do not fit on the chip: on a GPU of more than 128 rows or columns, or of one row.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> k = jnp.eye(2)[jnp.array([0, 1, 0])][:, None]  # one head: two keys, then the first of them again
      >>> v = jnp.array([1.0, 2.0, 3.0])[:, None, None]
      >>> _, ys = jaxrnn.matrix_scan(k, k, v)
      >>> ys[:, 0, 0].tolist()  # values that share a key add up
      [1.0, 2.0, 4.0]
      >>> _, ys = jaxrnn.matrix_scan(k, k, v, beta=jnp.ones((3, 1)))
      >>> ys[:, 0, 0].tolist()  # the delta rule replaces them
      [1.0, 2.0, 3.0]
    """
    q, k, v = (_floating(name, x, "[T, *batch, heads, channels]") for name, x in (("q", q), ("k", k), ("v", v)))
    because, head = f"q of shape {q.shape}", q.shape[:-1]
    check = partial(checks.check_shape, "matrix_scan")
    check("k", k, q.shape, because)
    check("v", v, (*head, *v.shape[-1:]), because)
    if log_decay is not None:
        log_decay = _floating("log_decay", log_decay, "[T, *batch, heads]", axes=2)
        check("log_decay", log_decay, q.shape if log_decay.ndim == q.ndim else head, because)
        log_decay = log_decay if log_decay.ndim == q.ndim else log_decay[..., None]
    if beta is not None:
        check("beta", _floating("beta", beta, "[T, *batch, heads]", axes=2), head, because)
        beta = jnp.asarray(beta)[..., None]
    if resets is not None:
        checks.check_flags("matrix_scan", "resets", resets, head[:-1], because)
        resets = jnp.asarray(resets)[..., None]
    checks.check_choice("matrix_scan", "method", method, ("auto", *METHODS, "kernel"))
    shape, given = (*head[1:], q.shape[-1], v.shape[-1]), [x for x in (q, k, v, log_decay, beta) if x is not None]
    dtype = jnp.result_type(*given)
    if carry is None:
        carry = jnp.zeros(shape, dtype)
    check("carry", _floating("carry", carry, "[*batch, heads, K, V]"), shape, because)
    inputs, carry = jax.tree.map(
        lambda x: x if x.dtype == bool else x.astype(accumulator(dtype)),
        (Inputs(q, k, v, log_decay, beta, resets=resets), carry),
    )
    split = split_of("matrix_scan", axis_name)
    carry, ys = run(inputs, carry, chunk=CHUNK if chunk is None else chunk, method=method, split=split)
    return at_end(split, carry), ys.astype(dtype)


def _floating(name: str, value: Any, layout: str, axes: int = 3) -> Array:
    return checks.floating("matrix_scan", name, value, axes, layout)


def run(
    inputs: Inputs,
    state: Array,
    fresh: Array | None = None,
    *,
    chunk: int,
    method: str,
    split: Split | None = None,
) -> tuple[Array, Array]:
    """Runs `matrix_scan` of inputs in one dtype; a reset starts from `fresh`, or from zero."""
    if split is not None and inputs.q.shape[0]:
        return matrix(partial(run, chunk=chunk, method=method), split, inputs, state, fresh)
    state = vary(state, varying((inputs, state, fresh)))
    if method == "scan" or inputs.q.shape[0] == 0:
        return stepwise(inputs, state, fresh)
    return WAYS[method](inputs, state, fresh, chunk)
