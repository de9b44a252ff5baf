"""Run by `test_wavefront.py` in a process with eight CPU devices, each of which has some layers and an eighth of time.

Prints one line a check, and fails if one does. With the argument `all`, as `.ci/run` gives it, it checks more layers.
"""

import re
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P
from split_program import BYTES, COLLECTIVES, EVERYTHING, FLOWS, check_same

import jaxrnn
from arrays import random_like, random_params

DEVICES, T, B, H = 8, 16, 3, 4
PART = P("layers")

draw = np.random.default_rng(1)


@cache
def all_devices() -> Mesh:
    return jax.make_mesh((DEVICES,), ("layers",), axis_types=(AxisType.Auto,))


def inputs(flow: str) -> Any:
    """Inputs with NaN at all invalid steps."""
    flags, xs = FLOWS[flow], draw.normal(size=(T, B, H))
    valid = np.arange(T)[:, None] < flags["lengths"] if "lengths" in flags else flags.get("mask", np.full((T, B), True))
    return np.where(valid[..., None], xs, np.nan)


def mapped(model: Any, chunk: int, flags: dict[str, Any], key: Any = None, *, check_vma: bool = True) -> Any:
    """`wavefront` over all devices, of `(params, xs, carry, flags)`."""
    specs = {name: P() if name == "lengths" else PART for name in flags}

    def run(params: Any, xs: Any, carry: Any, flags: Any) -> Any:
        return jaxrnn.wavefront(model, params, xs, carry, axis_name="layers", chunk=chunk, key=key, **flags)

    return jax.shard_map(
        run, mesh=all_devices(), in_specs=(PART, PART, PART, specs), out_specs=PART, check_vma=check_vma
    )


def on_one_device(model: Any, layers: int, key: Any, params: Any, xs: Any, carry: Any, flags: Any) -> Any:
    """A stack of the same layers."""
    apart = [jax.tree.map(lambda leaf, i=i: leaf[i], (params, carry)) for i in range(layers)]
    names = {f"layer_{i}": params for i, (params, _) in enumerate(apart)}
    before = None if carry is None else tuple(carry for _, carry in apart)
    after, ys = jaxrnn.unroll(jaxrnn.stack(*[model] * layers), names, xs, before, key=key, **flags)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *after), ys


def check(model: Any, flow: str, *, layers: int = DEVICES, chunk: int = 1, draws: bool = False, **how: Any) -> None:
    """Values, carries and gradients equal those of one device; `draws` from a key, and from the initial carry."""
    params = jax.tree.map(lambda *leaves: np.stack(leaves), *(random_params(model, H, seed=i) for i in range(layers)))
    carry = None if draws else random_like(jax.vmap(lambda p: model.init_carry(p, (B,)))(params), 1)
    key = jax.random.key(1) if draws else None
    runs = mapped(model, chunk, FLOWS[flow], key, **how), partial(on_one_device, model, layers, key)
    check_same(*runs, (params, inputs(flow), carry), FLOWS[flow])
    print("layers", layers, chunk, flow, model)


def check_mapped(cell: Any) -> None:
    """Layers beside a mesh axis for the batch, with `vmap` inside `shard_map` and around it."""
    layers, both = 4, P("layers", "batch")
    mesh = jax.make_mesh((2, layers), ("batch", "layers"), axis_types=(AxisType.Auto,) * 2)
    params = jax.tree.map(lambda *leaves: np.stack(leaves), *(random_params(cell, H, seed=i) for i in range(layers)))
    flags = {"mask": draw.random((T, 2)) < 0.7, "resets": draw.random((T, 2)) < 0.15}

    def run(params: Any, xs: Any, flags: Any) -> Any:
        def one(xs: Any) -> Any:
            return jaxrnn.wavefront(cell, params, xs, axis_name="layers", chunk=2, **flags)

        return jax.vmap(one, in_axes=2, out_axes=(2, 2))(xs)

    def whole(params: Any, xs: Any, flags: Any) -> Any:
        one = partial(on_one_device, cell, layers, None, params, carry=None, flags=flags)
        return jax.vmap(one, in_axes=2, out_axes=(2, 2))(xs)

    specs = {"in_specs": (PART, both, {name: both for name in flags}), "out_specs": both}
    runs = (jax.vmap(run, in_axes=(None, 0, None)) for run in (jax.shard_map(run, mesh=mesh, **specs), whole))
    check_same(*runs, (params, draw.normal(size=(2, T, 2, 3, H))), flags)
    print("mapped", cell)


def check_half(model: Any) -> None:
    """Inputs in half precision, in which the layers compute; gradients and carries as on one device."""
    params = [random_params(model, H, seed=i) for i in range(DEVICES)]
    params = jax.tree.map(lambda *leaves: np.stack(leaves).astype(np.float32), *params)
    flags = FLOWS["packed_holes"]
    runs = mapped(model, 2, flags), partial(on_one_device, model, DEVICES, None)
    check_same(*runs, (params, jnp.asarray(draw.normal(size=(T, B, H)), jnp.bfloat16), None), flags, tolerance=0.02)
    print("half", model)


def scans(jaxpr: Any) -> list[int]:
    """The lengths of all loops in a program."""
    found = []
    for equation in jaxpr.eqns:
        inner = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns"))
        found += [equation.params["length"]] if equation.primitive.name == "scan" else []
        found += [n for part in inner if hasattr(part, "eqns") for n in scans(getattr(part, "jaxpr", part))]
    return found


def check_schedule(chunk: int, *, gradient: bool = False) -> None:
    """One loop of `chunks + devices - 1` ticks, with one chunk to the next device and one along the belt a tick.

    A gradient has another such loop.
    """
    cell, run = jaxrnn.lstm(H), mapped(jaxrnn.lstm(H), chunk, {})
    params = jax.vmap(cell.init, (0, None))(jax.random.split(jax.random.key(0), DEVICES), H)
    program = jax.grad(lambda *arguments: (run(*arguments)[1] ** 2).sum(), (0, 1)) if gradient else run
    traced = jax.jit(program).trace(params, np.zeros((T, B, H), np.float32), None, {})
    ticks, chunks, loops = T // chunk + DEVICES - 1, T // chunk, 1 + gradient
    assert scans(traced.jaxpr).count(ticks) == loops
    found = re.findall(COLLECTIVES, traced.lower().compile().as_text())
    assert [kind for _, _, kind in found] == ["collective-permute"] * 2 * loops, found
    for dtype, shape, _ in found:
        assert BYTES[dtype] * int(np.prod([int(n) for n in shape.split(",")])) == 4 * chunk * B * H
    print("schedule", chunks, ticks, f"{chunks / ticks:.3f}")


def root(x: Any) -> Any:
    """Has no derivative at 0, which an idle device must not meet."""
    return jnp.sqrt(jnp.abs(x))


SINGULAR = jaxrnn.stack(root, jaxrnn.zoneout(jaxrnn.elman(H), 0.3), jaxrnn.dropout(0.5))

if __name__ == "__main__":
    assert jax.device_count() == DEVICES
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    check(jaxrnn.lstm(H), "packed_holes", chunk=2)
    check(SINGULAR, "plain", draws=True, check_vma=False)
    check_schedule(1)
    if EVERYTHING:
        check_schedule(2, gradient=True)
        check(jaxrnn.gru(H), "padding", layers=2 * DEVICES)
        check(jaxrnn.projected_lstm(6, projection=H), "packed_holes", chunk=2, check_vma=False)
        check(jaxrnn.residual(jaxrnn.stack(jaxrnn.layer_norm(), jaxrnn.slstm(6), jaxrnn.dense(H))), "padding", chunk=2)
        check(jaxrnn.residual(jaxrnn.recurrent_dropout(jaxrnn.lstm(H), 0.5)), "padding", layers=16, draws=True)
        windows = jaxrnn.stack(jaxrnn.causal_conv(3), jaxrnn.local_attention(1, 5, features=H))
        check(windows, "packed_holes", chunk=2, draws=True)
        check_mapped(jaxrnn.elman(H))
        check_half(jaxrnn.lstm(H, dtype=jnp.bfloat16))
        check_half(jaxrnn.elman(H))
    print("done")
