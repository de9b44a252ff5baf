"""Defines `Cell` and `Layer`, and the records of masks, resets and costs that accompany the values of a run."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, NoReturn

import jax

from jaxrnn.made import Made

Array = jax.Array
Params = dict[str, Any]
Activation = Callable[[Array], Array]  # elementwise
Carry = Any  # a pytree of arrays; a cell's is a NamedTuple of `[*batch, ...]` fields
Method = Literal["auto", "scan", "fused", "associative", "chunked", "kernel", "cudnn"]
Remat = Literal["step", "carries", "sqrt", "recursive"] | int | None
Structure = Literal["dense", "diagonal", "linear_diagonal", "linear_matrix"]


class Noise(NamedTuple):
    """One draw of a cell's random masks, which happens before the loop.

    Attributes:
      steps: the masks that differ between steps: a tuple with a pytree of bool `[T, *batch, ...]` for each
        transformation of the cell that draws one, the innermost first.
      state: `[*batch, H]`, a mask of the state in its product, the same at every step; None: 1.
    """

    steps: tuple[Any, ...] = ()
    state: Array | None = None


class Split(NamedTuple):
    """Time that is split into equal parts, one for each device along a mesh axis, inside `jax.shard_map`.

    Attributes:
      axis_name: the mesh axis.
      backwards: whether a run goes from the last device to the first; the steps of a device are in its order.
    """

    axis_name: str
    backwards: bool = False


class Flow(NamedTuple):
    """The masks, resets and noise with which a recurrence runs, besides its inputs.

    Attributes:
      valid: bool `[T, *batch]`; where False the carry holds and the output is 0. None: all valid.
      resets: bool `[T, *batch]`; where True `fresh` replaces the carry before the step. None: no resets.
      fresh: the carry that a reset starts from, leaves `[*batch, ...]`. None without resets.
      noise: the masks of this run; None: deterministic.
      then: `(before, carry, y, noise.steps) -> (carry, y)`, a function that an engine applies after each of the cell's
        steps, to each sequence alone; `steps` are one step's, None without noise. None: nothing.
      split: how time is split over devices; None: not at all. Where it is, a run starts from the carry of the whole
        sequence, and returns that after this device's part.
    """

    valid: Array | None = None
    resets: Array | None = None
    fresh: Carry | None = None
    noise: Noise | None = None
    then: Callable[..., tuple[Carry, Any]] | None = None
    split: Split | None = None


class _CellFunctions(NamedTuple):
    init: Callable[..., Params]
    init_carry: Callable[..., Carry]
    project: Callable[..., Any]
    step: Callable[..., tuple[Carry, Any]]
    scan: Callable[..., tuple[Carry, Any]] | None
    structure: Structure
    methods: tuple[str, ...] = ("scan",)
    num_feature_axes: int = 1
    draw: Callable[..., tuple["Cell", Params, Noise | None]] | None = None
    learned: Callable[[Carry], tuple[Carry, tuple[str, ...]]] | None = None
    timed: bool = False
    cast: Callable[..., Params] | None = None
    gates: Callable[..., tuple[dict[str, tuple[Activation, Array]], Callable[[Carry], tuple[Carry, Any]]]] | None = None
    kernels: tuple[str, ...] = ()
    splits: bool = False
    products: Callable[[Params, Array], tuple[Params, Array]] | None = None
    example_features: int = 2


class Cell(Made, _CellFunctions):
    """A recurrent cell is a record of pure functions; `step` defines it, the others may only be faster.

    Attributes:
      init: `(key, in_features) -> params`, a flat `dict[str, Array]`; an example input may stand for `in_features`.
      init_carry: `(params, batch_shape=()) -> carry`, a NamedTuple of `[*batch, ...]` arrays, floating, or complex,
        integers or bool.
      project: `(params, xs[..., D]) -> zs`, the part of a step that needs no carry, over any leading axes.
      step: `(params, carry, z) -> (carry, y)`, one time step; the `step` of a cell from `draw` also takes its noise.
      scan: `(params, carry, xs, flow, *, method, remat, unroll) -> (carry, ys)`, equal to looping
        `step` over `project(params, xs)` and faster; None where nothing is faster than the loop.
      structure: the structure of the Jacobian of the carry with respect to the previous carry.
      methods: the ways to run the cell: `"scan"`, the plain loop, and those that `scan` knows on every platform.
      num_feature_axes: the last axes of an input that belong to one step: 1, and 1 more for each spatial axis.
      draw: `(key, params, xs.shape[:-1], first) -> (cell, params, noise)`, one random draw: the cell and parameters to
        run instead, and the `Noise` or None. `first` is that of `Steps`. None where nothing is random.
      learned: `carry -> (carry, fields)`, which takes the cell's initial carry and returns the finite carry from which
        `learned_carry` starts, and the fields of it that are learned; the others stay. None: every field is learned,
        from the initial carry.
      timed: whether the last feature of an input is the time since the previous input. `unroll` turns it into the time
        since the previous step in the direction of travel, over invalid steps too, before `project` or `scan` sees it.
      cast: `(params, dtype) -> params`, cast as `step` reads them if its projected inputs are in `dtype`: a loop casts
        once. None where `step` casts nothing.
      gates: `(params, carry, z) -> (gates, rest)`, the two parts of a step, which `diagnose` reads: by name, the
        activation of each gate and what it is applied to, `[*batch, H]`; and `carry -> (carry, y)`, the rest of the
        step, in which gates are constants. None where `step` has no such parts.
      kernels: further methods that `scan` knows, which some platforms alone have: `"kernel"`, `"cudnn"`.
      splits: whether `scan` knows what to do where time is split over devices, as `Flow.split` says.
      products: `(params, xs [..., D]) -> (rest, zs [..., F])`, the products of inputs with some of the kernels, and the
        parameters with kernels without rows in their place. With these the other functions take `[x, z]` for an input,
        so that a layer may mix products over time, as `matrix_block` does. None for a cell that does not take them.
      example_features: a number of input features that it takes, for those who look at what does not depend on it, such
        as the names of parameters. It is another one for a cell that sets features apart.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> {name: p.shape for name, p in params.items()}
      {'kernel': (3, 4, 8), 'recurrent_kernel': (8, 4, 8), 'bias': (4, 8)}
    """

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises a TypeError that names `unroll`, which runs a cell."""
        raise TypeError("Cell: a cell is a record and no function; jaxrnn.unroll(cell, params, xs) runs it")


class Inside(NamedTuple):
    """A cell in a layer, and the arguments of its next step.

    Attributes:
      cell: the recurrence.
      params: its parameters.
      carry: its carry.
      x: its input, `[*batch, D]`.
    """

    cell: Cell
    params: Params
    carry: Carry
    x: Array


class Steps(NamedTuple):
    """The masks, resets, key and costs of one run, passed from layer to layer; `jaxrnn.layer` explains their use.

    Attributes:
      valid: bool `[T, *batch]`; where False the values are 0, on the way in and on the way out. None: all valid.
      resets: bool `[T, *batch]`; True at the first step of a new sequence. None: no resets.
      key: for layers that were made with `draws=True`; None: deterministic.
      context: the `context` that was given to `unroll`, such as an encoded source sequence; None: nothing.
      first: the number of steps of this run that came before these: `fold` runs a sequence in chunks. A layer that
        draws for each step draws for step `t` from `jax.random.fold_in(key, first + t)`, and chunks change nothing.
      aux: named costs that layers add to a loss, scalars.
      split: how time is split over devices; None: not at all.
    """

    valid: Array | None = None
    resets: Array | None = None
    key: Array | None = None
    context: Any = None
    first: Array | int = 0
    aux: dict[str, Array] = {}  # noqa: RUF012, nobody writes into it
    split: Split | None = None

    def with_cost(self, name: str, value: Array) -> "Steps":
        """Returns these steps with `value` added to the cost of this name."""
        return self._replace(aux={**self.aux, name: self.aux[name] + value if name in self.aux else value})


class _LayerFunctions(NamedTuple):
    init: Callable[..., Params]
    init_carry: Callable[..., Carry]
    run: Callable[..., Any]
    step: Callable[..., tuple[Carry, Any]] | None
    num_feature_axes: int = 1
    any_axes: bool = False
    draws: bool = False
    context: Any = None
    looks_ahead: tuple[str, ...] = ()
    timed: bool = False
    inside: Callable[..., Any] | None = None


class Layer(Made, _LayerFunctions):
    """A layer is a transformation of sequences, a record of pure functions; `rnn`, `stack`, `dense` … return one.

    `jaxrnn.layer` makes one; `jaxrnn.unroll` and `jaxrnn.step` run it.

    Attributes:
      init: `(key, in_features) -> params`, nested dicts of arrays; an example input may stand for `in_features`.
      init_carry: `(params, batch_shape=()) -> carry`, one pytree.
      run: `(params, carry | None, xs [T, *batch, D], Steps) -> (carry, ys [T, *batch, H])`, or also a third value, the
        `Steps` for the layers above, where they differ. It checks nothing.
      step: `(params, carry, x [*batch, D]) -> (carry, y)`, or None where the layer is not causal; a layer that reads a
        context takes it as a fourth argument.
      num_feature_axes: the last axes of an input that belong to one step: 1, and 1 more for each spatial axis; 0 for
        token ids.
      any_axes: whether an input may have more of them: a layer that acts on each step alone need not know.
      draws: whether `run` uses a `key`; the Flax modules need a random stream only then.
      context: for a layer that attends to a `context`, the shapes of one without batch axes; else None.
      looks_ahead: the part of a layer that is not causal, if any: its place, outermost first, and its kind.
      timed: whether the last feature of an input is a time, as for `Cell`.
      inside: `(params, carry, x [*batch, D], context) -> parts`, the cells of which one step consists: an `Inside`, or
        a tuple of such `parts` with `()` for a part without a cell. None for a layer that does not tell.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.stack(jaxrnn.gru(8), jaxrnn.dense(2))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 2)
    """

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raises a TypeError that names `unroll`, which runs a layer."""
        raise TypeError("Layer: a layer is a record and no function; jaxrnn.unroll(layer, params, xs) runs it")
