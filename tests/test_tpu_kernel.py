"""What the compiler for a v5e TPU makes of `method="kernel"`: `pytest -s` shows the time that it takes, and VMEM."""

import re
import time
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

import jaxrnn
from tests.test_accelerators import device, no_device_is_asked_for  # noqa: F401  the latter is a fixture

T, B, D, H = 100, 16, 128, 128
CELLS = jaxrnn.cells.CONSTRUCTORS | {
    "projected_lstm": partial(jaxrnn.projected_lstm, projection=64),
    "slstm": partial(jaxrnn.slstm, heads=4),
    "zoneout": lambda features, **options: jaxrnn.zoneout(jaxrnn.lstm(features, **options), 0.1),
}
DENSE = [name for name, make in CELLS.items() if "conv" not in name and "fused" in jaxrnn.methods(make(H))]
SHAPES = [("lstm", 100, 3, 7), ("lstm", 256, 3, 7), ("gru", 100, 16, 1000), ("lstm", 128, 2048, 20)]  # name, H, B, T


def compiled(cell, method, total, rows, dtype):
    """The program of value and gradient, with lengths and resets."""

    def loss(params, xs, lengths, resets, seed):
        key = jax.random.key(seed)
        _, ys = jaxrnn.unroll(cell, params, xs, lengths=lengths, resets=resets, key=key, method=method)
        return (ys.astype(jnp.float32) ** 2).sum()

    where = SingleDeviceSharding(device("tpu"))
    params = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))
    shapes = [((total, rows, D), dtype), ((rows,), jnp.int32), ((total, rows), jnp.bool_), ((), jnp.int32)]
    arguments = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    program = jax.jit(jax.value_and_grad(loss, (0, 1)), in_shardings=where, out_shardings=where)
    start = time.process_time()
    made = program.trace(params, *arguments).lower(lowering_platforms=("tpu",)).compile()
    return made, time.process_time() - start


def vmem(made):
    """The most bytes of VMEM that a kernel may use."""
    kernels = [line for line in made.as_text().splitlines() if 'custom_call_target="tpu_custom_call"' in line]
    assert len(kernels) == 2
    return max(int(size) for line in kernels for size in re.findall(r'"memory_space":"1",.*?"size":"(\d+)"', line))


@pytest.mark.parametrize(
    ("name", "features", "rows", "total", "dtype"),
    [(name, H, B, T, jnp.float32) for name in DENSE] + [(*shape, jnp.bfloat16) for shape in SHAPES],
)
def test_value_and_gradient_are_two_kernels(name, features, rows, total, dtype):
    made, seconds = compiled(CELLS[name](features, dtype=dtype), "kernel", total, rows, dtype)
    print(f"\n{name} H {features} B {rows} T {total}: {vmem(made) / 2**20:.1f} MiB of VMEM, {seconds:.1f} s to compile")
    if name != "zoneout":  # it draws its masks in a loop
        assert " while(" not in made.as_text()


def test_temporaries_are_no_larger_than_those_of_the_loop():
    sizes = [
        compiled(jaxrnn.lstm(H), method, 500, 64, jnp.float32)[0].memory_analysis().temp_size_in_bytes
        for method in ("kernel", "fused")
    ]
    assert 0 < sizes[0] <= sizes[1]


def test_precisions_between_those_of_the_compiler_are_the_exact_one():
    sizes = []
    for precision in (None, "high", "highest"):
        with jax.default_matmul_precision(precision):
            made, _ = compiled(jaxrnn.gru(H), "kernel", 20, B, jnp.float32)
        sizes.append(sum(map(len, re.findall(r'custom_call_target="tpu_custom_call".*', made.as_text()))))
    assert sizes[1] == sizes[2] != sizes[0]
