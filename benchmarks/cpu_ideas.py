"""Do two ideas make dense cells faster on a CPU?

One splits the batch over as many CPU devices as there are cores, each of which runs all steps alone, so that no step
waits for another core. The other replaces σ, as a user would, through `gate_activation`: by a tanh, and by a quotient
of polynomials that is within 2e-6 of it. Both are timed beside jaxrnn as it is, and beside PyTorch.
"""

import argparse
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from matplotlib.figure import Figure

import jaxrnn
from benchmarks import plots
from benchmarks.environment import cores
from benchmarks.harness import Question, cases, compared, main, timed
from benchmarks.parity import Parity
from benchmarks.peers import Contender, Field, Program, of_jax
from benchmarks.peers.jaxrnn import cell_of, params_of
from benchmarks.peers.jaxrnn import contender as as_it_is
from benchmarks.problems import Case
from benchmarks.results import Ratios, Result, Row, over, pick, unique, values

AS_IT_IS, SPLIT, BY_TANH, BY_QUOTIENT = "jaxrnn", "batch split over devices", "σ by tanh", "σ by a quotient"
WHATS = ("forward", "training")
GATED = {"lstm": jaxrnn.lstm, "gru": jaxrnn.gru}

# tanh x = x P(x²) / Q(x²) within 1.2e-6 on [-7, 7], in powers of (x / 7)², by a least-squares fit that was weighted by
# its own error until that was even; from 7 on tanh is 1 within 1.7e-6.
END = 7.0
P = (0.46608043, 5.487978, 6.0336446, 0.9999979)
Q = (16.846174, 50.701328, 22.366493, 1.0)


def by_tanh(x: jax.Array) -> jax.Array:
    return 0.5 + 0.5 * jnp.tanh(0.5 * x)


@jax.custom_jvp
def by_quotient(x: jax.Array) -> jax.Array:
    half = jnp.clip(0.5 * x, -END, END)
    square = jnp.square(half / END)
    return 0.5 + 0.5 * half * jnp.polyval(np.float32(P), square) / jnp.polyval(np.float32(Q), square)


@by_quotient.defjvp
def _by_quotient_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    y = by_quotient(*primals)
    return y, y * (1 - y) * tangents[0]


SIGMOIDS = {BY_TANH: by_tanh, BY_QUOTIENT: by_quotient}


def measure(args: argparse.Namespace, field: Field) -> list[Row]:
    field = field.only({"torch"})
    rows = []
    for shape, case in cases(args):
        contenders = [
            as_it_is(case, name=AS_IT_IS),
            *([_split(case)] if case.shape.B % len(jax.devices()) == 0 else []),
            *([_with(name, f, case) for name, f in SIGMOIDS.items()] if case.cell in GATED else []),
            *field.contenders(case),
        ]
        parity = Parity(case)
        for contender in contenders:
            parity.check(contender)
        rows += timed(case, shape, contenders, WHATS, args.repeats)
    return rows


def _with(name: str, sigmoid: Any, case: Case) -> Contender:
    cell = GATED[case.cell](case.shape.H, gate_activation=sigmoid)

    def apply(params: Any, xs: jax.Array) -> jax.Array:
        return jaxrnn.unroll(cell, params, xs)[1]

    return of_jax(name, apply, params_of(case), case, kind="ours")


def _split(case: Case) -> Contender:
    """Each device has its part of the batch, and all weights; gradients of weights are summed over devices once."""
    cell, rows, whole = cell_of(case), PartitionSpec(None, "rows"), PartitionSpec()
    mesh = Mesh(np.array(jax.devices()), ("rows",))

    # Without the check of what varies, the loop may overwrite its buffers, as it does on one device.
    @partial(jax.shard_map, mesh=mesh, in_specs=(whole, rows), out_specs=rows, check_vma=False)
    def apply(params: Any, xs: jax.Array) -> jax.Array:
        return jaxrnn.unroll(cell, params, xs)[1]

    def placed(call: Any) -> Program:
        """Its arguments lie where they are read, as a user's data would."""
        params, *arrays = call.args
        put = partial(jax.tree.map, lambda a, spec: jax.device_put(a, NamedSharding(mesh, spec)))
        return Program(call.function, (put(params, dict.fromkeys(params, whole)), *put(arrays, [rows] * len(arrays))))

    made = of_jax(SPLIT, apply, params_of(case), case, kind="ours")
    return replace(made, forward=placed(made.forward), training=placed(made.training))


def ratios(result: Result, cell: str, what: str) -> Ratios:
    """Each idea, and PyTorch, over jaxrnn as it is."""
    rows = pick(result["rows"], cell=cell, what=what)
    base = values(rows, contender=AS_IT_IS)
    others = [name for name in unique(rows, "contender") if name != AS_IT_IS]
    return {f"{name} / {AS_IT_IS}": over(values(rows, contender=name), base) for name in others}


def show(result: Result) -> str:
    return compared(result, WHATS, ratios)


def draw(result: Result) -> Figure:
    return plots.times(result, WHATS, "{cell}, {what}")


QUESTION = Question("cpu_ideas", __doc__, measure, show, draw)

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", cores())
    main(QUESTION)
