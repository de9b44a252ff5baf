"""JAX's own settings: no transfer that nobody asked for, no NaN on the way, and two precisions side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.cells import B, D, H, inputs, make, space_of, steps
from laws.families import one_of_each_family
from laws.reference import floating

import jaxrnn

pytestmark = pytest.mark.usefixtures("quick_compilation")
MASK, RESETS = steps("01101", "10110"), steps("10100", "00011")


@pytest.mark.sampled
@one_of_each_family
def test_a_first_carry_and_a_step_transfer_nothing(name):
    cell, (params, xs, carry) = make(name), jax.device_put(inputs(name, dtype=np.float32))
    x = jax.block_until_ready(xs[0])
    with jax.transfer_guard("disallow"):
        first = cell.init_carry(params, (B, *space_of(name)))
        jaxrnn.step(cell, params, carry, x)
        jaxrnn.step(cell, params, first, x)


@pytest.mark.sampled
@pytest.mark.parametrize("make_cell", [jaxrnn.gru, jaxrnn.lru, jaxrnn.min_gru])
def test_the_first_call_of_unroll_transfers_nothing(make_cell):
    cell = make_cell(H + 1)  # of a width that no other test has checked
    params = cell.init(jax.random.key(0), D)
    xs, mask, resets = jax.block_until_ready((jnp.ones((5, B, D)), jnp.asarray(MASK), jnp.asarray(RESETS)))
    with jax.transfer_guard("disallow"):
        jaxrnn.unroll(cell, params, xs, mask=mask, resets=resets, reverse=True)


@pytest.mark.sampled
# Cells with a state at minus infinity, a root, a logarithm or a division on their way; of each engine one at least.
@pytest.mark.parametrize("name", ["odd", "gru_before", "slstm", "mlstm", "rg_lru", "lru", "delta_net", "rwkv7", "cfc"])
def test_values_and_gradients_pass_the_search_for_nans(name):
    cell, (params, xs, _) = make(name), inputs(name, dtype=np.float32)

    def loss(params, xs):
        carry, ys = jaxrnn.unroll(cell, params, xs, mask=jnp.asarray(MASK), resets=jnp.asarray(RESETS))
        return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves((carry, ys)))

    with jax.debug_nans(True):
        jax.jit(jax.value_and_grad(loss, (0, 1)))(params, xs)


@one_of_each_family
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_loop_of_steps_keeps_the_type_of_a_first_carry_under_x64(name, dtype):
    """Parameters are float32 whatever the inputs are, as `init` draws them under `jax_enable_x64`."""
    with jax.enable_x64(True):
        cell, (params, xs, _) = make(name), inputs(name, dtype=dtype)
        params = jax.tree.map(lambda p: p.astype(jnp.float32), params)

        def looped(params, xs):
            first = cell.init_carry(params, (B, *space_of(name)))
            return jax.lax.scan(lambda carry, x: jaxrnn.step(cell, params, carry, x), first, xs)

        carry, ys = jax.eval_shape(looped, params, xs)
        assert {leaf.dtype for leaf in jax.tree.leaves(floating(carry))} == {jnp.dtype(jnp.float32)}
        assert ys.dtype == dtype


def test_a_loop_of_steps_in_mixed_precision_has_the_values_of_unroll():
    with jax.enable_x64(True):
        cell, (params, xs, _) = make("lstm"), inputs("lstm")
        params = jax.tree.map(lambda p: p.astype(jnp.float32), params)
        _, ys = jax.lax.scan(lambda c, x: jaxrnn.step(cell, params, c, x), cell.init_carry(params, (B,)), xs)
        np.testing.assert_allclose(ys, jaxrnn.unroll(cell, params, xs)[1], rtol=0, atol=1e-6)
