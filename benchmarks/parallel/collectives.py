"""Reads compiled programs: the collectives and the products of one run on one device, those in loops once an iteration.

XLA's own cost analysis counts the body of a loop once, so both are read from the text of the program.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
ALONE = ("replica_groups={{0}}", "source_target_pairs={}")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*?)\)(.*)$")


class Collective(NamedTuple):
    """The collectives of one kind in one run of a program.

    Attributes:
      kind: as XLA calls it.
      count: how often a device calls one.
      bytes: of all calls together: the whole array that is gathered, reduced or scattered, or the array that is sent.
    """

    kind: str
    count: int
    bytes: int


class Instruction(NamedTuple):
    """A line of a program, and how often it runs."""

    name: str
    shape: str
    kind: str
    operands: str
    rest: str
    times: int


def collectives(hlo: str) -> list[Collective]:
    """Returns the collectives of a program, in the order of their kinds.

    An operation that begins in one place and ends in another is counted where it begins, and one of a single device,
    which exchanges nothing, not at all.
    """
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for block, times in _executed(hlo):
        lines = list(_instructions(block, times))
        if _continues(lines):
            continue
        shapes = {line.name: line.shape for line in lines}
        for line in lines:
            kind = line.kind.removesuffix("-start")
            if kind in KINDS and not any(text in line.rest for text in ALONE):
                found[kind][0] += times
                found[kind][1] += times * _payload(line, shapes)
    return [Collective(kind, *found[kind]) for kind in KINDS if kind in found]


def products(hlo: str) -> int:
    """Returns the FLOP of the matrix products of a program for a CPU, where each is a `dot`."""
    total = 0
    for block, times in _executed(hlo):
        lines = list(_instructions(block, times))
        shapes = {line.name: line.shape for line in lines}
        for line in lines:
            if line.kind == "dot":
                left = _sizes(shapes[_names(line.operands)[0]])[0][1]
                axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line.rest)
                contracted = [left[int(axis)] for axis in axes[1].split(",") if axis] if axes else []
                total += times * 2 * math.prod(_sizes(line.shape)[0][1]) * math.prod(contracted)
    return total


def _continues(lines: list[Instruction]) -> bool:
    """Whether a computation is a later part of a collective that a TPU runs beside other work.

    Such a collective stands in several fusions, each with the same `chain_id`, the first of which starts it.
    """
    chained = any(line.kind in KINDS and "chain_id" in line.rest for line in lines)
    return chained and not any("AsyncCollectiveStart" in line.rest for line in lines)


def _payload(line: Instruction, shapes: dict[str, str]) -> int:
    given = sum(_bytes(shapes[name]) for name in _names(line.operands))
    if not line.kind.startswith("all-gather"):
        return given
    # The result of a start has the operands in it, too.
    return _bytes(line.shape) - (given if line.kind.endswith("-start") else 0)


def _executed(hlo: str) -> Iterator[tuple[str, int]]:
    """Yields each computation that a program runs, as often as it is called, with the number of its runs per call."""
    starts = re.split(r"\n(?=%|ENTRY)", hlo)
    blocks = {m[2]: block for block in starts if (m := re.match(r"(ENTRY )?%?([\w.\-]+)", block))}
    entry = next(name for name, block in blocks.items() if block.startswith("ENTRY"))

    def visit(name: str, times: int) -> Iterator[tuple[str, int]]:
        yield blocks[name], times
        for line in _instructions(blocks[name], times):
            trips = _trips(line, blocks) if line.kind == "while" else 1
            for called in _names(line.rest):
                if called in blocks and times * trips:
                    yield from visit(called, times * trips)

    return visit(entry, 1)


def _trips(line: Instruction, blocks: dict[str, str]) -> int:
    """Returns the iterations of a loop: what XLA says, or the number that its condition compares with."""
    known = re.search(r"known_trip_count\W+n\W+(\d+)", line.rest)
    if known:
        return int(known[1])
    condition = re.search(r"condition=%?([\w.\-]+)", line.rest)
    bounds = re.findall(r"= s32\[\]\S* constant\((\d+)\)", blocks[condition[1]]) if condition else []
    if len(bounds) != 1:
        raise ValueError(f"collectives: the loop {line.name} has bounds {bounds}, expected one number of iterations")
    return int(bounds[0])


def _instructions(block: str, times: int) -> Iterator[Instruction]:
    for text in block.splitlines():
        if match := INSTRUCTION.match(text):
            yield Instruction(*match.groups(), times=times)


def _names(text: str) -> list[str]:
    return re.findall(r"%([\w.\-]+)", text)


def _sizes(shape: str) -> list[tuple[str, list[int]]]:
    """Returns the dtype and the sizes of each array in the shape of a result."""
    return [
        (dtype, [int(n) for n in sizes.split(",") if n]) for dtype, sizes in re.findall(r"(\w+)\[([\d,]*)\]", shape)
    ]


def _bytes(shape: str) -> int:
    """Returns the bytes of all arrays in the shape of a result; a bool has one."""
    bits = [(re.search(r"\d+", dtype), sizes) for dtype, sizes in _sizes(shape)]
    return sum(math.prod(sizes) * max(1, int(found[0]) // 8 if found else 1) for found, sizes in bits)
