"""What the method `"cudnn"` refuses, each time in one line that says what would do, and which precision it takes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

import jaxrnn
from cells.test_cudnn import CELL, H, gradients, inputs, run

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_refused(dtype):
    message = f"^unroll: method='cudnn' computes in float32, found {dtype.dtype}; method='fused' takes it"
    with pytest.raises(ValueError, match=message):
        run("cudnn", cell=jaxrnn.lstm(H, dtype=dtype))(*inputs())


def test_double_precision_is_refused():
    message = "^unroll: method='cudnn' computes in float32, found float64"
    with jax.enable_x64(True), pytest.raises(ValueError, match=message):
        run("cudnn", cell=jaxrnn.lstm(H, dtype=jnp.float64))(*inputs())


def test_a_recurrent_kernel_of_another_layout_is_refused():
    def init(key, in_features):
        return CELL.init(key, in_features) | {"recurrent_kernel": jnp.ones((2, 1, 4, 1))}

    message = r"^unroll: method='cudnn' expects recurrent_kernel \[H, 4, H\] and no projection, found \(2, 1, 4, 1\)"
    cell = CELL._replace(init=init)
    with pytest.raises(ValueError, match=message):
        run("cudnn", cell=cell)(*inputs(cell=cell))


def test_a_checkpoint_for_each_step_is_refused():
    message = "^unroll: method='cudnn' cannot store carries alone, found remat='step', expected None, 'sqrt'"
    with pytest.raises(ValueError, match=message):
        run("cudnn", {"remat": "step"})(*inputs())


def test_unknown_sizes_are_refused():
    params, xs, _ = inputs()
    xs = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("T"), *xs.shape[1:]), np.float32)
    with pytest.raises(ValueError, match=r"^unroll: method='cudnn' needs known sizes, found xs of shape \(T, 4, 3\)"):
        jax.eval_shape(lambda params, xs: jaxrnn.unroll(CELL, params, xs, method="cudnn"), params, xs)


@pytest.mark.parametrize("platform", ["cpu", "tpu", "rocm"])
def test_other_platforms_are_refused(platform):
    message = (
        f"^unroll: method='cudnn' has no program for platform '{platform}', expected 'cuda'; "
        "method='fused' runs everywhere"
    )
    for program in (run("cudnn"), partial(gradients, "cudnn")):
        with pytest.raises(ValueError, match=message):
            jax.jit(program).trace(*inputs()).lower(lowering_platforms=(platform,))


@pytest.mark.parametrize("trouble", [AttributeError("no plugin"), RuntimeError("no\nlibrary")])
def test_a_machine_without_cudnn_says_so(monkeypatch, trouble):
    def missing(*args, **static):
        raise trouble

    monkeypatch.setattr(rnn, "lstm_fwd", missing)
    message = (
        "^unroll: method='cudnn' needs cuDNN, and JAX's plugin for CUDA, where a program is lowered, found "
        f"'{' '.join(str(trouble).split())}'; method='fused' needs neither"
    )
    with pytest.raises(ValueError, match=message):
        jax.jit(partial(gradients, "cudnn")).trace(*inputs()).lower(lowering_platforms=("cuda",))


def test_who_has_the_method():
    assert jaxrnn.methods(CELL, platform="cuda") == ("scan", "fused", "kernel", "cudnn")
    assert all("cudnn" not in jaxrnn.methods(CELL, platform=platform) for platform in ("cpu", "rocm", "tpu"))
    for cell in (jaxrnn.lstm(H, activation=jax.nn.relu), jaxrnn.lstm(H, gate_activation=jax.nn.hard_sigmoid)):
        with pytest.raises(ValueError, match=r"^unroll: method is 'cudnn', expected one of 'auto', 'scan', 'fused'"):
            run("cudnn", cell=cell)(*inputs())


@pytest.mark.parametrize(
    ("precision", "taken"),
    [(None, "HIGH"), ("tensorfloat32", "HIGH"), ("bfloat16", "HIGH"), ("highest", "HIGHEST"), ("float32", "HIGHEST")],
)
def test_precision_is_that_of_products(monkeypatch, precision, taken):
    found = []

    def recorded(*args, precision, **static):
        found.append(precision.name)
        raise RuntimeError

    monkeypatch.setattr(rnn, "lstm_fwd", recorded)
    with jax.default_matmul_precision(precision):
        traced = jax.jit(run("cudnn")).trace(*inputs())
    with pytest.raises(ValueError, match="needs cuDNN"):
        traced.lower(lowering_platforms=("cuda",))
    assert set(found) == {taken}
