"""Which way a recurrence with a matrix for a state takes is decided when its program is lowered."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType, PartitionSpec

import jaxrnn
from compare import assert_close
from quick import jit

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

T, K = 70, 2


def example(total=T, *batch):
    draw = np.random.default_rng(0)
    q, k, v = draw.normal(size=(3, total, *batch, 1, K))
    return q, k, v, -draw.exponential(size=q.shape)


def run(q, k, v, log_decay, method="auto", chunk=35):
    return jaxrnn.matrix_scan(q, k, v, log_decay=log_decay, method=method, chunk=chunk)[1]


def gradient(*args):
    return jax.grad(lambda *args: (run(*args) ** 2).sum(), (0, 1, 2, 3))(*args)


def trips(f, *platforms):
    """How long the loops are in what is exported for these platforms, wherever this runs."""
    text = export.export(jax.jit(f), platforms=platforms)(*example()).mlir_module()
    return set(map(int, re.findall(r"stablehlo\.constant dense<(\d+)> : tensor<i64>", text))) & {T, 2, 3}


def test_a_program_for_another_platform_takes_that_platform_s_way():
    """The CPU: steps, or a gradient by chunks of 32. Others: the chunks that were asked for."""
    assert trips(run, "cpu") == {T}
    assert trips(run, "cuda") == trips(run, "tpu") == trips(gradient, "tpu") == {2}
    assert trips(gradient, "cpu") == {3}
    assert trips(run, "cpu", "cuda", "tpu") == {T, 2}


def test_a_program_for_several_platforms_runs_here():
    args = example()
    for f in (run, gradient):
        program = export.export(jax.jit(f), platforms=["cpu", "cuda"])(*args)
        got, expected = program.call(*args), jit(f)(*args)
        assert_close(got, expected, 1e-10)


@pytest.mark.sampled
@pytest.mark.parametrize("mapped", range(4))
def test_the_gradient_of_vmap_is_that_of_each_alone(mapped):
    """As many as there are steps, over each argument's last axis but one."""
    args = list(example(3))
    many = np.random.default_rng(1).normal(size=(3, 1, 3, K))
    args[mapped] = -abs(many) if mapped == 3 else many
    axes = [2 if i == mapped else None for i in range(4)]

    def loss(method, *args):
        ys = jax.vmap(jax.jit(partial(run, method=method)), axes)(*args)
        return (jnp.cos(jnp.arange(ys.size)).reshape(ys.shape) * ys**2).sum()

    def alone(*args):
        rows = [run(*(a[:, :, i] if axis else a for a, axis in zip(args, axes, strict=True)), "scan") for i in range(3)]
        return (jnp.cos(jnp.arange(3 * 3 * K)).reshape(3, 3, 1, K) * jnp.stack(rows) ** 2).sum()

    got = jit(jax.grad(partial(loss, "auto"), (0, 1, 2, 3)))(*args)
    for actual, expected in zip(got, jit(jax.grad(alone, (0, 1, 2, 3)))(*args), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-11)


def test_within_shard_map():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    rows, args = PartitionSpec(None, "data"), example(3, 2)
    sharded = jax.shard_map(run, mesh=mesh, in_specs=(rows, rows, rows, PartitionSpec()), out_specs=rows)

    def results(f, *args):
        return f(*args), jax.grad(lambda *args: (f(*args) ** 2).sum(), (0, 3))(*args)

    got, expected = (jit(partial(results, f))(*args) for f in (sharded, partial(run, method="scan")))
    assert_close(got, expected, 1e-11)


def test_without_jit():
    args = example(3)
    with jax.disable_jit():
        ys = run(*args)
    np.testing.assert_allclose(ys, run(*args, "scan"), atol=1e-12)
