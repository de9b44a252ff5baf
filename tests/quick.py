"""Compilation for programs that run once, on a few numbers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import jax
import pytest
from jax._src import compiler

# The older of two ways in which XLA compiles elementwise code for CPUs, and each program in one piece: a fifth of the
# time, while these options are to be had.
OPTIONS = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}


@cache
def _known() -> bool:
    try:
        jax.jit(lambda: 0, compiler_options=OPTIONS)()
    except jax.errors.JaxRuntimeError:
        return False
    return True


jit = partial(jax.jit, compiler_options=OPTIONS if _known() else None)


def environment(*flags: str) -> dict[str, str]:
    """What makes the same of another process, whose `XLA_FLAGS` are `flags` besides."""
    options = [f"--{name}={str(value).lower()}" for name, value in OPTIONS.items()] if _known() else []
    return {**os.environ, "XLA_FLAGS": " ".join([*flags, *options]), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


@contextmanager
def compilation() -> Iterator[None]:
    """Leaves out XLA's costly optimisations, and has `OPTIONS` in all that is compiled meanwhile, eager code included.

    JAX takes options with `jit` alone, so this goes through a function of its insides. Without that function all is as
    it was, and slower.
    """
    made = getattr(compiler, "get_compile_options", None)

    def with_options(*args: Any, env_options_overrides: Any = None, **kwargs: Any) -> Any:
        return made(*args, env_options_overrides={**OPTIONS, **(env_options_overrides or {})}, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        if made is not None and _known():
            patch.setattr(compiler, "get_compile_options", with_options)
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)
