"""`nnx.RNN` is a Flax NNX module of a cell or a layer."""

from typing import Any

import jax
from flax import nnx

from jaxrnn import batch_major, checks
from jaxrnn.layers.rnn import as_layer
from jaxrnn.partitioning import Names, Partitioning, partitioned
from jaxrnn.types import Array, Carry, Cell, Layer
from jaxrnn.unroll import step


class RNN(nnx.Module):
    """Runs a cell or a layer over sequences, with the call conventions of `flax.nnx.RNN`.

    `nnx.to_pure_dict(nnx.state(model))` is the tree that the cell's `init` returns, and `nnx.update(model, params)`
    loads one: `jaxrnn.unroll`, this module and `jaxrnn.linen.RNN` take the same parameters. The state has parameters
    alone, no random streams. It differs from Flax's module as `jaxrnn.linen.RNN` does.

    Args:
      cell: a `Cell` or a `Layer`.
      in_features: D; None for a model that begins with `embedding`.
      time_major, return_carry, reverse, keep_order: as for `jaxrnn.linen.RNN`.
      deterministic: whether nothing is drawn; `model.train()` and `model.eval()` set it. If it is False, a call needs
        `rngs` for layers such as dropout.
      partitioning: as for `jaxrnn.linen.RNN`; parameters are made as by `flax.nnx.with_partitioning`, which needs a
        mesh to be set: `with jax.set_mesh(mesh)`.
      rngs: its stream `params` draws the parameters. The module does not keep it.

    Raises:
      ValueError: `cell` is neither a cell nor a layer; `in_features` is not a positive int; `partitioning` does not
        fit the parameters.

    Example:
      >>> import jax, jaxrnn
      >>> from flax import nnx
      >>> model = jaxrnn.nnx.RNN(jaxrnn.lstm(8), 3, rngs=nnx.Rngs(0))
      >>> x = jax.numpy.ones((2, 5, 3))
      >>> model(x, seq_lengths=jax.numpy.array([5, 2])).shape
      (2, 5, 8)
      >>> nnx.update(model, model.cell.init(jax.random.key(1), 3))
    """

    def __init__(
        self,
        cell: Cell | Layer,
        in_features: int | None,
        *,
        time_major: bool = False,
        return_carry: bool = False,
        reverse: bool = False,
        keep_order: bool = False,
        deterministic: bool = True,
        partitioning: Partitioning | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        layer = as_layer("nnx.RNN", cell, name="cell")
        self.cell = cell
        self._model = cell  # parameters that a layer calls `cell`, as `act` does, replace the other attribute
        self.time_major = time_major
        self.return_carry = return_carry
        self.reverse = reverse
        self.keep_order = keep_order
        self.deterministic = deterministic
        batch_major.Flags(time_major, return_carry, reverse, keep_order, deterministic).checked("nnx.RNN")
        if layer.num_feature_axes != 0:
            checks.check_positive("nnx.RNN", "in_features", in_features)
        params = layer.init(_drawn("nnx.RNN", rngs, "params"), in_features)
        params = partitioned("nnx.RNN", params, partitioning or {}, _with_names)
        for name, value in params.items():
            setattr(self, name, nnx.data(jax.tree.map(nnx.Param, value, is_leaf=_is_named)))

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Carry | None = None,
        seq_lengths: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: nnx.Rngs | nnx.RngStream | Array | None = None,
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
          seq_lengths: valid steps of each sequence, int `[*batch]`.
          rngs: random streams, of which `dropout` gives the key, or one stream, or a key; unused if nothing is drawn.
          mask: valid steps, bool `[*batch, T]`, any pattern; instead of `seq_lengths`.
          resets: bool `[*batch, T]`, True at the first step of a new sequence.
          context: as for `jaxrnn.unroll`.
          unroll: for a cell, as for `jaxrnn.unroll`.
          time_major, return_carry, reverse, keep_order, deterministic: override the attributes unless None.

        Returns:
          The outputs, each leaf `[*batch, T, H]`, with fewer steps where a layer has a stride, or `(carry, outputs)`.
          The costs that layers such as `act` add are sown for `nnx.capture(model, nnx.Intermediate)(inputs)`, which
          returns `(outputs, costs)`.

        Raises:
          ShapeError: a shape, dtype or structure does not fit; it names the argument.
          ValueError: `seq_lengths` and `mask` are both given; a layer draws and `rngs` is None.
        """
        where, layer = "nnx.RNN", as_layer("nnx.RNN", self._model, name="cell")
        flags = (
            batch_major.Flags(time_major, return_carry, reverse, keep_order, deterministic).over(self).checked(where)
        )
        inputs = batch_major.inputs_of(where, self._model, inputs, flags)
        params = nnx.to_pure_dict(nnx.state(self, nnx.Param))
        key = _dropout_key(rngs) if layer.draws and not flags.deterministic else None
        steps = {"seq_lengths": seq_lengths, "mask": mask, "resets": resets, "context": context, "unroll": unroll}
        return batch_major.run(
            where, self._model, params, inputs, initial_carry, flags, key=key, keep=self._keep, **steps
        )

    def _keep(self, name: str, value: Array) -> None:
        """Sows a cost, inside `nnx.capture`; elsewhere it would change the module, which Flax warns of."""
        if hasattr(self, "__captures__"):
            self.sow(nnx.Intermediate, name, value)

    def initialize_carry(self, input_shape: tuple[int, ...], rngs: Any = None) -> Carry:
        """Returns the carry before the first input, which `initial_carry` and `step` take; the learned one, if any.

        Args:
          input_shape: of one input, `(*batch, D)`, or `(*batch,)` of token ids.
          rngs: is ignored, since no initial carry is random; Flax's callers pass it.

        Returns:
          Leaves `[*batch, ...]`.
        """
        del rngs
        params = nnx.to_pure_dict(nnx.state(self, nnx.Param))
        return batch_major.first_carry("nnx.RNN.initialize_carry", self._model, params, input_shape)

    def step(self, carry: Carry, x: Array, *, resets: Array | None = None, context: Any = None) -> tuple[Carry, Any]:
        """Runs one step, as `jaxrnn.step`.

        Args:
          carry: from `initialize_carry`, the previous step, or a call with `return_carry=True`.
          x: one input, `[*batch, D]`, or token ids `[*batch]`.
          resets: bool `[*batch]`, True where a new sequence begins.
          context: as for a call.

        Returns:
          `(carry, y)`, y `[*batch, H]`.
        """
        params = nnx.to_pure_dict(nnx.state(self, nnx.Param))
        return step(self._model, params, carry, x, resets=resets, context=context)


def _with_names(value: Array, names: Names) -> Any:
    return nnx.with_partitioning(lambda: value, names)()


def _is_named(value: Any) -> bool:
    return isinstance(value, nnx.VariableMetadata)


def _dropout_key(rngs: nnx.Rngs | nnx.RngStream | Array | None) -> Array:
    if rngs is None:
        raise ValueError(
            "nnx.RNN: deterministic is False and rngs is None, expected rngs=nnx.Rngs(dropout=seed) in the call; "
            "without randomness: deterministic=True, or model.eval()"
        )
    if isinstance(rngs, jax.Array):
        return rngs
    return rngs() if isinstance(rngs, nnx.RngStream) else _drawn("nnx.RNN", rngs, "dropout")


def _drawn(where: str, rngs: Any, stream: str) -> Array:
    """Returns the next key of a stream."""
    if not isinstance(rngs, nnx.Rngs):
        raise ValueError(f"{where}: rngs is {checks.spelled(rngs)}, expected nnx.Rngs({stream}=seed)")
    if stream not in rngs and "default" not in rngs:
        raise ValueError(f"{where}: rngs has no stream {stream!r}, expected nnx.Rngs({stream}=seed), or a default")
    return getattr(rngs, stream)()
