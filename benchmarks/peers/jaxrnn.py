"""jaxrnn itself."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

import jaxrnn
from benchmarks.peers import Contender, of_jax
from benchmarks.problems import Case

CELLS: dict[str, Callable[..., jaxrnn.Cell]] = {
    "lstm": jaxrnn.lstm,
    "gru": jaxrnn.gru,
    "gru_before": partial(jaxrnn.gru, reset="before"),
    "elman": jaxrnn.elman,
}


def cell_of(case: Case) -> jaxrnn.Cell:
    return CELLS[case.cell](case.shape.H, dtype=case.dtype)


def params_of(case: Case) -> dict[str, Any]:
    names = set(case.params) - ({"recurrent_bias"} if case.cell == "gru_before" else set())
    return {name: case.params[name] for name in sorted(names)}


def contender(case: Case, *, name: str = "jaxrnn", **options: Any) -> Contender:
    """`unroll` with `options`; parameters stay float32 in half precision, as its users keep them."""
    cell = cell_of(case)

    def apply(params: Any, xs: jax.Array) -> jax.Array:
        return jaxrnn.unroll(cell, params, xs, **options)[1]

    return of_jax(name, apply, params_of(case), case, kind="ours")
