"""Converts programs of jaxrnn to ONNX by jax2onnx, and runs them: what the guide says of it, which no test runs.

    pip install -e . jax2onnx==0.17.1 onnxruntime==1.32.0
    python tests/onnx_program.py

Prints one line a program. It fails where a converted program deviates from jaxrnn's, where an unrolled one has no
loop, or where jax2onnx converts what the guide says that it refuses.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

import jaxrnn

T, B, D, H = 6, 3, 4, 8
CELLS = (jaxrnn.lstm, jaxrnn.gru, jaxrnn.min_gru, jaxrnn.gla, jaxrnn.mamba)
CONVERTED = ("step", "scan")


def flat(run: Callable[..., tuple[Any, Any]], cell: jaxrnn.Cell, params: Any) -> Callable[..., list[Any]]:
    """Returns `run` as a function of inputs and the leaves of a carry: ONNX knows no trees, and has weights inside."""
    structure = jax.tree.structure(cell.init_carry(params, (B,)))

    def program(xs: Any, *leaves: Any) -> list[Any]:
        carry, ys = run(cell, params, xs, jax.tree.unflatten(structure, leaves))
        return [ys, *jax.tree.leaves(carry)]

    return program


def advance(cell: jaxrnn.Cell, params: Any, x: Any, carry: Any) -> tuple[Any, Any]:
    return jaxrnn.step(cell, params, carry, x)


def cases(cell: jaxrnn.Cell, rng: np.random.Generator) -> Iterator[tuple[str, Callable[..., list[Any]], list[Any]]]:
    """Yields a name, a program and its arguments: a step, and all methods of `unroll`."""
    params = cell.init(jax.random.key(0), D)
    carry = [rng.uniform(0.2, 0.8, leaf.shape).astype("f") for leaf in jax.tree.leaves(cell.init_carry(params, (B,)))]
    yield "step", flat(advance, cell, params), [rng.normal(size=(B, D)).astype("f"), *carry]
    for method in ("auto", *cell.methods):
        xs = rng.normal(size=(T, B, D)).astype("f")
        yield method, flat(partial(jaxrnn.unroll, method=method), cell, params), [xs, *carry]


def main() -> None:
    rng = np.random.default_rng(0)
    found = [(make.__name__, *case) for make in CELLS for case in cases(make(H), rng)]
    expected = [jax.device_get(program(*args)) for *_, program, args in found]

    import onnxruntime
    from jax2onnx import to_onnx  # only now: it puts functions of its own in the place of JAX's, and leaves some there

    logging.disable()
    onnxruntime.set_default_logger_severity(3)
    for (cell, name, program, args), wanted in zip(found, expected, strict=True):
        jax.clear_caches()
        try:
            model = to_onnx(program, inputs=[a.shape for a in args])
        except (NotImplementedError, TypeError) as error:
            assert name not in CONVERTED, f"{cell}, {name} is refused"
            print(f"{cell}, {name}: refused: {str(error).splitlines()[0]}", flush=True)
            continue
        assert name in CONVERTED, f"{cell}, {name} is converted; let the guide say so"
        assert name == "step" or any(node.op_type == "Loop" for node in model.graph.node)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        got = session.run(None, {given.name: a for given, a in zip(session.get_inputs(), args, strict=True)})
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        print(f"{cell}, {name}: equal", flush=True)


if __name__ == "__main__":
    main()
