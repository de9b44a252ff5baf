"""What the compiler for a slice of 4x4 v5e TPUs makes of each way to train on several devices: its collectives."""

import pytest

from benchmarks.parallel.collectives import Collective, collectives
from benchmarks.parallel.cost_model import Sizes
from benchmarks.parallel.ways import WAYS, training
from tests.test_accelerators import devices, no_device_is_asked_for  # noqa: F401  the latter is a fixture

CHIPS = 16
SIZES = Sizes(T=8, B=8, D=128, H=256, chunk=4)
HALF, WORDS, FLOAT = 2, 128, 4  # bytes of a bfloat16; the least that is summed as one array; bytes of a float


def on_a_tpu(way: str, sizes: Sizes, predicted: tuple[Collective, ...]) -> list[Collective]:
    """What the model predicts, but for what the TPU's compiler does in another way."""
    found = {it.kind: it for it in predicted}
    if way == "fsdp":  # what goes into products is gathered in bfloat16
        gathered = found["all-gather"]
        biases = FLOAT * 4 * sizes.H
        found["all-gather"] = gathered._replace(bytes=(gathered.bytes - biases) // HALF + biases)
    if way == "tensor":  # so are the states; one number a sequence stands for the order of work, in place of five
        gathered, states = found["all-gather"], FLOAT * sizes.T * sizes.B * sizes.H
        found["all-gather"] = gathered._replace(bytes=gathered.bytes // HALF)
        found["all-reduce"] = Collective("all-reduce", sizes.T + 1, states + FLOAT * WORDS)
    if way == "sequence":  # each device sums the whole array and takes its part
        scattered, summed = found.pop("reduce-scatter"), found["all-reduce"]
        found["all-reduce"] = summed._replace(
            count=summed.count + scattered.count, bytes=summed.bytes + scattered.bytes
        )
    return list(found.values())


@pytest.mark.parametrize("way", WAYS)
def test_collectives_on_a_slice_are_those_that_the_model_of_the_cost_predicts(way):
    slice_of_16 = devices("tpu", topology_name="v5e:4x4")
    assert len(slice_of_16) == CHIPS
    sizes = WAYS[way].grown(SIZES, CHIPS)
    hlo = training(WAYS[way], sizes, slice_of_16).compile("tpu").as_text()
    assert collectives(hlo) == on_a_tpu(way, sizes, WAYS[way].cost(sizes, CHIPS).collectives)
