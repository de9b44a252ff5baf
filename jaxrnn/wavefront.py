"""`wavefront` runs equal layers on several devices, each of which works one chunk of steps behind the one before."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxrnn import checks, trees
from jaxrnn.driver import Options, batch_of, run_model
from jaxrnn.recurrence.loop import valid_steps
from jaxrnn.recurrence.pipelined import Passing, pipelined
from jaxrnn.recurrence.split import part
from jaxrnn.sharding import vary, varying
from jaxrnn.splits import split_of
from jaxrnn.types import Array, Carry, Cell, Layer, Params, Split, Steps
from jaxrnn.unroll import checked_call


def wavefront(
    model: Cell | Layer,
    params: Params,
    xs: Array,
    carry: Carry | None = None,
    *,
    axis_name: str,
    chunk: int,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    key: Array | None = None,
    context: Any = None,
) -> tuple[Carry, Array]:
    """Runs equal layers one after another, split over the devices of a mesh axis, inside `jax.shard_map`.

    It is for cells that `axis_name=` of `unroll` cannot split over time, such as an `lstm`. At tick `t` device `l` runs
    its layers over chunk `t - l`, and the next device has their outputs for its tick `t + 1`. So `chunks` chunks pass
    `devices` devices in `chunks + devices - 1` ticks, and each device works in `chunks` of these and rests in the
    others (Appleyard et al. 2016, "Optimizing performance of recurrent neural networks on GPUs", on one device).

    A tick moves one chunk from each device to the next, and one towards the first device along a belt, which holds the
    inputs that are still to come and the outputs so far. A device has no more of them than its part. A gradient
    recomputes each chunk from the carry before it, as that of `fold` does, and stores these and the chunks' inputs.

    Args:
      model: one of the layers: a `Cell`, or a causal `Layer`, whose outputs have the shape of its inputs.
      params: this device's part of the layers, which follow each other along a first axis of all leaves: of the
        parameters that `jax.vmap(model.init, (0, None))(keys, in_features)` draws, with `PartitionSpec(axis_name)`.
      xs: this device's part of the inputs, `[T, *batch, D]`; T is the same on all devices. They are cast to the dtype
        of the outputs.
      carry: initial carry of this device's layers, leaves `[layers, *batch, ...]`; `model.init_carry` if None.
      axis_name: the mesh axis, over which layers and time are both split in equal parts.
      chunk: the steps of a chunk; it divides those of a device's part.
      lengths: valid steps of each whole sequence, int `[*batch]`, the same on every device, as for `unroll`.
      mask: valid steps, bool `[T, *batch]`, this device's part.
      resets: bool `[T, *batch]`, True at the first step of a new sequence, this device's part, as for `unroll`.
      key: draws the masks of `dropout` and its kin, the same on every device: what a `stack` of the layers draws.
      context: a value that the layers attend to, as for `unroll`, the same on every device.

    Returns:
      `(carry, ys)`: the carry of this device's layers after each sequence's last valid step, leaves
      `[layers, *batch, ...]`, and its part of the outputs of the last layer, `[T, *batch, D]`.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument.
      ValueError: there is no mesh axis `axis_name`; `chunk` does not divide T; the model is not causal, or its inputs
        carry times; `lengths` and `mask` are both given.

    Example:
      >>> import jax, jaxrnn
      >>> from jax.sharding import PartitionSpec as P
      >>> mesh = jax.make_mesh((jax.device_count(),), ("layers",), axis_types=(jax.sharding.AxisType.Auto,))
      >>> cell = jaxrnn.lstm(8)
      >>> params = jax.vmap(cell.init, (0, None))(jax.random.split(jax.random.key(0), 2 * mesh.size), 8)
      >>> def run(params, xs):
      ...     return jaxrnn.wavefront(cell, params, xs, axis_name="layers", chunk=5)
      >>> run = jax.shard_map(run, mesh=mesh, in_specs=P("layers"), out_specs=P("layers"))
      >>> carry, ys = run(params, jax.numpy.ones((10 * mesh.size, 3, 8)))
      >>> carry.h.shape == (2 * mesh.size, 3, 8), ys.shape == (10 * mesh.size, 3, 8)
      (True, True)
    """
    trees.check_model("wavefront", model)
    params = trees.plain("wavefront", params)
    _check_layers(params, carry)
    first = jax.tree.map(lambda leaf: leaf[0], (params, carry))
    _, xs = checked_call("wavefront", model, first[0], xs, first[1], lengths, mask, resets, key, context)
    _check_model(model)
    checks.check_positive("wavefront", "chunk", chunk)
    if xs.shape[0] % chunk:
        raise ValueError(
            f"wavefront: chunk is {chunk}, expected a divisor of T in the part {checks.shape_words(xs)}; pad to a "
            "multiple and give lengths"
        )
    if axis_name is None:
        raise ValueError("wavefront: axis_name is None, expected the name of a mesh axis; jaxrnn.unroll needs none")
    split = split_of("wavefront", axis_name)
    return _run(model, chunk, split, params, carry, Passing(xs, mask, resets), lengths, key, context)


def _check_layers(params: Params, carry: Carry | None) -> None:
    """Checks that all leaves have the same number of layers along a first axis."""
    found = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves((params, carry))}
    if len(found) != 1 or found & {(), (0,)}:
        sizes = ", ".join(sorted(str(*size) or "none" for size in found)) or "no arrays"
        raise checks.ShapeError(
            f"wavefront: the first axes of params and carry are {sizes}, expected one number of layers, 1 or more; "
            "jax.vmap(model.init, (0, None))(keys, in_features) makes such params"
        )


def _check_model(model: Cell | Layer) -> None:
    """Checks that chunks can follow each other, and that outputs can be inputs."""
    if isinstance(model, Layer):
        trees.check_causal("wavefront", model)
    if model.timed:
        raise ValueError(f"wavefront: model is {model!r}, whose inputs carry times, which outputs lack")


@partial(jax.jit, static_argnames=("model", "chunk", "split"))
def _run(
    model: Cell | Layer,
    chunk: int,
    split: Split,
    params: Params,
    carry: Carry | None,
    inputs: Passing,
    lengths: Array | None,
    key: Array | None,
    context: Any,
) -> tuple[Carry, Array]:
    """Returns what `wavefront` returns."""
    if carry is None:
        carry = jax.vmap(lambda p: model.init_carry(p, batch_of(model, inputs.xs)[1:]))(params)
    axes = varying((params, carry, inputs, lengths, context, part(split)))
    params, carry, inputs, lengths, context = vary((params, carry, inputs, lengths, context), axes)
    keys = None if key is None else _own_keys(split, key, jax.tree.leaves(params)[0].shape[0])

    def one(first: Array, chunk: Passing, xs: Array, layer: tuple[Params, Carry, Array | None]) -> tuple[Array, Carry]:
        params, carry, key = layer
        valid = valid_steps(lengths, chunk.mask, xs.shape[0], first)
        carry, ys, _ = run_model(model, Options(), params, carry, xs, Steps(valid, chunk.resets, key, context, first))
        return ys, carry

    def work(params: Params, carry: Carry, chunk: Passing, number: Array) -> tuple[Carry, Array]:
        run = partial(one, number * chunk.xs.shape[0], chunk)
        ys, carry = lax.scan(run, chunk.xs, (params, carry, keys))
        return carry, ys

    layer = jax.tree.map(lambda leaf: leaf[0], (params, carry, keys))
    inputs = inputs._replace(xs=_as_outputs(lambda xs: one(part(split), inputs, xs, layer)[0], inputs.xs))
    if not inputs.xs.shape[0]:
        return carry, inputs.xs
    belt = jax.tree.map(lambda a: a.reshape(-1, chunk, *a.shape[1:]), inputs)
    carry, ys = pipelined(split, work, params, carry, belt)
    return carry, ys.reshape(inputs.xs.shape)


def _own_keys(split: Split, key: Array, layers: int) -> Array:
    """Returns the keys of this device's layers, which are those that a `stack` of all layers gives them."""
    keys = jax.random.split(key, lax.axis_size(split.axis_name) * layers)
    return lax.dynamic_slice_in_dim(keys, part(split) * layers, layers)


def _as_outputs(run: Callable[[Array], Array], xs: Array) -> Array:
    """Returns the inputs in the dtype of one layer's outputs, after checking that both have the same shape."""
    ys = jax.eval_shape(run, xs)
    if ys.shape != xs.shape:
        raise checks.ShapeError(
            f"wavefront: model gives outputs of shape {ys.shape} for {checks.shape_words(xs)}, expected that of xs, "
            "since they are inputs of the next layer; unroll runs others before or after it"
        )
    return xs.astype(ys.dtype)
