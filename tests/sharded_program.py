"""Run by `test_sharding.py` in a process with two CPU devices: prints one line a check, and fails if one does."""

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrnn
from compare import assert_close
from jaxrnn.recurrence import delayed, kernels

T, B, D, H = 6, 4, 3, 5
ROWS, WHOLE = P(None, "batch"), P()
COLLECTIVES = r"\b(all-gather|all-to-all|collective-permute|reduce-scatter|all-reduce)\("


@functools.cache
def mesh(kind: AxisType = AxisType.Auto) -> Mesh:
    return jax.make_mesh((2,), ("batch",), axis_types=(kind,))


def program(cell: jaxrnn.Cell, method: str, remat: Any) -> Callable[..., Any]:
    def run(params: Any, xs: Any, mask: Any, resets: Any) -> Any:
        return jaxrnn.unroll(cell, params, xs, mask=mask, resets=resets, method=method, remat=remat)[1]

    return run


def check_shard_map(cell: jaxrnn.Cell, arguments: Any) -> None:
    specs = (WHOLE, ROWS, ROWS, ROWS)
    for method, remat in (("scan", None), ("fused", None), ("fused", "carries")):
        run = program(cell, method, remat)

        def loss(params: Any, xs: Any, *flags: Any, run: Any = run) -> Any:
            return (run(params, xs, *flags) ** 2).sum()

        wanted = jax.jit(jax.grad(loss, (0, 1)))(*arguments)
        for check_vma in (True, False):
            mapped = jax.shard_map(run, mesh=mesh(), in_specs=specs, out_specs=ROWS, check_vma=check_vma)
            got = jax.jit(jax.grad(lambda *a, mapped=mapped: (mapped(*a) ** 2).sum(), (0, 1)))(*arguments)
            assert_close(got, wanted, 1e-5)
            # check_vma sums the gradient of what all shards share by itself
            total = (lambda g: g) if check_vma else (lambda g: jax.lax.psum(g, "batch"))
            inside = jax.shard_map(
                lambda *a, total=total, loss=loss: jax.tree.map(total, jax.grad(loss)(*a)),
                mesh=mesh(),
                in_specs=specs,
                out_specs=WHOLE,
                check_vma=check_vma,
            )
            assert_close(jax.jit(inside)(*arguments), wanted[0], 1e-5)
            print("shard_map", method, remat, check_vma)


def check_sharded_jit(cell: jaxrnn.Cell, arguments: Any) -> None:
    run = program(cell, "fused", None)
    grad = jax.jit(jax.grad(lambda *a: (run(*a) ** 2).sum(), (0, 1)))
    placed = [
        jax.device_put(a, NamedSharding(mesh(), s)) for a, s in zip(arguments, (WHOLE, ROWS, ROWS, ROWS), strict=True)
    ]
    assert_close(grad(*placed), grad(*arguments), 1e-5)
    found = set(re.findall(COLLECTIVES, grad.lower(*placed).compile().as_text()))
    assert found == {"all-reduce"}, found
    print("jit", found)


def check_explicit_mode(cell: jaxrnn.Cell, arguments: Any) -> None:
    """Where how an array lies is part of its type."""
    explicit = mesh(AxisType.Explicit)
    for method, remat in (("scan", None), ("fused", None), ("fused", "carries")):
        run = program(cell, method, remat)

        def loss(*a: Any, run: Any = run) -> Any:
            return (run(*a) ** 2).sum()

        wanted = jax.jit(jax.grad(loss, (0, 1)))(*arguments)
        with jax.set_mesh(explicit):
            specs = (WHOLE, ROWS, ROWS, ROWS)
            placed = [jax.device_put(a, NamedSharding(explicit, s)) for a, s in zip(arguments, specs, strict=True)]
            assert jax.typeof(run(*placed)).sharding.spec[1] == "batch"
            assert_close(jax.jit(jax.grad(loss, (0, 1)))(*placed), wanted, 1e-5)
        print("explicit", method, remat)


def check_explicit_parts(draw: Any) -> None:
    """Sums over a batch on several devices, and what is joined to it, in parts of engines that the cells above lack."""
    explicit, valid = mesh(AxisType.Explicit), draw.random((T, B)) < 0.7
    hs, dr, parts, pending = (draw.normal(size=s) for s in ((T, B, H), (T, B, 2, H), (T, B, 3, H), (B, 2, H)))

    def heads(hs: Any, dr: Any) -> Any:
        return kernels.cotangent(np.ones((1, H, 2, H)), hs, dr, np.float32)

    def diagonal(hs: Any, dr: Any) -> Any:
        return kernels.cotangent(np.ones((2, H)), hs, dr, np.float32)

    def window(parts: Any, pending: Any, valid: Any) -> Any:
        return delayed.over_time(pending, parts, valid=valid, resets=valid, fresh=pending)

    for run, arguments in ((heads, (hs, dr)), (diagonal, (hs, dr)), (window, (parts, pending, valid))):
        arguments = jax.tree.map(jax.numpy.asarray, arguments)
        wanted = jax.jit(run)(*arguments)
        with jax.set_mesh(explicit):
            specs = [P("batch") if a is arguments[1] and run is window else ROWS for a in arguments]
            placed = [jax.device_put(a, NamedSharding(explicit, s)) for a, s in zip(arguments, specs, strict=True)]
            assert_close(jax.jit(run)(*placed), wanted, 1e-5)
        print("explicit", run.__name__)


def check_layers(keys: Any) -> None:
    """Layers that move steps along a batch on several devices, with carries of their own."""
    layers = {
        "attention": jaxrnn.local_attention(1, 3, features=4),
        "strides": jaxrnn.stack(jaxrnn.conv(H, 3, stride=2), jaxrnn.pool(2)),
    }
    flags = [jax.random.bernoulli(k, p, (T, B)) for k, p in ((keys[2], 0.7), (keys[3], 0.3))]
    for name, layer in layers.items():

        def run(params: Any, xs: Any, mask: Any, resets: Any, layer: jaxrnn.Layer = layer) -> Any:
            return jaxrnn.unroll(layer, params, xs, mask=mask, resets=resets)

        arguments = (layer.init(keys[0], D), jax.random.normal(keys[1], (T, B, D)), *flags)
        wanted, specs = jax.jit(run)(*arguments), (WHOLE, ROWS, ROWS, ROWS)
        mapped = jax.shard_map(run, mesh=mesh(), in_specs=specs, out_specs=(P("batch"), ROWS))
        assert_close(jax.jit(mapped)(*arguments), wanted, 1e-5)
        explicit = mesh(AxisType.Explicit)
        with jax.set_mesh(explicit):
            placed = [jax.device_put(a, NamedSharding(explicit, s)) for a, s in zip(arguments, specs, strict=True)]
            assert_close(jax.jit(run)(*placed), wanted, 1e-5)
        print("layer", name)


if __name__ == "__main__":
    assert jax.device_count() == 2
    keys = jax.random.split(jax.random.key(0), 4)
    for cell in (jaxrnn.lstm(H), jaxrnn.gru(H)):
        params = cell.init(keys[0], D)
        xs = jax.random.normal(keys[1], (T, B, D))
        mask, resets = (jax.random.bernoulli(k, p, (T, B)) for k, p in ((keys[2], 0.7), (keys[3], 0.3)))
        arguments = (params, xs, mask, resets)
        check_shard_map(cell, arguments)
        check_sharded_jit(cell, arguments)
    check_explicit_mode(cell, arguments)  # one cell is enough, if it has parameters of its own
    check_explicit_parts(np.random.default_rng(0))
    check_layers(keys)
    print("done")
