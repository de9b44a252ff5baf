"""The kernel for TPUs in blocks of rows and steps, as Pallas simulates it, and what it refuses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import PartitionSpec as P

import jaxrnn
from arrays import shapes_of
from compare import assert_close
from interpreted import simulated
from jaxrnn.recurrence import tiles
from quick import jit

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, D, H = 7, 5, 3, 4


def run(cell, method, params, xs, carry, **options):
    """All results and gradients, with cotangents on outputs and final carry."""

    def loss(params, xs, carry):
        out = jaxrnn.unroll(cell, params, xs, carry, method=method, **options)
        weighted = [(jnp.cos(jnp.arange(a.size)).reshape(a.shape) * a).sum() for a in jax.tree.leaves(out)]
        return sum(weighted), out

    return jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(params, xs, carry)


def arguments(cell, batch=(B,)):
    params = cell.init(jax.random.key(0), D)
    xs = jax.random.normal(jax.random.key(1), (T, *batch, D))
    carry = jax.tree.map(lambda a: a + 0.5, cell.init_carry(params, batch))
    return params, xs, carry


@pytest.fixture
def in_blocks(monkeypatch):
    """Blocks of 2 rows and 3 steps, of which neither the batch nor time is a multiple."""
    monkeypatch.setattr(tiles, "choose", lambda *arrays: tiles.Plan(2, 3, tiles.ALWAYS))


def noisy(features):
    return jaxrnn.zoneout(jaxrnn.recurrent_dropout(jaxrnn.coupled_lstm(features), 0.3), {"c": 0.5, "h": 0.2})


@pytest.mark.every
@pytest.mark.usefixtures("in_blocks")
@pytest.mark.parametrize(("make", "remat"), [(noisy, None), (jaxrnn.indrnn, "carries")])
def test_blocks_of_rows_and_steps_equal_the_whole(make, remat):
    flags = np.random.default_rng(0).random((2, T, B))
    options = {"mask": flags[0] < 0.7, "resets": flags[1] < 0.3, "key": jax.random.key(2), "remat": remat}
    args = arguments(make(H))
    actual = simulated(partial(run, make(H), "kernel", **options))(*args)
    assert_close(actual, run(make(H), "fused", *args, **options), 1e-5)


def test_half_precision_is_that_of_the_engine():
    cell = jaxrnn.elman(H, dtype=jnp.bfloat16)
    args = arguments(cell, (2, 1))
    actual = simulated(partial(run, cell, "kernel"))(*args)
    assert_close(actual, run(cell, "fused", *args), 0.02)
    assert actual[0][1][1].dtype == jnp.bfloat16


def lowered(cell, xs, platform="tpu", around=lambda run: run):
    program = jax.jit(around(lambda params, xs: jaxrnn.unroll(cell, params, xs, method="kernel")[1]))
    return program.trace(shapes_of(cell, D), xs).lower(lowering_platforms=(platform,)).as_text()


def test_forward_and_backward_are_one_kernel_each_and_no_loop():
    cell = jaxrnn.lstm(H)

    def loss(params, xs):
        return jaxrnn.unroll(cell, params, xs, method="kernel")[1].sum()

    params, xs = shapes_of(cell, D), jax.ShapeDtypeStruct((T, B, D), np.float32)
    text = jax.jit(jax.grad(loss)).trace(params, xs).lower(lowering_platforms=("tpu",)).as_text()
    assert text.count("@tpu_custom_call") == 2
    assert "stablehlo.while" not in text


@pytest.mark.parametrize("platform", ["cpu", "rocm"])
def test_a_platform_without_a_kernel_is_refused(platform):
    expected = rf"unroll: method='kernel' has no program for platform '{platform}', expected one of \[.*'tpu'\]; "
    with pytest.raises(ValueError, match=expected + "method='fused' runs everywhere$"):
        lowered(jaxrnn.lstm(H), jnp.ones((T, B, D)), platform)


def test_a_run_on_the_cpu_is_refused_unless_it_is_simulated():
    cell = jaxrnn.lstm(H)
    params, xs, carry = arguments(cell)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^unroll: method='kernel' has no program for platform 'cpu'"):
            jaxrnn.unroll(cell, params, xs, carry, method="kernel")
        simulated(partial(jaxrnn.unroll, cell, method="kernel"))(params, xs, carry)


def test_weights_that_do_not_fit_are_refused():
    expected = (
        "unroll: method='kernel' needs 263 MiB of a TPU's VMEM for the weights and one step of 5 rows, "
        "expected at most 60 MiB; method='fused' has no such limit"
    )
    with pytest.raises(ValueError, match=f"^{expected}$"):
        lowered(jaxrnn.lstm(4096), jnp.ones((T, B, D)))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float64])
def test_a_dtype_without_a_kernel_is_refused(dtype):
    expected = f"method='kernel' has no program for dtype {jnp.dtype(dtype)} on a TPU, expected float32 or bfloat16; "
    with jax.enable_x64(True), pytest.raises(ValueError, match=expected + "method='fused' takes it$"):
        lowered(jaxrnn.lstm(H, dtype=dtype), jnp.ones((T, B, D)))


def test_unknown_sizes_are_refused():
    xs = jax.ShapeDtypeStruct(export.symbolic_shape("t,2,3"), np.float32)
    with pytest.raises(
        ValueError, match=r"method='kernel' got an array of shape \(t, 2, 16\), expected sizes that are"
    ):
        lowered(jaxrnn.lstm(H), xs)


@pytest.mark.parametrize("check", [False, True])
def test_shard_map_has_to_leave_its_check_out(check):
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    specs = {"in_specs": (P(), P(None, "d")), "out_specs": P(None, "d"), "check_vma": check}
    around = partial(jax.shard_map, mesh=mesh, **specs)
    if not check:
        assert "@tpu_custom_call" in lowered(jaxrnn.lstm(H), jnp.ones((T, B, D)), around=around)
        return
    expected = r"got arrays whose types say how they lie on a mesh, expected shard_map\(…, check_vma=False\) around it"
    with pytest.raises(ValueError, match=expected):
        lowered(jaxrnn.lstm(H), jnp.ones((T, B, D)), around=around)


def test_a_mesh_in_types_is_refused():
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh), pytest.raises(ValueError, match="got arrays whose types say how they lie on a mesh"):
        lowered(jaxrnn.lstm(H), jax.device_put(jnp.ones((T, B, D)), P(None, "d")))


def test_blocks_are_as_large_as_fits():
    def array(*shape):
        return jax.ShapeDtypeStruct(shape, np.float32)

    small = tiles.choose([array(128, 512)], [array(16, 128)], [array(100, 16, 512)])
    assert small == (16, 100, tiles.ALWAYS)
    long = tiles.choose([array(128, 512)], [array(16, 128)], [array(1000, 16, 512)])
    assert long.steps == 12 * 16  # 32 KiB a step, twice
    many_rows = tiles.choose([array(1024, 8192)], [array(4096, 1024)], [array(10, 4096, 8192)])
    assert many_rows.rows % tiles.ALIGNED == 0 and tiles.ROWS >= many_rows.rows > 100
    assert tiles.ALWAYS < many_rows.limit <= tiles.MOST
