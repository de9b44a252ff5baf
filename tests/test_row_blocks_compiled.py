"""What NVIDIA's compiler makes of a dense recurrence in one kernel, for an H100: see `test_accelerators.py`."""

import re
from functools import partial
from pathlib import Path
from time import perf_counter

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

import jaxrnn
from tests.test_accelerators import device

T, B, D = 64, 256, 64
LARGEST = 232_448  # bytes of shared memory that a block of an H100 may ask for
CELLS = {
    "elman": jaxrnn.elman,
    "lstm": jaxrnn.lstm,
    "gru": jaxrnn.gru,
    "indrnn": jaxrnn.indrnn,
    "slstm": jaxrnn.slstm,
    "peephole_lstm": jaxrnn.peephole_lstm,
    "projected_lstm": partial(jaxrnn.projected_lstm, projection=24),
    "layer_norm_lstm": jaxrnn.layer_norm_lstm,
    "layer_norm_gru": jaxrnn.layer_norm_gru,
}
CELLS["noisy"] = lambda features, dtype: jaxrnn.zoneout(
    jaxrnn.recurrent_dropout(jaxrnn.gru(features, dtype=dtype), 0.3), 0.1
)
CASES = [(name, 64, "bfloat16") for name in CELLS]
CASES += [("lstm", 64, "float32"), ("gru", 100, "bfloat16"), ("elman", 100, "float32"), ("lstm", 256, "bfloat16")]


def lowered(name: str, features: int, dtype: str) -> jax.stages.Lowered:
    where = SingleDeviceSharding(device("cuda"))
    cell = CELLS[name](features, dtype=jnp.dtype(dtype))
    params = jax.eval_shape(lambda key: cell.init(key, D), jax.random.key(0))

    def loss(params, xs):
        flags = jnp.arange(T * B).reshape(T, B) % 5 == 0
        how = {"key": jax.random.key(0), "mask": ~flags, "resets": flags} if name == "noisy" else {}
        carry, ys = jaxrnn.unroll(cell, params, xs, method="kernel", **how)
        return (ys.astype(jnp.float32) ** 2).sum() + carry.h.sum()

    program = jax.jit(jax.value_and_grad(loss, (0, 1)), in_shardings=where, out_shardings=where)
    xs = jax.ShapeDtypeStruct((T, B, D), dtype)
    return program.trace(params, xs).lower(lowering_platforms=("cuda",))


@pytest.mark.parametrize(("name", "features", "dtype"), CASES)
def test_value_and_gradient_are_a_kernel_each(tmp_path: Path, name: str, features: int, dtype: str) -> None:
    program = lowered(name, features, dtype)
    start = perf_counter()
    hlo = program.compile(compiler_options={"xla_dump_to": str(tmp_path)}).as_text()
    took = perf_counter() - start
    assert hlo.count('custom_call_target="__gpu$xla.gpu.triton"') == 2
    assert " while(" not in hlo and " conditional(" not in hlo
    (launches,) = tmp_path.glob("*.thunk_sequence.txt")
    found = re.findall(r"(recurrence\w*) grid: \[(\d+), .*shared_memory: (\d+) bytes", launches.read_text())
    print(f"{name}({features}) in {dtype}: {took:.1f} s, (kernel, programs, bytes of shared memory): {found}")
    assert [kernel for kernel, *_ in found] == ["recurrence", "recurrence_backward"]
    assert all(int(programs) == B // 16 and int(size) <= LARGEST for _, programs, size in found)


def test_a_program_has_more_rows_where_there_are_more_than_programs_of_sixteen() -> None:
    from jaxrnn.recurrence import row_limits

    assert [row_limits.block(rows, 64) for rows in (1, 2048, 2049, 10**6)] == [16, 16, 32, 64]
    assert row_limits.block(10**6, 256) == 16


@pytest.mark.every
def test_exporting_the_kernel_says_what_it_needs() -> None:
    cell = jaxrnn.elman(16)
    params = cell.init(jax.random.key(0), 2)
    run = jax.jit(lambda xs: jaxrnn.unroll(cell, params, xs, method="kernel"))
    xs = jnp.ones((5, 16, 2))
    with pytest.raises(ValueError, match="no compatibility guarantees"):
        jax.export.export(run, platforms=["cuda"])(xs)
    allowed = [jax.export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")]
    assert jax.export.export(run, platforms=["cuda"], disabled_checks=allowed)(xs).platforms == ("cuda",)
