"""What the compilers for an H100 and a v5e TPU make of `matrix_scan(method="kernel")`: its kernels, and what they move.

`pytest -s` shows the bytes over the least, each input read once and each output written once, and of those in half the
gradient the states between chunks, which one kernel writes and the other reads.
"""

import math

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

import jaxrnn
from tests.test_accelerators import device, no_device_is_asked_for  # noqa: F401  the latter is a fixture
from tests.test_linear_kernel_compiled import TARGETS, moved

T, B, N = 256, 2, 8
CASES = {  # the width of keys and values, what the decay depends on, whether it is the delta rule, steps of a chunk
    ("tpu", "attention"): (128, None, False, 64),
    ("tpu", "gated delta"): (64, "head", True, 64),
    ("tpu", "channels"): (128, "channel", False, 64),
    ("cuda", "gated delta"): (64, "head", True, 32),
    ("cuda", "channels"): (64, "channel", False, 16),
}


@pytest.mark.parametrize(("platform", "name"), CASES)
def test_inputs_are_read_once_and_outputs_written_once(platform, name):
    where, (width, decay, delta, chunk) = SingleDeviceSharding(device(platform)), CASES[platform, name]
    vectors, scalars = ((T, B, N, width), (T, B, N))
    shapes = [vectors] * 3 + [(B, N, width, width)]
    shapes += [] if decay is None else [vectors if decay == "channel" else scalars]
    shapes += [scalars] if delta else []
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]

    def value(q, k, v, carry, log_decay=None, beta=None):
        return jaxrnn.matrix_scan(q, k, v, carry, log_decay=log_decay, beta=beta, chunk=chunk, method="kernel")

    def gradient(dcarry, dys, *args):
        return jax.vjp(value, *args)[1]((dcarry, dys))

    def compiled(function, *args):
        program = jax.jit(function, in_shardings=where, out_shardings=where)
        return program.trace(*args).lower(lowering_platforms=(platform,)).compile().as_text()

    inputs, outputs = 4 * sum(map(math.prod, shapes)), 4 * (math.prod(vectors) + math.prod(shapes[3]))
    states = 4 * math.prod(shapes[3]) * T // chunk
    hlo = compiled(value, *args)
    (forward,) = moved(hlo, TARGETS[platform])
    both = moved(compiled(gradient, args[3], args[2], *args), TARGETS[platform])
    again = 2 * inputs - 4 * math.prod(shapes[3])  # the first of the states between chunks is the carry
    floors = [inputs + outputs, inputs + outputs + states, again + outputs + states]
    ratios = [n / floor for n, floor in zip([forward, *both], floors, strict=True)]
    print(f"\n{platform}, {name}: {ratios} of the least bytes")
    assert " while(" not in hlo
    assert all(0.999 < ratio < 1.001 for ratio in ratios)
