"""Names of mesh axes on parameters: Flax's own functions find them, in both modules, and nothing else changes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxrnn
import quick
from compare import assert_equal

pytestmark = pytest.mark.usefixtures("quick_compilation")
B, T, D, H = 2, 5, 3, 4
X = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
CELL = jaxrnn.elman(H)
STACK = jaxrnn.stack(jaxrnn.rnn(CELL), jaxrnn.bidirectional(CELL), jaxrnn.dense(2))
NAMES = {"kernel": (None, None, "model"), "layer_2/kernel": ("model", None), "backward/kernel": ("data", None, "model")}
OTHERS = dict.fromkeys(("recurrent_kernel", "bias"), P())
SPECS = {
    "layer_0": {"kernel": P(None, None, "model"), **OTHERS},
    "layer_1": {
        "forward": {"kernel": P(None, None, "model"), **OTHERS},
        "backward": {"kernel": P("data", None, "model"), **OTHERS},
    },
    "layer_2": {"kernel": P("model", None), "bias": P()},
}


def linen_of(partitioning: Any) -> Any:
    model = jaxrnn.linen.RNN(STACK, partitioning=partitioning)
    return model, jax.jit(model.init)(jax.random.key(0), X)


def nnx_of(partitioning: Any) -> Any:
    with jax.set_mesh(jax.make_mesh((1, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)):
        return nnx.jit(lambda: jaxrnn.nnx.RNN(STACK, D, partitioning=partitioning, rngs=nnx.Rngs(0)))()


@pytest.mark.sampled
def test_linen_finds_the_names() -> None:
    model, variables = linen_of(NAMES)
    assert nn.get_partition_spec(variables) == {"params": SPECS}
    assert type(variables["params"]["layer_0"]["kernel"]) is nn.Partitioned
    plain, expected = linen_of(None)
    assert_equal(nn.meta.unbox(variables), expected)
    assert hash(model) == hash(model.clone()) and model != plain
    for held in (variables, expected):  # boxed as they were made, or not
        assert_equal(model.apply(held, X), plain.apply(expected, X))


def test_linen_adds_the_axis_of_a_lifted_transformation() -> None:
    axes = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}, "in_axes": None, "axis_size": 2}
    ensemble = nn.vmap(jaxrnn.linen.RNN, metadata_params={nn.PARTITION_NAME: "members"}, **axes)
    variables = jax.eval_shape(ensemble(CELL, partitioning={"bias": (None, "model")}).init, jax.random.key(0), X)
    assert nn.get_partition_spec(variables)["params"]["bias"] == P("members", None, "model")


@pytest.mark.sampled
def test_nnx_finds_the_names() -> None:
    model, plain = nnx_of(NAMES), nnx_of(None)
    state = nnx.state(model)
    assert nnx.to_pure_dict(nnx.get_partition_spec(state)) == SPECS
    assert_equal(nnx.to_pure_dict(state), nnx.to_pure_dict(nnx.state(plain)))
    assert_equal(model(X), plain(X))
    assert type(model.layer_0["kernel"]) is nnx.Param


MISFITS = [
    ({"kernel": (None, None, "model")}, r"\.RNN: partitioning\['kernel'\] is .* 2 entries, .* layer_2/kernel of shape"),
    (
        {"kernal": (None,)},
        r"\.RNN: partitioning has unknown \['kernal'\], expected names or paths among \['layer_0/bias",
    ),
]


@pytest.mark.parametrize("make", [linen_of, nnx_of])
@pytest.mark.parametrize(("names", "message"), MISFITS, ids=["too many", "unknown"])
def test_names_that_do_not_fit(make: Any, names: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(names)


@pytest.mark.every
def test_on_two_devices_parameters_lie_in_parts() -> None:
    program = Path(__file__).with_name("partitioned_program.py")
    environment = quick.environment("--xla_force_host_platform_device_count=2") | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["linen", "nnx"]
