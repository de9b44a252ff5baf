"""Compilation for programs that run once, on a few numbers."""

from functools import partial

import jax

# The older of two ways in which XLA compiles elementwise code for CPUs: half the time, while it is to be had.
OPTIONS = {"xla_cpu_use_fusion_emitters": False}


def _known() -> bool:
    try:
        jax.jit(lambda: 0, compiler_options=OPTIONS)()
    except jax.errors.JaxRuntimeError:
        return False
    return True


jit = partial(jax.jit, compiler_options=OPTIONS if _known() else None)
