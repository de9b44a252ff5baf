"""What a training step on several devices costs: pure functions, which predict its work, its collectives and its time.

The step is one of gradient descent in float32, with the gradient of the parameters alone. Predicted collectives and
products are compared with those of compiled programs, and the time of the work with one that was measured. The
assumptions behind the time are

* a device computes at its peak and moves bytes at the full speed of its memory, one beside the other;
* the recurrent kernel is read from memory in each step of a loop, and each activation is written once and read once;
* an iteration of a loop costs a fixed time besides;
* nothing is computed while a collective runs;
* a collective takes its latency once for every hop that its data makes, and for its bytes the time of the best
  algorithm on the links of a device; between pods, each device exchanges its part with the same device of other pods.
"""

import math
from typing import NamedTuple

from benchmarks.parallel.collectives import Collective

FLOAT = 4  # bytes
LSTM_GATES, MIN_GRU_GATES = 4, 2
SCANNED = 16  # arrays [T, B, H] that a scan and its derivative read or write: coefficients, states, cotangents, twice


class Sizes(NamedTuple):
    """T steps of B sequences, from D features to H; a wavefront moves `chunk` steps at a time."""

    T: int
    B: int
    D: int
    H: int
    chunk: int = 1


class Cost(NamedTuple):
    """What a step is for one device.

    Attributes:
      useful: FLOP of matrix products, this device's share of those that one device would need for the same step.
      flop: FLOP of matrix products that it computes.
      bytes: that it reads and writes.
      iterations: of all loops together, one after another.
      collectives: those that it takes part in.
    """

    useful: float
    flop: float
    bytes: float
    iterations: int
    collectives: tuple[Collective, ...]


class Network(NamedTuple):
    """Links between devices.

    Attributes:
      size: how many devices they join.
      bandwidth: of one device, bytes a second in one direction over all its links.
      ports: links of a device to different neighbours, which share its bandwidth.
      latency: seconds of a hop.
      axes: of the torus that the devices form; 0 if they are joined by switches.
    """

    size: int
    bandwidth: float
    ports: int
    latency: float
    axes: int

    def hops(self, devices: int) -> float:
        """From one to all others: half of each ring of a torus; the depth of a tree with switches."""
        if self.axes:
            return self.axes * max(1.0, devices ** (1 / self.axes) / 2)
        return math.ceil(math.log2(devices))


class Chip(NamedTuple):
    """A kind of device.

    Attributes:
      name: as in tables.
      flop: of matrix products in a second, at the precision that JAX takes for float32 by default.
      memory: bytes a second.
      iteration: seconds of a loop's iteration besides its work.
      inside: the links within a pod or a node.
      between: those between pods or nodes; None if one pod is enough.
      source: of the figures.
    """

    name: str
    flop: float
    memory: float
    iteration: float
    inside: Network
    between: Network | None
    source: str


def _lstm(s: Sizes, *, parts: int = 1, inputs: bool = False) -> Cost:
    """An LSTM on a device that has one of several parts of the features; with the gradient of the inputs, or not."""
    gates, steps = LSTM_GATES * s.H, s.T * s.B
    flop = 2 * steps * gates * (2 * (s.D + s.H) + s.H + inputs * s.D) / parts
    weights = FLOAT * gates * (s.D + s.H + 1) / parts
    again = 2 * s.T * FLOAT * gates * s.H / parts
    activations = 2 * FLOAT * steps * (s.D + (2 * gates + 4 * s.H) / parts)
    return Cost(flop, flop, 3 * weights + again + activations, 2 * s.T, ())


def _weights(s: Sizes) -> int:
    return FLOAT * LSTM_GATES * s.H * (s.D + s.H + 1)


def _share(s: Sizes, devices: int) -> Sizes:
    return s._replace(B=s.B // devices)


def data(s: Sizes, devices: int) -> Cost:
    """One sum of all gradients."""
    total = Collective("all-reduce", 1, _weights(s))
    return _lstm(_share(s, devices))._replace(collectives=(total,) if devices > 1 else ())


def fsdp(s: Sizes, devices: int) -> Cost:
    """Each parameter gathered, and one sum of all gradients, of which a device keeps its part."""
    found = Collective("all-gather", 3, _weights(s)), Collective("all-reduce", 1, _weights(s))
    return _lstm(_share(s, devices))._replace(collectives=found if devices > 1 else ())


def tensor(s: Sizes, devices: int) -> Cost:
    """In each step a gathered state and a sum of its cotangents; after the loop all states, gathered once.

    Two sums of 5 numbers a sequence come from one feature that later operations are made to wait for.
    """
    states = FLOAT * s.T * s.B * s.H
    gathered = Collective("all-gather", s.T + 1, 2 * states)
    summed = Collective("all-reduce", s.T + 2, states + FLOAT * 5 * s.B)
    return _lstm(s, parts=devices)._replace(collectives=(gathered, summed) if devices > 1 else ())


def sequence(s: Sizes, devices: int) -> Cost:
    """Each part's multiplier and last state, gathered; their cotangent, scattered; one sum of all gradients.

    Each part is scanned twice, and a device passes over the states of all parts, forward and backward.
    """
    steps, gates = s.T // devices, MIN_GRU_GATES * s.H
    flop = 2 * 2 * steps * s.B * s.D * gates
    weights = FLOAT * gates * (s.D + 1)
    parts = FLOAT * devices * s.B * s.H
    moved = 3 * weights + 2 * FLOAT * steps * s.B * (s.D + SCANNED * s.H)
    found = (
        Collective("all-gather", 2, 2 * parts),
        Collective("all-reduce", 1, weights),
        Collective("reduce-scatter", 1, parts),
    )
    if devices == 1:
        return Cost(flop, flop, moved, 4 * steps, ())
    return Cost(flop, flop, moved + 6 * parts, 4 * steps + 2 * devices, found)


def wavefront(s: Sizes, devices: int) -> Cost:
    """A layer on each device; in a tick a chunk goes to the next layer and one to the first, and so do cotangents.

    All ticks take the time of a chunk, those in which a device waits for its first chunk or for the last device, too.
    """
    chunks = s.T // s.chunk
    ticks = chunks + devices - 1
    layer = _lstm(s._replace(T=ticks * s.chunk), inputs=True)
    again = 2 * ticks * s.chunk * s.B * LSTM_GATES * s.H * (s.D + s.H)  # the gradient computes each chunk again
    sent = Collective("collective-permute", 4 * ticks, 4 * ticks * FLOAT * s.chunk * s.B * s.H)
    useful = layer.flop * chunks / ticks
    return layer._replace(useful=useful, flop=layer.flop + again, collectives=(sent,) if devices > 1 else ())


def work_seconds(cost: Cost, chip: Chip) -> float:
    """The time of the products and bytes, whichever is longer, and of the loops' iterations."""
    return max(cost.flop / chip.flop, cost.bytes / chip.memory) + cost.iterations * chip.iteration


def collective_seconds(one: Collective, chip: Chip, devices: int) -> float:
    """The time of all collectives of one kind, on so many devices."""
    inner = min(devices, chip.inside.size)
    outer = math.ceil(devices / inner)
    if outer > 1 and chip.between is None:
        raise ValueError(f"collective_seconds: {devices} devices are more than a pod of {chip.name} has, {inner}")
    if one.kind == "collective-permute":  # all wait for the slowest pair
        slowest = chip.between if outer > 1 and chip.between else chip.inside
        return one.count * slowest.latency + one.bytes * slowest.ports / slowest.bandwidth
    passes = 2 if one.kind == "all-reduce" else 1
    within = _level_seconds(one, chip.inside, inner, one.bytes) if inner > 1 else 0.0
    beyond = _level_seconds(one, chip.between, outer, one.bytes / inner) if outer > 1 and chip.between else 0.0
    return passes * (within + beyond)


def _level_seconds(one: Collective, links: Network, devices: int, moved: float) -> float:
    return one.count * links.latency * links.hops(devices) + moved * (devices - 1) / devices / links.bandwidth


def seconds(cost: Cost, chip: Chip, devices: int) -> float:
    """The time of a training step."""
    return work_seconds(cost, chip) + sum(collective_seconds(one, chip, devices) for one in cost.collectives)


def efficiency(cost: Cost, alone: Cost, chip: Chip, devices: int) -> float:
    """Useful FLOP that a device does in a second, over those that it does `alone`, with the work of one device."""
    return (cost.useful / seconds(cost, chip, devices)) / (alone.useful / seconds(alone, chip, 1))
