"""Time on eight devices equals one device; what cannot be split says so."""

import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from laws import cells

import jaxrnn
import quick

pytestmark = pytest.mark.usefixtures("quick_compilation")
XS = jnp.ones((4, 2, 3))


@cache
def printed() -> list[str]:
    program = Path(__file__).with_name("split_program.py")
    environment = quick.environment("--xla_force_host_platform_device_count=8") | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.every
def test_time_on_eight_devices_equals_one_device() -> None:
    lines = [line.split() for line in printed()]
    assert lines[-1] == ["done"]
    assert len([line for line in lines if line[0] == "cell"]) == 7
    assert [line[1] for line in lines if line[0] == "scan"] == ["linear", "matrix"]
    assert [line[1] for line in lines if line[0] == "layer"] == ["windows", "directions"]
    assert [line[0] for line in lines if line[0] in ("mapped", "memory")] == ["mapped", "memory"]
    assert lines[-2][3:] == ["all-gather", "all-reduce", "collective-permute", "reduce-scatter"]


def test_every_linear_cell_can_be_split_and_no_other() -> None:
    able = [name for name in cells.CELLS if cells.make(name).splits]
    assert able == [name for name in cells.CELLS if cells.make(name).structure in ("linear_diagonal", "linear_matrix")]
    assert not jaxrnn.zoneout(jaxrnn.min_gru(4), 0.5).splits
    assert not jaxrnn.with_carry(jaxrnn.min_gru(4)).splits
    assert jaxrnn.learned_carry(jaxrnn.min_gru(4)).splits


def refused(run: Callable[[Any], Any], axis: str = "time") -> str:
    """What `run(xs)` says inside `shard_map` over an axis of one device."""
    mesh = jax.make_mesh((1,), (axis,), axis_types=(jax.sharding.AxisType.Auto,))
    with pytest.raises(ValueError, match=r"^\w+: ") as caught:
        jax.shard_map(run, mesh=mesh, in_specs=P(axis), out_specs=P(), check_vma=False)(XS)
    message = str(caught.value)
    assert "\n" not in message
    return message


def of_model(model: Any, **options: Any) -> Callable[[Any], Any]:
    """Draws parameters when it runs: every worker of the tests makes all cases."""
    return lambda xs: jaxrnn.unroll(model, model.init(jax.random.key(0), 3), xs, axis_name="time", **options)[0]


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (of_model(jaxrnn.lstm(4)), "unroll: axis_name is 'time', and lstm(4) is a cell that cannot run"),
        (of_model(jaxrnn.zoneout(jaxrnn.min_gru(4), 0.5)), "and zoneout(min_gru(4), 0.5) is a cell that cannot run"),
        (of_model(jaxrnn.stack(jaxrnn.min_gru(4), jaxrnn.gru(4))), "and gru(4) is a cell that cannot run"),
        (of_model(jaxrnn.stack(jaxrnn.conv(4, 3), jaxrnn.min_gru(4))), "and conv is a layer that cannot run"),
        (of_model(jaxrnn.act(jaxrnn.gru(4), 2)), "and act is a layer that cannot run"),
        (
            of_model(jaxrnn.min_gru(4), method="scan"),
            "unroll: method is 'scan', a loop over all steps, expected one of",
        ),
        (of_model(jaxrnn.min_gru(4), remat="sqrt"), "unroll: remat is 'sqrt', expected None, 'step' or 'carries'"),
        (
            lambda xs: jaxrnn.linear_scan(xs, xs, axis_name="tim")[0],
            "linear_scan: axis_name is 'tim', expected an axis",
        ),
    ],
)
def test_what_cannot_be_split_says_so_in_one_line(run: Callable[[Any], Any], expected: str) -> None:
    assert expected in refused(run)


@pytest.mark.parametrize("name", ["time", 3])
def test_an_axis_has_to_exist(name: Any) -> None:
    cell = jaxrnn.min_gru(4)
    with pytest.raises(ValueError, match=re.escape(f"unroll: axis_name is {name!r}, expected")):
        jaxrnn.unroll(cell, cell.init(jax.random.key(0), 3), XS, axis_name=name)


def test_no_steps_leave_the_carry() -> None:
    model = jaxrnn.stack(jaxrnn.causal_conv(3), jaxrnn.rg_lru(4), jaxrnn.gla(4, heads=2), jaxrnn.local_attention(1, 2))
    params = model.init(jax.random.key(0), 3)
    carry, _ = jaxrnn.unroll(model, params, XS)
    mesh = jax.make_mesh((1,), ("time",), axis_types=(jax.sharding.AxisType.Auto,))

    def run(params: Any, xs: Any, carry: Any) -> Any:
        return jaxrnn.unroll(model, params, xs, carry, axis_name="time")

    mapped = jax.shard_map(run, mesh=mesh, in_specs=(P(), P("time"), P()), out_specs=(P(), P("time")))
    after, ys = mapped(params, XS[:0], carry)
    jax.tree.map(np.testing.assert_array_equal, after, carry)
    assert ys.shape == (0, 2, 4)
