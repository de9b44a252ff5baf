"""The figures of an accelerator as text: a table a job, beside the least time that the device could need."""

from benchmarks.accelerator import roofline, targets
from benchmarks.accelerator.jobs import NAMES
from benchmarks.accelerator.roofline import PEAKS, Peaks
from benchmarks.accelerator.trial import WHATS
from benchmarks.plots import wrapped
from benchmarks.results import Result, Row, digits, pick, spread, table, unique

BOUNDS = {"bound": "bytes", "bound, weights read in each step": "bytes_again"}
CAPTION = (
    "Medians in milliseconds, and quartiles in brackets. 'of bound' is the least time over the time: the products at "
    "the speed of a large one, or inputs, weights and outputs once at the speed of a copy, whichever takes longer. "
    "Those speeds were measured in the same run, in the precision that the device has by default. Compiling: seconds "
    "of both programs. MiB: temporary memory of training. 'graphs': with XLA's options for CUDA graphs. With --quick, "
    "or on a CPU, the product and the copy are small, and shares mean nothing."
)


def show(result: Result) -> str:
    rows = result["rows"]
    peaks = roofline.peaks(rows)
    jobs = dict.fromkeys((row["cell"], row["shape"], row["dtype"]) for row in rows if row["cell"] != PEAKS)
    blocks = [_peaks(rows, peaks)] if peaks else []
    blocks += [_job(pick(rows, cell=cell, shape=shape, dtype=dtype), peaks) for cell, shape, dtype in jobs]
    notes = sorted({f"{row['contender']}, {NAMES[row['cell']]}: {row['note']}." for row in rows if row.get("note")})
    return "\n\n".join([*blocks, targets.told(result), "\n".join([wrapped(CAPTION, 120), *notes])])


def _peaks(rows: list[Row], peaks: Peaks) -> str:
    rates = {f"{name} product": f"{digits(rate / 1e12)} TFLOP/s" for name, rate in peaks.flop.items()}
    rates["copy"] = f"{digits(peaks.bytes / 1e9)} GB/s"
    shapes = unique(pick(rows, cell=PEAKS), "shape")
    return table([f"measured peaks ({'; '.join(shapes)})", ""], [[name, rate] for name, rate in rates.items()])


def _job(rows: list[Row], peaks: Peaks | None) -> str:
    """A line a contender, with and without graphs, then the bounds."""
    first = rows[0]
    title = f"{NAMES[first['cell']]}, {first['shape']} ({'×'.join(map(str, first['sizes']))}), {first['dtype']}"
    lines = []
    for graphs in (False, True):
        for name in unique(pick(rows, graphs=graphs), "contender"):
            found = {row["what"]: row for row in pick(rows, graphs=graphs, contender=name)}
            lines.append([f"{name}, graphs" if graphs else name, *_line(found, peaks)])
    if peaks:
        lines.append([])
        for name, moved in BOUNDS.items():
            bounds = {row["what"]: digits(roofline.bound(row, peaks, moved)) for row in rows}
            lines.append([name, bounds.get("forward", "–"), "", bounds.get("training", "–"), "", "", ""])
    return table([title, "forward, ms", "of bound", "training, ms", "of bound", "compiling, s", "MiB"], lines)


def _line(found: dict[str, Row], peaks: Peaks | None) -> list[str]:
    """A contender's times, shares of the bound, seconds of compiling and memory."""
    cells: list[str] = []
    for what in WHATS:
        row = found.get(what)
        share = roofline.bound(row, peaks) / row["median"] if row and peaks else None
        cells += [spread(row), "–" if share is None else f"{100 * share:.1f} %"]
    seconds = [row["compile_s"] for row in found.values() if row["compile_s"] is not None]
    memory = found["training"]["mib"] if "training" in found else None
    return [*cells, digits(sum(seconds)) if seconds else "–", "–" if memory is None else digits(memory)]
