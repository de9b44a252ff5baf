"""Finds the cells in a carry, and orders their states as other frameworks do."""

from collections.abc import Sequence
from typing import Any

import jax

from jaxrnn import checks, trees
from jaxrnn.interop import names
from jaxrnn.layers.bidirectional import BidirectionalCarry
from jaxrnn.layers.rnn import as_layer
from jaxrnn.types import Array, Carry, Params


def template_of(where: str, layer: Any, params: Params) -> Carry:
    """Returns the carry of the layer without batch axes, as shapes."""
    layer = as_layer(where, layer, name="layer")
    try:
        return jax.eval_shape(layer.init_carry, params)
    except (KeyError, TypeError) as error:
        raise checks.ShapeError(
            f"{where}: params do not fit layer: {error!r}; expected what layer.init makes"
        ) from None


def is_cell(node: Any) -> bool:
    return hasattr(node, "_fields") and not isinstance(node, BidirectionalCarry)


def cells_of(where: str, carry: Carry) -> list[Any]:
    """Returns the carries of the cells in a carry: layer by layer, forward before backward."""
    cells = jax.tree.leaves(carry, is_leaf=is_cell)
    for cell in cells:
        if not is_cell(cell) or set(cell._fields) not in ({"h"}, {"c", "h"}):
            raise ValueError(
                f"{where}: the carry holds a {type(cell).__name__}, expected cells with the states h, or c and h, "
                "as an LSTM, a GRU or an Elman network has"
            )
    if not cells:
        raise ValueError(f"{where}: the carry is empty, expected that of at least one cell")
    return cells


def checked_cells(where: str, carry: Carry) -> list[Any]:
    """Returns the carries of the cells in a carry after checking that each is floating and of one batch."""
    cells = cells_of(where, carry)
    for cell in cells:
        named = cell._asdict().items()
        leaves = [checks.floating(where, f"carry.{field}", leaf, 1, "[*batch, H]") for field, leaf in named]
        if len({leaf.shape[:-1] for leaf in leaves}) > 1:
            found = [leaf.shape for leaf in leaves]
            raise checks.ShapeError(f"{where}: carry has leaves of shapes {found}, expected one batch: [*batch, H]")
    return cells


def carry_from(where: str, layer: Any, params: Params, state: Any, order: Sequence[str]) -> Carry:
    return carry_of(where, template_of(where, layer, params), leaves_of(where, state), order)


def leaves_of(where: str, state: Any) -> list[Array]:
    found = jax.tree_util.tree_leaves_with_path(state)
    return [names.array(where, f"state{jax.tree_util.keystr(path)}", leaf) for path, leaf in found]


def carry_of(where: str, template: Carry, leaves: list[Array], order: Sequence[str]) -> Carry:
    """Returns `template` with these leaves, cell by cell with the fields of each in `order`."""
    wanted = [
        (i, field) for i, cell in enumerate(cells_of(where, template)) for field in order if field in cell._fields
    ]
    if len(leaves) != len(wanted):
        words = ", ".join(field for _, field in wanted)
        raise checks.ShapeError(
            f"{where}: state has {len(leaves)} arrays, expected {len(wanted)} from the layer: {words}"
        )
    given = dict(zip(wanted, leaves, strict=True))
    cells = [
        type(cell)(*(given[i, field] for field in cell._fields)) for i, cell in enumerate(cells_of(where, template))
    ]
    carry = jax.tree.unflatten(jax.tree.structure(template, is_leaf=is_cell), cells)
    batch = leaves[0].shape[:-1]
    expected = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*batch, *leaf.shape), leaf.dtype), template)
    trees.check_tree(where, "carry", carry, expected, f"the layer and a first state of shape {leaves[0].shape}")
    return carry


def nested(where: str, carry: Carry, order: Sequence[str]) -> Any:
    """Returns `h`, or the tuple of fields in `order`, in tuples of directions and of layers that have a carry."""
    checked_cells(where, carry)

    def plain(node: Any) -> Any:
        if is_cell(node):
            fields = [getattr(node, field) for field in order if field in node._fields]
            return tuple(fields) if len(fields) > 1 else fields[0]
        return tuple(plain(part) for part in node if jax.tree.leaves(part))

    return plain(carry)
