"""What programs are lowered to, for platforms that need not be there: what their loops convert, and write out."""

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import jaxrnn
from arrays import shapes_of

T, B, D, H = 44, 11, 3, 6  # no weight has as many numbers as an array over rows, of which there are 11
CELLS = {
    "dense": jaxrnn.lstm,
    "paired": jaxrnn.gru,
    "two products": partial(jaxrnn.gru, reset="before"),
    "block-diagonal": partial(jaxrnn.slstm, heads=2),
    "diagonal": jaxrnn.indrnn,
    "projected": partial(jaxrnn.projected_lstm, projection=4),
    "velocity": jaxrnn.cornn,
    "convolution": partial(jaxrnn.conv_gru, kernel_size=(5,)),
}
# Without gradients of the plain loop, in which each step's share of a weight's gradient is converted, as it has to be.
PROGRAMS = [
    (name, method, gradient)
    for name, make in CELLS.items()
    for method, gradient in (("scan", False), ("fused", False), ("fused", True))
    if method in jaxrnn.methods(make(H))
]


def module(cell, platform, *, gradient=False, **options):
    params = shapes_of(cell, D)
    space = [B] * (cell.num_feature_axes - 1)

    def run(params, xs):
        return jaxrnn.unroll(cell, params, xs, **options)[1].astype(jnp.float32).sum()

    program = jax.jit(jax.grad(run) if gradient else run)
    xs = jax.ShapeDtypeStruct((T, B, *space, D), np.float32)
    return export.export(program, platforms=[platform])(params, xs).mlir_module(), params


def in_loops(text):
    """The lines of all loops' bodies, with those of a function wherever it is called."""
    functions, looped = {}, []
    name, depth, outside = "", 0, None
    for line in text.splitlines():
        if found := re.search(r"func\.func .*@([\w.]+)\(", line):
            name = found[1]
        functions.setdefault(name, []).append(line)
        if outside is not None:
            looped.append(line)
        elif "stablehlo.while" in line:
            outside = depth
        depth += line.count("{") - line.count("}")
        if depth == outside and line.strip().startswith("}"):
            outside = None

    def spelled(lines):
        for line in lines:
            yield line
            for called in re.findall(r"call @([\w.]+)", line):
                yield from spelled(functions[called])

    return list(spelled(looped))


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "method", "gradient"), PROGRAMS)
def test_no_weight_is_cast_in_a_loop(name, method, gradient):
    """XLA would convert it in each step on a GPU."""
    text, params = module(CELLS[name](H, dtype=jnp.bfloat16), "cuda", gradient=gradient, method=method)
    weights = {math.prod(leaf.shape) for key, leaf in params.items() if key not in ("kernel", "bias")}
    narrowed = [re.search(r"convert .*tensor<([\dx]+)xf32>\) -> tensor<[\dx]+xbf16>", line) for line in in_loops(text)]
    sizes = {math.prod(map(int, found[1].split("x"))) for found in narrowed if found}
    assert sizes and not sizes & weights


@pytest.mark.parametrize("method", ["scan", "fused"])
def test_steps_are_written_out_where_launching_them_costs(method):
    def products(platform, **options):
        text, _ = module(jaxrnn.lstm(H), platform, method=method, **options)
        return sum("stablehlo.dot_general" in line for line in in_loops(text))

    assert products("cpu") == products("cuda", unroll=1) == 1
    assert products("cuda") == products("tpu") == products("cuda", unroll=4) == 4
