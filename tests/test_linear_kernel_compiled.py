"""What the compilers for an H100 and a v5e TPU make of `linear_scan(method="kernel")`: its kernels, and what they move.

`pytest -s` shows the bytes over the least: each input read once, each output written once.
"""

import math
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import SingleDeviceSharding

import jaxrnn
from tests.test_accelerators import device, no_device_is_asked_for  # noqa: F401  the latter is a fixture

TARGETS = {"cuda": 'custom_call_target="__gpu$xla.gpu.triton"', "tpu": 'custom_call_target="tpu_custom_call"'}
BYTES = {"f32": 4, "s32": 4}
MANY, FEW = (64, 256, 512), (1024, 16, 768)  # on a GPU one pass over time, and two levels of chunks
# The kernels of the value, and the most that their bytes may be over the least. On a GPU two levels read twice.
EXPECTED = {("cuda", MANY): (1, 1.01), ("cuda", FEW): (2, 1.7), ("tpu", MANY): (1, 1.01), ("tpu", FEW): (1, 1.01)}


def moved(hlo, target):
    """The bytes of results and operands of each call of a target."""
    made = dict(re.findall(r"^\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) [\w\-]+\(", hlo, re.MULTILINE))

    def size(text):
        shapes = re.findall(r"\b(f32|s32)\[([\d,]*)\]", text)
        return sum(BYTES[kind] * math.prod(int(n) for n in shape.split(",") if n) for kind, shape in shapes)

    found = []
    for line in (line for line in hlo.splitlines() if target in line):
        name, operands = re.search(r"%([\w.\-]+) = .*? custom-call\((.*?)\)", line).groups()
        found.append(size(made[name]) + sum(size(made[operand]) for operand in re.findall(r"%([\w.\-]+)", operands)))
    return found


@pytest.mark.parametrize(("platform", "shape"), EXPECTED)
def test_inputs_are_read_once_or_in_two_levels_twice(platform, shape):
    where, (count, most) = SingleDeviceSharding(device(platform)), EXPECTED[platform, shape]
    a, h0 = jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct(shape[1:], jnp.float32)

    def value(a, b, h0):
        return jaxrnn.linear_scan(a, b, h0, method="kernel")[1]

    def gradient(a, b, h0):
        return jax.value_and_grad(lambda *args: (value(*args) ** 2).sum(), (0, 1, 2))(a, b, h0)

    def compiled(function):
        program = jax.jit(function, in_shardings=where, out_shardings=where)
        return program.trace(a, a, h0).lower(lowering_platforms=(platform,)).compile().as_text()

    hlo = compiled(value)
    each = moved(hlo, TARGETS[platform])
    ratio = sum(each) / (4 * (3 * math.prod(shape) + math.prod(shape[1:])))
    print(f"\n{platform} {shape}: {ratio:.3f} of the least bytes")
    assert len(each) == count and " while(" not in hlo
    assert 0.99 < ratio <= most
    assert len(moved(compiled(gradient), TARGETS[platform])) == 2 * count
