"""In half precision no product is computed in float32 by accident, neither of a value nor of a gradient: as lowered."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws.cells import SMALL

import jaxrnn
from arrays import shapes_of
from compare import assert_close
from jaxrnn.precision import product
from quick import jit

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, D, H = 4, 2, 3, 4
BETWEEN_STEPS = (
    "a chunk divides by products of decays and solves systems of equations; its states, which sum over all steps, are "
    "in float32 as every carry is"
)
# Cells with products in float32 on purpose. They are between steps, so the rows of the batch are axes of the product;
# a product with a weight has no such axes.
MATRIX_CELLS = (
    *(
        "delta_net",
        "delta_product",
        "fast_weight_programmer",
        "gated_delta_net",
        "gla",
        "hgrn2",
        "kda",
        "linear_attention",
    ),
    *("mlstm", "retention", "rwkv7", "ssd"),
)
IN_SINGLE = dict.fromkeys(MATRIX_CELLS, BETWEEN_STEPS)
# Those that multiply a weight in single precision.
WEIGHT_IN_SINGLE = {
    "mc_lstm": "shares of a mass that are rounded to half precision do not add up to 1",
    "lmu": "the memory is multiplied by a constant matrix, whose powers would be those of a rounded one",
}
PRODUCT = re.compile(r"stablehlo\.(?:dot_general|convolution)\b(.*): \(tensor<([^>]+)>, tensor<([^>]+)>\)")


def products(run, *shapes, platforms=("cuda",)):
    """Of the value and the gradient: whether the product has batch axes, and the dtypes of what it multiplies."""

    def loss(*args):
        return run(*args).astype(jnp.float32).sum()

    traced = jax.jit(jax.value_and_grad(loss, tuple(range(len(shapes))))).trace(*shapes)
    for platform in platforms:
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        for how, *operands in PRODUCT.findall(text):
            yield "batching_dims" in how, {operand.split("x")[-1] for operand in operands}


def sized(*shape):
    return jax.ShapeDtypeStruct(shape, np.float32)


@pytest.mark.sampled
@pytest.mark.parametrize("name", jaxrnn.cells.CONSTRUCTORS)
def test_products_have_inputs_in_half_precision(name):
    cell = jaxrnn.cells.CONSTRUCTORS[name](H, dtype=jnp.bfloat16, **SMALL.get(name, {}))
    platforms = ("cuda", "tpu") if name in ("gla", "lru", "lstm") else ("cuda",)  # neither runs as the CPU does
    xs = sized(T, B, *[B] * (cell.num_feature_axes - 1), D)
    found = list(products(lambda *args: jaxrnn.unroll(cell, *args)[1], shapes_of(cell, D), xs, platforms=platforms))
    half = [dtypes for _, dtypes in found if dtypes == {"bf16"}]
    assert len(half) >= 3  # of the value, of the inputs, of the weights
    rest = [(batched, dtypes) for batched, dtypes in found if dtypes != {"bf16"}]
    assert bool(rest) == (name in IN_SINGLE or name in WEIGHT_IN_SINGLE)
    assert all(dtypes == {"f32"} for _, dtypes in rest)
    assert name in WEIGHT_IN_SINGLE or all(batched for batched, _ in rest), "a weight is multiplied in float32"


@pytest.mark.parametrize(
    ("model", "method"),
    [(jaxrnn.slstm(H, heads=2, dtype=jnp.bfloat16), "scan"), (jaxrnn.local_attention(2, 3, dtype=jnp.bfloat16), None)],
    ids=["heads", "local_attention"],
)
def test_products_of_heads_have_inputs_in_half_precision(model, method):
    how = {} if method is None else {"method": method}
    found = [
        dtypes
        for _, dtypes in products(
            lambda *args: jaxrnn.unroll(model, *args, **how)[1], shapes_of(model, H), sized(T, B, H)
        )
    ]
    assert len(found) >= 6
    assert all(dtypes == {"bf16"} for dtypes in found)


@pytest.mark.parametrize("scores", ["additive", "dot", "general"])
def test_products_of_attention_have_inputs_in_half_precision(scores):
    def run(params, query, values):
        context, _ = jaxrnn.attention(query, jaxrnn.Memory(values), params, scores=scores, heads=1, dtype=jnp.bfloat16)
        return context

    params = jax.eval_shape(lambda key: jaxrnn.init_attention(key, D, D, scores=scores), jax.random.key(0))
    found = [dtypes for _, dtypes in products(run, params, sized(B, D), sized(T, B, D))]
    assert len(found) >= 6
    assert all(dtypes == {"bf16"} for dtypes in found)


def random(shape, dtype=np.float32, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


@pytest.mark.parametrize("mapped", [None, "inputs", "both"])
def test_the_gradient_of_a_product_in_half_precision_is_two_of_them(mapped):
    """They are accumulated and returned in float32: a float32 weight gets a gradient that was rounded nowhere else."""
    a, b, dy = random((5, 2, 3)), random((3, 4), seed=1), random((5, 2, 4), seed=2)
    axes = {"inputs": (0, None), "both": (0, 0)}

    def run(a, b):
        multiply = partial(product, dtype=jnp.bfloat16)
        return (multiply if mapped is None else jax.vmap(multiply, axes[mapped]))(a, b)

    if mapped == "both":
        b = jnp.stack([b] * 5)
    rounded = [np.asarray(x.astype(jnp.bfloat16), np.float64) for x in (a, b, dy)]
    y, (da, db) = jit(lambda *args: (run(*args), jax.vjp(run, *args)[1](dy)))(a, b)
    assert {x.dtype for x in (y, da, db)} == {jnp.dtype(np.float32)}
    assert_close(y, rounded[0] @ rounded[1], 1e-6)
    if mapped != "both":  # then it is JAX's own gradient, which rounds differently
        assert_close(da, rounded[2] @ rounded[1].T, 1e-6)
        assert_close(db, np.einsum("abk,abn->kn", rounded[0], rounded[2]), 1e-6)


def test_directions_and_second_derivatives_of_a_product_in_half_precision():
    """Both inputs take part: of integers nothing is rounded."""
    a, b = jnp.round(3 * random((2, 3))), jnp.round(3 * random((3, 2), seed=1))
    da, db = jnp.ones_like(a), jnp.round(3 * random((3, 2), seed=2))

    def derivatives(run):
        def loss(a, b):
            return (run(a, b) ** 2).sum()

        return jit(lambda *args: [jax.jvp(f, *args) for f in (run, jax.grad(loss, (0, 1)))])((a, b), (da, db))

    assert_close(derivatives(lambda a, b: product(a, b, jnp.bfloat16)), derivatives(jnp.matmul), 1e-2)
