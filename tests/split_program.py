"""Run by `test_split.py` in a process with eight CPU devices, each of which has an eighth of the time axis.

Prints one line a check, and fails if one does. With the argument `all`, as `.ci/run` gives it, it checks the gradients
of all cells in both directions; without, those of few, and the values of the others that take a path of their own.
"""

import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from laws import cells

import jaxrnn
from arrays import random_like, random_params
from compare import assert_close

T, B, D, H = 16, 3, 3, 4  # a part has two steps, fewer than the windows below
WHOLE, PART = P(), P("time")
COLLECTIVES = r"= \(?([a-z0-9]+)\[([\d,]*)\].* (all-gather|all-to-all|collective-permute|reduce-scatter|all-reduce)\("
EVERYTHING = sys.argv[1:] == ["all"]
GRADED = ("min_gru", "gated_delta_net")
DISTINCT = (*GRADED, "lru", "rg_lru", "qrnn", "gla", "mlstm")
BYTES = {"f64": 8, "s64": 8, "f32": 4, "s32": 4, "s8": 1, "pred": 1}

draw = np.random.default_rng(0)
mask, resets = draw.random((T, B)) < 0.7, draw.random((T, B)) < 0.15
mask[4:14, 0] = False  # five whole parts
mask[:, 2], resets[:, 2] = True, False
FLOWS = {
    "plain": {},
    "packed_holes": {"mask": mask, "resets": resets},
    "padding": {"lengths": np.array([5, 0, 16]), "resets": resets},
}


def split(run: Callable[..., Any], flags: dict[str, Any], *, check_vma: bool) -> Callable[..., Any]:
    """`run(params, xs, carry, flags)`, which returns `(carry, ys)`, with time over all devices."""
    mesh = jax.make_mesh((8,), ("time",), axis_types=(AxisType.Auto,))
    specs = {name: WHOLE if name == "lengths" else PART for name in flags}
    mapped = partial(run, axis_name="time")
    how = {"in_specs": (WHOLE, PART, WHOLE, specs), "out_specs": (WHOLE, PART), "check_vma": check_vma}
    return jax.shard_map(mapped, mesh=mesh, **how)


def check_equal(run: Callable[..., Any], arguments: Any, flow: str, *, check_vma: bool, gradients: bool = True) -> None:
    """Outputs, the last carry, and gradients with cotangents on both equal those of one device."""
    flags = FLOWS[flow]
    cotangents = random_like(jax.eval_shape(run, *arguments, flags))

    def values(run: Callable[..., Any]) -> Any:
        if not gradients:
            return jax.jit(run)(*arguments, flags)

        def loss(*arguments: Any) -> Any:
            out = run(*arguments, flags)
            return sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), out, cotangents))), out

        moving = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True, allow_int=True))(*arguments)
        return jax.tree.map(lambda x: np.zeros(x.shape) if x.dtype == jax.dtypes.float0 else x, moving)

    assert_close(values(split(run, flags, check_vma=check_vma)), values(run), 1e-9)


def check_scans() -> None:
    """`linear_scan` and `matrix_scan` by themselves, and derivatives of derivatives."""
    a, b, h = draw.uniform(-1, 1, (T, B, H)), draw.normal(size=(T, B, H)), draw.normal(size=(B, H))

    def run(a: Any, b: Any, h: Any, flags: Any, **how: Any) -> Any:
        return jaxrnn.linear_scan(a, b, h, resets=flags["resets"], reverse=True, **how)

    def through(a: Any, b: Any, h: Any, flags: Any, **how: Any) -> Any:
        """`a` as the one argument that the mesh does not split."""
        return run(jnp.broadcast_to(a, b.shape), b, h, flags, **how)

    flags = {"resets": resets}
    arguments = (a[:1], b, h)
    for check_vma in (True, False)[: 2 if EVERYTHING else 1]:
        both = []
        for one in (split(through, flags, check_vma=check_vma), through):

            def loss(*arguments: Any, one: Any = one) -> Any:
                carry, ys = one(*arguments, flags)
                return (carry**3).sum() + (ys**3).sum()

            gradient = jax.grad(loss, (0, 1, 2))
            both.append(jax.jit(lambda *x, g=gradient: jax.jvp(g, x, x))(*arguments))
        assert_close(both[0], both[1], 1e-9)
        print("scan linear", check_vma)

    q, k, v = (draw.normal(size=(T, B, 2, n)) for n in (H, H, 5))

    def matrices(beta: Any, qkv: Any, S: Any, flags: Any, **how: Any) -> Any:
        q, k, v = (x[..., 0, :, :] for x in jnp.split(qkv, 3, -3))
        beta = None if beta is None else jnp.broadcast_to(beta, q.shape[:-1])
        return jaxrnn.matrix_scan(q, k / H, v, S, log_decay=-jnp.abs(k), beta=beta, resets=flags["resets"], **how)

    S, qkv = draw.normal(size=(B, 2, H, H)), np.stack([q, k, v[..., :H]], -3)
    for beta in (None, np.float64(0.5)) if EVERYTHING else (None,):
        got = jax.jit(split(matrices, flags, check_vma=True))(beta, qkv, S, flags)
        assert_close(got, jax.jit(matrices)(beta, qkv, S, flags), 1e-9)
        print("scan matrix", beta)


def check_cell(name: str, flow: str, reverse: bool, check_vma: bool, gradients: bool) -> None:
    cell = cells.make(name)

    def run(params: Any, xs: Any, carry: Any, flags: Any, **how: Any) -> Any:
        return jaxrnn.unroll(cell, params, xs, carry, reverse=reverse, **flags, **how)

    arguments = cells.inputs(name, time=T, batch=(B,))
    check_equal(run, arguments, flow, check_vma=check_vma, gradients=gradients)
    print("cell", name, flow, reverse, check_vma, gradients)


LAYERS = {
    "windows": jaxrnn.stack(jaxrnn.causal_conv(6, activation=jnp.tanh), jaxrnn.local_attention(1, 5, features=2)),
    "directions": jaxrnn.residual(
        jaxrnn.bidirectional(jaxrnn.stack(jaxrnn.causal_conv(3), jaxrnn.dropout(0.5), jaxrnn.min_gru(D)), merge="sum")
    ),
    "blocks": jaxrnn.stack(jaxrnn.mlstm_block(D, heads=2, block_size=2, kernel_size=3, chunk=2), jaxrnn.layer_norm()),
}


def check_layer(name: str, flow: str, check_vma: bool, gradients: bool) -> None:
    """Also with a key: a step draws what it draws on one device."""
    layer = LAYERS[name]
    params, xs = random_params(layer, D), draw.normal(size=(T, B, D))
    carry, _ = jaxrnn.unroll(layer, params, draw.normal(size=(4, B, D)))

    def run(params: Any, xs: Any, carry: Any, flags: Any, **how: Any) -> Any:
        return jaxrnn.unroll(layer, params, xs, carry, key=jax.random.key(1), **flags, **how)

    check_equal(run, (params, xs, carry), flow, check_vma=check_vma, gradients=gradients)
    print("layer", name, flow, check_vma, gradients)


STACK = jaxrnn.stack(
    jaxrnn.causal_conv(3), jaxrnn.min_gru(H), jaxrnn.mlstm(H, heads=2, chunk=2), jaxrnn.local_attention(1, 2)
)


def step(params: Any, xs: Any, *, axis_name: str | None = None) -> Any:
    """One step of gradient descent on a mean over all steps."""

    def loss(params: Any) -> Any:
        return (jaxrnn.unroll(STACK, params, xs, axis_name=axis_name)[1] ** 2).mean()

    gradient = jax.grad(loss)(params)
    gradient = gradient if axis_name is None else jax.lax.pmean(gradient, axis_name)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)


def check_training() -> None:
    """A step inside `shard_map`; and its collectives are the same for four times as many steps."""
    mesh = jax.make_mesh((8,), ("time",), axis_types=(AxisType.Auto,))
    params, xs = random_params(STACK, D), draw.normal(size=(T, B, D))
    how = {"in_specs": (WHOLE, PART), "out_specs": WHOLE, "check_vma": False}
    mapped = jax.jit(jax.shard_map(partial(step, axis_name="time"), mesh=mesh, **how))
    found = []
    for inputs in (xs, np.tile(xs, (4, 1, 1))):
        program = mapped.lower(params, inputs).compile()
        found.append(sorted(re.findall(COLLECTIVES, program.as_text())))
        if inputs is xs:
            assert_close(program(params, xs), jax.jit(step)(params, xs), 1e-9)
    assert found[0] == found[1]
    total = sum(BYTES[dtype] * int(np.prod([int(n) for n in shape.split(",") if n])) for dtype, shape, _ in found[0])
    kinds = sorted({kind for _, _, kind in found[0]})
    print("training", len(found[0]), total, *kinds)


if __name__ == "__main__":
    assert jax.device_count() == 8
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    check_scans()
    linear = [name for name in cells.CELLS if cells.make(name).splits]
    for number, name in enumerate(linear if EVERYTHING else DISTINCT):
        runs = (("packed_holes", False), ("padding", True))
        for flow, reverse in runs if EVERYTHING else (runs[number % 2],):
            check_cell(name, flow, reverse, check_vma=number % 3 > 0, gradients=EVERYTHING or name in GRADED)
    for name in LAYERS if EVERYTHING else ("windows", "directions"):
        flow = "padding" if name == "directions" else "packed_holes"
        check_layer(name, flow, check_vma=name == "windows", gradients=EVERYTHING)
    check_training()
    print("done")
