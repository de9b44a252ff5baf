"""Runs a cell or a layer over a sequence or for one step; arguments are checked here and nowhere below."""

from typing import Any

from jaxrnn import checks, trees
from jaxrnn.driver import Options, batch_of, run, run_step
from jaxrnn.splits import split_of
from jaxrnn.types import Array, Carry, Cell, Layer, Method, Params, Remat

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
KERNELS = {"kernel": ("cuda", "tpu"), "cudnn": ("cuda",)}  # methods, with the platforms that have them


def methods(cell: Cell, platform: str | None = None) -> tuple[str, ...]:
    """Returns the methods with which `unroll` can run `cell`.

    Args:
      cell: the recurrence.
      platform: a platform of JAX, `"cpu"`, `"cuda"`, `"rocm"` or `"tpu"`; its methods include kernels made for it.

    Returns:
      Their names, the definition first; without a platform those that run on all of them.

    Raises:
      ValueError: `cell` is not a cell; `platform` is unknown.

    Example:
      >>> import jaxrnn
      >>> jaxrnn.methods(jaxrnn.lstm(8)), jaxrnn.methods(jaxrnn.gru(8, reset="before"))
      (('scan', 'fused'), ('scan',))
      >>> jaxrnn.methods(jaxrnn.gru(8), platform="tpu")
      ('scan', 'fused', 'kernel')
    """
    trees.check_cell("methods", cell)
    if cell.scan is None:
        return ("scan",)
    if platform is None:
        return cell.methods
    checks.check_choice("methods", "platform", platform, PLATFORMS)
    return cell.methods + tuple(kernel for kernel in cell.kernels if platform in KERNELS[kernel])


def check_method(where: str, cell: Cell, method: Method) -> None:
    """Checks that `cell` has this method on some platform; which one it is, only lowering knows."""
    kernels = () if cell.scan is None else cell.kernels
    checks.check_choice(where, "method", method, ("auto", *methods(cell), *kernels))


def unroll(
    model: Cell | Layer,
    params: Params,
    xs: Array,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    key: Array | None = None,
    context: Any = None,
    reverse: bool = False,
    method: Method = "auto",
    remat: Remat = None,
    unroll: int | None = None,
    axis_name: str | None = None,
) -> tuple[Carry, Array]:
    """Runs a cell or a layer over the leading axis of `xs`.

    Args:
      model: a `Cell`, or a `Layer` such as a `stack`.
      params: from `model.init`; any mapping of such arrays will do.
      xs: inputs, floating, `[T, *batch, D]`; for a cell of images, `[T, *batch, *spatial, D]`; for a model that begins
        with `embedding`, token ids, integers `[T, *batch]`. The values at an invalid step, NaN included, have no
        influence, except that a cell with times (`cell.timed`, as of `cfc`) adds up the times of invalid steps since
        the previous valid step in the direction of travel.
      carry: initial carry, leaves `[*batch, ...]`; `model.init_carry` if None.
      lengths: valid steps of each sequence, int `[*batch]`, 0 ≤ length ≤ T (a larger one counts as T); all T if None. A
        negative one is an error in an array of NumPy or on the CPU; elsewhere its value is not read, and it counts
        as 0.
      mask: valid steps, bool `[T, *batch]`, any pattern. At an invalid step the carry holds and the output is 0.
      resets: bool `[T, *batch]`, True at the first step of a new sequence: the model's own initial carry, not `carry`,
        replaces the state before that step, valid or not. The sequences stay the same under `reverse`.
      key: draws the masks of `dropout`, `zoneout`, `recurrent_dropout` and `weight_dropout`, once, before the loop;
        None: deterministic. Other models ignore it.
      context: a value that layers of the model attend to besides their input, such as an encoded source sequence; None
        for a model without such layers.
      reverse: runs from the last valid step to the first; outputs stay aligned with inputs.
      method: `"scan"` loops `step`: the definition. `"fused"` is the engine of
        `pointwise_cell`. `"auto"` takes the fastest, but neither of the following, which have not been timed.
        `"kernel"` is that engine with each loop as one kernel, which keeps the state in fast memory. It needs a TPU,
        float32 or bfloat16, and weights of at most about 55 MiB in the dtype of the computation; or an NVIDIA GPU and
        at most 256 features. It ignores `unroll`; derivatives after the first, and `vmap` over parameters, run as
        `"fused"`. For an elementwise linear cell it is the kernel of `linear_scan`, and for one whose state is a matrix
        that of `matrix_scan`. `"cudnn"` runs an `lstm` in float32 by cuDNN on an NVIDIA GPU, with `lengths`, `mask` and
        `reverse`; the engine runs whatever cuDNN cannot: `resets`, random masks, and derivatives other than the
        gradient. cuDNN rounds the inputs of products to TF32, as XLA does, unless `jax.default_matmul_precision` is
        `"highest"` or `"float32"`.
      remat: the checkpoints of the backward pass. None stores everything, except that on the CPU long linear
        recurrences are split into recomputed segments, where that is faster; `"step"` and `"carries"` store each step's
        carry alone; an int n stores every n-th carry. `"sqrt"` stores about √T carries and recomputes the steps
        between two of them together; `"recursive"` stores fewer, and recomputes once more for each level of segments
        within segments. The outputs are whole in all of them; `fold` does without.
      unroll: steps written out in one iteration of the compiled loop. None: 1 on the CPU and 4 on other devices; 1
        where there are few steps, or `jax.export` does not know how many.
      axis_name: inside `jax.shard_map`, the mesh axis over which time is split in equal parts, for the linear cells and
        the layers that the guide lists. `lengths` and `carry` are then those of the whole sequence, the same on every
        device, and so is the carry that is returned; `xs`, `mask` and `resets` are this device's part. A `key` draws
        what it draws on one device. `method` may not be `"scan"`, and `remat` None, `"step"` or `"carries"` alone.

    `reverse`, `method`, `remat` and `unroll` are options of a cell; `rnn(cell, …)` takes them for a cell in a layer.

    Returns:
      `(carry, ys)`: the carry after each sequence's last valid step, and outputs `[T, *batch, H]`, or fewer where a
      layer has a stride, zero where invalid, in the dtype of the computation. Carries are float32 at least; integers
      and bools in them stay so.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument.
      ValueError: both `lengths` and `mask` are given; the cell has no such `method`, or this platform has no
        program for it; `remat` or `unroll` is not one of the above; an option of a cell is given with a layer; there is
        no mesh axis `axis_name`, or the model cannot be split over it.

    Example:
      >>> import jax, jaxrnn
      >>> model = jaxrnn.stack(jaxrnn.lstm(8), jaxrnn.dense(2))
      >>> params = model.init(jax.random.key(0), 3)
      >>> xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
      >>> carry, ys = jaxrnn.unroll(model, params, xs, lengths=jax.numpy.array([5, 2]))
      >>> ys.shape, bool((ys[2:, 1] == 0).all())
      ((5, 2, 2), True)
    """
    how = Options(reverse, method, remat, unroll)
    flags = lengths, mask, resets, key, context
    carry, ys, _ = _checked_run("unroll", how, axis_name, model, params, xs, carry, *flags)
    return carry, ys


def unroll_with_aux(
    model: Cell | Layer,
    params: Params,
    xs: Array,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    key: Array | None = None,
    context: Any = None,
    reverse: bool = False,
    method: Method = "auto",
    remat: Remat = None,
    unroll: int | None = None,
    axis_name: str | None = None,
) -> tuple[Carry, Array, dict[str, Array]]:
    """Runs `unroll` and also returns the named costs that layers add to a loss.

    Args:
      model: as for `unroll`.
      params: as for `unroll`.
      xs: as for `unroll`.
      carry: as for `unroll`.
      lengths: as for `unroll`.
      mask: as for `unroll`.
      resets: as for `unroll`.
      key: as for `unroll`.
      context: as for `unroll`.
      reverse: as for `unroll`.
      method: as for `unroll`.
      remat: as for `unroll`.
      unroll: as for `unroll`.
      axis_name: as for `unroll`.

    Returns:
      `(carry, ys, aux)`: as `unroll`, and a dict of scalars by name, empty where no layer adds a cost. Layers that use
      the same name add up.

    Raises:
      ValueError: as `unroll`.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> def run(params, carry, xs, steps):
      ...     return carry, xs, steps.with_cost("activity", jnp.square(xs).mean())
      >>> quiet = jaxrnn.layer("quiet", lambda key, in_features: {}, run, lambda params, carry, x: (carry, x))
      >>> model = jaxrnn.stack(jaxrnn.gru(8), quiet, jaxrnn.dense(2))
      >>> carry, ys, aux = jaxrnn.unroll_with_aux(model, model.init(jax.random.key(0), 3), jnp.ones((5, 2, 3)))
      >>> ys.shape, sorted(aux)
      ((5, 2, 2), ['activity'])
    """
    how = Options(reverse, method, remat, unroll)
    flags = lengths, mask, resets, key, context
    return _checked_run("unroll_with_aux", how, axis_name, model, params, xs, carry, *flags)


def _checked_run(
    where: str,
    how: Options,
    axis_name: str | None,
    model: Cell | Layer,
    params: Params,
    xs: Array,
    carry: Carry | None,
    *flags: Any,
) -> tuple[Carry, Any, dict[str, Array]]:
    """Checks the arguments and runs; `flags` are those of `checked_call`."""
    params, xs = checked_call(where, model, params, xs, carry, *flags)
    check_options(where, model, how)
    carry, ys, _, aux = run(model, how, params, carry, xs, *flags, split=split_of(where, axis_name))
    return carry, ys, aux


def checked_call(
    where: str,
    model: Cell | Layer,
    params: Params,
    xs: Array,
    carry: Carry | None,
    lengths: Array | None,
    mask: Array | None,
    resets: Array | None,
    key: Array | None,
    context: Any,
) -> tuple[Params, Array]:
    """Checks the arguments of a run over a sequence; returns parameters as plain dicts, and inputs as an array."""
    trees.check_model(where, model)
    xs = checks.inputs_of(where, xs, model.num_feature_axes)
    because = checks.shape_words(xs)
    params = trees.plain(where, params)
    trees.check_params(where, model, params, xs, because)
    if carry is not None:
        trees.check_carry(where, model, params, carry, batch_of(model, xs)[1:], because)
    features = None if isinstance(model, Layer) and model.any_axes else model.num_feature_axes
    checks.check_steps(where, xs, lengths, mask, resets, features)
    if key is not None:
        checks.check_key(where, key)
    trees.check_context(where, model, context)
    return params, xs


def check_options(where: str, model: Cell | Layer, how: Options) -> None:
    """Checks the options of a run; a layer takes only the defaults."""
    if isinstance(model, Layer):
        for name, value, default in zip(how._fields, how, Options(), strict=True):
            if value is not default and value != default:
                raise ValueError(
                    f"{where}: {name} is {value!r}, expected {default!r} for a layer; rnn(cell, {name}=…) is for a "
                    "cell in it"
                )
        return
    checks.check_bool(where, "reverse", how.reverse)
    check_method(where, model, how.method)
    checks.check_remat(where, how.remat)
    if how.unroll is not None:
        checks.check_positive(where, "unroll", how.unroll)


def step(
    model: Cell | Layer,
    params: Params,
    carry: Carry,
    x: Array,
    *,
    resets: Array | None = None,
    context: Any = None,
) -> tuple[Carry, Array]:
    """Runs a cell or a layer for one step; a loop of steps gives the numbers of `unroll`.

    Args:
      model: a `Cell`, or a causal `Layer`.
      params: from `model.init`.
      carry: from `model.init_carry`, `unroll` or the previous step; leaves `[*batch, ...]`.
      x: one input, floating, `[*batch, D]`; token ids, integers `[*batch]`, for a model that begins with `embedding`.
      resets: bool `[*batch]`; where True a new sequence begins with this input, from the model's own initial carry.
      context: as for `unroll`.

    Returns:
      `(carry, y)` with `y [*batch, H]`. The carry keeps its dtype, so that `lax.scan` can loop this function, whatever
      the inputs promote to; a carry in half precision becomes float32.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument.
      ValueError: `model` is a layer that is not causal; it names the part that is not.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry = cell.init_carry(params, (2,))
      >>> carry, y = jaxrnn.step(cell, params, carry, jax.numpy.ones((2, 3)))
      >>> y.shape
      (2, 8)
    """
    trees.check_model("step", model)
    if isinstance(model, Layer):
        trees.check_causal("step", model)
    x = checks.inputs_of("step", x, model.num_feature_axes, name="x", axes=1, layout="[*batch, D]")
    because, batch = f"x of shape {x.shape}", batch_of(model, x)
    params = trees.plain("step", params)
    trees.check_params("step", model, params, x, because)
    trees.check_carry("step", model, params, carry, batch, because)
    if resets is not None:
        checks.check_flags("step", "resets", resets, x.shape[: x.ndim - model.num_feature_axes], because)
    trees.check_context("step", model, context)
    return run_step(model, params, carry, x, resets, context)
