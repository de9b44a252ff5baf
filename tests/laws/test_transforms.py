"""The surroundings that a call may stand in: sharded maps, strict promotion, and caches that are hit."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, PartitionSpec

import jaxrnn
from compare import assert_close
from laws.cells import CELLS, FLOWS, B, H, inputs, make, space_of
from laws.reference import compiled, unrolled, with_gradients
from laws.table import law
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")


ROWS, TIMED = PartitionSpec("data"), PartitionSpec(None, "data")


def sharded(run, *in_specs):
    """A mesh of one device has the same rules for what varies over it as a mesh of many."""
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    return jax.shard_map(run, mesh=mesh, in_specs=(PartitionSpec(), *in_specs), out_specs=(ROWS, TIMED))


@pytest.mark.sampled
@law
def test_shard_map_over_the_batch(name, method):
    args = (*inputs(name), *FLOWS["packed_holes"])
    run = sharded(unrolled(name, method), TIMED, ROWS, TIMED, TIMED)
    assert_close(jit(with_gradients(run))(*args), compiled(name, method)(*args))


@law
def test_shard_map_may_leave_the_carry_out(name, method):
    params, xs, _ = inputs(name)
    run = sharded(lambda params, xs: unrolled(name, method)(params, xs, None), TIMED)
    assert_close(jit(run)(params, xs), jaxrnn.unroll(make(name), params, xs))


@law
def test_strict_promotion_of_dtypes(name, method):
    """In half precision, too, where sums and carries have another dtype than parameters and inputs."""
    params, xs, carry = inputs(name)
    run = with_gradients(unrolled(name, method))
    for dtype in (xs.dtype, jnp.bfloat16):
        cast = jax.tree.map(lambda leaf, dtype=dtype: jnp.asarray(leaf, dtype), (params, xs))
        with jax.numpy_dtype_promotion("strict"):
            out = jax.eval_shape(run, *cast, carry, *FLOWS["packed_holes"])
        assert out["ys"].dtype == out["d_xs"].dtype == dtype


@contextmanager
def counted_compilations() -> Iterator[list[str]]:
    """The traces and compilations that JAX reports meanwhile."""
    events: list[str] = []

    def listen(event: str, duration: float, **_: object) -> None:
        del duration
        if event.startswith("/jax/core/compile/"):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@law
def test_a_second_unroll_compiles_nothing(name, method):
    cell = CELLS[name](H)  # made anew, so that nothing of it is compiled yet
    params, xs, carry = inputs(name)
    mask, resets = map(jnp.asarray, FLOWS["packed_holes"])

    def call(scale):
        return jaxrnn.unroll(cell, params, scale * xs, carry, mask=mask, resets=resets, method=method)

    with counted_compilations() as events:
        carry, _ = call(1.0)
        assert events
        events.clear()
        carry, _ = call(2.0)
        assert not events


@law
def test_a_second_step_compiles_nothing(name):
    cell = CELLS[name](H)
    params, xs, carry = inputs(name)
    first, second, third = xs[0], xs[1], xs[2]
    with counted_compilations() as events:
        carry, _ = jaxrnn.step(cell, params, cell.init_carry(params, (B, *space_of(name))), first)
        assert events
        carry, _ = jaxrnn.step(cell, params, carry, second)
        events.clear()
        jaxrnn.step(cell, params, carry, third)
        assert not events


@law
def test_a_second_compiled_gradient_traces_nothing(name):
    cell, traced = CELLS[name](H), []

    @jit
    def gradient(params, xs):
        traced.append(name)
        return jax.grad(lambda params: jaxrnn.unroll(cell, params, xs)[1].sum())(params)

    params, xs, _ = inputs(name)
    for scale in (1.0, 2.0, 3.0):
        params = jax.tree.map(jnp.add, params, gradient(params, scale * xs))
    assert len(traced) == 1
