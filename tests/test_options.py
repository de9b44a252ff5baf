"""Options that cells have in common: their defaults, equality by value, and what a cell does without a bias."""

import copy
import pickle
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from jaxrnn.initializers import orthogonal, zeros
from jaxrnn.options import checked, defaults

pytestmark = pytest.mark.usefixtures("quick_compilation")

KEY = jax.random.key(0)


@checked
@defaults(use_bias=False)
def plain(features: int, **options: Unpack[jaxrnn.LinearOptions]) -> dict:
    """Returns its options."""
    return dict(options)


def test_all_options_arrive_with_their_defaults():
    expected = {"kernel_init": jaxrnn.initializers.lecun_normal, "bias_init": zeros, "use_bias": False}
    assert plain(3) == expected | {"dtype": None, "param_dtype": jnp.float32}
    assert plain(3, use_bias=True, dtype=jnp.bfloat16) == plain(3) | {"use_bias": True, "dtype": jnp.bfloat16}


def test_an_option_at_its_default_is_as_good_as_none():
    assert jaxrnn.lstm(8) is jaxrnn.lstm(8, use_bias=True, bias_init=zeros, param_dtype=jnp.float32, dtype=None)
    assert jaxrnn.lstm(8) is not jaxrnn.lstm(8, use_bias=False)
    assert jaxrnn.slstm(8) is jaxrnn.slstm(8, recurrent_kernel_init=zeros)
    assert jaxrnn.slstm(8) is not jaxrnn.slstm(8, recurrent_kernel_init=orthogonal)


def test_a_cell_prints_pickles_and_copies_as_the_call_without_defaults():
    cell = jaxrnn.gru(8, reset="before", use_bias=True, kernel_init=orthogonal, dtype="bfloat16")
    assert repr(cell).startswith("gru(8, reset='before', dtype='bfloat16', kernel_init=")
    assert "use_bias" not in repr(cell)
    assert pickle.loads(pickle.dumps(jaxrnn.gru(8, use_bias=False))) is jaxrnn.gru(8, use_bias=False)
    assert copy.deepcopy(cell) is cell


def test_makers_take_equal_arguments_for_equal_too():
    def pointwise(params, carry, gates):
        return carry, gates[0]

    made = [
        jaxrnn.pointwise_cell(pointwise, 4, jaxrnn.HiddenCarry, gates=("h",), offsets={"h": offset}, use_bias=True)
        for offset in (1.0, 1.0, 2.0)
    ]
    assert made[0] is made[1] and made[0] is not made[2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plain(3, units=8), "plain: unknown argument units, expected one of features, dtype, param_dtype, ker"),
        (lambda: plain(3, recurrent_kernel_init=zeros), "plain: unknown argument recurrent_kernel_init, expected one"),
        (lambda: plain(3, use_bias=1), "plain: use_bias is 1, expected True or False"),
        (lambda: plain(3, kernel_init=3), "plain: kernel_init is 3, expected a function"),
        (lambda: jaxrnn.gla(8, use_bias=False), "gla: unknown argument use_bias, expected one of features"),
        (lambda: jaxrnn.lru(8, kernel_init=zeros), "lru: unknown argument kernel_init, expected one of features"),
    ],
)
def test_a_wrong_option_gets_one_line(call, message):
    with pytest.raises((ValueError, TypeError)) as raised:
        call()
    assert str(raised.value).startswith(message)


@pytest.mark.sampled
@pytest.mark.parametrize("mode", ["default", "no_gate", "pure"])
def test_a_cfc_without_biases_is_one_whose_biases_are_zero(mode):
    options = {"mode": mode, "backbone_layers": 2, "backbone_features": 5}
    cell, xs = jaxrnn.cfc(4, **options), jax.random.normal(KEY, (5, 2, 3))
    params = cell.init(KEY, 3)
    bare = {name: p for name, p in params.items() if "bias" not in name}
    unbiased = jaxrnn.cfc(4, **options, use_bias=False)
    assert unbiased.init(KEY, 3).keys() == bare.keys()
    np.testing.assert_allclose(jaxrnn.unroll(unbiased, bare, xs)[1], jaxrnn.unroll(cell, params, xs)[1], atol=1e-6)


@pytest.mark.parametrize("make", [jaxrnn.layer_norm_lstm, jaxrnn.layer_norm_gru])
def test_norms_without_biases_are_ones_whose_biases_are_zero(make):
    options = {"forget_bias": 0.0} if make is jaxrnn.layer_norm_lstm else {}
    cell, xs = make(4, **options), jax.random.normal(KEY, (5, 2, 3))
    params = cell.init(KEY, 3)
    bare = {name: p for name, p in params.items() if "bias" not in name}
    unbiased = make(4, use_bias=False)
    assert unbiased.init(KEY, 3).keys() == bare.keys()
    np.testing.assert_allclose(jaxrnn.unroll(unbiased, bare, xs)[1], jaxrnn.unroll(cell, params, xs)[1], atol=1e-6)
