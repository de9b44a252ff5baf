"""`linear_scan` as a kernel, which Pallas interprets here, equals the loop: values, gradients, resets, directions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_like, shapes_of
from compare import assert_close
from interpreted import as_on
from jaxrnn.recurrence import affine_gpu, affine_tpu
from tiers import tiered

pytestmark = pytest.mark.usefixtures("quick_compilation")

PLATFORMS = ("tpu", "cuda")


@pytest.fixture(params=PLATFORMS)
def interpreted(request, monkeypatch):
    """Gives the CPU a platform's kernels, with few steps in a chunk, so that short sequences have several."""
    for module, name, value in (
        (affine_tpu, "CHUNK", 2 * affine_tpu.ROWS * affine_tpu.COLUMNS),
        (affine_tpu, "UNROLL", 2),
        (affine_gpu, "SHORT", 4),
        (affine_gpu, "UNROLL", 2),
    ):
        monkeypatch.setattr(module, name, value)
    jax.clear_caches()
    with as_on(request.param):
        yield request.param
    jax.clear_caches()


def draw(seed: int, *shape: int, dtype: Any = np.float32) -> jax.Array:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) / 2
    return jnp.asarray(x + 1j * rng.normal(size=shape) / 2 if np.issubdtype(dtype, np.complexfloating) else x, dtype)


# The shapes of a and b; what else differs.
CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "resets": ((5, 2, 3), (5, 2, 3), {"resets": True}),
    "reverse": ((37, 2, 3), (37, 2, 3), {"resets": True, "reverse": True}),
    "a constant multiplier": ((1, 1, 130), (5, 9, 130), {"reverse": True}),
    "broadcast in part": ((4, 2, 1, 1), (4, 2, 2, 3), {}),
    "complex": ((5, 1, 3), (5, 2, 3), {"resets": True, "dtype": np.complex64}),
    "half": ((1, 2, 3), (5, 2, 3), {"dtype": jnp.bfloat16}),
    "no batch, one step": ((1, 3), (1, 3), {}),
    "no axes": ((5,), (5,), {"reverse": True}),
    "no steps": ((0, 3), (0, 3), {}),
    "no rows": ((5, 1, 3), (5, 0, 3), {}),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", tiered(CASES, CASES.keys() - {"reverse", "half", "a constant multiplier"}))
def test_values_and_gradients_equal_the_loop(interpreted, name):
    """Cotangents are on outputs and on the final state."""
    del interpreted
    of_a, of_b, options = CASES[name]
    dtype = options.get("dtype", np.float32)
    args = (
        draw(0, *of_a, dtype=dtype),
        draw(1, *of_b, dtype=dtype),
        draw(2, *of_b[1:]).astype(jnp.promote_types(dtype, np.float32)),
    )
    flags = jnp.asarray(np.random.default_rng(3).random(of_b[:2]) < 0.3) if options.get("resets") else None

    def loss(*args: Any) -> Any:
        *args, method = args
        reverse = options.get("reverse", False)
        carry, hs = jaxrnn.linear_scan(*args, resets=flags, reverse=reverse, method=method)
        total = (hs * jnp.cos(jnp.arange(hs.size)).reshape(hs.shape)).sum() + (carry * carry).sum()
        return total.real.astype(jnp.float32), (carry, hs)

    grad = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True), static_argnums=3)
    actual, expected = grad(*args, "kernel"), grad(*args, "scan")
    assert [x.dtype for x in jax.tree.leaves(actual)] == [x.dtype for x in jax.tree.leaves(expected)]
    assert_close(actual, expected, 1e-2 if dtype == jnp.bfloat16 else 1e-5)


def test_second_derivatives_and_mapped_axes(interpreted):
    del interpreted
    a, b, h0 = draw(0, 3, 2), draw(1, 4, 3, 2), draw(2, 2)

    def slope(a: Any, b: Any, method: str) -> Any:
        def loss(a: Any) -> Any:
            return (jaxrnn.linear_scan(a, b, h0, method=method)[1] ** 2).sum()

        return jax.jvp(jax.grad(loss), (a,), (b,))

    mapped = jax.jit(jax.vmap(slope, (None, 0, None)), static_argnums=2)
    assert_close(mapped(a, b, "kernel"), mapped(a, b, "scan"), 1e-5)


def test_not_even_nan_crosses_a_reset(interpreted):
    del interpreted
    b = draw(1, 9, 3).at[:4].set(jnp.nan)
    resets = jnp.arange(9) == 4
    hs = jaxrnn.linear_scan(draw(0, 9, 3), b, jnp.full(3, jnp.inf), resets=resets, method="kernel")[1]
    assert jnp.isnan(hs[:4]).all()
    assert_close(hs[4:], jaxrnn.linear_scan(draw(0, 9, 3)[4:], b[4:], method="scan")[1], 1e-6)


CELLS = {"min_gru": jaxrnn.min_gru(3), "rg_lru": jaxrnn.rg_lru(4), "lru": jaxrnn.lru(3), "qrnn": jaxrnn.qrnn(3)}


@pytest.mark.parametrize("name", tiered(CELLS, ("rg_lru",)))
def test_cells(interpreted, name):
    if interpreted == "cuda":
        pytest.skip("cells reach both kernels in the same way")
    cell = CELLS[name]
    params = jax.tree.map(jnp.float32, random_like(shapes_of(cell, 2)))
    xs, rng = draw(1, 5, 3, 2), np.random.default_rng(2)
    flow = {"mask": jnp.asarray(rng.random((5, 3)) < 0.7), "resets": jnp.asarray(rng.random((5, 3)) < 0.3)}

    def loss(params: Any, xs: Any, method: str) -> Any:
        carry, ys = jaxrnn.unroll(cell, params, xs, **flow, method=method)
        return (ys**2).sum() + sum(leaf.sum() for leaf in jax.tree.leaves(carry)), (carry, ys)

    grad = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True), static_argnums=2)
    assert_close(grad(params, xs, "kernel"), grad(params, xs, "scan"), 1e-5)


def test_time_is_cut_where_columns_are_few():
    """By the estimate in `affine_gpu`, for 16 x 768, 256 x 512 and 256 columns."""
    lengths = [affine_gpu.steps_of_a_chunk(*size) for size in ((1024, 12288), (256, 131072), (16384, 256), (5, 3))]
    assert lengths == [304, 256, 104, 8]


x = np.ones((3, 2), np.float32)


def lowered(platform: str, *args: Any) -> Any:
    return (
        jax.jit(lambda *args: jaxrnn.linear_scan(*args, method="kernel"))
        .trace(*args)
        .lower(lowering_platforms=(platform,))
    )


@pytest.mark.parametrize("platform", ["cpu", "rocm"])
def test_a_platform_without_a_kernel_is_refused(platform):
    message = (
        rf"^linear_scan: method='kernel' has no program for platform '{platform}', expected one of "
        r"\['cuda', 'tpu'\]; method='auto' runs everywhere$"
    )
    with pytest.raises(ValueError, match=message):
        lowered(platform, x, x)


def test_a_cell_on_a_platform_without_a_kernel_is_refused():
    cell = jaxrnn.min_gru(3)
    with pytest.raises(ValueError, match="has no program for platform 'cpu', expected"):
        jaxrnn.unroll(cell, cell.init(jax.random.key(0), 2), jnp.asarray(x), method="kernel")
    assert jaxrnn.methods(cell, platform="tpu")[-1] == "kernel" and "kernel" not in jaxrnn.methods(cell)


def test_double_precision_is_refused_on_a_tpu():
    with (
        jax.enable_x64(True),
        pytest.raises(ValueError, match="takes no float64 on tpu; method='auto' runs everywhere"),
    ):
        lowered("tpu", x, x.astype(float))


def test_symbols_for_sizes_are_refused():
    (size,) = jax.export.symbolic_shape("T")
    run = jax.jit(lambda b: jaxrnn.linear_scan(b, b, method="kernel"))
    with pytest.raises(ValueError, match="takes no symbols for sizes, such as"):
        jax.export.export(run, platforms=("tpu",))(jax.ShapeDtypeStruct((size, 2), np.float32))
