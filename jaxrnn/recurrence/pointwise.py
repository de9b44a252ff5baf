"""`pointwise_cell`: a cell from its elementwise maths; the engine owns the projection, the product and the gradient."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from jaxrnn.options import checked
from jaxrnn.precision import accumulator, compute_dtype
from jaxrnn.recurrence import fused, kernels
from jaxrnn.recurrence.gates import Pointwise, Spec
from jaxrnn.recurrence.primitive import run
from jaxrnn.shapes import zeros
from jaxrnn.types import Array, Carry, Cell, Flow, Noise, Params

KERNELS = ("kernel", "recurrent_kernel", "velocity_kernel", "projection")  # are read by products, in their dtype


@checked
def pointwise_cell(
    pointwise: Pointwise,
    init: Callable[..., Params],
    carry: Any,
    *,
    gates: Sequence[str],
    paired: Sequence[str] = (),
    dtype: Any = None,
) -> Cell:
    """Makes a cell whose step is one product with the state, then elementwise maths.

    For each gate `g` the engine computes `z = x kernel[:, g] + bias[g]` and `r = h recurrent_kernel[:, g]`.

    Args:
      pointwise: `(params, carry, gates) -> (carry, y)`. `gates` holds `z + r` for each gate in order, `(z, r)` for
        those in `paired`, each `[*batch, H]`; `params` all parameters but the three that the engine owns. It acts on
        each row alone, so it may not look at batch axes.
      init: `(key, in_features) -> params` with `kernel [D, G, H]`, `recurrent_kernel [H, G, H]`, perhaps
        `bias [G, H]`, and whatever else `pointwise` reads. The recurrent kernel may also be block-diagonal,
        `[N, H/N, G, H/N]` for N heads that do not see each other, or diagonal, `[G, H]`. With `projection [H, P]`,
        `h projection` takes the place of the `h [*batch, H]` that `pointwise` returns, in the carry and as the output;
        the recurrent kernel is `[P, G, H]` then.
      carry: a NamedTuple class whose fields are `[*batch, H]` arrays, one of them `h`, which may be `[*batch, P]`.
        Exported programs that take or return it can be stored once it is known to
        `jax.export.register_namedtuple_serialization`.
      gates: the gates' names, in the order of the parameters' gate axis.
      paired: names of gates for which `pointwise` needs `z` and `r` apart.
      dtype: of the computation; what inputs and parameters promote to if None. Carries are never in half precision.

    Returns:
      A `Cell` of structure `"dense"`, with methods `"scan"` and `"fused"`.

    Raises:
      ValueError: `paired` names a gate that is not in `gates`; `carry` has no field `h`; `init` draws another number
        of gates.

    Example:
      An Elman network with a leak (leaky integrator; Jaeger et al. 2007):

      >>> from typing import NamedTuple
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> class LeakyCarry(NamedTuple):
      ...     h: jax.Array
      >>> def leaky(params, carry, gates):
      ...     h = 0.9 * carry.h + 0.1 * jnp.tanh(gates[0])
      ...     return LeakyCarry(h), h
      >>> def init(key, in_features):
      ...     return jaxrnn.initializers.dense_params(key, in_features, 8, 1)
      >>> cell = jaxrnn.pointwise_cell(leaky, init, LeakyCarry, gates=("h",))
      >>> carry, ys = jaxrnn.unroll(cell, cell.init(jax.random.key(0), 3), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 8)
    """
    gates, paired = tuple(gates), tuple(paired)
    if unknown := set(paired) - set(gates):
        raise ValueError(f"pointwise_cell: paired names {sorted(unknown)}, expected names from gates={gates}")
    _check_carry("pointwise_cell", carry)
    pairs = tuple(i for i, name in enumerate(gates) if name in paired)

    def spec(dtype: Any, *, unroll: int | None = 1, rebuild: bool = False, then: Any = None) -> Spec:
        return Spec(pointwise, len(gates), pairs, jnp.dtype(dtype), unroll, rebuild, then)

    def step(params: Params, carry: Carry, zs: tuple[Array, ...], noise: Noise | None = None) -> tuple[Carry, Array]:
        weights, scale = _weights(params, zs[0].dtype), None if noise is None else noise.state
        return fused.step(spec(zs[0].dtype), weights, carry, zs, scale)

    def scan(
        params: Params,
        carry: Carry,
        xs: Array,
        flow: Flow,
        *,
        method: str,
        remat: Any,
        unroll: int | None,
    ) -> tuple[Carry, Any]:
        del method  # there is one
        compute = compute_dtype(dtype, xs, params["kernel"])
        how = spec(compute, unroll=unroll, rebuild=remat is not None, then=flow.then)
        masks, scale = (None, None) if flow.noise is None else flow.noise
        operands = fused.Operands(xs, _weights(params, compute), carry, flow.fresh, scale)
        return run(how, operands, fused.Steps(flow.valid, flow.resets, masks))

    def checked_init(key: Array, in_features: int) -> Params:
        params = init(key, in_features)
        if (drawn := params["kernel"].shape[-2]) != len(gates):
            raise ValueError(f"pointwise_cell: init draws {drawn} gates, expected {len(gates)}: gates={gates}")
        return params

    cell = step_cell(step, checked_init, carry, dtype=dtype)

    def once(params: Params, dtype: Any) -> Params:
        recurrent = kernels.cast(params["recurrent_kernel"], dtype)  # which depends on its form
        return cast("projection")(params, dtype) | {"recurrent_kernel": recurrent}

    return cell._replace(scan=scan, methods=("scan", "fused"), cast=once)


@checked
def step_cell(
    step: Callable[..., tuple[Carry, Array]],
    init: Callable[..., Params],
    carry: Any,
    *,
    dtype: Any = None,
) -> Cell:
    """Makes a cell with `pointwise_cell`'s projection and carry but a `step` of its own, which runs in the plain loop.

    Args:
      step: `(params, carry, zs) -> (carry, y)`; `zs` holds `x kernel[:, g] + bias[g]` for each gate (without a bias
        that `init` does not draw), in the dtype of the computation, which is that of `y` too.
      init: as for `pointwise_cell`.
      carry: as for `pointwise_cell`.
      dtype: as for `pointwise_cell`.

    Returns:
      A `Cell` of structure `"dense"`, with the method `"scan"` alone.

    Raises:
      ValueError: `carry` has no field `h`.

    Example:
      >>> from typing import NamedTuple
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> class Carry(NamedTuple):
      ...     h: jax.Array
      >>> def step(params, carry, zs):  # the state is squared before the product
      ...     h = jnp.tanh(zs[0] + carry.h**2 @ params["recurrent_kernel"][:, 0])
      ...     return Carry(h), h
      >>> def init(key, in_features):
      ...     return jaxrnn.initializers.dense_params(key, in_features, 8, 1)
      >>> cell = jaxrnn.step_cell(step, init, Carry)
      >>> jaxrnn.unroll(cell, cell.init(jax.random.key(0), 3), jnp.ones((5, 2, 3)))[1].shape
      (5, 2, 8)
    """
    _check_carry("step_cell", carry)

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        kernel = params["recurrent_kernel"]
        wide, features = accumulator(compute_dtype(dtype, kernel)), params["kernel"].shape[-1]
        state = params["projection"].shape[-1] if "projection" in params else features
        # Each an array of its own, so that they can be donated.
        return carry(*(zeros((*batch_shape, state if field == "h" else features), wide) for field in carry._fields))

    def project(params: Params, xs: Array) -> tuple[Array, ...]:
        compute = compute_dtype(dtype, xs, params["kernel"])
        return fused.project(xs, _weights(params, compute), compute)

    def own_step(params: Params, carry: Carry, zs: tuple[Array, ...], *noise: Noise) -> tuple[Carry, Array]:
        return step(_widened(params, zs[0].dtype), carry, zs, *noise)

    return Cell(init, init_carry, project, own_step, None, "dense")


def cast(*names: str) -> Callable[[Params, Any], Params]:
    """The `cast` of a cell whose `step` reads the parameters of these names in products alone."""

    def all_of(params: Params, dtype: Any) -> Params:
        return {name: p.astype(dtype) if name in names else p for name, p in _widened(params, dtype).items()}

    return all_of


def _check_carry(where: str, carry: Any) -> None:
    fields = getattr(carry, "_fields", ())
    if "h" not in fields:
        raise ValueError(f"{where}: carry has fields {fields}, expected a NamedTuple class with a field 'h'")


def _widened(params: Params, dtype: Any) -> Params:
    """All but the kernels in the dtype of the elementwise maths that goes with products of `dtype`."""
    wide = accumulator(dtype)
    return {name: p if name in KERNELS else p.astype(wide) for name, p in params.items()}


def _weights(params: Params, dtype: Any) -> fused.Weights:
    small = _widened(params, dtype)
    kernel, recurrent = small.pop("kernel"), small.pop("recurrent_kernel")
    return fused.Weights(kernel, small.pop("bias", None), recurrent, small.pop("projection", None), small)
