"""What the compiled programs look like, not how long they take; and which of JAX's extension points they rest on."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxrnn
from arrays import shapes_of
from compare import assert_close
from jaxrnn.recurrence import fused_chunks
from tiers import tiered

T, B, D, H = 6, 4, 3, 5
CELLS = {"elman": (jaxrnn.elman, 1), "lstm": (jaxrnn.lstm, 4), "gru": (jaxrnn.gru, 3)}
each_cell = pytest.mark.parametrize("name", tiered(CELLS, ("lstm",)))


def loss(cell: jaxrnn.Cell, params: Any, xs: Any) -> Any:
    return (jaxrnn.unroll(cell, params, xs, method="fused")[1] ** 2).sum()


def mapped_loss(cell: jaxrnn.Cell, params: Any, xs: Any) -> Any:
    return jax.vmap(lambda x: loss(cell, params, x), in_axes=1)(xs).sum()


def compiled(program: Callable[..., Any], name: str) -> str:
    """The optimised HLO of the gradient in parameters and inputs."""
    cell = CELLS[name][0](H)
    params = cell.init(jax.random.key(0), D)
    grad = jax.grad(lambda p, x: program(cell, p, x), (0, 1))
    return jax.jit(grad).lower(params, jnp.ones((T, B, D))).compile().as_text()


def computations(hlo: str) -> dict[str, str]:
    blocks = re.split(r"\n(?=%|ENTRY)", hlo)
    return {re.match(r"(?:ENTRY )?%?([\w.\-]+)", b).group(1): b for b in blocks if b.startswith(("%", "ENTRY"))}


def reached(name: str, blocks: dict[str, str]) -> set[str]:
    """A computation and all that it calls."""
    seen, todo = set(), [name]
    while todo:
        here = todo.pop()
        if here not in seen and here in blocks:
            seen.add(here)
            todo += re.findall(r"%([\w.\-]+)", blocks[here].split("\n", 1)[-1])
    return seen


def loops(hlo: str) -> list[str]:
    """For each while loop, all text that one iteration runs."""
    blocks = computations(hlo)
    bodies = re.findall(r"while\(.*body=%([\w.\-]+)", hlo)
    return ["\n".join(blocks[n] for n in sorted(reached(body, blocks))) for body in bodies]


@each_cell
@pytest.mark.parametrize("program", [loss, mapped_loss])
def test_one_product_in_each_loop(program: Callable[..., Any], name: str) -> None:
    bodies = loops(compiled(program, name))
    assert [len(re.findall(r" dot\(", body)) for body in bodies] == [1, 1]


@each_cell
@pytest.mark.parametrize("program", [loss, mapped_loss])
def test_no_loop_accumulates_a_weight(program: Callable[..., Any], name: str) -> None:
    cell, gates = CELLS[name][0](H), CELLS[name][1]
    weights = {(D, gates, H), (H, gates, H), (D, gates * H), (H, gates * H), (gates * H, H)}
    jaxpr = jax.make_jaxpr(jax.grad(lambda p, x: program(cell, p, x), (0, 1)))(
        cell.init(jax.random.key(0), D), jnp.ones((T, B, D))
    )
    hlo = compiled(program, name)
    for body in loops(hlo):
        for shape in weights:
            written = rf"dynamic-update-slice\([^\n]*f32\[{','.join(map(str, shape))}\]"
            summed = rf"= f32\[{','.join(map(str, shape))}\]\S* (add|fusion)\("
            assert not re.search(written, body) and not re.search(summed, body), (shape, body)
    assert "recurrence_backward" in str(jaxpr)


@each_cell
def test_vmap_makes_no_weight_gradient_a_row(name: str) -> None:
    gates = CELLS[name][1]
    shapes = re.findall(r"f32\[([\d,]+)\]", compiled(mapped_loss, name))
    per_row = {f"{B},{H},{gates},{H}", f"{B},{H},{gates * H}", f"{B},{D},{gates},{H}", f"{B},{D},{gates * H}"}
    assert not per_row & set(shapes)


@each_cell
def test_vmap_and_a_batch_axis_are_one_program(name: str) -> None:
    cell = CELLS[name][0](H)
    params, xs = cell.init(jax.random.key(0), D), jnp.ones((T, B, D))

    def temporaries(program: Callable[..., Any]) -> int:
        grad = jax.jit(jax.grad(lambda p, x: program(cell, p, x), (0, 1)))
        return grad.lower(params, xs).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(mapped_loss) <= 1.05 * temporaries(loss)


def test_the_gates_are_not_copied_in_the_loop() -> None:
    """The largest array is rewritten in place: a copy of it in a loop would cost T times its size."""
    whole = rf"f32\[{T},{B},{4 * H}\]\S* copy\("
    assert not any(re.search(whole, body) for body in loops(compiled(loss, "lstm")))


EXTENSION_POINTS = (
    "jax.extend.core.ClosedJaxpr",
    "jax.extend.core.Jaxpr",
    "jax.extend.core.Literal",
    "jax.extend.core.Primitive",
    "jax.extend.core.jaxpr_as_fun",
    "jax.interpreters.ad.Zero",
    "jax.interpreters.ad.instantiate_zeros",
    "jax.interpreters.ad.is_undefined_primal",
    "jax.interpreters.ad.primitive_jvps",
    "jax.interpreters.ad.primitive_transposes",
    "jax.interpreters.batching.primitive_batchers",
    "jax.interpreters.mlir.lower_fun",
    "jax.interpreters.mlir.register_lowering",
    "jax.lax.pcast",
    "jax.typeof",
)


@pytest.mark.parametrize("path", EXTENSION_POINTS)
def test_jax_publishes_what_the_engine_rests_on(path: str) -> None:
    found: Any = jax
    for part in path.split(".")[1:]:
        found = getattr(found, part)
    assert found is not None


def test_an_array_type_says_over_which_mesh_axes_it_varies() -> None:
    assert jax.typeof(jnp.ones(3)).mat.varying == frozenset()
    assert not any(jax.typeof(jnp.ones(3)).sharding.spec)


def test_a_long_forward_pass_makes_gates_chunk_by_chunk() -> None:
    cell = jaxrnn.lstm(256)
    params = shapes_of(cell, 8)
    xs = jax.ShapeDtypeStruct((64, 64, 8), np.float32)
    program = jax.jit(lambda params, xs: jaxrnn.unroll(cell, params, xs)[1]).lower(params, xs).compile()
    assert program.memory_analysis().temp_size_in_bytes < fused_chunks.LARGE // 2


@pytest.mark.every
@pytest.mark.parametrize("reverse", [False, True])
def test_chunks_forward_equal_the_loop(monkeypatch: pytest.MonkeyPatch, reverse: bool) -> None:
    monkeypatch.setattr(fused_chunks, "LARGE", 0)
    monkeypatch.setattr(fused_chunks, "ROWS", 4)
    cell = jaxrnn.gru(4)
    params, xs = cell.init(jax.random.key(0), 3), jax.random.normal(jax.random.key(1), (7, 2, 3))
    flow = {"mask": jnp.arange(14).reshape(7, 2) % 5 > 0, "resets": jnp.arange(14).reshape(7, 2) % 6 == 0}
    by_chunks, by_loop = (jaxrnn.unroll(cell, params, xs, reverse=reverse, method=m, **flow) for m in ("auto", "scan"))
    assert_close(by_chunks, by_loop, 1e-6)
