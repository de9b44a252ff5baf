"""Run by `test_split.py` in a process with eight CPU devices, each of which has an eighth of the time axis.

Prints one line a check, and fails if one does. With the argument `all`, as `.ci/run` gives it, it checks the gradients
of all cells in both directions; without, those of few, and the values of the others that take a path of their own.
"""

import re
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh
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

LONG, LIMIT = 2**16, 8 * 2**20  # steps of a sequence, and bytes of a device that cannot hold all of them

draw = np.random.default_rng(0)
mask, resets = draw.random((T, B)) < 0.7, draw.random((T, B)) < 0.15
mask[4:14, 0] = False  # five whole parts
mask[:, 2], resets[:, 2] = True, False
FLOWS = {
    "plain": {},
    "packed_holes": {"mask": mask, "resets": resets},
    "padding": {"lengths": np.array([5, 0, 16]), "resets": resets},
}


@cache
def all_devices() -> Mesh:
    return jax.make_mesh((8,), ("time",), axis_types=(AxisType.Auto,))


def split(run: Callable[..., Any], flags: dict[str, Any], *, check_vma: bool) -> Callable[..., Any]:
    """`run(params, xs, carry, flags)`, which returns `(carry, ys)`, with time over all devices."""
    specs = {name: WHOLE if name == "lengths" else PART for name in flags}
    mapped = partial(run, axis_name="time")
    how = {"in_specs": (WHOLE, PART, WHOLE, specs), "out_specs": (WHOLE, PART), "check_vma": check_vma}
    return jax.shard_map(mapped, mesh=all_devices(), **how)


def check_equal(run: Callable[..., Any], arguments: Any, flow: str, *, check_vma: bool, gradients: bool = True) -> None:
    """What `run` gives with time over all devices equals what it gives on one."""
    check_same(split(run, FLOWS[flow], check_vma=check_vma), run, arguments, FLOWS[flow], gradients=gradients)


def check_same(
    mapped: Any, run: Any, arguments: Any, flags: dict[str, Any], *, gradients: bool = True, tolerance: float = 1e-9
) -> None:
    """Outputs, the last carry, and gradients with cotangents on both equal those of one device, and so do dtypes."""
    cotangents = random_like(jax.eval_shape(run, *arguments, flags))

    def values(run: Callable[..., Any]) -> Any:
        if not gradients:
            return jax.jit(run)(*arguments, flags)

        def loss(*arguments: Any) -> Any:
            out = run(*arguments, flags)
            return sum(jax.tree.leaves(jax.tree.map(lambda a, b: (a * b).sum(), out, cotangents))), out

        every = tuple(range(len(arguments)))
        moving = jax.jit(jax.grad(loss, every, has_aux=True, allow_int=True))(*arguments)
        return jax.tree.map(lambda x: np.zeros(x.shape) if x.dtype == jax.dtypes.float0 else x, moving)

    found, expected = values(mapped), values(run)
    assert_close(found, expected, tolerance)
    assert jax.tree.map(jnp.result_type, found) == jax.tree.map(jnp.result_type, expected)


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
    "blocks": jaxrnn.stack(
        jaxrnn.mlstm_block(D, heads=2, block_size=2, kernel_size=3, chunk=2),
        jaxrnn.matrix_block(jaxrnn.gated_delta_net(D, heads=1, chunk=2), kernel_size=3),
        jaxrnn.layer_norm(),
    ),
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


FEW = jaxrnn.stack(jaxrnn.causal_conv(3), jaxrnn.min_gru(H), jaxrnn.min_gru(H))


def check_mapped(model: Any) -> None:
    """Time beside a mesh axis for the batch, with `vmap` inside `shard_map` and around it."""
    mesh = jax.make_mesh((2, 4), ("batch", "time"), axis_types=(AxisType.Auto,) * 2)
    both = P("time", "batch")
    flags = {"mask": draw.random((T, 2)) < 0.7, "resets": draw.random((T, 2)) < 0.15}

    def run(params: Any, xs: Any, flags: Any, **how: Any) -> Any:
        one = partial(jaxrnn.unroll, model, params, **flags, **how)
        return jax.vmap(one, in_axes=2, out_axes=(1, 2))(xs)

    specs = {"in_specs": (WHOLE, both, {name: both for name in flags}), "out_specs": (P("batch"), both)}
    mapped = jax.shard_map(partial(run, axis_name="time"), mesh=mesh, **specs)
    runs = (jax.vmap(one, in_axes=(None, 0, None)) for one in (mapped, run))
    check_same(*runs, (random_params(model, D), draw.normal(size=(2, T, 2, 3, D))), flags)
    print("mapped", model)


def check_half(model: Any) -> None:
    """Inputs in half precision, with parameters and states in single precision."""

    def run(params: Any, xs: Any, flags: Any, **how: Any) -> Any:
        return jaxrnn.unroll(model, params, xs, **flags, **how)

    params = jax.tree.map(lambda p: np.asarray(p, np.float32), random_params(model, D))
    xs, flags = jnp.asarray(draw.normal(size=(T, B, D)), jnp.bfloat16), FLOWS["packed_holes"]
    specs = {"in_specs": (WHOLE, PART, {name: PART for name in flags}), "out_specs": (WHOLE, PART)}
    mapped = jax.shard_map(partial(run, axis_name="time"), mesh=all_devices(), **specs)
    check_same(mapped, run, (params, xs), flags, tolerance=0.02)
    print("half", model)


def step(params: Any, xs: Any, *, model: Any = STACK, axis_name: str | None = None) -> Any:
    """One step of gradient descent on a mean over all steps."""

    def loss(params: Any) -> Any:
        return (jaxrnn.unroll(model, params, xs, axis_name=axis_name)[1] ** 2).mean()

    gradient = jax.grad(loss)(params)
    gradient = gradient if axis_name is None else jax.lax.pmean(gradient, axis_name)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)


def split_step(model: Any) -> Any:
    """`step`, compiled, with time over all devices."""
    how = {"in_specs": (WHOLE, PART), "out_specs": WHOLE, "check_vma": False}
    return jax.jit(jax.shard_map(partial(step, model=model, axis_name="time"), mesh=all_devices(), **how))


def check_memory(model: Any) -> None:
    """A step of training needs more than `LIMIT` bytes on one device, and less on each of eight."""
    params, xs = random_params(model, D), draw.normal(size=(LONG, D)).astype(np.float32)
    params = jax.tree.map(lambda p: np.asarray(0.3 * p, np.float32), params)
    programs = [one.lower(params, xs).compile() for one in (jax.jit(partial(step, model=model)), split_step(model))]
    assert_close(programs[1](params, xs), programs[0](params, xs), 1e-5)
    needed = [program.memory_analysis() for program in programs]
    whole, part = (n.argument_size_in_bytes + n.output_size_in_bytes + n.temp_size_in_bytes for n in needed)
    print("memory", whole, part)
    assert part < LIMIT < whole
    assert whole > 6 * part


def check_training() -> None:
    """A step inside `shard_map`; and its collectives are the same for four times as many steps."""
    params, xs = random_params(STACK, D), draw.normal(size=(T, B, D))
    mapped, found = split_step(STACK), []
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
    check_mapped(FEW)
    check_memory(FEW)
    if EVERYTHING:
        check_mapped(STACK)
        check_half(STACK)
        check_memory(STACK)
    check_training()
    print("done")
