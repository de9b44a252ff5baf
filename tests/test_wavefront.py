"""Layers on eight devices equal a stack on one; what `wavefront` cannot run says so."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxrnn
import quick

pytestmark = pytest.mark.usefixtures("quick_compilation")
XS = jnp.ones((4, 2, 3))


def test_layers_on_eight_devices_equal_one_device() -> None:
    program = Path(__file__).with_name("wavefront_program.py")
    environment = quick.environment("--xla_force_host_platform_device_count=8") | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["layers", "layers", "schedule", "done"]
    assert lines[2][1:] == ["16", "23", "0.696"]  # chunks, ticks, and the share of these in which a device works


def stacked(model: Any, in_features: int | None = 3, layers: int = 1) -> Any:
    return jax.vmap(lambda key: model.init(key, in_features))(jax.random.split(jax.random.key(0), layers))


def mapped(run: Callable[[Any], Any], xs: Any = XS) -> Any:
    """`run(xs)` inside `shard_map` over an axis of one device."""
    mesh = jax.make_mesh((1,), ("layers",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(run, mesh=mesh, in_specs=P("layers"), out_specs=P("layers"))(xs)


def of_model(model: Any, *, in_features: int | None = 3, **options: Any) -> Callable[[Any], Any]:
    """Draws parameters when it runs, as `with_params` does: every worker of the tests makes all cases."""
    options = {"axis_name": "layers", "chunk": 2, **options}
    return lambda xs: jaxrnn.wavefront(model, stacked(model, in_features), xs, **options)


CELL = jaxrnn.lstm(3)


def with_params(draw: Callable[[], Any], carry: Any = None) -> Callable[[Any], Any]:
    return lambda xs: jaxrnn.wavefront(CELL, draw(), xs, carry, axis_name="layers", chunk=2)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (of_model(CELL, chunk=3), "wavefront: chunk is 3, expected a divisor of T in the part xs of shape (T=4, 2, 3)"),
        (of_model(CELL, chunk=0), "wavefront: chunk is 0, expected an int of 1 or more"),
        (of_model(jaxrnn.lstm(5)), "wavefront: model gives outputs of shape (4, 2, 5) for xs of shape (T=4, 2, 3)"),
        (of_model(jaxrnn.rnn(CELL, reverse=True)), "wavefront: the layer is not causal, since"),
        (of_model(jaxrnn.bidirectional(CELL, merge="sum")), "wavefront: the layer is not causal, since"),
        (of_model(jaxrnn.cfc(3)), "wavefront: model is cfc(3), whose inputs carry times, which outputs lack"),
        (of_model(CELL, axis_name="layer"), "wavefront: axis_name is 'layer', expected an axis of a mesh"),
        (of_model(CELL, axis_name=None), "wavefront: axis_name is None, expected the name of a mesh axis"),
        (of_model(CELL, mask=np.ones((4, 3), bool)), "wavefront: mask has shape (4, 3), expected (4, 2)"),
        (of_model(CELL, key=3), "wavefront: key is 3, expected one PRNG key"),
        (
            with_params(lambda: CELL.init(jax.random.key(0), 3)),
            "the first axes of params and carry are 3, 4, expected",
        ),
        (with_params(lambda: stacked(CELL, layers=0)), "the first axes of params and carry are 0, expected"),
        (with_params(dict), "the first axes of params and carry are no arrays, expected"),
        (with_params(lambda: {"kernel": np.float32(1)}), "the first axes of params and carry are none, expected"),
        (
            with_params(lambda: stacked(CELL), jaxrnn.LSTMCarry(*np.ones((2, 2, 3)))),
            "first axes of params and carry are 1, 2",
        ),
        (
            with_params(lambda: stacked(CELL), jaxrnn.LSTMCarry(*np.ones((2, 1, 5, 3)))),
            "carry.c has shape (5, 3), expected (2,",
        ),
        (with_params(lambda: stacked(CELL, 7)), "wavefront: params['kernel'] has shape (7, 4, 3), expected (3, 4, 3)"),
    ],
)
def test_what_cannot_be_run_says_so_in_one_line(run: Callable[[Any], Any], expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        mapped(run)
    assert "\n" not in str(caught.value)


def test_the_axis_has_to_exist() -> None:
    with pytest.raises(ValueError, match="wavefront: axis_name is 'layers', expected an axis of a mesh: call"):
        of_model(CELL)(XS)


def test_one_chunk_on_one_device_is_a_run_of_the_layer() -> None:
    params = stacked(CELL, layers=2)
    carry, ys = mapped(lambda xs: jaxrnn.wavefront(CELL, params, xs, axis_name="layers", chunk=4))
    expected = XS
    for i in range(2):
        after, expected = jaxrnn.unroll(CELL, jax.tree.map(lambda p, i=i: p[i], params), expected)
        np.testing.assert_allclose(carry.c[i], after.c, atol=1e-6)
    np.testing.assert_allclose(ys, expected, atol=1e-6)


def test_no_steps_leave_the_carry() -> None:
    carry = jaxrnn.LSTMCarry(*np.ones((2, 1, 2, 3), np.float32))
    after, ys = mapped(with_params(lambda: stacked(CELL), carry), XS[:0])
    jax.tree.map(np.testing.assert_array_equal, after, carry)
    assert ys.shape == (0, 2, 3)
