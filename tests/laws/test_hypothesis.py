"""The definition again, under flags and shapes that nobody thought of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import jaxrnn
from compare import assert_close
from laws.cells import B, T, every_direction, inputs, make
from laws.reference import compiled, definition
from laws.table import LAWS, law

pytestmark = pytest.mark.usefixtures("x64", "quick_compilation")

flags = arrays(bool, (T, B))


@pytest.mark.sampled
@every_direction
@law
@settings(max_examples=15)
@given(mask=flags, resets=flags)
def test_any_pattern(name, method, reverse, mask, resets):
    args = inputs(name)
    actual = compiled(name, method, reverse=reverse)(*args, mask, resets)
    assert_close((actual["carry"], actual["ys"]), definition(name, reverse=reverse)(*args, mask, resets))


@st.composite
def calls(draw):
    """A cell, a method, a shape of up to three batch axes, and all that `unroll` may be told."""
    name, method = draw(st.sampled_from(LAWS["test_hypothesis"]["any_call"]))
    time = draw(st.integers(0, 6))
    batch = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    resets = draw(st.none() | arrays(bool, (time, *batch)))
    valid = draw(
        st.one_of(
            st.just({}),
            st.fixed_dictionaries({"mask": arrays(bool, (time, *batch))}),
            st.fixed_dictionaries({"lengths": arrays(np.int32, batch, elements=st.integers(0, time))}),
        )
    )
    remat = draw(st.sampled_from([None, "step", "carries", 1, 2, 4]))
    options = {"method": method, "reverse": draw(st.booleans()), "remat": remat, "unroll": draw(st.integers(1, 3))}
    return name, time, batch, resets, valid, options


@settings(max_examples=20)
@given(calls())
def test_any_call(call):
    name, time, batch, resets, valid, options = call
    args = inputs(name, time=time, batch=batch)
    actual = jaxrnn.unroll(make(name), *args, resets=resets, **valid, **options)
    mask = np.ones((time, *batch), bool)
    if "lengths" in valid:
        mask = np.arange(time).reshape(-1, *[1] * len(batch)) < valid["lengths"]
    mask = valid.get("mask", mask)
    resets = np.zeros_like(mask) if resets is None else resets
    assert_close(actual, definition(name, reverse=options["reverse"])(*args, mask, resets))
