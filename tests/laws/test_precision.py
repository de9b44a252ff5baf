"""In which dtypes results come."""

import jax
import jax.numpy as jnp
import pytest

import jaxrnn
from arrays import shapes_of
from compare import assert_close
from laws.cells import FLOWS, B, D, inputs, make, space_of
from laws.reference import cast, compiled, floating, with_gradients
from laws.table import law

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

bf16, f16, f32, f64 = jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64


@law
def test_single_precision_is_close_to_double(name, method):
    args = inputs(name)
    actual = compiled(name, method)(*cast(args, f32), *FLOWS["packed_holes"])
    assert all(leaf.dtype == f32 for leaf in jax.tree.leaves(floating(actual)))
    assert_close(actual, compiled(name, method)(*args, *FLOWS["packed_holes"]), 1e-5)


# (dtype and param_dtype of the cell, dtypes of xs and of the given carry) -> dtypes of ys and of carries
DTYPES = {
    "half parameters and inputs": (None, bf16, bf16, f32, bf16, f32),
    "half carry": (None, bf16, bf16, bf16, bf16, f32),
    "two halves promote": (None, bf16, f16, f32, f32, f32),
    "half computation": (bf16, f32, f32, f32, bf16, f32),
    "half parameters, single computation": (f32, f16, f16, f32, f32, f32),
    "double inputs promote": (None, f32, f64, f32, f64, f64),
    "double parameters, single computation": (f32, f64, f32, f32, f32, f32),
    "double parameters, half computation": (f16, f64, f64, f32, f16, f32),
    "double carry, single computation": (None, f32, f32, f64, f32, f32),
}


COMMON = ("half parameters and inputs", "half computation", "double inputs promote")  # what a user meets


@pytest.mark.parametrize("case", COMMON)
@law
def test_common_dtypes_of_results_and_gradients(name, method, case):
    """As they are traced; `test_half_precision_is_that_of_the_products_alone` runs every cell in half precision."""
    check_dtypes(name, method, case, jax.eval_shape)


@pytest.mark.parametrize("case", DTYPES)
@law
def test_all_dtypes_of_results_and_gradients(name, method, case):
    """With the programs that an engine has, which are chosen when they are lowered."""
    check_dtypes(name, method, case, lambda run, *args: jax.jit(run).lower(*args).out_info)


def check_dtypes(name, method, case, outcome):
    """Compares the dtypes of `outcome(run, *args)`, leaf by leaf, with what `DTYPES` says."""
    dtype, param_dtype, xs_dtype, carry_dtype, ys_expected, carry_expected = DTYPES[case]
    cell = make(name, dtype=dtype, param_dtype=param_dtype)

    def run(params, xs, carry, mask, resets):
        return jaxrnn.unroll(cell, params, xs, carry, mask=mask, resets=resets, method=method)

    params, xs, carry = inputs(name)
    args = (cast(params, param_dtype), cast(xs, xs_dtype), cast(carry, carry_dtype))
    out = outcome(with_gradients(run), *args, *FLOWS["packed_holes"])
    found = {key: {leaf.dtype.name for leaf in jax.tree.leaves(floating(tree))} for key, tree in out.items()}
    assert found == {
        "carry": {carry_expected.dtype.name},
        "ys": {ys_expected.dtype.name},
        "d_params": {param_dtype.dtype.name},
        "d_xs": {xs_dtype.dtype.name},
        "d_carry": {carry_dtype.dtype.name},
    }


@pytest.mark.parametrize("param_dtype", [bf16, f32, f64])
@law
def test_dtypes_of_initial_parameters_and_carry(name, param_dtype):
    cell = make(name, param_dtype=param_dtype)
    params = shapes_of(cell, D)
    carry = jax.eval_shape(lambda params: cell.init_carry(params, (B, *space_of(name))), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(param_dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(floating(carry))} == {jnp.promote_types(param_dtype, f32)}
