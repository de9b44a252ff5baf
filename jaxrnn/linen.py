"""`linen.RNN` is a Flax linen module of a cell or a layer."""

from typing import Any

import flax.linen as nn
from flax.core import FrozenDict, unfreeze

from jaxrnn import batch_major
from jaxrnn.layers.rnn import as_layer
from jaxrnn.partitioning import Partitioning, partitioned
from jaxrnn.types import Array, Carry, Cell, Layer, Params
from jaxrnn.unroll import step


class RNN(nn.Module):
    """Runs a cell or a layer over sequences, with the call conventions of `flax.linen.RNN`.

    `variables["params"]` is the tree that `cell.init` returns: `jaxrnn.unroll`, this module and `jaxrnn.nnx.RNN` take
    the same parameters. It differs from Flax's module:

    * outputs at padding are 0; a sequence of length 0 returns its initial carry; lengths may have any batch axes;
    * it takes `mask` and `resets`, as `jaxrnn.unroll` does;
    * for a layer, `reverse` runs the whole layer over the flipped sequence: every part of a stack runs in reverse.

    Attributes:
      cell: a `Cell` or a `Layer`.
      time_major: whether inputs and outputs are `[T, *batch, ...]` instead of `[*batch, T, ...]`.
      return_carry: whether to return `(carry, outputs)` instead of the outputs alone.
      reverse: whether to run from the last valid step to the first. The outputs come in that order: padding stays at
        the end under `seq_lengths`, and is flipped with the rest under `mask`.
      keep_order: whether the outputs of a reversed run are aligned with the inputs.
      deterministic: whether nothing is drawn. If it is False, layers such as dropout take their key from the stream
        `"dropout"`.
      partitioning: for each axis of a parameter, the name of a mesh axis, or a logical one, or None:
        `{"kernel": (None, None, "model")}` for every `kernel`, `{"layer_0/kernel": …}` for one. Parameters are
        initialised as by `flax.linen.with_partitioning`.

    Example:
      >>> import jax, jaxrnn
      >>> model = jaxrnn.linen.RNN(jaxrnn.lstm(8))
      >>> x = jax.numpy.ones((2, 5, 3))
      >>> variables = model.init(jax.random.key(0), x)
      >>> model.apply(variables, x, seq_lengths=jax.numpy.array([5, 2])).shape
      (2, 5, 8)
      >>> carry, ys = jaxrnn.unroll(model.cell, variables["params"], x.swapaxes(0, 1))  # the same parameters
    """

    cell: Cell | Layer
    time_major: bool = False
    return_carry: bool = False
    reverse: bool = False
    keep_order: bool = False
    deterministic: bool = True
    partitioning: Partitioning | None = None

    def __post_init__(self) -> None:
        if self.partitioning is not None:  # attributes of a module have to be hashable, which a dict is not
            object.__setattr__(self, "partitioning", FrozenDict(self.partitioning))
        super().__post_init__()
        as_layer("linen.RNN", self.cell, name="cell")
        batch_major.Flags(*[None] * len(batch_major.Flags._fields)).over(self).checked("linen.RNN")

    @nn.compact
    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Carry | None = None,
        init_key: Array | None = None,
        seq_lengths: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        context: Any = None,
        unroll: int | None = None,
        deterministic: bool | None = None,
    ) -> Any:
        """Applies the cell or the layer.

        Args:
          inputs: floating, `[*batch, T, D]`; `[*batch, T, *spatial, D]` for a cell that has spatial axes;
            token ids `[*batch, T]` for a model that begins with `embedding`.
          initial_carry: leaves `[*batch, ...]`; the cell's own if None.
          init_key: is ignored, since no initial carry is random; Flax's callers pass it.
          seq_lengths: valid steps of each sequence, int `[*batch]`.
          mask: valid steps, bool `[*batch, T]`, any pattern; instead of `seq_lengths`.
          resets: bool `[*batch, T]`, True at the first step of a new sequence.
          context: as for `jaxrnn.unroll`.
          unroll: for a cell, as for `jaxrnn.unroll`.
          time_major, return_carry, reverse, keep_order, deterministic: override the attributes unless None.

        Returns:
          The outputs, each leaf `[*batch, T, H]`, with fewer steps where a layer has a stride, or `(carry, outputs)`.
          The costs that layers such as `act` add are sown into the collection `losses`: `model.apply(variables, inputs,
          mutable=["losses"])`.

        Raises:
          ShapeError: a shape, dtype or structure does not fit; it names the argument.
          ValueError: `seq_lengths` and `mask` are both given; `cell` is neither a cell nor a layer; `partitioning` does
            not fit the parameters.
        """
        del init_key
        where, layer = "linen.RNN", as_layer("linen.RNN", self.cell, name="cell")
        flags = (
            batch_major.Flags(time_major, return_carry, reverse, keep_order, deterministic).over(self).checked(where)
        )
        inputs = batch_major.inputs_of(where, self.cell, inputs, flags)
        params = self._params(layer, None if layer.num_feature_axes == 0 else inputs.shape[-1])
        key = self.make_rng("dropout") if layer.draws and not flags.deterministic else None
        steps = {"seq_lengths": seq_lengths, "mask": mask, "resets": resets, "context": context, "unroll": unroll}
        return batch_major.run(
            where, self.cell, params, inputs, initial_carry, flags, key=key, keep=self._keep, **steps
        )

    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Carry:
        """Returns the carry before the first input, which `initial_carry` and `step` take.

        Args:
          rng: is ignored, as `init_key` is.
          input_shape: of one input, `(*batch, D)`, or `(*batch,)` of token ids.

        Returns:
          The model's own initial carry; a learned one is the current one if the module is bound to parameters.
        """
        del rng
        params = None if self.scope is None else unfreeze(dict(self.variables.get("params", {})))
        return batch_major.first_carry("linen.RNN.initialize_carry", self.cell, params, input_shape)

    def step(self, carry: Carry, x: Array, *, resets: Array | None = None, context: Any = None) -> tuple[Carry, Any]:
        """Runs one step, as `jaxrnn.step`: `model.apply(variables, carry, x, method="step")`.

        Args:
          carry: from `initialize_carry`, the previous step, or a call with `return_carry=True`.
          x: one input, `[*batch, D]`, or token ids `[*batch]`.
          resets: bool `[*batch]`, True where a new sequence begins.
          context: as for a call.

        Returns:
          `(carry, y)`, y `[*batch, H]`.
        """
        params = unfreeze(dict(self.variables["params"]))
        return step(self.cell, params, carry, x, resets=resets, context=context)

    def _keep(self, name: str, value: Array) -> None:
        """Stores a cost in the collection `losses`, if the caller asks for it, but not among the initial variables."""
        if not self.is_initializing():
            self.sow("losses", name, value)

    def _params(self, layer: Layer, in_features: int | None) -> Params:
        """Returns the stored tree, which is drawn at once by the first call."""
        tree = unfreeze(dict(self.variables.get("params", {})))
        if self.is_initializing() and not tree:
            tree = layer.init(self.make_rng("params"), in_features)
            tree = partitioned("linen.RNN", tree, self.partitioning or {}, nn.Partitioned)
        return {name: self.param(name, lambda _, value=value: value) for name, value in tree.items()}
