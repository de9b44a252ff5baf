"""`fold` sums a loss over the outputs of a sequence without ever holding all of them."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import checks, trees
from jaxrnn.driver import Options, batch_of, run_model
from jaxrnn.precision import accumulator
from jaxrnn.recurrence.elapsed import with_elapsed
from jaxrnn.recurrence.loop import select, valid_steps
from jaxrnn.recurrence.segments import lengths_of, remade
from jaxrnn.sharding import typed_as, vary, varying
from jaxrnn.sizes import is_known
from jaxrnn.types import Array, Carry, Cell, Layer, Params, Steps
from jaxrnn.unroll import checked_call

Chunk = Literal["sqrt", "recursive"] | int | tuple[int, ...]


def fold(
    model: Cell | Layer,
    params: Params,
    xs: Array,
    loss: Callable[..., Array],
    carry: Carry | None = None,
    *,
    targets: Any = None,
    chunk: Chunk = "sqrt",
    truncate: bool = False,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    key: Array | None = None,
    context: Any = None,
) -> tuple[Carry, Array]:
    """Sums a loss over the outputs of a long sequence, of which it holds one chunk of steps at a time.

    The values and the gradients are those of `unroll` and then the loss, in less memory: neither all outputs nor their
    gradients ever exist, only the carries between chunks are stored, and a gradient recomputes each chunk from its
    carry (checkpoints; Chen et al. 2016, "Training deep nets with sublinear memory cost"). A loss is a sum over steps
    here. Derivatives of every order and of every mode work. Call it inside `jit`: a call outside compiles anew.

    Args:
      model: a `Cell`, or a causal `Layer` such as a `stack`: one that has a `step`.
      params: from `model.init`.
      xs: inputs `[T, *batch, D]`, as for `unroll`.
      loss: `(ys, targets) -> scalar` of a chunk's outputs `[steps, *batch, H]` and of its part of `targets`; without
        targets `(ys) -> scalar`. The results are summed, so it sums over steps, and divides by no number of them. An
        output at an invalid step is 0: a loss that is not 0 there takes the mask among its targets.
      carry: initial carry, leaves `[*batch, ...]`; `model.init_carry` if None.
      targets: a pytree of arrays `[T, ...]`, which are cut into chunks as `xs` is.
      chunk: the steps of a chunk: an int; `"sqrt"`, about √T; a tuple such as `(2500, 50)` for chunks within chunks,
        which store less and recompute once more for each number after the first; `"recursive"` chooses such a tuple.
        The last chunk is shorter where T is not a multiple.
      truncate: whether gradients stop between chunks, the outermost ones of a tuple, while values stay the same:
        truncated backpropagation through time (Williams & Peng 1990).
      lengths: valid steps of each sequence, int `[*batch]`, as for `unroll`.
      mask: valid steps, bool `[T, *batch]`, as for `unroll`.
      resets: bool `[T, *batch]`, True at the first step of a new sequence, as for `unroll`.
      key: draws the masks of `dropout` and its kin, the same ones as in `unroll`, whatever `chunk` is. A layer of your
        own draws them so, too, if it does as `Steps` says.
      context: a value that layers of the model attend to, as for `unroll`.

    Returns:
      `(carry, total)`: the carry after each sequence's last valid step, and the sum of the losses, a scalar in float32
      at least. Named costs of layers, as of `act`, are no part of it.

    Raises:
      ShapeError: a shape, dtype or structure does not fit; it names the argument.
      ValueError: the model is not causal; `chunk` is none of the above; `loss` does not return one floating number.

    Example:
      >>> import jax, jax.numpy as jnp, jaxrnn
      >>> model = jaxrnn.stack(jaxrnn.lstm(8), jaxrnn.dense(1))
      >>> params = model.init(jax.random.key(0), 3)
      >>> xs = jax.random.normal(jax.random.key(1), (1000, 2, 3))
      >>> @jax.jit
      ... def gradient(params, xs):
      ...     def mean(params):
      ...         def squares(ys, xs):
      ...             return jnp.sum((ys - xs.sum(-1, keepdims=True)) ** 2)
      ...         carry, total = jaxrnn.fold(model, params, xs, squares, targets=xs)
      ...         return total / xs.shape[0]
      ...     return jax.grad(mean)(params)
      >>> gradient(params, xs)["layer_1"]["kernel"].shape
      (8, 1)
    """
    params, xs = checked_call("fold", model, params, xs, carry, lengths, mask, resets, key, context)
    if isinstance(model, Layer):
        trees.check_causal("fold", model)
    total_steps = xs.shape[0]
    targets = _checked_targets(targets, xs)
    _check_options(loss, chunk, truncate)
    valid = valid_steps(lengths, mask, total_steps)
    if model.timed:
        xs = with_elapsed(xs, valid, resets)  # a chunk knows nothing of the invalid steps before it
    outer, *inner = lengths_of(chunk, total_steps) or (total_steps,)

    def run(params: Params, carry: Carry, first: Array, inputs: Any) -> tuple[Carry, Array]:
        xs, targets, valid, resets = inputs
        carry, ys, _ = run_model(model, Options(), params, carry, xs, Steps(valid, resets, key, context, first))
        value = loss(ys) if targets is None else loss(ys, targets)
        checks.check_loss("fold", value, "a sum over the chunk's outputs is one")
        return carry, jnp.asarray(value)

    def innermost(params: Params, state: _State, inputs: Any) -> tuple[_State, tuple[()]]:
        carry, value = run(params, state.carry, state.first, inputs)
        return _State(carry, state.total + value.astype(state.total.dtype), state.first + inputs[0].shape[0]), ()

    def outermost(params: Params, state: _State, inputs: Any) -> tuple[_State, tuple[()]]:
        if truncate:
            cut = jax.lax.stop_gradient(state.carry)
            state = state._replace(carry=select(state.first > 0, cut, state.carry))
        return remade(innermost, params, state, inputs, shorter(inner))

    def shorter(lengths: Sequence[int]) -> tuple[int, ...]:
        # A single chunk is not recomputed.
        return tuple(n for n in lengths if not is_known(total_steps) or n < total_steps)

    carry = model.init_carry(params, batch_of(model, xs)[1:]) if carry is None else carry
    inputs = (xs, targets, valid, resets)
    state = _first_state(run, params, carry, inputs)
    state, _ = remade(outermost, params, state, inputs, shorter([outer]))
    return state.carry, state.total


class _State(NamedTuple):
    carry: Carry
    total: Array
    first: Array  # the number of steps before


def _first_state(run: Callable[..., tuple[Carry, Array]], params: Params, carry: Carry, inputs: Any) -> _State:
    """Returns the state before the first chunk, of the types after a chunk, since a loop needs both to match."""
    first = jnp.zeros((), jnp.int32)
    few = jax.tree.map(lambda leaf: leaf[:2], inputs)
    after, value = jax.eval_shape(run, params, carry, first, few)
    axes = varying((params, carry, inputs))
    return _State(typed_as(carry, after, axes), vary(jnp.zeros((), accumulator(value.dtype)), axes), first)


def _checked_targets(targets: Any, xs: Array) -> Any:
    """Returns `targets` as arrays after checking that each begins with the axis of time of `xs`."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(targets):
        name = f"targets{jax.tree_util.keystr(path)}"
        checks.check_array_like(f"fold: {name}", leaf)
        if jnp.shape(leaf)[:1] != xs.shape[:1]:
            found = f"fold: {name} has shape {jnp.shape(leaf)}"
            raise checks.ShapeError(f"{found}, expected one that begins with T from {checks.shape_words(xs)}")
    return jax.tree.map(jnp.asarray, targets)


def _check_options(loss: Any, chunk: Any, truncate: Any) -> None:
    if not callable(loss):
        raise ValueError(f"fold: loss is {checks.spelled(loss)}, expected a function (ys, targets) -> scalar")
    checks.check_bool("fold", "truncate", truncate)
    if isinstance(chunk, str) and chunk in ("sqrt", "recursive"):
        return
    sizes = chunk if isinstance(chunk, tuple) else (chunk,)
    are_sizes = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1 for n in sizes)
    if not sizes or not are_sizes or any(n <= m for n, m in pairwise(sizes)):
        raise ValueError(
            f"fold: chunk is {checks.spelled(chunk)}, expected 'sqrt', 'recursive', an int of 1 or more, or a tuple of "
            "such ints, each smaller than the one before"
        )
