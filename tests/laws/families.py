"""The families of cells, by the way that each goes through the engines, and which of them every law is tried on.

`python -m pytest` tries laws on these, and with `--every` on all cells. What a cell has for itself, its equation, is
held to a loop in NumPy in either tier.
"""

import inspect
from functools import cache

import pytest

from laws.cells import CELLS, make
from tiers import tiered

# The family of a cell: who made its `scan`, and in what it differs for that engine; each with its representatives.
FAMILIES: dict[str, tuple[str, ...]] = {
    "pointwise_cell": ("odd", "narrow"),  # have between them all that the dense engine knows
    "pointwise_cell, diagonal": ("indrnn",),
    "with_cudnn": ("lstm",),  # the dense engine, where there is no cuDNN
    "reparametrized": ("antisymmetric",),  # gradients that go on from the engine's parameters to the cell's own
    "reparametrized, diagonal": ("sru",),
    "loop": ("gru_before", "counting"),  # a carry of numbers; one with an integer
    "loop, images": ("conv_gru_before",),
    "loop, times": ("cfc",),
    "linear_cell": ("lru", "rg_lru"),  # complex, with one decay for all steps; real, with a first step of its own
    "convolved_cell": ("qrnn",),
    "matrix_cell": ("gla", "gated_delta_net"),  # a decay for each channel; the delta rule
    "exponential_cell": ("mlstm",),
    "rwkv7": ("rwkv7",),
}


@cache
def family(name: str) -> str:
    """The key that the cell should have in `FAMILIES`."""
    cell = make(name)
    maker = "loop" if cell.scan is None else inspect.unwrap(cell.scan).__qualname__.split(".")[0]
    kinds = {"diagonal": cell.structure == "diagonal", "images": cell.num_feature_axes > 1, "times": cell.timed}
    return ", ".join([maker, *(kind for kind, so in kinds.items() if so)])


REPRESENTATIVES = [name for members in FAMILIES.values() for name in members]
one_of_each_family = pytest.mark.parametrize("name", tiered(CELLS, REPRESENTATIVES))
