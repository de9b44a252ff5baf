"""Outputs and gradients against torchrecurrent, whose results `golden/make_torchrecurrent.py` keeps."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import store
from golden.store import B, H

import jaxrnn
from benchmarks.catalogue_peers import weights
from benchmarks.catalogue_peers.weights import OPTIONS, READ, by_gate, plain, same
from compare import assert_close
from jaxrnn.cells.nas import tree
from quick import jit

pytestmark = pytest.mark.usefixtures("quick_compilation")

GOLDEN = store.load("torchrecurrent")


def carried(params: Any, **carry: np.ndarray) -> dict[str, np.ndarray]:
    """The fields of a carry; a last input becomes what it adds to the next gates."""
    if "x" not in carry:
        return carry
    x = carry.pop("x")
    return carry | {"pending": np.einsum("bd,dgh->bgh", x, params["kernel"][1]).reshape(len(x), 1, -1)}


@pytest.mark.parametrize("name", READ)
def test_agrees_with_torchrecurrent(name):
    cell, params = made(name)
    agree(name, cell, params, lambda carry, xs: jaxrnn.unroll(cell, params, xs, carry)[1])


def made(name):
    """The cell and its parameters from the file's weights."""
    cell = jaxrnn.cells.CONSTRUCTORS[name](H, **OPTIONS.get(name, {}))
    return cell, READ[name](GOLDEN[name]["inputs"]["weights"])


def agree(name, cell, params, run):
    """Compares the outputs of `run(carry, xs)`, and their gradients, with those of the file."""
    golden = GOLDEN[name]
    carry = cell.init_carry(params, (B,))._replace(**carried(params, **golden["inputs"]["carry"]))

    def weighed(xs):
        ys = run(carry, xs)
        return (ys * golden["cotangent"]).sum(), ys

    gradients, ys = jit(jax.grad(weighed, has_aux=True))(golden["inputs"]["xs"])
    assert_close((ys, gradients), (golden["ys"], golden["gradients"]), 1e-5)


def test_nas_with_a_sum_in_its_fourth_leaf():
    """The paper's tree has a product there."""
    gates = tuple("abcdefgh")
    cell = jaxrnn.pointwise_cell(lambda _, carry, leaves: tree(carry, leaves), H, jaxrnn.LSTMCarry, gates=gates)
    params = plain(GOLDEN["nas"]["inputs"]["weights"], range(8), range(8), same(*range(8)))
    agree("nas", cell, params, lambda carry, xs: jaxrnn.unroll(cell, params, xs, carry)[1])


def test_scrn_with_its_output_in_place_of_the_hidden_units():
    """The paper's hidden units see their own past; there they see the past of the layer on top."""
    w = GOLDEN["scrn"]["inputs"]["weights"]
    cell = jaxrnn.scrn(H, decay=0.75)
    (B_kernel, A), (R, U), (P, V) = (by_gate(w, name) for name in ("weight_ih", "weight_hh", "weight_ch"))
    (_, b), (c, b_u), (d, b_v) = (by_gate(w, name) for name in ("bias_ih", "bias_hh", "bias_ch"))
    kernels = {"input_kernel": B_kernel, "kernel": A, "recurrent_kernel": R, "context_kernel": P}
    params = {name: kernel[:, None] for name, kernel in kernels.items()} | {"bias": (b + c + d)[None]}

    def run(carry, xs):
        def step(carry, x):
            carry, both = jaxrnn.step(cell, params, carry, x)
            h = jnp.tanh(both @ np.concatenate([U, V]) + (b_u + b_v)[None])
            return carry._replace(h=h), h

        return jax.lax.scan(step, carry, xs)[1]

    agree("scrn", cell, params, run)


def test_file_says_how_it_was_made():
    made = {name: value.item() for name, value in GOLDEN["made"].items()}
    script = made["command"].removeprefix("python tests/golden/")
    assert f"SEED = {made['seed']}" in (store.FOLDER / script).read_text()
    assert made["versions"].startswith("torchrecurrent ")
    assert weights.H == H
    assert set(GOLDEN) - {"made"} == {*READ, "nas", "scrn"}
