"""The GPU's kernel of a dense recurrence has the numbers of the plain engine, and refuses the rest in a line."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_like, shapes_of
from compare import assert_close
from interpreted import as_on
from jaxrnn.recurrence.followed import followed
from tiers import tiered

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, D = 5, 3, 2
AUTO = jax.sharding.AxisType.Auto
MASK = jnp.asarray(np.random.default_rng(1).random((T, B)) < 0.7).at[:, 1].set(False)
RESETS = jnp.asarray(np.random.default_rng(2).random((T, B)) < 0.3)


def singular(features: int) -> jaxrnn.Cell:
    """A cell whose padded features are 0 / 0, and whose derivative at the state of padded rows is infinite."""

    def pointwise(params: Any, carry: Any, gates: Any) -> Any:
        h = jnp.tanh(jnp.sqrt(gates[0] ** 2)) * params["both"][0] / params["both"][1]
        return jaxrnn.HiddenCarry(h), h

    extra = {"both": (jax.nn.initializers.ones, (2, features))}
    return jaxrnn.pointwise_cell(pointwise, features, jaxrnn.HiddenCarry, gates=("h",), extra=extra, use_bias=False)


def arguments(cell: jaxrnn.Cell, batch: tuple[int, ...] = (B,)) -> tuple[Any, Any, Any]:
    # Wide products are small enough that they do not saturate, which would enlarge differences of rounding.
    params = jax.tree.map(lambda a: jnp.float32(a / max(1, len(a) / 16)), random_like(shapes_of(cell, D)))
    xs = jnp.asarray(np.random.default_rng(3).normal(size=(T, *batch, D)), jnp.float32)
    carry = jax.tree.map(lambda a: a + 0.3, cell.init_carry(params, batch))
    return params, xs, carry


def assert_equal_to_the_engine(cell: jaxrnn.Cell, **how: Any) -> None:
    """Compares outputs, final carry, and gradients with cotangents on both."""

    def loss(params: Any, xs: Any, carry: Any, method: str) -> Any:
        out = jaxrnn.unroll(cell, params, xs, carry, method=method, **how)
        weighted = jax.tree.map(lambda a: (a * jnp.cos(jnp.arange(a.size)).reshape(a.shape)).sum(), out)
        return sum(jax.tree.leaves(weighted)), out

    grad = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True), static_argnums=3)
    given = arguments(cell)
    expected = grad(*given, "fused")
    with as_on("cuda"):
        assert_close(grad(*given, "kernel"), expected, 1e-5)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))


KEY = jax.random.key(0)
FLOW = {"mask": MASK, "resets": RESETS}
CASES = {
    "lstm": (jaxrnn.lstm(5), FLOW),
    "gru": (jaxrnn.gru(5), FLOW | {"reverse": True}),
    "heads": (jaxrnn.heads(jaxrnn.elman(16), 4), {"lengths": jnp.array([5, 0, 2])}),
    "layer_norm_lstm": (jaxrnn.layer_norm_lstm(16), {}),
    "indrnn": (jaxrnn.indrnn(5), {}),
    "user": (singular(5), {}),
    "projected_lstm with noise": (
        jaxrnn.zoneout(jaxrnn.recurrent_dropout(jaxrnn.projected_lstm(5, 3), 0.3), 0.3),
        FLOW | {"key": KEY},
    ),
    "two tiles, carries": (jaxrnn.elman(70), {"remat": "carries", "resets": RESETS}),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", tiered(CASES, ("lstm", "heads", "indrnn", "user")))
def test_the_kernel_equals_the_engine(name: str) -> None:
    cell, how = CASES[name]
    assert_equal_to_the_engine(cell, **how)


@pytest.mark.parametrize("batch", [(), (2, 3), (17,)])
def test_batch_axes(batch: tuple[int, ...]) -> None:
    given = arguments(cell := jaxrnn.elman(5), batch)
    with as_on("cuda"):
        out = jax.jit(lambda *given: jaxrnn.unroll(cell, *given, method="kernel"))(*given)
    assert_close(out, jaxrnn.unroll(cell, *given), 1e-5)


def test_vmap_and_no_steps() -> None:
    params, xs, carry = arguments(cell := jaxrnn.elman(5))

    def run(xs: Any, carry: Any, method: str) -> Any:
        return jax.vmap(lambda x, c: jaxrnn.unroll(cell, params, x, c, method=method), (1, 0), (0, 1))(xs, carry)

    with as_on("cuda"):
        assert_close(run(xs, carry, "kernel"), run(xs, carry, "fused"), 1e-5)
        assert_close(run(xs[:0], carry, "kernel"), run(xs[:0], carry, "fused"), 0)


def test_half_precision() -> None:
    given = arguments(cell := jaxrnn.lstm(5, dtype=jnp.bfloat16))
    with as_on("cuda"):
        carry, ys = jax.jit(lambda *given: jaxrnn.unroll(cell, *given, method="kernel"))(*given)
    assert ys.dtype == jnp.bfloat16 and carry.c.dtype == jnp.float32
    assert_close((carry, ys), jaxrnn.unroll(cell, *given), 2e-2)


def of(function: Any, features: int) -> jaxrnn.Cell:
    """A cell whose state is that function of its gate."""

    def pointwise(params: Any, carry: Any, gates: Any) -> Any:
        h = function(gates[0])
        return jaxrnn.HiddenCarry(h), h

    return jaxrnn.pointwise_cell(pointwise, features, jaxrnn.HiddenCarry, gates=("h",))


ALONE = "pointwise, which does not treat each alone; such a power would do; method='fused' runs it"
REFUSED = {
    "width": (jaxrnn.elman(257), "holds at most 256 features, found 257; method='fused' runs it"),
    "mixing": (jaxrnn.layer_norm_lstm(5), f"pads features to a power of two from 16 on, found 5 of them and {ALONE}"),
    "width as a number": (of(lambda z: jnp.tanh(z / z.shape[-1]), 5), ALONE),
    "closed over": (of(lambda z: jnp.tanh(z * jnp.arange(5.0).reshape(-1, 5)[(0,) * (2 - z.ndim)]), 5), ALONE),
    "primitive": (of(jax.lax.erf, 16), "cannot compute erf, found in pointwise"),
}


def reads_three(features: int) -> jaxrnn.Cell:
    def pointwise(params: Any, carry: Any, gates: Any) -> Any:
        h = gates[0] * (params["three"] * gates[0].sum()).sum()
        return jaxrnn.HiddenCarry(h), h

    extra = {"three": (jax.nn.initializers.ones, (3,))}
    return jaxrnn.pointwise_cell(pointwise, features, jaxrnn.HiddenCarry, gates=("h",), extra=extra)


def closing_over(array: Any) -> jaxrnn.Cell:
    return followed(jaxrnn.elman(16), lambda before, carry, y, masks: (carry, (y * array).astype(y.dtype)))


REFUSED |= {
    "parameter": (reads_three(16), "reads parameters as scalars or [H], found one of shape (3,) in pointwise"),
    "mixing after a step": (
        followed(jaxrnn.elman(5), lambda before, carry, y, masks: (carry, y / y.sum(-1, keepdims=True))),
        "found 5 of them and what follows a step, which does not treat each alone",
    ),
    "after a step": (closing_over(jnp.asarray(2.0)), "cannot read the arrays that a function after each step closes"),
    "dtype": (jaxrnn.elman(5, dtype=jnp.float8_e4m3fn), "float64, found dtype float8_e4m3fn"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_kernel_refuses(name: str) -> None:
    cell, message = REFUSED[name]
    params, xs, _ = arguments(cell)
    with pytest.raises(ValueError) as error, as_on("cuda"):
        jax.jit(lambda p, x: jaxrnn.unroll(cell, p, x, method="kernel")).lower(params, xs)
    assert str(error.value).startswith("unroll: method='kernel' on cuda ") and message in str(error.value)
    assert "\n" not in str(error.value)


def test_shardings_are_not_in_types() -> None:
    params, xs, _ = arguments(cell := jaxrnn.elman(5))
    mesh, split = jax.make_mesh((1,), ("batch",), axis_types=(AUTO,)), jax.P(None, "batch")

    def one(params: Any, xs: jax.Array) -> jax.Array:
        return jaxrnn.unroll(cell, params, xs, method="kernel")[1]

    def run(check: bool) -> Any:
        return jax.jit(jax.shard_map(one, mesh=mesh, in_specs=(jax.P(), split), out_specs=split, check_vma=check))

    with as_on("cuda"):
        with pytest.raises(ValueError, match=r"found an array that has one; shard_map\(check_vma=False\) does"):
            run(True)(params, xs)
        assert_close(run(False)(params, xs), jaxrnn.unroll(cell, params, xs)[1], 1e-5)


def test_double_precision() -> None:
    with jax.enable_x64(True), as_on("cuda"):
        given = jax.tree.map(jnp.float64, arguments(cell := jaxrnn.elman(5)))
        out = jax.jit(lambda *given: jaxrnn.unroll(cell, *given, method="kernel"))(*given)
        assert out[1].dtype == jnp.float64
        assert_close(out, jaxrnn.unroll(cell, *given), 1e-12)


def test_other_platforms_have_no_kernel_of_this_kind() -> None:
    params, xs, _ = arguments(cell := jaxrnn.elman(5))
    with pytest.raises(ValueError, match=r"no program for platform 'cpu', .*method='fused' runs everywhere"):
        jaxrnn.unroll(cell, params, xs, method="kernel")


def test_sizes_are_numbers() -> None:
    cell = jaxrnn.elman(5)
    (xs,) = jax.export.symbolic_args_specs((arguments(cell)[1],), "t, b, 2")
    with pytest.raises(ValueError, match=r"needs sizes that are numbers, found xs of shape \(t, b, 2\)"), as_on("cuda"):
        jax.export.export(jax.jit(lambda x: jaxrnn.unroll(cell, arguments(cell)[0], x, method="kernel")))(xs)
