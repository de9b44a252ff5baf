"""The results as text: what each way exchanges, how good the model of its cost is, and what it says of pods."""

from typing import Any

from benchmarks.parallel.chips import CHIPS
from benchmarks.parallel.cost_model import Chip, Collective, Network, Sizes, work_seconds
from benchmarks.parallel.trial import COPY, PEAK, PRODUCT, STEP
from benchmarks.parallel.ways import WAYS
from benchmarks.results import Result, Row, digits, pick, spread, table, unique

POD = "pod"
CAVEAT = """\
Collectives are those of one step and one device, read from the compiled program, those in loops once an iteration. KiB
are of whole arrays that are gathered or summed, MiB of arguments and temporaries, MFLOP of matrix products. Virtual
devices of one CPU share its cores, so that their times say little."""
ABOUT_PODS = """\
Predicted: useful FLOP of a chip in a second, over those of a chip alone with {B} sequences of {T:,} steps and {H:,}
features. With each chip come as many sequences for data parallel and FSDP, as many steps for sequence parallel, and as
many steps and a layer for the wavefront. Tensor parallel divides the features of one layer, at equal work."""
MODEL = """\
benchmarks/parallel/cost_model.py has the model and its assumptions. Nothing of this was timed on these chips. Hops and
iterations are estimates, all else is what vendors publish. On a TPU, XLA gathers matrices and states in bfloat16, half
of the bytes that the model counts, and sums where the model scatters, twice as many (tests/test_slices_compiled.py)."""


def show(result: Result) -> str:
    rows = result["rows"]
    return "\n\n".join([_measured(rows), CAVEAT, _checked(rows), _pods(rows), _chips(), MODEL])


def exchanged(row: Row) -> list[Collective]:
    return [Collective(*it) for it in row["collectives"]]


def kibibytes(row: Row) -> float:
    return sum(it.bytes for it in exchanged(row)) / 2**10


def mebibytes(row: Row) -> float:
    return float(row["arguments"] + row["temporaries"])


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share > 0.095 else f"{100 * share:.1g} %"


def _measured(rows: list[Row]) -> str:
    lines = []
    for row in pick(rows, what=STEP):
        found = exchanged(row)
        alike = [tuple(it) for it in found] == [tuple(it) for it in row["predicted"]]
        flop = row["flop"] or row["predicted_flop"]
        lines.append(
            [
                f"{WAYS[row['contender']].title}, {row['devices']}",
                " + ".join(f"{it.count:,} {it.kind}" for it in found) or "none",
                digits(kibibytes(row)),
                "yes" if alike else "no",
                digits(flop / 1e6),
                digits(1e3 * 2**10 * kibibytes(row) / flop),
                digits(mebibytes(row)),
                spread(row),
            ]
        )
    return table(["way, devices", "collectives", "KiB", "predicted", "MFLOP", "bytes/kFLOP", "MiB", "ms"], lines)


def measured_chip(rows: list[Row]) -> Chip:
    """The device on which the rows were measured, with the peaks that it was seen to reach."""
    product, copy = (pick(rows, what=PEAK, contender=name)[0] for name in (PRODUCT, COPY))
    flop, memory = 1e3 * product["flop"] / product["median"], 1e3 * copy["bytes"] / copy["median"]
    alone = Network(size=1, bandwidth=memory, ports=1, latency=0.0, axes=0)
    return Chip("this device", flop, memory, 0.0, alone, None, "measured")


def _checked(rows: list[Row]) -> str:
    chip = measured_chip(rows)
    lines = []
    for row in pick(rows, what=STEP, devices=1):
        way = WAYS[row["contender"]]
        predicted = 1e3 * work_seconds(way.cost(Sizes(*row["sizes"]), 1), chip)
        lines.append([way.title, spread(row), digits(predicted), f"{row['median'] / predicted:.2f}"])
    peaks = f"{chip.flop / 1e9:.0f} GFLOP/s in a large product and {chip.memory / 1e9:.1f} GB/s in a large copy"
    head = ["one device, measured", "ms", "predicted ms", "measured / predicted"]
    about = f"Predicted from {peaks}, measured on the same device, where a loop's iteration costs nothing."
    return f"{table(head, lines)}\n\n{about}"


def _pods(rows: list[Row]) -> str:
    pods = pick(rows, what=POD)
    counts = unique(pods, "devices")
    blocks = []
    for chip in unique(pods, "chip"):
        lines = []
        for name in unique(pods, "contender"):
            here = pick(pods, chip=chip, contender=name)
            lines.append([WAYS[name].title, *(percent(row["efficiency"]) for row in here)])
        blocks.append(table([f"efficiency, {chip}, chips", *(f"{count:,}" for count in counts)], lines))
    alone = Sizes(*pick(pods, contender="data")[0]["sizes"])
    share = alone._replace(B=alone.B // counts[0])
    about = ABOUT_PODS.format(B=share.B, T=share.T, H=share.H)
    return "\n\n".join([*blocks, about])


def _chips() -> str:
    def links(network: Network | None) -> list[Any]:
        if network is None:
            return ["–", "–", "–"]
        return [f"{network.size:,}", digits(network.bandwidth / 1e9), digits(1e6 * network.latency)]

    lines = []
    for chip in CHIPS:
        own = [digits(chip.flop / 1e12), digits(chip.memory / 1e9), digits(1e6 * chip.iteration)]
        lines.append([chip.name, *own, *links(chip.inside), *links(chip.between)[1:]])
    head = ["chip", "TFLOP/s", "memory GB/s", "iteration µs", "in a pod", "GB/s", "hop µs", "between GB/s", "hop µs"]
    sources = "\n".join(f"{chip.name}: {chip.source}" for chip in CHIPS)
    return f"{table(head, lines)}\n\n{sources}"
