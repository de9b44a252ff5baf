"""`pointwise_cell` and `step_cell` make a cell from its elementwise maths, or from its whole step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp

from jaxrnn import initializers
from jaxrnn.cell_options import CellOptions
from jaxrnn.initializers import Initializer
from jaxrnn.options import checked, held
from jaxrnn.precision import accumulator, compute_dtype
from jaxrnn.recurrence import fused, kernels
from jaxrnn.recurrence.gates import Pointwise, Spec
from jaxrnn.recurrence.primitive import run
from jaxrnn.shapes import zeros
from jaxrnn.sharding import may_be_shared
from jaxrnn.types import Activation, Array, Carry, Cell, Flow, Noise, Params

# Products read these, in their own dtype.
KERNELS = (
    *("kernel", "input_kernel", "projection"),
    *("recurrent_kernel", "velocity_kernel", "cell_kernel", "transition_kernel", "context_kernel"),
)

Extra = Mapping[str, Initializer | tuple[Initializer, tuple[int, ...]]]


@checked
def pointwise_cell(
    pointwise: Pointwise,
    features: int,
    carry: Any,
    *,
    gates: Sequence[str],
    paired: Sequence[str] = (),
    offsets: Mapping[str, float] | None = None,
    extra: Extra | None = None,
    activations: Mapping[str, Activation] | None = None,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a cell whose step is one product with the state, then elementwise maths.

    For each gate `g` the engine computes `z = x kernel[:, g] + bias[g]` and `r = h recurrent_kernel[:, g]`.

    Args:
      pointwise: `(params, carry, gates) -> (carry, y)`. `gates` holds `z + r` for each gate in order, `(z, r)` for
        those in `paired`, each `[*batch, H]`; `params` holds all parameters but the three that the engine owns. The
        function acts on each sequence alone, so it may not use batch axes.
      features: H, the width of the state.
      carry: a NamedTuple class whose fields are `[*batch, H]` arrays, one of them `h`, the state in the product.
        To store exported programs with it, register it with `jax.export.register_namedtuple_serialization`.
      gates: the names of the G gates, in the order of the parameters' gate axis.
      paired: names of gates for which `pointwise` needs `z` and `r` apart.
      offsets: by gate, the number that is added to its initial bias.
      extra: further parameters by name. Each is drawn by an initializer `(key, shape, dtype) -> Array` of shape `[H]`,
        or by `(initializer, shape)`.
      activations: by gate, the function that `pointwise` applies to it, for `diagnose.saturation` to look at; it need
        not name them all, nor can it name those in `paired`.
      **options: see `CellOptions`; they draw `kernel [D, G, H]`, `recurrent_kernel [H, G, H]` and `bias [G, H]`.

    Returns:
      A `Cell` of structure `"dense"`, with methods `"scan"` and `"fused"`, and `"kernel"` on accelerators that have it.
      `cell._replace(init=…)` may draw other parameters: a block-diagonal recurrent kernel, `[N, H/N, G, H/N]` for N
      heads that do not see each other, or a diagonal one, `[G, H]`. With `projection [H, P]`, `h projection` takes the
      place of the `h [*batch, H]` that `pointwise` returns, in the carry and as the output; the recurrent kernel is
      `[P, G, H]` then.

    Raises:
      ValueError: `paired`, `offsets` or `activations` names a gate that is not in `gates`; `carry` has no field `h`.

    Example:
      An Elman network with a leak (leaky integrator; Jaeger et al. 2007):

      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> def leaky(params, carry, gates):
      ...     h = 0.9 * carry.h + 0.1 * jnp.tanh(gates[0])
      ...     return jaxrnn.HiddenCarry(h), h
      >>> cell = jaxrnn.pointwise_cell(leaky, 8, jaxrnn.HiddenCarry, gates=("h",))
      >>> carry, ys = jaxrnn.unroll(cell, cell.init(jax.random.key(0), 3), jnp.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 8)
    """
    gates, paired, dtype = tuple(gates), tuple(paired), options["dtype"]
    _check_gates("pointwise_cell", "paired", paired, gates)
    _check_gates("pointwise_cell", "activations", activations or (), tuple(g for g in gates if g not in paired))
    pairs = tuple(i for i, name in enumerate(gates) if name in paired)

    def spec(
        params: Params,
        dtype: Any,
        *,
        unroll: int | None = 1,
        rebuild: bool = False,
        then: Any = None,
        method: str = "fused",
    ) -> Spec:
        flat = method == "kernel" or not may_be_shared(params["recurrent_kernel"])
        return Spec(pointwise, len(gates), pairs, jnp.dtype(dtype), unroll, rebuild, then, method, flat)

    def step(params: Params, carry: Carry, zs: tuple[Array, ...], noise: Noise | None = None) -> tuple[Carry, Array]:
        weights, scale = _weights(params, zs[0].dtype), None if noise is None else noise.state
        return fused.step(spec(params, zs[0].dtype), weights, carry, zs, scale)

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
        compute = compute_dtype(dtype, xs, params["kernel"])
        method = "fused" if method == "auto" else method
        how = spec(params, compute, unroll=unroll, rebuild=remat is not None, then=flow.then, method=method)
        masks, scale = (None, None) if flow.noise is None else flow.noise
        operands = fused.Operands(xs, _weights(params, compute), carry, flow.fresh, scale)
        return run(how, operands, fused.Steps(flow.valid, flow.resets, masks))

    cell = _plain("pointwise_cell", step, features, carry, gates, offsets, extra, options)

    def once(params: Params, dtype: Any) -> Params:
        recurrent = kernels.cast(params["recurrent_kernel"], dtype)  # its dtype depends on its layout
        return cast("projection")(params, dtype) | {"recurrent_kernel": recurrent}

    def parts(params: Params, carry: Carry, zs: tuple[Array, ...]) -> Any:
        how, weights = spec(params, zs[0].dtype), _weights(params, zs[0].dtype)
        each = fused.gates(how, weights, carry, zs, None)
        known = {name: (f, each[gates.index(name)]) for name, f in (activations or {}).items()}
        return known, lambda carry: fused.rest(how, weights, carry, each)

    return cell._replace(scan=scan, methods=("scan", "fused"), kernels=("kernel",), cast=once, gates=parts)


@checked
def step_cell(
    step: Callable[..., tuple[Carry, Array]],
    features: int,
    carry: Any,
    *,
    gates: Sequence[str],
    offsets: Mapping[str, float] | None = None,
    extra: Extra | None = None,
    **options: Unpack[CellOptions],
) -> Cell:
    """Makes a cell with the parameters and the carry of `pointwise_cell`, but a `step` of its own.

    It runs in the plain loop; its step may have more than one product.

    Args:
      step: `(params, carry, zs) -> (carry, y)`; `zs` holds `x kernel[:, g] + bias[g]` for each gate (or
        `x kernel[:, g]` without a bias), in the dtype of the computation, which is that of `y` too.
      features: H, the width of the state.
      carry: as for `pointwise_cell`.
      gates: as for `pointwise_cell`.
      offsets: as for `pointwise_cell`.
      extra: as for `pointwise_cell`.
      **options: see `CellOptions`.

    Returns:
      A `Cell` of structure `"dense"`, with the method `"scan"` alone.

    Raises:
      ValueError: `offsets` names a gate that is not in `gates`; `carry` has no field `h`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> def step(params, carry, zs):  # the state is squared before the product
      ...     h = jnp.tanh(zs[0] + carry.h**2 @ params["recurrent_kernel"][:, 0])
      ...     return jaxrnn.HiddenCarry(h), h
      >>> cell = jaxrnn.step_cell(step, 8, jaxrnn.HiddenCarry, gates=("h",))
      >>> jaxrnn.unroll(cell, cell.init(jax.random.key(0), 3), jnp.ones((5, 2, 3)))[1].shape
      (5, 2, 8)
    """
    return _plain("step_cell", step, features, carry, tuple(gates), offsets, extra, options)


def _plain(
    where: str,
    step: Callable[..., tuple[Carry, Array]],
    features: int,
    carry: Any,
    gates: tuple[str, ...],
    offsets: Mapping[str, float] | None,
    extra: Extra | None,
    options: CellOptions,
) -> Cell:
    """Makes a cell of the plain loop from its step."""
    fields = getattr(carry, "_fields", ())
    if "h" not in fields:
        raise ValueError(f"{where}: carry has fields {fields}, expected a NamedTuple class with a field 'h'")
    _check_gates(where, "offsets", offsets or (), gates)
    draw, dtype = _drawing(where, features, gates, offsets or {}, extra or {}, options), options["dtype"]

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        kernel = params["recurrent_kernel"]
        wide, features = accumulator(compute_dtype(dtype, kernel)), params["kernel"].shape[-1]
        state = params["projection"].shape[-1] if "projection" in params else features
        # Each field is its own array, so that they can be donated.
        return carry(*(zeros((*batch_shape, state if field == "h" else features), wide) for field in fields))

    def project(params: Params, xs: Array) -> tuple[Array, ...]:
        compute = compute_dtype(dtype, xs, params["kernel"])
        return fused.project(xs, _weights(params, compute), compute)

    def own_step(params: Params, carry: Carry, zs: tuple[Array, ...], *noise: Noise) -> tuple[Carry, Array]:
        return step(_widened(params, zs[0].dtype), carry, zs, *noise)

    return Cell(draw, init_carry, project, own_step, None, "dense")


def _drawing(
    where: str,
    features: int,
    gates: tuple[str, ...],
    offsets: Mapping[str, float],
    extra: Extra,
    options: CellOptions,
) -> Callable[[Array, int], Params]:
    """Returns the `init` of a cell with these parameters."""
    bias_init, param_dtype = options["bias_init"], options["param_dtype"]
    for gate, offset in offsets.items():
        bias_init = initializers.gate_offset(bias_init, gates.index(gate), offset)

    def init(key: Array, in_features: int) -> Params:
        own_key, *keys = jax.random.split(key, 1 + len(extra)) if extra else (key,)
        params = initializers.dense_params(
            own_key,
            in_features,
            features,
            len(gates),
            kernel_init=options["kernel_init"],
            recurrent_kernel_init=options["recurrent_kernel_init"],
            use_bias=options["use_bias"],
            bias_init=bias_init,
            param_dtype=param_dtype,
        )
        for (name, entry), extra_key in zip(extra.items(), keys, strict=True):
            initializer, shape = entry if isinstance(entry, tuple) else (entry, (features,))
            params[name] = held(f"{where}: extra[{name!r}]", initializer)(extra_key, shape, param_dtype)
        return params

    return init


def cast(*names: str) -> Callable[[Params, Any], Params]:
    """Returns the `cast` of a cell whose `step` reads the parameters of these names in products alone."""

    def all_of(params: Params, dtype: Any) -> Params:
        return {name: p.astype(dtype) if name in names else p for name, p in _widened(params, dtype).items()}

    return all_of


def _check_gates(where: str, argument: str, named: Iterable[str], gates: tuple[str, ...]) -> None:
    if unknown := set(named) - set(gates):
        raise ValueError(f"{where}: {argument} names {sorted(unknown)}, expected names from gates={gates}")


def _widened(params: Params, dtype: Any) -> Params:
    """Casts all but the kernels to the accumulator of `dtype`, in which elementwise maths is done."""
    wide = accumulator(dtype)
    return {name: p if name in KERNELS else p.astype(wide) for name, p in params.items()}


def _weights(params: Params, dtype: Any) -> fused.Weights:
    small = _widened(params, dtype)
    kernel, recurrent = small.pop("kernel"), small.pop("recurrent_kernel")
    return fused.Weights(kernel, small.pop("bias", None), recurrent, small.pop("projection", None), small)
