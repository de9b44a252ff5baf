"""How parameters lie on a mesh; on eight devices, that programs exchange no more than a state in each step."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxrnn
import quick
from jaxrnn.roles import ROLES
from jaxrnn.sharding_of import AXES

MESH = AbstractMesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
MODEL = jaxrnn.stack(jaxrnn.lstm(8), jaxrnn.dense(3))


def shapes(model: Any, in_features: int | None = 6) -> Any:
    return jax.eval_shape(lambda: model.init(jax.random.key(0), in_features))


def specs(params: Any, *args: Any, **options: Any) -> Any:
    return jax.tree.map(lambda sharding: sharding.spec, jaxrnn.sharding_of(params, MESH, *args, **options))


def test_everything_is_whole_unless_asked() -> None:
    found = jaxrnn.sharding_of(shapes(MODEL), MESH)
    assert found["layer_0"]["kernel"] == NamedSharding(MESH, P(None, None, None))
    assert not any(any(sharding.spec) for sharding in jax.tree.leaves(found))


def test_features_are_split_and_gates_are_not() -> None:
    assert specs(shapes(MODEL), tensor="model") == {
        "layer_0": {
            "kernel": P(None, None, "model"),
            "recurrent_kernel": P(None, None, "model"),
            "bias": P(None, "model"),
        },
        "layer_1": {"kernel": P("model", None), "bias": P(None)},
    }


def test_heads_are_split_where_there_are_any() -> None:
    assert specs(shapes(jaxrnn.slstm(8, heads=4)), tensor="model")["recurrent_kernel"] == P("model", None, None, None)
    found = specs(shapes(jaxrnn.gla(16, heads=4)), tensor="model")
    assert found["query"] == P(None, "model", None) and found["out"] == P("model", None, None)
    assert found["decay_down"] == P(None, None, None)


def test_a_projection_is_split_by_its_inputs_and_a_table_by_its_features() -> None:
    assert specs(shapes(jaxrnn.projected_lstm(8, projection=2)), tensor="model")["projection"] == P("model", None)
    assert specs(shapes(jaxrnn.embedding(65, 8), None), tensor="model") == {"embedding": P(None, "model")}


def test_at_rest_the_longest_axis_that_is_left_is_split_too() -> None:
    found = specs(shapes(MODEL), tensor="model", fsdp="data")
    assert found["layer_0"]["kernel"] == P("data", None, "model")
    assert found["layer_0"]["bias"] == P("data", "model")
    assert found["layer_1"] == {"kernel": P("model", None), "bias": P(None)}  # 3 is odd
    assert specs(shapes(MODEL), fsdp=("data", "model"))["layer_0"]["kernel"] == P(None, None, ("data", "model"))


def test_the_longest_rule_counts() -> None:
    rules = {"kernel": (("data", "model"),), "layer_1/kernel": None, "bias": ()}
    found = specs(shapes(MODEL), rules, tensor="model", fsdp="data")
    assert found["layer_0"]["kernel"] == P(None, None, ("data", "model"))
    assert found["layer_0"]["recurrent_kernel"] == P("data", None, "model")
    assert found["layer_1"]["kernel"] == P(None, None) and found["layer_0"]["bias"] == P(None, None)


def test_every_name_in_the_table_is_a_parameter() -> None:
    assert AXES.keys() <= ROLES.keys()


ODD = shapes(jaxrnn.stack(jaxrnn.lstm(10)))
MISFITS = [
    (ODD, {"tensor": "model"}, r"layer_0/bias has shape \(4, 10\), whose axis 1 cannot be split over the 4 devices of"),
    (ODD, {"tensor": "modle"}, r"tensor is 'modle', expected axes of the mesh, each once, among \('data', 'model'\)"),
    (ODD, {"tensor": 4}, r"tensor is 4, expected axes of the mesh, each once, among"),
    (ODD, {"fsdp": "rows"}, r"fsdp is 'rows', expected axes of the mesh, each once, among \('data', 'model'\)"),
    (ODD, {"tensor": "data", "fsdp": "data"}, r"tensor and fsdp both name \['data'\], expected different axes"),
    (ODD, {"rules": {"bias": ("batch",)}}, r"rules\['bias'\] is \('batch',\), expected axes of the mesh, each once"),
    (ODD, {"rules": {"bias": ("data", "data")}}, r"rules\['bias'\] is \('data', 'data'\), expected axes of the mesh"),
    (ODD, {"rules": {"bias": "data"}}, r"rules\['bias'\] is 'data', expected a tuple or None; \('data',\) splits the"),
    (
        ODD,
        {"rules": {"bias": ("data",) + (None,) * 2}},
        r"rules\['bias'\] is \('data', None, None\), expected at most 2 entries, one an axis of layer_0/bias of",
    ),
    (ODD, {"rules": {"layer_0/kernel": ("model",)}}, r"layer_0/kernel has shape \(6, 4, 10\), whose axis 2 cannot be"),
    (ODD, {"rules": {"kernal": None}}, r"rules names \['kernal'\], expected roles, names or paths among \['bias', "),
    ({"kernel": 3.0}, {}, r"kernel is 3\.0, expected an array or a shape"),
    (ODD, {"mesh": 8}, r"mesh is 8, expected a mesh; jax\.make_mesh makes one"),
]


@pytest.mark.parametrize(("params", "options", "message"), MISFITS)
def test_what_does_not_fit(params: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^sharding_of: {message}.*$") as caught:
        jaxrnn.sharding_of(params, **{"mesh": MESH, **options})
    assert "\n" not in str(caught.value)


def test_nothing_lies_anywhere() -> None:
    assert jaxrnn.sharding_of({}, MESH, tensor="model") == {}
    assert jaxrnn.sharding_of(np.zeros(3), MESH, tensor="model").spec == P(None)


@pytest.mark.every
def test_on_eight_devices_a_step_exchanges_its_state_alone() -> None:
    program = Path(__file__).with_name("tensor_program.py")
    environment = quick.environment("--xla_force_host_platform_device_count=8") | {"JAX_PLATFORMS": "cpu"}
    del environment["JAX_DISABLE_MOST_OPTIMIZATIONS"]  # they decide which collectives are left
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-4:] == ["optimizer", "flax", "orbax", "done"] and len(done.stdout.splitlines()) == 7
