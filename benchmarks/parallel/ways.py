"""The ways to train on several devices, each with its program and with what the model of its cost says of it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrnn
from benchmarks.parallel import cost_model
from benchmarks.parallel.cost_model import Cost, Sizes

AXIS, RATE = "devices", 0.1
WHOLE = P()


class Layout(NamedTuple):
    """A model on a mesh: its parameters' shapes, how they and the inputs lie, and `outputs(params, xs)`."""

    params: Any
    shardings: Any
    inputs: P
    outputs: Callable[[Any, jax.Array], jax.Array]


class Way(NamedTuple):
    """A way to use several devices.

    Attributes:
      title: as in tables.
      cell: what is trained.
      layout: `(sizes, mesh) -> Layout`.
      cost: `(sizes, devices) -> Cost`, of one device.
      grown: `(sizes, devices) -> sizes`: which work is given to so many devices, from that of one.
    """

    title: str
    cell: str
    layout: Callable[[Sizes, Mesh], Layout]
    cost: Callable[[Sizes, int], Cost]
    grown: Callable[[Sizes, int], Sizes]


def drawn(model: Any, inputs: int) -> Any:
    """The shapes of a model's parameters."""
    return jax.eval_shape(lambda: model.init(jax.random.key(0), inputs))


def outputs(model: Any, params: Any, xs: jax.Array, **how: Any) -> jax.Array:
    return jaxrnn.unroll(model, params, xs, **how)[1]


def data(sizes: Sizes, mesh: Mesh) -> Layout:
    """Each device has its sequences and all parameters."""
    model = jaxrnn.lstm(sizes.H)
    params = drawn(model, sizes.D)
    return Layout(params, jaxrnn.sharding_of(params, mesh), P(None, AXIS), partial(outputs, model))


def fsdp(sizes: Sizes, mesh: Mesh) -> Layout:
    """The same, but a device holds its part of the parameters, and gathers them before the loop."""
    model = jaxrnn.lstm(sizes.H)
    params = drawn(model, sizes.D)
    whole = jaxrnn.sharding_of(params, mesh)

    def gathered(params: Any, xs: jax.Array) -> jax.Array:
        return outputs(model, jax.lax.with_sharding_constraint(params, whole), xs)

    return Layout(params, jaxrnn.sharding_of(params, mesh, fsdp=AXIS), P(None, AXIS), gathered)


def tensor(sizes: Sizes, mesh: Mesh) -> Layout:
    """Each device has its part of the features of all sequences."""
    model = jaxrnn.lstm(sizes.H)
    params = drawn(model, sizes.D)
    return Layout(params, jaxrnn.sharding_of(params, mesh, tensor=AXIS), WHOLE, partial(outputs, model))


def sequence(sizes: Sizes, mesh: Mesh) -> Layout:
    """Each device has its part of the steps of all sequences."""
    model = jaxrnn.min_gru(sizes.H)
    params = drawn(model, sizes.D)
    run = partial(outputs, model, axis_name=AXIS)
    mapped = jax.shard_map(run, mesh=mesh, in_specs=(WHOLE, P(AXIS)), out_specs=P(AXIS))
    return Layout(params, jaxrnn.sharding_of(params, mesh), P(AXIS), mapped)


def wavefront(sizes: Sizes, mesh: Mesh) -> Layout:
    """Each device has a layer, and a part of the steps; chunks of them go from layer to layer."""
    model = jaxrnn.lstm(sizes.H)
    layers = jax.tree.map(lambda p: jax.ShapeDtypeStruct((mesh.size, *p.shape), p.dtype), drawn(model, sizes.H))

    def run(params: Any, xs: jax.Array) -> jax.Array:
        return jaxrnn.wavefront(model, params, xs, axis_name=AXIS, chunk=sizes.chunk)[1]

    mapped = jax.shard_map(run, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS))
    return Layout(layers, dict.fromkeys(layers, NamedSharding(mesh, P(AXIS))), P(AXIS), mapped)


def more_sequences(sizes: Sizes, devices: int) -> Sizes:
    return sizes._replace(B=sizes.B * devices)


def more_steps(sizes: Sizes, devices: int) -> Sizes:
    return sizes._replace(T=sizes.T * devices)


def more_steps_and_layers(sizes: Sizes, devices: int) -> Sizes:
    """A layer a device; the outputs of a layer are inputs of the next."""
    return sizes._replace(T=sizes.T * devices, D=sizes.H)


def the_same(sizes: Sizes, devices: int) -> Sizes:
    return sizes


WAYS = {
    "data": Way("data parallel", "LSTM", data, cost_model.data, more_sequences),
    "fsdp": Way("FSDP", "LSTM", fsdp, cost_model.fsdp, more_sequences),
    "tensor": Way("tensor parallel", "LSTM", tensor, cost_model.tensor, the_same),
    "sequence": Way("sequence parallel", "minGRU", sequence, cost_model.sequence, more_steps),
    "wavefront": Way("wavefront", "LSTM", wavefront, cost_model.wavefront, more_steps_and_layers),
}


class Step(NamedTuple):
    """A step of gradient descent: the jitted function, and the shapes of parameters and inputs with how they lie."""

    function: Any
    args: tuple[Any, Any]
    mesh: Mesh

    def compile(self, platform: str) -> Any:
        """The program for one of JAX's platforms, with the mesh set, for which tensor parallelism asks."""
        with jax.set_mesh(self.mesh):
            return self.function.trace(*self.args).lower(lowering_platforms=(platform,)).compile()


def training(way: Way, sizes: Sizes, devices: Sequence[Any]) -> Step:
    """The step of a way on these devices."""
    mesh = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))
    layout = way.layout(sizes, mesh)

    def step(params: Any, xs: jax.Array) -> Any:
        def loss(params: Any) -> jax.Array:
            return jnp.mean(jnp.square(layout.outputs(params, xs)))

        return jax.tree.map(lambda p, g: p - RATE * g, params, jax.grad(loss)(params))

    inputs = jax.ShapeDtypeStruct((sizes.T, sizes.B, sizes.D), jnp.float32)
    where = (layout.shardings, NamedSharding(mesh, layout.inputs))
    args = jax.tree.map(
        lambda a, at: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=at), (layout.params, inputs), where
    )
    return Step(jax.jit(step, in_shardings=where, out_shardings=layout.shardings), args, mesh)
