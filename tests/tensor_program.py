"""Run by `test_sharding_of.py` in a process with eight CPU devices: prints one line a check, and fails if one does."""

import re
from collections.abc import Callable
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from test_structure import loops

import jaxrnn
from compare import assert_close

T, B, D, H = 6, 4, 8, 16
ROWS = P(None, "data")
COLLECTIVES = r"= \(?\w+\[([\d,]*)\].*? (all-gather|all-to-all|collective-permute|reduce-scatter|all-reduce)\("
STATE = f"{B // 2},{H}"  # of the sequences that one device has
GATHERED, SUMMED = [("all-gather", STATE)], [("all-reduce", STATE)]


@cache
def mesh(kind: AxisType) -> Mesh:
    return jax.make_mesh((2, 4), ("data", "model"), axis_types=(kind,) * 2)


def collectives(text: str) -> list[tuple[str, str]]:
    return [(kind, shape) for shape, kind in re.findall(COLLECTIVES, text)]


def loss(model: Any, gathered: Callable[[Any], Any] = lambda params: params) -> Callable[..., Any]:
    def run(params: Any, xs: Any, **steps: Any) -> Any:
        carry, ys = jaxrnn.unroll(model, gathered(params), xs, **steps)
        states = sum((leaf**3).sum() for leaf in jax.tree.leaves(carry))
        return (ys**2).sum() + states

    return run


def inputs(model: Any) -> tuple[Any, Any, dict[str, Any]]:
    keys = jax.random.split(jax.random.key(0), 4)
    steps = {"mask": jax.random.bernoulli(keys[0], 0.7, (T, B)), "resets": jax.random.bernoulli(keys[1], 0.3, (T, B))}
    return model.init(keys[2], D), jax.random.normal(keys[3], (T, B, D)), steps


def check(name: str, model: Any, kind: AxisType, in_loops: list[Any], *, fsdp: str | None = None) -> None:
    """Numbers are those of one device, and each loop has these collectives."""
    params, xs, steps = inputs(model)
    wanted = jax.jit(jax.value_and_grad(loss(model)))(params, xs, **steps)
    with jax.set_mesh(mesh(kind)):
        whole = jaxrnn.sharding_of(params, mesh(kind), tensor="model")
        at_rest = jaxrnn.sharding_of(params, mesh(kind), tensor="model", fsdp=fsdp)
        put = jax.lax.with_sharding_constraint if kind == AxisType.Auto else jax.sharding.reshard
        grad = jax.value_and_grad(loss(model, lambda params: put(params, whole)))
        rows = NamedSharding(mesh(kind), ROWS)
        args, flags = (jax.device_put(params, at_rest), jax.device_put(xs, rows)), jax.device_put(steps, rows)
        program = jax.jit(grad, out_shardings=(NamedSharding(mesh(kind), P()), at_rest))
        compiled = program.lower(*args, **flags).compile()
        got = compiled(*args, **flags)
    assert_close(got, wanted, 1e-5)
    jax.tree.map(lambda g, s: g.sharding.is_equivalent_to(s, g.ndim) or 1 / 0, got[1], at_rest)
    found = [collectives(text) for text in loops(compiled.as_text())]
    assert found == in_loops, (name, found)
    print(name, kind.name, fsdp)


def check_optimizer() -> None:
    """Moments lie as their parameters do, and a step is that of one device."""
    model, optimizer = jaxrnn.stack(jaxrnn.elman(H), jaxrnn.dense(2)), optax.adam(0.1)
    params, xs, _ = inputs(model)
    auto = mesh(AxisType.Auto)

    def update(params: Any, state: Any, xs: Any) -> tuple[Any, Any]:
        changes, state = optimizer.update(jax.grad(loss(model))(params, xs), state, params)
        return optax.apply_updates(params, changes), state

    wanted = jax.jit(update)(params, optimizer.init(params), xs)
    of_params = jaxrnn.sharding_of(params, auto, tensor="model", fsdp="data")
    of_state = jaxrnn.sharding_of(jax.eval_shape(optimizer.init, params), auto, tensor="model", fsdp="data")
    assert of_state[0].mu == of_state[0].nu == of_params and of_state[0].count.spec == P()
    placed = jax.device_put(params, of_params)
    state = jax.jit(optimizer.init, out_shardings=of_state)(placed)
    got = jax.jit(update, out_shardings=(of_params, of_state))(
        placed, state, jax.device_put(xs, NamedSharding(auto, ROWS))
    )
    assert_close(got, wanted, 1e-4)
    print("optimizer")


def check_flax() -> None:
    """Both modules hold parameters as the functions do."""
    model, auto = jaxrnn.elman(H), mesh(AxisType.Auto)
    params, xs, _ = inputs(model)
    x = xs.swapaxes(0, 1)
    shardings = jaxrnn.sharding_of(params, auto, tensor="model")
    wanted = jaxrnn.unroll(model, params, xs)[1].swapaxes(0, 1)

    linen = jaxrnn.linen.RNN(model)
    assert jaxrnn.sharding_of(jax.eval_shape(linen.init, jax.random.key(0), x), auto, tensor="model") == {
        "params": shardings
    }
    placed = jax.device_put({"params": params}, {"params": shardings})
    with jax.set_mesh(auto):
        program = jax.jit(linen.apply).lower(placed, x).compile()
    assert_close(program(placed, x), wanted, 1e-5)
    assert [collectives(text) for text in loops(program.as_text())] == [[("all-gather", f"{B},{H}")]]

    module = jaxrnn.nnx.RNN(model, D, rngs=nnx.Rngs(0))
    nnx.update(module, jax.device_put(params, shardings))
    assert module.kernel.get_value().sharding == shardings["kernel"]
    assert_close(nnx.jit(lambda module, x: module(x))(module, x), wanted, 1e-5)

    # Flax's own names of mesh axes say the same.
    names = {name: sharding.spec for name, sharding in shardings.items()}
    named = jaxrnn.linen.RNN(model, partitioning=names)
    assert nn.get_partition_spec(jax.eval_shape(named.init, jax.random.key(0), x)) == {"params": names}
    print("flax")


def check_orbax() -> None:
    """What is saved on one mesh is restored on another, and on one device, to the last bit."""
    model, optimizer = jaxrnn.stack(jaxrnn.lstm(H), jaxrnn.dense(2)), optax.adam(0.1)

    def arrays() -> Any:
        params = model.init(jax.random.key(0), D)
        state = optimizer.init(params)
        return {"params": params, "state": optimizer.update(params, state)[1]}  # moments that are not 0

    saved = jax.jit(arrays)()
    auto = (AxisType.Auto,) * 2
    others = [
        jax.make_mesh(shape, ("data", "model"), axis_types=auto, devices=jax.devices()[: shape[0] * shape[1]])
        for shape in ((4, 2), (1, 1))
    ]
    with TemporaryDirectory() as folder, ocp.CheckpointManager(folder) as manager:
        placed = jax.device_put(saved, jaxrnn.sharding_of(saved, mesh(AxisType.Auto), tensor="model", fsdp="data"))
        manager.save(0, args=ocp.args.StandardSave(placed))
        manager.wait_until_finished()
        for other in others:
            shardings = jaxrnn.sharding_of(saved, other, tensor="model", fsdp="data")
            like = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), saved, shardings)
            found = manager.restore(0, args=ocp.args.StandardRestore(like))
            jax.tree.map(np.testing.assert_array_equal, found, saved)
            assert jax.tree.map(lambda leaf: leaf.sharding, found) == shardings
            kernel = found["params"]["layer_0"]["kernel"]
            on_one = kernel.addressable_data(0).size
            assert kernel.size == on_one * other.size, on_one
    print("orbax")


if __name__ == "__main__":
    assert jax.device_count() == 8
    check("gru", jaxrnn.gru(H), AxisType.Auto, [GATHERED, SUMMED], fsdp="data")
    check("slstm", jaxrnn.slstm(H, heads=4), AxisType.Auto, [[], []])
    deep = jaxrnn.stack(jaxrnn.lstm(H), jaxrnn.elman(H), jaxrnn.dense(3))
    check("stack", deep, AxisType.Explicit, [GATHERED] * 2 + [SUMMED] * 2, fsdp="data")
    check_optimizer()
    check_flax()
    check_orbax()
    print("done")
