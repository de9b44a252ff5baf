"""`dense`: an affine map at every step, silent where invalid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import random_params, shapes_of
from compare import assert_close
from layers.cases import B, D, T, random

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")
LENGTHS = np.array([3, 0])


def test_dense_is_an_affine_map():
    layer, xs = jaxrnn.dense(2), random(T, B, D)
    params = random_params(layer, D)
    carry, ys = jaxrnn.unroll(layer, params, xs)
    assert_close(ys, xs @ params["kernel"] + params["bias"])
    assert carry == layer.init_carry(params, (B,)) == ()


def test_dense_padding_is_harmless_to_an_activation_that_zero_is_not():
    layer = jaxrnn.dense(2, activation=lambda ys: ys / jnp.linalg.norm(ys, axis=-1, keepdims=True))
    params, xs = random_params(layer, D) | {"bias": np.zeros(2)}, random(T, B, D)
    grads = jax.grad(lambda params: jaxrnn.unroll(layer, params, xs, lengths=LENGTHS)[1].sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in grads.values())


def test_dense_initial_parameters():
    layer = jaxrnn.dense(64, param_dtype=jnp.bfloat16)
    params = layer.init(jax.random.key(0), 256)
    assert {name: (p.shape, p.dtype) for name, p in params.items()} == {
        "kernel": ((256, 64), jnp.bfloat16),
        "bias": ((64,), jnp.bfloat16),
    }
    assert (params["bias"] == 0).all()
    np.testing.assert_allclose(params["kernel"].astype(float).std() * 16, 1, atol=0.03)


@pytest.mark.parametrize(
    ("dtype", "param_dtype", "xs_dtype", "expected"),
    [
        (None, "float32", "float32", "float32"),
        (None, "bfloat16", "bfloat16", "bfloat16"),
        (None, "float32", "bfloat16", "float32"),
        ("bfloat16", "float32", "float32", "bfloat16"),
        ("float32", "float64", "float64", "float32"),
    ],
)
def test_dense_dtypes(dtype, param_dtype, xs_dtype, expected):
    layer = jaxrnn.dense(2, dtype=dtype, param_dtype=param_dtype)
    params = shapes_of(layer, D)
    assert {leaf.dtype.name for leaf in params.values()} == {param_dtype}
    ys = jax.eval_shape(
        lambda params, xs: jaxrnn.unroll(layer, params, xs)[1], params, jax.ShapeDtypeStruct((T, D), xs_dtype)
    )
    assert ys.dtype.name == expected
