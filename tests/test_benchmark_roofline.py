"""What a device could do at best, how it is timed, and how the targets are judged; none of it needs a device."""

import math

import jax
import jax.numpy as jnp
import pytest

from benchmarks import plots
from benchmarks.accelerator import clock, roofline, targets
from benchmarks.accelerator.jobs import SCAN, Job, case_of
from benchmarks.accelerator.roofline import PEAKS, Peaks
from benchmarks.problems import CELLS, Shape, make_case
from benchmarks.timing import round_robin

pytestmark = pytest.mark.usefixtures("quick_compilation")

ENVIRONMENT = {"devices": ["gpu: NVIDIA H100 80GB HBM3"]}


@pytest.mark.parametrize("cell", CELLS)
def test_work_of_dense_cells_is_that_of_their_shapes(cell):
    case = make_case(cell, Shape(2, 5, 3, 4), seed=0, dtype="bfloat16")
    found, gates = roofline.work(case), {"lstm": 4, "gru": 3, "elman": 1}[cell]
    weights = gates * 4 * (3 + 4 + 1) + (4 if cell == "gru" else 0)
    assert found["forward"].flop == case.forward_flops and found["training"].flop == 3 * case.forward_flops
    assert found["forward"].bytes == 2 * (5 * 2 * 3 + weights + 5 * 2 * 4)
    assert found["training"].bytes == 2 * (2 * 5 * 2 * 3 + 2 * weights + 5 * 2 * 4)
    assert found["forward"].bytes_again - found["forward"].bytes == 2 * 4 * gates * 4 * 4
    assert found["training"].bytes_again - found["training"].bytes == 2 * 2 * 4 * gates * 4 * 4


def test_work_of_linear_recurrences():
    scan = roofline.work(case_of(Job(SCAN, "2,5,3,4", "float32", False), 0))
    assert scan["forward"] == (0, 4 * 3 * 40, 4 * 3 * 40) and scan["training"] == (0, 4 * 5 * 40, 4 * 5 * 40)
    min_gru = roofline.work(case_of(Job("min_gru", "2,5,3,4", "float32", False), 0))
    assert min_gru["forward"].flop == 2 * 10 * 3 * 2 * 4
    gla = roofline.work(case_of(Job("gla", "2,5,3,8", "float32", False), 0))["forward"].flop
    projections = 2 * 10 * (4 * 3 * 8 + 8 * 8 + 3 * 16 + 16 * 8)  # query, key, value, gate; out; both of the decay
    assert gla >= projections + 2 * 10 * 4 * 2 * 2  # and each query with its state


def test_products_in_loops_count_once_a_step_and_in_branches_too():
    def run(x):
        def step(h, x):
            return jax.lax.cond(h.sum() > 0, lambda: h @ h, lambda: h), None

        return jax.lax.scan(step, x, jnp.zeros(7))[0]

    assert roofline.products(jax.make_jaxpr(run)(jnp.ones((3, 3))).jaxpr) == 7 * 2 * 27


def test_the_bound_is_what_takes_longer():
    peaks = Peaks({"float32": 1e9}, 1e6)
    assert peaks.milliseconds("float32", 2e9, 1e6) == 2e3 and peaks.milliseconds("float32", 2e9, 5e6) == 5e3
    rows = [
        {"cell": PEAKS, "contender": "float32", "flop": 4e9, "bytes": 0, "median": 2.0},
        {"cell": PEAKS, "contender": "copy", "flop": 0, "bytes": 3e6, "median": 1.5},
    ]
    assert roofline.peaks(rows) == Peaks({"float32": 2e12}, 2e9) and roofline.peaks(rows[:1]) is None


def test_a_turn_hides_what_the_host_does(monkeypatch):
    now, free = [0.0], [0.0]  # of the host, and from when on the device has nothing to do

    class Program:
        def launch(self):
            now[0] += 0.001
            free[0] = max(free[0], now[0]) + 0.004

        def __call__(self):
            self.launch()
            now[0] = free[0] + 0.002

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    count = clock.in_flight(0.007)
    assert count == 5 and clock.turn(Program()) == pytest.approx((0.001 + count * 0.004 + 0.002) / count * 1e3)
    assert clock.in_flight(1.0) == 1 and clock.in_flight(0.0) == clock.MOST


def test_rounds_of_a_device_are_not_made_again(monkeypatch):
    monkeypatch.setattr("benchmarks.environment.Bystanders.cores", lambda self: 3.0)
    numbers = iter(range(9))
    assert round_robin({"a": lambda: None}, 3, turn=lambda call: next(numbers), again=False) == {"a": [0, 1, 2]}


def row(cell, contender, ms, kind, **more):
    about = {"cell": cell, "shape": "deep", "dtype": "float32", "graphs": False, "what": "forward"}
    return about | {"contender": contender, "kind": kind, "median": ms, "bytes": 4e9, "flop": 0} | more


def judged(rows):
    lines = targets.told({"rows": rows, "environment": ENVIRONMENT}).splitlines()[2:]
    return [[*map(str.strip, line.split("  "))] for line in lines]


def test_targets_take_the_worst_case_and_say_what_is_not_measured():
    rows = [
        row("lstm", "torch", 2.0, "torch"),
        row("lstm", "jaxrnn: cudnn", 2.2, "ours"),
        row("lstm", "jaxrnn", 7.0, "ours"),
        row("lstm", "keras", 2.1, "jax"),  # cuDNN's: no loop
        row("lstm", "flax linen", 28.0, "jax"),
        row("lstm", "haiku", 21.0, "jax"),
        row("lstm", "jaxrnn", 1.0, "ours", graphs=True),
        row(SCAN, "jaxrnn", 4.0, "ours"),
        row(SCAN, "jaxrnn: chunked", 2.5, "ours"),
        row(PEAKS, "copy", 1.0, None, bytes=2e9),
    ]
    met = [[cell for cell in line if cell][1:] for line in judged(rows)]
    assert met == [
        ["≤ 1.2", "1.1", "yes", "lstm deep float32, forward"],
        ["≤ 3", "3.5", "no", "lstm deep float32, forward"],
        ["≥ 2", "3", "yes", "haiku, lstm deep float32, forward"],
        ["≥ 0.7", "0.8", "yes", "jaxrnn: chunked, linear_scan deep float32, forward"],
    ]
    assert all(targets.NOT_MEASURED in line for line in judged([]))


def test_a_long_axis_has_few_numbers():
    rows = [{"shape": "deep", "contender": name, "median": ms} for name, ms in (("a", 1e-3), ("b", 90.0))]
    (ax,) = plots.grid([[plots.Panel("", rows)]]).axes
    low, high = ax.get_xlim()
    shown = [tick for tick in ax.get_xticks() if low <= tick <= high]
    assert shown and all(math.log10(tick) == pytest.approx(round(math.log10(tick))) for tick in shown)
