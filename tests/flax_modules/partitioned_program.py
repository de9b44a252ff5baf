"""Run by `test_partitioning.py` in a process with two CPU devices: both modules, made and run in parts."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrnn

T, B, D, H = 5, 2, 3, 4
LAYER = jaxrnn.stack(jaxrnn.bidirectional(jaxrnn.elman(H)), jaxrnn.dense(2))
NAMES = {"kernel": (None, None, "model"), "layer_1/kernel": ("model", None), "recurrent_kernel": (None, None, "model")}


def check(params: Any, specs: Any, run: Any, x: Any) -> None:
    """Every parameter lies as its names say, and outputs and gradients are those of one device."""
    assert all(p.sharding.is_equivalent_to(NamedSharding(mesh, s), p.ndim) for p, s in leaves(params, specs))
    halves = [p for p, s in leaves(params, specs) if not s or p.addressable_shards[0].data.size * 2 == p.size]
    assert len(halves) == len(jax.tree.leaves(params))
    whole = jax.tree.map(np.asarray, params)
    program = jax.jit(jax.value_and_grad(lambda params, x: (run(params, x) ** 2).sum()))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), program(params, x), program(whole, x)
    )


def leaves(params: Any, specs: Any) -> Any:
    return zip(jax.tree.leaves(params), jax.tree.leaves(specs, is_leaf=lambda s: isinstance(s, P)), strict=True)


if __name__ == "__main__":
    assert jax.device_count() == 2
    mesh = jax.make_mesh((2,), ("model",), axis_types=(AxisType.Auto,))
    x = jax.random.normal(jax.random.key(0), (B, T, D))

    linen = jaxrnn.linen.RNN(LAYER, partitioning=NAMES)
    specs = nn.get_partition_spec(jax.eval_shape(linen.init, jax.random.key(1), x))
    shardings = jax.tree.map(lambda s: NamedSharding(mesh, s), specs, is_leaf=lambda s: isinstance(s, P))
    variables = nn.meta.unbox(jax.jit(linen.init, out_shardings=shardings)(jax.random.key(1), x))
    check(variables["params"], specs["params"], lambda params, x: linen.apply({"params": params}, x), x)
    print("linen")

    with jax.set_mesh(mesh):
        model = nnx.jit(lambda: jaxrnn.nnx.RNN(LAYER, D, partitioning=NAMES, rngs=nnx.Rngs(1)))()
    state = nnx.state(model)
    specs = nnx.to_pure_dict(nnx.get_partition_spec(state))
    check(nnx.to_pure_dict(state), specs, lambda params, x: jaxrnn.unroll(LAYER, params, jnp.moveaxis(x, 1, 0))[1], x)
    print("nnx")
