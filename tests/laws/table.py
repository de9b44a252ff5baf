"""The table of which law is tried on which cells and methods: `@law` above a test looks its set up here.

These are all cases, which `--every` runs. Without it a law is tried on one cell or two of each family; `ALL` and
`OF_ENGINES` are tried on more and on fewer.
"""

from collections.abc import Callable, Collection
from typing import Any

import pytest

import jaxrnn
from laws import cells
from laws.cells import DISTINCT, make
from laws.families import REPRESENTATIVES
from tiers import tiered

# --- sets: cells by name, pairs of a cell and a method, or such pairs with a direction ------------------------------


def _methods(name: str) -> tuple[str, ...]:
    """A cell's methods; `test_linear_scan.py` alone tries "chunked" of elementwise recurrences."""
    elementwise = make(name).structure != "linear_matrix"
    return tuple(method for method in jaxrnn.methods(make(name)) if method != "chunked" or not elementwise)


def _is_way(name: str, method: str) -> bool:
    """Whether this is not the plain loop of a cell that has a faster method: around that loop, all cells are alike."""
    return method != "scan" or len(jaxrnn.methods(make(name))) == 1


CELLS = list(cells.CELLS)
METHODS = [(name, method) for name in CELLS for method in _methods(name)]
WAYS = [pair for pair in METHODS if _is_way(*pair)]
PLAIN_LOOPS = [pair for pair in METHODS if not _is_way(*pair)]
# With "auto" where the operation that it chooses has no name of its own.
WAYS_AND_AUTO = [*WAYS, *((name, "auto") for name in ("gla", "rwkv7"))]

# The same of the few cells that take paths of their own through the engines.
DISTINCT_CELLS = list(DISTINCT)
DISTINCT_METHODS = [pair for pair in METHODS if pair[0] in DISTINCT]
DISTINCT_WAYS = [pair for pair in WAYS if pair[0] in DISTINCT]
DISTINCT_FASTER = [pair for pair in DISTINCT_METHODS if pair[1] != "scan"]  # compared with "scan"

# The TPU's kernel, simulated, around cells that need different things of it: paired gates, small parameters, heads, a
# projection, a diagonal kernel.
KERNELS = [(name, "kernel") for name in ("lstm", "odd", "narrow", "indrnn", "slstm")]

# With a direction. The driver flips inputs and flags, and runs every engine and every loop forward, so that no cell can
# tell. Where inputs carry times, it does more than that.
BACKWARD = [pair for pair in WAYS if pair[0] in DISTINCT or make(pair[0]).timed]
DIRECTIONS = [(*pair, False) for pair in [*WAYS, *KERNELS]] + [(*pair, True) for pair in BACKWARD]

# Laws of code that runs before any cell is looked at.
ONE_A_METHOD = [("odd", "fused"), ("gru_before", "scan")]
ELMAN = [pair for pair in METHODS if pair[0] == "elman"]
LSTM = [pair for pair in METHODS if pair[0] == "lstm"]

# --- the table: file, law, set --------------------------------------------------------------------------------------

LAWS: dict[str, dict[str, list[Any]]] = {
    "test_every_cell": {  # laws in which cells could differ
        "equals_the_definition": DIRECTIONS,
        "the_plain_loop_equals_the_definition": PLAIN_LOOPS,
        "invalid_steps_are_silent_and_hold_the_carry": DIRECTIONS,
        "what_stands_in_padding_reaches_nothing": DIRECTIONS,
        "nothing_of_the_carry_survives_a_reset": WAYS,
        "nothing_of_another_sequence_crosses_a_reset": DIRECTIONS,
        "a_carry_goes_on_where_it_ended": DIRECTIONS,
        "a_carry_times_0_begins_anew_and_times_1_goes_on": WAYS,
        "streaming_equals_unrolling": WAYS,
        "one_more_batch_axis": WAYS,
        "projection_is_the_same_for_one_step_and_for_many": CELLS,
        "no_steps_and_no_rows": CELLS,
        "vmap_of_gradient_is_each_example_alone": WAYS,
        "gradient_of_vmap_is_the_sum_over_examples": WAYS_AND_AUTO,
        "half_precision_is_that_of_the_products_alone": WAYS,
    },
    "test_values": {
        "equals_the_definition": DISTINCT_METHODS,  # under every flow, not one alone
        "any_number_of_steps_and_batch_axes": DISTINCT_WAYS,
        "no_steps_return_the_carry": DISTINCT_WAYS,
        "the_carry_and_every_flag_may_be_left_out": DISTINCT_WAYS,
        "auto_is_one_of_the_methods": DISTINCT_CELLS,
        "eager_equals_compiled": DISTINCT_FASTER,
        "runs_without_jit": ONE_A_METHOD,
        "an_empty_batch_has_empty_results": DISTINCT_FASTER,
        "written_out_steps_equal_the_loop": ELMAN,
        "remat_of_steps_changes_nothing": DISTINCT_WAYS,
        "remat_of_segments_changes_nothing": ONE_A_METHOD,
    },
    "test_hypothesis": {
        "any_pattern": DISTINCT_METHODS,
        "any_call": DISTINCT_METHODS,  # drawn with the rest of the call
    },
    "test_flow": {
        "lengths_are_a_mask_from_the_left": DISTINCT_CELLS,
        "reverse_is_flip_unroll_flip": DISTINCT_METHODS,
        "chunks_equal_the_whole": DISTINCT_WAYS,
        "a_packed_row_equals_its_sequences": LSTM,
    },
    "test_derivatives": {
        "jacobian": DISTINCT_FASTER,
        "jvp_and_its_vmap": DISTINCT_FASTER,
        "linearize_and_its_transpose": DISTINCT_FASTER,
        "second_derivatives_along_a_direction": DISTINCT_FASTER,
        "forward_over_forward": DISTINCT_FASTER,
        "forward_over_reverse": DISTINCT_FASTER,
        "checkpoint": DISTINCT_FASTER,
        "within_a_scan": DISTINCT_FASTER,
        "jvp_equals_a_finite_difference": WAYS,
    },
    "test_vmap": {
        "gradient_of_vmap_is_a_batch_axis": DISTINCT_WAYS,
        "nested_vmaps_are_batch_axes": DISTINCT_FASTER,
        "vmap_within_a_batch_is_a_batch_axis": DISTINCT_FASTER,
        "one_mapped_argument_meets_shared_ones": DISTINCT_FASTER,
        "ensembles_are_each_member_alone": DISTINCT_WAYS,
        "members_with_data_of_their_own": DISTINCT_FASTER,
    },
    "test_precision": {
        "single_precision_is_close_to_double": DISTINCT_WAYS,
        "common_dtypes_of_results_and_gradients": WAYS,
        "all_dtypes_of_results_and_gradients": DISTINCT_WAYS,
        "dtypes_of_initial_parameters_and_carry": CELLS,
    },
    "test_transforms": {
        "shard_map_over_the_batch": DISTINCT_WAYS,
        "shard_map_may_leave_the_carry_out": DISTINCT_WAYS,
        "strict_promotion_of_dtypes": WAYS,
        "a_second_unroll_compiles_nothing": WAYS,
        "a_second_step_compiles_nothing": DISTINCT_CELLS,
        "a_second_compiled_gradient_traces_nothing": DISTINCT_CELLS,
    },
}

# --- the default tier ------------------------------------------------------------------------------------------------

# What a cell could break by itself, and costs no program of its own.
ALL = {"projection_is_the_same_for_one_step_and_for_many", "dtypes_of_initial_parameters_and_carry"}

# What an engine keeps or breaks for all its cells: tried on one of each of the engines that have derivatives of their
# own, and of the plain loop.
ENGINES = ("odd", "gru_before", "lru", "gated_delta_net")
OF_ENGINES = {
    "no_steps_and_no_rows",
    "vmap_of_gradient_is_each_example_alone",
    "gradient_of_vmap_is_the_sum_over_examples",
    "half_precision_is_that_of_the_products_alone",
    "common_dtypes_of_results_and_gradients",
    "strict_promotion_of_dtypes",
    "a_second_unroll_compiles_nothing",
}


def by_default(name: str) -> Collection[str]:
    """The cells that the default tier tries a law on."""
    if name in ALL:
        return CELLS
    return ENGINES if name in OF_ENGINES else REPRESENTATIVES


def law(test: Callable[..., Any]) -> Callable[..., Any]:
    """Tries a test on each cell `name` of its set, on each `name` and `method`, or on each of these and `reverse`."""
    file, name = test.__module__.removeprefix("laws."), test.__name__.removeprefix("test_")
    these = LAWS[file][name]
    cases = tiered(these, by_default(name))
    if isinstance(these[0], str):
        return pytest.mark.parametrize("name", cases)(test)
    arguments = ("name", "method", "reverse")[: len(these[0])]
    ids = ["-".join([name, method, *("reverse" for backward in rest if backward)]) for name, method, *rest in these]
    return pytest.mark.parametrize(arguments, cases, ids=ids)(test)
