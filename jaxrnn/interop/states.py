"""Converts carries from and to other frameworks, which have other orders of states."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn import checks
from jaxrnn.interop.carries import carry_from, carry_of, cells_of, checked_cells, leaves_of, nested, template_of
from jaxrnn.types import Array, Carry, Cell, Layer, Params


def carry_from_torch(layer: Cell | Layer, params: Params, state: Any) -> Carry:
    """Returns the carry of a layer from the states of a `torch.nn.LSTM`, `GRU` or `RNN`.

    Args:
      layer: a layer from `from_torch`, or another cell or layer with the same carry.
      params: its parameters.
      state: `h [layers · directions, *batch, H]`, or `(h, c)` of an `LSTM`: arrays, or tensors on the CPU. The state
        of a single cell, such as an `LSTMCell`, needs a first axis of size 1.

    Returns:
      The carry that `jaxrnn.unroll` takes.

    Raises:
      ValueError: the layer has other states, or other sizes.

    Example:
      >>> import jax, jaxrnn, numpy as np
      >>> layer = jaxrnn.bidirectional(jaxrnn.lstm(8))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> h_0, c_0 = np.zeros((2, 4, 8)), np.ones((2, 4, 8))
      >>> jaxrnn.interop.carry_from_torch(layer, params, (h_0, c_0)).backward.c.shape
      (4, 8)
    """
    where, template = "carry_from_torch", template_of("carry_from_torch", layer, params)
    cells = cells_of(where, template)
    stacked = leaves_of(where, state)
    if any(leaf.ndim < 2 or len(leaf) != len(cells) for leaf in stacked):
        found = [leaf.shape for leaf in stacked]
        raise checks.ShapeError(f"{where}: state has shapes {found}, expected [{len(cells)}, *batch, H] from the layer")
    leaves = [leaf[i] for i in range(len(cells)) for leaf in stacked]
    return carry_of(where, template, leaves, ("h", "c"))


def carry_to_torch(carry: Carry) -> Any:
    """Returns the state that a `torch.nn.LSTM`, `GRU` or `RNN` takes, from the carry of a layer from `from_torch`.

    Args:
      carry: of one cell, of two directions, or of a stack of such; leaves `[*batch, H]`.

    Returns:
      NumPy's `h [layers · directions, *batch, H]`, or `(h, c)` for an LSTM; `torch.as_tensor` makes tensors of them.

    Raises:
      ValueError: the carry has other states than `h` and `c`, or cells of different kinds or sizes.

    Example:
      >>> import jax, jaxrnn
      >>> layer = jaxrnn.stack(jaxrnn.rnn(jaxrnn.gru(8)), jaxrnn.dropout(0.5), jaxrnn.rnn(jaxrnn.gru(8)))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> jaxrnn.interop.carry_to_torch(layer.init_carry(params, (4,))).shape
      (2, 4, 8)
    """
    where = "carry_to_torch"
    cells = checked_cells(where, carry)
    if len({(cell._fields, *(jnp.shape(leaf) for leaf in cell)) for cell in cells}) != 1:
        raise ValueError(f"{where}: carry has cells of different kinds or sizes, expected equal ones")
    fields = [field for field in ("h", "c") if field in cells[0]._fields]
    state = tuple(np.stack([getattr(cell, field) for cell in cells]) for field in fields)
    return state if len(state) > 1 else state[0]


def carry_from_flax(layer: Cell | Layer, params: Params, state: Any) -> Carry:
    """Returns the carry of a layer from the carry of a Flax cell, of linen or of NNX, or of `Bidirectional`.

    Args:
      layer: a layer from `from_flax`, or another cell or layer with the same carry.
      params: its parameters.
      state: `(c, h)` of an LSTM, `h` of other cells; `(forward, backward)` of `Bidirectional`; for a `stack`, a
        sequence of those of its layers. Arrays `[*batch, H]`.

    Returns:
      The carry that `jaxrnn.unroll` takes.

    Raises:
      ValueError: the layer has other states, or other sizes.

    Example:
      >>> import jax, jaxrnn
      >>> from flax import linen
      >>> state = linen.LSTMCell(8).initialize_carry(jax.random.key(0), (4, 3))
      >>> cell = jaxrnn.lstm(8)
      >>> carry = jaxrnn.interop.carry_from_flax(cell, cell.init(jax.random.key(0), 3), state)
      >>> type(carry).__name__, carry.c.shape
      ('LSTMCarry', (4, 8))
    """
    return carry_from("carry_from_flax", layer, params, state, ("c", "h"))


def carry_to_flax(carry: Carry) -> Any:
    """Returns the carry that a Flax cell, or `Bidirectional`, takes: `(c, h)` of an LSTM, `h` of other cells.

    Args:
      carry: of one cell, of two directions, or of a stack of such.

    Returns:
      The same arrays; those of two directions as `(forward, backward)`, of a stack as a tuple of its layers'.

    Raises:
      ValueError: the carry has other states than `h` and `c`.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> c, h = jaxrnn.interop.carry_to_flax(jaxrnn.LSTMCarry(c=jnp.zeros((4, 8)), h=jnp.ones((4, 8))))
      >>> float(h[0, 0])
      1.0
    """
    return nested("carry_to_flax", carry, ("c", "h"))


def carry_from_keras(layer: Cell | Layer, params: Params, state: Any) -> Carry:
    """Returns the carry of a layer from the states of a Keras layer.

    Args:
      layer: a layer from `from_keras`, or another cell or layer with the same carry.
      params: its parameters.
      state: the states after the outputs with `return_state=True`: `[h, c]` of an `LSTM`, `[h]` of a `GRU` or a
        `SimpleRNN`; in `Bidirectional` those of the forward direction first. Arrays `[B, H]`.

    Returns:
      The carry that `jaxrnn.unroll` takes.

    Raises:
      ValueError: the layer has other states, or other sizes.

    Example:
      >>> import jax, jaxrnn, numpy as np
      >>> layer = jaxrnn.bidirectional(jaxrnn.gru(8))
      >>> params = layer.init(jax.random.key(0), 3)
      >>> carry = jaxrnn.interop.carry_from_keras(layer, params, [np.zeros((4, 8)), np.ones((4, 8))])
      >>> float(carry.backward.h[0, 0])
      1.0
    """
    return carry_from("carry_from_keras", layer, params, state, ("h", "c"))


def carry_to_keras(carry: Carry) -> list[Array]:
    """Returns the states that a Keras layer takes as `initial_state`: `h` and `c` of an LSTM, `h` of other cells.

    Args:
      carry: of one cell, or of two directions.

    Returns:
      The same arrays in one list, those of the forward direction first.

    Raises:
      ValueError: the carry has other states than `h` and `c`.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> h, c = jaxrnn.interop.carry_to_keras(jaxrnn.LSTMCarry(c=jnp.zeros((4, 8)), h=jnp.ones((4, 8))))
      >>> float(h[0, 0])
      1.0
    """
    return jax.tree.leaves(nested("carry_to_keras", carry, ("h", "c")))


def carry_from_haiku(layer: Cell | Layer, params: Params, state: Any) -> Carry:
    """Returns the carry of a layer from the state of a Haiku core.

    Args:
      layer: a layer from `from_haiku`, or another cell or layer with the same carry.
      params: its parameters.
      state: an `hk.LSTMState(hidden, cell)`, or `h` of other cores; for a `stack`, a sequence of those of its layers,
        as `hk.DeepRNN` has. Arrays `[*batch, H]`.

    Returns:
      The carry that `jaxrnn.unroll` takes.

    Raises:
      ValueError: the layer has other states, or other sizes.

    Example:
      >>> import jax, jaxrnn, numpy as np
      >>> cell = jaxrnn.gru(8, reset="before")
      >>> params = cell.init(jax.random.key(0), 3)
      >>> jaxrnn.interop.carry_from_haiku(cell, params, np.ones((4, 8))).h.shape
      (4, 8)
    """
    return carry_from("carry_from_haiku", layer, params, state, ("h", "c"))


def carry_to_haiku(carry: Carry) -> Any:
    """Returns the state that a Haiku core takes: `(hidden, cell)` of an LSTM, `h` of other cores.

    Args:
      carry: of one cell, or of a stack of such.

    Returns:
      The same arrays; `hk.LSTMState(*state)` makes Haiku's own record of an LSTM's. Of a stack, a tuple of its layers'.

    Raises:
      ValueError: the carry has other states than `h` and `c`.

    Example:
      >>> import jax.numpy as jnp, jaxrnn
      >>> hidden, cell = jaxrnn.interop.carry_to_haiku(jaxrnn.LSTMCarry(c=jnp.zeros((4, 8)), h=jnp.ones((4, 8))))
      >>> float(hidden[0, 0])
      1.0
    """
    return nested("carry_to_haiku", carry, ("h", "c"))
