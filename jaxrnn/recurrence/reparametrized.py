"""`reparametrized` makes a cell whose parameters are a function of others."""

from collections.abc import Callable
from typing import Any

import jax

from jaxrnn.types import Array, Carry, Cell, Flow, Noise, Params


def reparametrized(cell: Cell, init: Callable[..., Params], transform: Callable[[Params], Params]) -> Cell:
    """Returns `cell` with `transform(params)` as the parameters of each function; `init` draws those of `transform`.

    A fused run transforms once, before its loop; so its gradient goes through `transform` once.
    """

    at_once = jax.jit(transform, inline=True)  # without `jit` each constant would be transferred to the device alone

    def init_carry(params: Params, batch_shape: tuple[int, ...] = ()) -> Carry:
        return cell.init_carry(at_once(params), batch_shape)

    def project(params: Params, xs: Array) -> Any:
        return cell.project(transform(params), xs)

    def step(params: Params, carry: Carry, z: Any, *noise: Noise) -> tuple[Carry, Any]:
        return cell.step(transform(params), carry, z, *noise)

    run = cell.scan

    def scan(params: Params, carry: Carry, xs: Array, flow: Flow, **how: Any) -> tuple[Carry, Any]:
        assert run is not None  # or there would be no scan
        return run(transform(params), carry, xs, flow, **how)

    sample = cell.draw

    def draw(key: Array, params: Params, *about: Any) -> tuple[Cell, Params, Noise | None]:
        assert sample is not None
        return sample(key, transform(params), *about)

    parts = cell.gates

    def gates(params: Params, carry: Carry, z: Any) -> Any:
        assert parts is not None  # or there would be no gates
        return parts(transform(params), carry, z)

    return cell._replace(
        init=init,
        init_carry=init_carry,
        project=project,
        step=step,
        scan=None if run is None else scan,
        draw=None if sample is None else draw,
        cast=None,
        gates=None if parts is None else gates,
        products=None,
    )
