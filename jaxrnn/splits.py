"""Checks of `axis_name`: whether the axis exists, and whether a cell, a layer or an option allows parts of time."""

from typing import Any

from jax import lax

from jaxrnn import checks
from jaxrnn.types import Cell, Split


def split_of(where: str, axis_name: Any) -> Split | None:
    """Returns the split over this mesh axis, after checking that it exists here; None for None."""
    if axis_name is None:
        return None
    if not isinstance(axis_name, str):
        raise ValueError(
            f"{where}: axis_name is {checks.spelled(axis_name)}, expected the name of a mesh axis, or None"
        )
    try:
        lax.axis_size(axis_name)
    except NameError:
        raise ValueError(
            f"{where}: axis_name is {axis_name!r}, expected an axis of a mesh: call it inside jax.shard_map over one"
        ) from None
    return Split(axis_name)


def check_layer(name: str, split: Split | None, splits: bool) -> None:
    """Checks that a layer of this name can run on a part of time."""
    if split is not None and not splits:
        raise _refusal(f"{name} is a layer", split)


def check_cell(cell: Cell, method: str, remat: Any, split: Split | None) -> None:
    """Checks that a cell can run on a part of time with these options."""
    if split is None:
        return
    if not cell.splits:
        raise _refusal(f"{cell} is a cell", split)
    if method == "scan":
        known = ", ".join(map(repr, ("auto", *cell.methods[1:], *cell.kernels)))
        raise ValueError(f"unroll: method is 'scan', a loop over all steps, expected one of {known} with axis_name")
    if remat not in (None, "step", "carries"):
        raise ValueError(
            f"unroll: remat is {remat!r}, expected None, 'step' or 'carries' with axis_name: a device has one part"
        )


def _refusal(what: str, split: Split) -> ValueError:
    whole = f"jax.lax.all_gather(xs, {split.axis_name!r}, tiled=True)"
    return ValueError(
        f"unroll: axis_name is {split.axis_name!r}, and {what} that cannot run on a part of the steps, expected linear "
        "cells such as min_gru and layers that split; jaxrnn.wavefront splits layers, and without axis_name it runs on "
        f"{whole}"
    )
