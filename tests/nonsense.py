"""Wrong options of constructors: of a call that works, one argument is replaced by nonsense."""

import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn
from arrays import zero_params
from jaxrnn import initializers

T, B, D, H = 4, 2, 3, 4
KEY = jax.random.key(0)
XS = jnp.ones((T, B, D))
CELL = jaxrnn.lstm(H)


PARAMS = zero_params(CELL, D)
CARRY = jaxrnn.LSTMCarry(np.zeros((B, H), np.float32), np.zeros((B, H), np.float32))
ZEROS = np.zeros((D,), np.float32)

VALUES: dict[str, Any] = {
    "None": None,
    "str": "nonsense",
    "bool": True,
    "negative": -1,
    "zero": 0,
    "fraction": 2.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "complex": 1j,
    "list": [1],
    "dict": {"a": 1},
    "object": object(),
    "ints": np.arange(3),
    "traced": "traced",
}
# What is no nonsense for an argument of this kind, or might not be.
FINE: dict[str, set[str]] = {
    "size": set(),
    "bool": {"bool"},
    "number": {"negative", "zero", "fraction"},
    "choice": set(),
    "text": {"str"},
    "function": set(),
    "dtype": set(),
    "index": {"zero"},
    "other": set(),
    "whole": {"negative", "zero"},
    "scalar": {"negative", "zero", "fraction", "traced"},  # a number that may be traced
}


class Wrong(NamedTuple):
    """A wrong call.

    Attributes:
      function: the name of what is called.
      argument: the name of the argument that is nonsense.
      nonsense: what it is replaced by, in a word.
      call: makes the call.
    """

    function: str
    argument: str
    nonsense: str
    call: Callable[[], Any]


# What a constructor needs beside its defaults.
NEEDED: dict[str, Any] = {
    "features": H,
    "kernel_size": 3,
    "projection": 3,
    "cell": CELL,
    "model": jaxrnn.rnn(jaxrnn.elman(D)),
    "vocabulary": 5,
    "name": "mine",
    "init": lambda key, in_features: {},
    "run": lambda params, carry, xs, steps: (carry, xs),
    "apply": lambda params, xs: xs,
    "forward": CELL,
    "rate": 0.5,
    "count": 2,
    "pointwise": lambda params, carry, gates: (jaxrnn.HiddenCarry(gates[0]), gates[0]),
    "step": lambda params, carry, zs: (jaxrnn.HiddenCarry(zs[0]), zs[0]),
    "carry": jaxrnn.HiddenCarry,
    "gates": ("h",),
    "inputs": lambda params, xs: {name: jnp.ones((*xs.shape[:-1], 2, 2)) for name in "qkv"},
    "heads": 2,
    "max_ponder": 2,
    "keys": 2,
    "values": 2,
    "depth": 1,
    "window": 2,
    "size": 2,
}
LINEAR = {  # of `linear_cell`, whose gates are a function
    "gates": lambda params, xs: (xs[..., :1] + params["a"], xs[..., :1] + params["a"]),
    "init": lambda key, in_features: {"a": jnp.ones(H)},
}
MATRIX = {"init": lambda key, in_features: {"a": jnp.ones(H)}}
WINDOW = {"kernel_size": (3,)}
OWN = {"linear_cell": LINEAR, "matrix_cell": MATRIX, "conv_lstm": WINDOW, "conv_gru": WINDOW}
WRITING = {
    "step": lambda carry, tokens: (carry, jnp.zeros((B, 5))),
    "carry": jnp.zeros((B, 1)),
    "first": jnp.zeros(B, int),
    "tokens": jnp.zeros((T, B), int),
    "key": KEY,
    "max_new_tokens": 2,
    "num_beams": 2,
}
ATTENTION = {
    "key": KEY,
    "query_features": D,
    "memory_features": D,
    "query": jnp.ones((B, D)),
    "memory": jaxrnn.Memory(jnp.ones((T, B, D))),
}
OWN["matrix_block"] = {"cell": jaxrnn.ssd(H, heads=2)}
OWN |= dict.fromkeys(("init_attention", "attention"), ATTENTION)
OWN |= dict.fromkeys(("generate", "beam_search", "scheduled_sampling"), WRITING)
OTHERS = {"unroll", "unroll_with_aux", "fold", "step", "methods", "initial_carry", "last"}
OTHERS |= {"linear_scan", "matrix_scan", "tune_cpu_allocator", "stack", "roles"}
OTHERS |= {"sharding_of", "wavefront"}  # they need a mesh, and have tests of their own for what does not fit
FUNCTIONS = {name: made for name in jaxrnn.__all__ if inspect.isfunction(made := getattr(jaxrnn, name))}
MAKERS = {name: made for name, made in FUNCTIONS.items() if name not in OTHERS}


def kind_of(name: str, annotation: Any) -> tuple[str, bool]:
    """What kind of argument this is, and whether it may be None."""
    said = str(annotation)
    optional = "None" in said or name == "dtype"
    if name in ("dtype", "param_dtype"):
        return "dtype", optional
    if said == "<class 'str'>" or "str |" in said:
        return "text", optional
    if name == "pad" and said == "<class 'int'>":
        return "whole", optional
    if name in ("forget", "input", "gate", "eos") and "int" in said:
        return "index", optional
    if "Literal" in said:
        return "choice", optional
    if "Callable" in said:
        return "function", optional
    if "float" in said and "Array" in said:
        return "scalar", optional
    for word, kind in (("bool", "bool"), ("float", "number"), ("int", "size")):
        if re.search(rf"\b{word}\b", said):
            return kind, optional
    return "other", optional


def traced(call: Callable[[Any], Any]) -> Any:
    """The call with an argument that is traced."""
    return jax.eval_shape(call, jax.ShapeDtypeStruct((), jnp.int32))


def run(made: Any) -> Any:
    """What was made, drawn and run, without computing anything."""

    def whole(key: Any) -> Any:
        if isinstance(made, jaxrnn.Cell | jaxrnn.Layer):
            tokens = made.num_feature_axes == 0
            xs = jnp.ones((T, B), int) if tokens else jnp.ones((T, B, *[3] * (made.num_feature_axes - 1), D))
            params = made.init(key, None if tokens else D)
            layer = jaxrnn.rnn(made) if isinstance(made, jaxrnn.Cell) else made
            context = jax.tree.map(lambda part: jnp.ones((part.shape[0], B, *part.shape[1:])), layer.context)
            return jaxrnn.unroll(layer, params, xs, key=key, context=context)
        if callable(made):  # an initializer
            return made(key, (4, H), jnp.float32)
        return ()

    return jax.eval_shape(whole, KEY)


def replaced(function: Callable[..., Any], valid: dict[str, Any], name: str, value: Any) -> Any:
    """The call with one other argument, and what comes of its result."""
    if isinstance(value, str) and value == "traced":
        return traced(lambda tracer: jax.tree.leaves(run(function(**valid | {name: tracer}))) and ())
    return run(function(**valid | {name: value}))


def of_signature(label: str, function: Callable[..., Any], valid: dict[str, Any]) -> Iterator[Wrong]:
    """Every argument of a function, replaced by everything that its kind does not allow."""
    for name, parameter in inspect.signature(function).parameters.items():
        kind, optional = kind_of(name, parameter.annotation)
        fine = FINE[kind] | ({"None"} if optional else set())
        if "Sequence[int]" in str(parameter.annotation):
            fine = fine | {"list"}
        if kind == "number" and "tuple" in str(parameter.annotation):
            fine = {"None"} if optional else set()
        for word, value in VALUES.items():
            if word not in fine:
                yield Wrong(label, name, word, partial(replaced, function, valid, name, value))


def makers() -> Iterator[Wrong]:
    """Of every constructor, of `stack` and of the functions in `initializers`."""
    for name, function in MAKERS.items():
        own = OWN.get(name, {})
        required = [p for p, q in inspect.signature(function).parameters.items() if q.default is q.empty]
        yield from of_signature(name, function, {p: (NEEDED | own)[p] for p in required})
    for word in ("None", "str", "zero", "list", "dict", "object"):
        yield Wrong("stack", "layer_0", word, partial(jaxrnn.stack, VALUES[word]))
    given: dict[str, dict[str, Any]] = {
        "dense_params": {"key": KEY, "in_features": D, "features": H, "gates": 2},
        "per_gate": {
            "initializer": initializers.zeros,
            "key": KEY,
            "rows": 3,
            "gates": 2,
            "features": H,
            "dtype": "f4",
        },
        "gate_offset": {"initializer": initializers.zeros, "gate": 1, "offset": 1.0},
        "identity": {},
        "chrono": {"max_time": 9.0},
        "head_params": {"key": KEY, "in_features": D, "heads": 2, "keys": 2, "values": 2, "features": H},
        "step_params": {"key": KEY, "heads": 2},
    }
    for name, valid in given.items():
        yield from of_signature(name, getattr(initializers, name), valid)
