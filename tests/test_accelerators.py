"""What the compilers for an H100 and a v5e TPU make of our loops. Neither device is needed, but their compilers are:
`pip install "jaxrnn[accelerators]"`, in an environment of their own.
"""

import importlib.util
import math
import re
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

import jaxrnn
from tests.test_structure import computations, reached

T, B, D, H = 64, 16, 128, 128
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536 registers_per_block_limit: 65536
  driver_version: "13.0.0" runtime_version: "12.9.0" compile_time_toolkit_version: "12.9.0"
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 } runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
PLUGINS = {"cuda": "jax_plugins.xla_cuda12", "tpu": "libtpu"}
DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "cuda": {"topology_name": "H100", "target_config": H100, "topology": "1x1x1"},
    "tpu": {"topology_name": "v5e:2x2"},
}
CELLS = {
    "lstm": jaxrnn.lstm,
    "gru": jaxrnn.gru,
    "slstm": partial(jaxrnn.slstm, heads=4),
    "rg_lru": jaxrnn.rg_lru,
}
# Instructions that run in an iteration, which has four steps, of the loop forward and of that backward.
MOST = {
    ("cuda", "lstm"): [14, 15],
    ("cuda", "gru"): [14, 14],
    ("cuda", "slstm"): [23, 16],
    ("cuda", "rg_lru"): [],
    ("tpu", "lstm"): [21, 21],
    ("tpu", "gru"): [22, 23],
    ("tpu", "slstm"): [37, 67],
    ("tpu", "rg_lru"): [],
}
FREE = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant"}


@pytest.fixture(scope="module", autouse=True)
def no_device_is_asked_for():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TPU_SKIP_MDS_QUERY", "1")
        yield


@cache
def devices(platform: str, **other: Any) -> Any:
    """The devices of a platform's topology; `other` replaces parts of its description."""
    package = PLUGINS[platform].split(".")
    if not all(importlib.util.find_spec(".".join(package[: i + 1])) for i in range(len(package))):  # parents first
        pytest.skip(f"{PLUGINS[platform]} is not installed, which the extra 'accelerators' has")
    return topologies.get_topology_desc(platform=platform, **(DESCRIPTIONS[platform] | other)).devices


def device(platform: str) -> Any:
    return devices(platform)[0]


@pytest.mark.parametrize(("platform", "name"), MOST)
def test_what_is_compiled_for_accelerators(platform, name):
    where = SingleDeviceSharding(device(platform))
    cell = CELLS[name](H, dtype=jnp.bfloat16)
    params = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))
    xs = jax.ShapeDtypeStruct((T, B, D), jnp.bfloat16)

    def loss(params, xs):
        return (jaxrnn.unroll(cell, params, xs)[1].astype(jnp.float32) ** 2).sum()

    program = jax.jit(jax.value_and_grad(loss, (0, 1)), in_shardings=where, out_shardings=where)
    hlo = program.trace(params, xs).lower(lowering_platforms=(platform,)).compile().as_text()
    parts = computations(hlo)
    loops = re.findall(r"while\(.*body=%?([\w.\-]+)", hlo)
    counts = []
    for body in loops:
        run = re.findall(r"^\s+(?:ROOT )?%?[\w.\-]+ = (?:\(.*?\)|\S+) ([\w\-]+)\(", parts[body], re.MULTILINE)
        counts.append(sum(kind not in FREE for kind in run))
        text = "\n".join(parts[part] for part in reached(body, parts))
        converted = {
            math.prod(map(int, shape.split(","))) for shape in re.findall(r"= bf16\[([\d,]+)\]\S* convert\(", text)
        }
        assert converted and params["recurrent_kernel"].size not in converted, "a weight is converted in each step"
    assert len(counts) == len(MOST[platform, name]), "the CPU's form of a linear recurrence is a loop"
    assert all(n <= most for n, most in zip(counts, MOST[platform, name], strict=True)), counts
    assert " conditional(" not in hlo, "a conditional waits for the host"


@pytest.mark.parametrize("lengths", [False, True])
def test_cudnn_runs_the_whole_lstm_forward_and_backward(monkeypatch, lengths):
    where = SingleDeviceSharding(device("cuda"))
    # cuDNN itself, which is not here, would say how much memory it needs.
    sizes = "jaxlib.gpu_rnn.compute_rnn_workspace_reserve_space_sizes"
    monkeypatch.setattr(sizes, lambda *arguments: (64, 128))
    cell = jaxrnn.lstm(H)
    params = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))
    args = [params, jax.ShapeDtypeStruct((T, B, D), jnp.float32)]
    args += [jax.ShapeDtypeStruct((B,), jnp.int32)] if lengths else []

    def loss(params, xs, lengths=None):
        return (jaxrnn.unroll(cell, params, xs, lengths=lengths, method="cudnn")[1] ** 2).sum()

    program = jax.jit(jax.value_and_grad(loss, (0, 1)), in_shardings=where, out_shardings=where)
    hlo = program.trace(*args).lower(lowering_platforms=("cuda",)).compile().as_text()
    assert re.findall(r'custom_call_target="(\w+)"', hlo) == ["cudnn_rnn_ffi", "cudnn_rnn_bwd_ffi"]
    assert " while(" not in hlo and " conditional(" not in hlo
