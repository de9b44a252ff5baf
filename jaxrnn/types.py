"""The records that everything else is made of: `Cell` and `Layer`, and those that run beside the values."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, NoReturn

import jax

from jaxrnn.made import Made

Array = jax.Array
Params = dict[str, Any]
Activation = Callable[[Array], Array]  # elementwise
Carry = Any  # a pytree of arrays; a cell's is a NamedTuple of `[*batch, ...]` fields
Method = Literal["auto", "scan", "fused", "associative", "chunked"]
Remat = Literal["step", "carries"] | int | None
Structure = Literal["dense", "diagonal", "linear_diagonal", "linear_matrix"]


class Noise(NamedTuple):
    """One draw of a cell's random masks, made before the loop.

    Attributes:
      steps: what differs from step to step: a tuple with a pytree of bool `[T, *batch, ...]` for each transformation
        of the cell that draws one, the innermost first.
      state: `[*batch, H]`, what multiplies the state on its way into its product, the same at every step; None: 1.
    """

    steps: tuple[Any, ...] = ()
    state: Array | None = None


class Flow(NamedTuple):
    """What a recurrence is told about each step besides its input.

    Attributes:
      valid: bool `[T, *batch]`; where False the carry holds and the output is 0. None: all valid.
      resets: bool `[T, *batch]`; where True `fresh` replaces the carry before the step. None: no resets.
      fresh: the carry that a reset starts from, leaves `[*batch, ...]`. None without resets.
      noise: the masks of this run; None: deterministic.
      then: `(before, carry, y, noise.steps) -> (carry, y)`, what an engine has to do after each of the cell's steps, on
        each row alone; `steps` are one step's, None without noise. None: nothing.
    """

    valid: Array | None = None
    resets: Array | None = None
    fresh: Carry | None = None
    noise: Noise | None = None
    then: Callable[..., tuple[Carry, Any]] | None = None


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


class Cell(Made, _CellFunctions):
    """A recurrent cell as a record of pure functions; `step` defines it, the others may only be faster.

    Attributes:
      init: `(key, in_features) -> params`, a flat `dict[str, Array]`; an example input may stand for `in_features`.
      init_carry: `(params, batch_shape=()) -> carry`, a NamedTuple of `[*batch, ...]` arrays.
      project: `(params, xs[..., D]) -> zs`, all of a step that needs no carry, over any leading axes.
      step: `(params, carry, z) -> (carry, y)`, one time step; what `draw` returns is also given its noise.
      scan: `(params, carry, xs, flow, *, method, remat, unroll) -> (carry, ys)`, equal to looping
        `step` over `project(params, xs)` and faster; None where there is nothing faster than the loop.
      structure: the shape of the Jacobian of the carry by the carry before.
      methods: the ways to run it: `"scan"`, the plain loop, and those that `scan` knows besides `"auto"`.
      num_feature_axes: the last axes of an input that belong to one step: 1, and 1 more for each spatial axis.
      draw: `(key, params, xs.shape[:-1]) -> (cell, params, noise)`, one draw of what is random: what to run instead,
        and its `Noise` or None. None where nothing is random.
      learned: `carry -> (carry, fields)`, what `learned_carry` learns: given the cell's initial carry, the finite carry
        that learning begins with, and which of its fields are learned; the others stay as they are there. None: every
        field is learned, from the initial carry.
      timed: whether the last feature of an input is the time since the input before. `unroll` makes of it the time
        since the step before in the direction of travel, over invalid steps too, before `project` or `scan` sees it.
      cast: `(params, dtype) -> params`, the same in the dtypes in which `step` reads them where its projected inputs
        are in `dtype`: a loop does this once. None where `step` takes them as they are.

    Example:
      >>> import jax, jaxrnn
      >>> cell = jaxrnn.lstm(8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> {name: p.shape for name, p in params.items()}
      {'kernel': (3, 4, 8), 'recurrent_kernel': (8, 4, 8), 'bias': (4, 8)}
    """

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Says what runs a cell."""
        raise TypeError("Cell: a cell is a record and no function; jaxrnn.unroll(cell, params, xs) runs it")


class Steps(NamedTuple):
    """What flows beside the values through the layers of one run; `jaxrnn.layer` says what a layer makes of it.

    Attributes:
      valid: bool `[T, *batch]`; where False the values are 0, on the way in and on the way out. None: all valid.
      resets: bool `[T, *batch]`; True at the first step of a new sequence. None: no resets.
      key: for layers that were made with `draws=True`; None: deterministic.
      context: what the caller handed to `unroll`, an encoded memory say; None: nothing.
      aux: named costs that layers add to a loss, scalars.
    """

    valid: Array | None = None
    resets: Array | None = None
    key: Array | None = None
    context: Any = None
    aux: dict[str, Array] = {}  # noqa: RUF012, nobody writes into it

    def with_cost(self, name: str, value: Array) -> "Steps":
        """These steps with `value` added to the cost of this name."""
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


class Layer(Made, _LayerFunctions):
    """A transformation of sequences as a record of pure functions; what `rnn`, `stack`, `dense` … return.

    `jaxrnn.layer` makes one; `jaxrnn.unroll` and `jaxrnn.step` run it.

    Attributes:
      init: `(key, in_features) -> params`, nested dicts of arrays; an example input may stand for `in_features`.
      init_carry: `(params, batch_shape=()) -> carry`, one pytree.
      run: `(params, carry | None, xs [T, *batch, D], Steps) -> (carry, ys [T, *batch, H])`, or also a third value, the
        `Steps` for the layers above, where they differ. It checks nothing.
      step: `(params, carry, x [*batch, D], context) -> (carry, y)`, or None where the layer is not causal.
      num_feature_axes: the last axes of an input that belong to one step: 1, and 1 more for each spatial axis; 0 for
        token ids.
      any_axes: whether an input may have more of them: a layer that acts on each step alone does not tell them apart.
      draws: whether `run` makes use of a `key`; the Flax modules need a random stream only then.
      context: for a layer that attends to a `context`, an example of one without batch axes, as shapes; else None.
      looks_ahead: where a layer is not causal, the part that is not: its place, outermost first, and what it is.
      timed: whether the last feature of an input is a time, as for `Cell`: so it is of what is given to a timed cell.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.stack(jaxrnn.gru(8), jaxrnn.dense(2))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> carry, ys = jaxrnn.unroll(layer, params, jax.numpy.ones((5, 2, 3)))
      >>> ys.shape
      (5, 2, 2)
    """

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Says what runs a layer."""
        raise TypeError("Layer: a layer is a record and no function; jaxrnn.unroll(layer, params, xs) runs it")
