"""`matrix_scan` as a kernel, which Pallas interprets here, equals the loop: values, gradients, resets, decays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_like, shapes_of
from compare import assert_close
from interpreted import as_on
from jaxrnn.recurrence.chunkwise import Inputs
from jaxrnn.recurrence.matrix_scan import run

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, N, K, V = 18, 1, 3, 3, 2  # a whole chunk and a part of one


def example(decay: int | None, *, delta: bool = False, erases: bool = False, seed: int = 0) -> tuple[Any, ...]:
    """Inputs, a state before them, one that resets start from, and resets; `decay` is the width of `log_decay`."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    def unit() -> jax.Array:
        x = draw(T, B, N, K)
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

    read = unit() if erases else None
    inputs = Inputs(
        q=draw(T, B, N, K),
        k=unit(),
        v=draw(T, B, N, V),
        log_decay=None if decay is None else -jnp.exp(3 * draw(T, B, N, decay)),  # some forget everything
        beta=jnp.asarray(rng.uniform(0, 2, (T, B, N, 1)), jnp.float32) if delta else None,
        read=read,
        erase=None if read is None else read * jnp.asarray(rng.uniform(0, 1, read.shape), jnp.float32),
    )
    return inputs, draw(B, N, K, V), draw(B, N, K, V), (jnp.arange(T) % 7 == 3).reshape(T, 1, 1)


def results(inputs: Any, state: Any, fresh: Any, resets: Any, method: str) -> Any:
    """Gradients of one number of all results, beside those."""

    def loss(inputs: Any, state: Any, fresh: Any) -> Any:
        out = run(inputs._replace(resets=resets), state, fresh, chunk=16, method=method)
        return sum((jnp.cos(jnp.arange(x.size)) * jnp.sin(x.ravel())).sum() for x in out), out

    moving = tuple(i for i, a in enumerate((inputs, state, fresh)) if a is not None)
    return jax.jit(jax.grad(loss, moving, has_aux=True))(inputs, state, fresh)


CASES: dict[str, tuple[str, dict[str, Any]]] = {  # platforms differ in their loops alone
    "attention": ("cuda", {"decay": None}),
    "gated delta": ("tpu", {"decay": 1, "delta": True}),
    "read and erase": ("cuda", {"decay": K, "erases": True}),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_equal_the_loop(name):
    """With resets where there is a decay; cotangents are on outputs and on the state."""
    platform, rule = CASES[name]
    inputs, state, fresh, resets = example(**rule)
    fresh = fresh if name == "read and erase" else None
    resets = None if name == "attention" else resets
    expected = results(inputs, state, fresh, resets, "scan")
    with as_on(platform):
        actual = results(inputs, state, fresh, resets, "kernel")
    assert_close(actual, expected, 5e-6)


def test_second_derivatives_and_mapped_axes():
    """A mapped axis of some operands alone becomes one of heads."""
    inputs, state, *_ = example(1)
    numbers = [inputs.q, inputs.k, inputs.v, inputs.log_decay]

    def slope(v: Any, k: Any, method: str) -> Any:
        def loss(k: Any) -> Any:
            q, _, _, log_decay = numbers
            out = jaxrnn.matrix_scan(q, k, v, state, log_decay=log_decay[..., 0], chunk=16, method=method)
            return sum((x**2).sum() for x in out)

        return jax.jvp(jax.grad(loss), (k,), (numbers[0],))

    vs = jnp.stack([inputs.v, jnp.cos(inputs.v)])
    mapped = jax.jit(jax.vmap(slope, (0, None, None)), static_argnums=2)
    expected = mapped(vs, inputs.k, "scan")
    with as_on("tpu"):
        assert_close(mapped(vs, inputs.k, "kernel"), expected, 2e-5)


def test_what_is_not_finite_lasts_until_a_reset():
    """From where it comes in, or from the start where the state brings it; in one sequence alone."""
    inputs, state, fresh, resets = example(1, delta=True)
    inputs = inputs._replace(v=inputs.v.at[2, 0, 1].set(jnp.inf), beta=inputs.beta.at[8, 0, 2].set(jnp.nan))
    args = inputs._replace(resets=resets), state.at[0, 0, 1].set(jnp.nan), fresh
    expected = jax.jit(lambda *args: run(*args, chunk=16, method="scan"))(*args)
    with as_on("tpu"):
        actual = jax.jit(lambda *args: run(*args, chunk=16, method="kernel"))(*args)
    bad = ~np.isfinite(expected[1])
    assert bad.any((0, 1, 3)).all() and not bad[3:8].any() and not bad[10:].any()
    np.testing.assert_array_equal(~np.isfinite(actual[1]), bad)
    finite = [jax.tree.map(lambda a: jnp.where(jnp.isfinite(a), a, 0), out) for out in (actual, expected)]
    assert_close(*finite, 5e-6)


CELLS = {name: jaxrnn.cells.CONSTRUCTORS[name](4, heads=2) for name in ("ssd", "mlstm", "rwkv7")}


@pytest.mark.every
@pytest.mark.parametrize("name", CELLS)
def test_cells(name):
    cell = CELLS[name]
    params = jax.tree.map(jnp.float32, random_like(shapes_of(cell, 3)))
    xs, rng = jnp.asarray(np.random.default_rng(1).normal(size=(5, 2, 3)), jnp.float32), np.random.default_rng(2)
    flow = {"mask": jnp.asarray(rng.random((5, 2)) < 0.7), "resets": jnp.asarray(rng.random((5, 2)) < 0.3)}
    values = jax.jit(lambda method: jaxrnn.unroll(cell, params, xs, **flow, method=method), static_argnums=0)
    expected = values("scan")
    with as_on("tpu"):
        assert_close(values("kernel"), expected, 5e-6)


# --- what has no kernel --------------------------------------------------------------------------------------------

x = np.ones((3, 1, 2), np.float32)


def lowered(platform: str, *args: Any) -> Any:
    kernel = jax.jit(lambda *args: jaxrnn.matrix_scan(*args, method="kernel"))
    return kernel.trace(*args).lower(lowering_platforms=(platform,))


@pytest.mark.parametrize("platform", ["cpu", "rocm"])
def test_a_platform_without_a_kernel_is_refused(platform):
    message = (
        rf"^matrix_scan: method='kernel' has no program for platform '{platform}', expected one of "
        r"\['cuda', 'tpu'\]; method='auto' runs everywhere$"
    )
    with pytest.raises(ValueError, match=message):
        lowered(platform, x, x, x)


def test_a_cell_on_a_platform_without_a_kernel_is_refused():
    cell = CELLS["ssd"]
    params = jax.tree.map(jnp.float32, random_like(shapes_of(cell, 2)))
    with pytest.raises(ValueError, match="has no program for platform 'cpu', expected"):
        jax.jit(lambda params: jaxrnn.unroll(cell, params, x, method="kernel")).lower(params)
    assert jaxrnn.methods(cell, platform="cuda")[-1] == "kernel" and "kernel" not in jaxrnn.methods(cell)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_double_precision_is_refused(platform):
    with (
        jax.enable_x64(True),
        pytest.raises(ValueError, match=f"takes no float64 on {platform}; method='auto' runs everywhere"),
    ):
        lowered(platform, x, x, x.astype(float))


def test_symbols_for_sizes_are_refused():
    (size,) = jax.export.symbolic_shape("T")
    run = jax.jit(lambda q: jaxrnn.matrix_scan(q, q, q, method="kernel"))
    with pytest.raises(ValueError, match="takes no symbols for sizes, such as"):
        jax.export.export(run, platforms=("tpu",))(jax.ShapeDtypeStruct((size, 1, 2), np.float32))


def test_states_that_do_not_fit_on_the_chip_are_refused():
    for keys in (1, 129):
        wide = np.ones((3, 1, keys), np.float32)
        message = f"states of 2 to 128 rows and at most 128 columns, found {keys} and 2; method='auto' runs everywhere"
        with pytest.raises(ValueError, match=message):
            lowered("cuda", wide, wide, x)
    wide = np.ones((1, 8, 2048), np.float32)
    message = r"needs \d+ MiB of a TPU's VMEM for 64 steps of 8 heads, expected at most 60 MiB"
    with pytest.raises(ValueError, match=message):
        lowered("tpu", wide, wide, wide)


def test_no_steps_and_no_rows_need_no_kernel():
    for shape in ((0, 1, 2), (3, 0, 2)):
        empty = jnp.ones(shape)
        carry, ys = jaxrnn.matrix_scan(empty, empty, empty, method="kernel")
        assert ys.shape == shape and not carry.any()
