"""Collectives are counted as they run, and the model of the cost predicts them; nothing here depends on speed."""

import pytest

from benchmarks import sharding
from benchmarks.parallel import chips, cost_model
from benchmarks.parallel.chips import H100, TPU_V5E, TPU_V5P
from benchmarks.parallel.collectives import Collective, collectives, products
from benchmarks.parallel.cost_model import Chip, Cost, Network, Sizes
from benchmarks.parallel.ways import WAYS

LOOPS = """
HloModule two_loops

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %add.1 = f32[] add(%x, %y)
}

%inner (p: (s32[], f32[4,2])) -> (s32[], f32[4,2]) {
  %h = f32[4,2]{1,0} get-tuple-element(%p), index=1
  %w = bf16[2,3]{1,0} constant({...})
  %dot.1 = f32[4,3]{1,0} dot(%h, %w), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %all-reduce.1 = (f32[4,2]{1,0}, f32[4,3]{1,0}) all-reduce(%h, %dot.1), replica_groups={{0,1}}, to_apply=%add
  ROOT %tuple.1 = (s32[], f32[4,2]{1,0}) tuple(%p, %h)
}

%until (p: (s32[], f32[4,2])) -> pred[] {
  %bound = s32[]{:T(128)} constant(5)
  ROOT %less = pred[] compare(%p, %bound), direction=LT
}

%outer (q: (s32[], f32[4,2])) -> (s32[], f32[4,2]) {
  %while.1 = (s32[], f32[4,2]{1,0}) while(%q), condition=%until, body=%inner
  %part = bf16[8]{0} constant({...})
  %all-gather.1 = bf16[16]{0} all-gather(%part), replica_groups=[1,2]<=[2], dimensions={0}
  ROOT %tuple.2 = (s32[], f32[4,2]{1,0}) tuple(%while.1)
}

ENTRY %main (a: f32[4,2]) -> f32[4,2] {
  %a = f32[4,2]{1,0} parameter(0)
  %while.2 = (s32[], f32[4,2]{1,0}) while(%a), condition=%until, body=%outer, \
backend_config={"known_trip_count":{"n":"3"}}
  %alone = f32[4,2]{1,0} all-reduce(%a), replica_groups={{0}}, to_apply=%add
  ROOT %result = f32[4,2]{1,0} get-tuple-element(%while.2), index=1
}
"""
STARTED = """
HloModule started

%fused_start (p: f32[2]) -> (f32[2], f32[8]) {
  %p = f32[2]{0} parameter(0)
  %all-gather.2 = f32[8]{0:T(128)(2,1)S(1)} all-gather(%p), frontend_attributes={chain_id="0"}
  ROOT %begin = (f32[2]{0:T(128)S(1)}, f32[8]{0}) custom-call(%all-gather.2), custom_call_target="AsyncCollectiveStart"
}

%fused_work (p: f32[2]) -> f32[8] {
  %p.1 = f32[2]{0} parameter(0)
  ROOT %all-gather.3 = f32[8]{0} all-gather(%p.1), frontend_attributes={chain_id="0"}
}

%wrapped (p: f32[6]) -> f32[2] {
  %p.2 = f32[6]{0} parameter(0)
  ROOT %scattered = f32[2]{0} reduce-scatter(%p.2), replica_groups={{0,1,2}}, dimensions={0}
}

ENTRY %main (a: f32[2], b: f32[6]) -> f32[8] {
  %a = f32[2]{0} parameter(0)
  %b = f32[6]{0} parameter(1)
  %fusion.1 = (f32[2]{0}, f32[8]{0}) fusion(%a), kind=kCustom, calls=%fused_start
  %fusion.2 = f32[8]{0} fusion(%a), kind=kCustom, calls=%fused_work
  %all-gather-start = (f32[2]{0}, f32[4]{0}) all-gather-start(%a), replica_groups={{0,1}}, dimensions={0}
  %all-gather-done = f32[4]{0} all-gather-done(%all-gather-start)
  %async-start = ((f32[6]{0}), f32[2]{0}, u32[]) async-start(%b), calls=%wrapped
  %async-done = f32[2]{0} async-done(%async-start)
  %permute = (f32[2]{0}, f32[2]{0}, u32[]{:S(2)}) collective-permute-start(%a), source_target_pairs={{0,1}}
  %flags = (pred[3]{0}, c64[2]{0}) custom-call()
  ROOT %all-to-all = (pred[3]{0}, c64[2]{0}) all-to-all(%flags), replica_groups={{0,1}}
}
"""


def test_collectives_in_loops_run_once_an_iteration():
    found = collectives(LOOPS)
    assert found == [Collective("all-gather", 3, 3 * 32), Collective("all-reduce", 15, 15 * 4 * (8 + 12))]
    assert products(LOOPS) == 15 * 2 * 4 * 3 * 2


def test_a_collective_that_begins_and_ends_is_counted_once():
    assert collectives(STARTED) == [
        Collective("all-gather", 2, 32 + 16),
        Collective("all-to-all", 1, 3 + 16),
        Collective("collective-permute", 1, 8),
        Collective("reduce-scatter", 1, 24),
    ]


def test_a_loop_without_a_known_end_is_refused():
    with pytest.raises(ValueError, match=r"collectives: the loop while.1 has bounds \[\], expected one number"):
        collectives(LOOPS.replace("constant(5)", "parameter(1)"))


@pytest.mark.parametrize("way", WAYS)
def test_one_device_exchanges_nothing_and_all_of_its_work_is_useful_but_what_it_recomputes(way):
    sizes = WAYS[way].grown(sharding.PODS, 1)
    cost = WAYS[way].cost(sizes, 1)
    useful = 3 / 4 if way == "wavefront" else 1  # a gradient runs each chunk forward again
    assert cost.collectives == () and cost.useful == useful * cost.flop
    assert cost_model.efficiency(cost, cost, TPU_V5E, 1) == 1


@pytest.mark.parametrize("way", WAYS)
def test_devices_share_the_work_and_lose_by_what_they_exchange(way):
    cost, grown = WAYS[way].cost, WAYS[way].grown
    costs = {n: cost(grown(sharding.PODS, n), n) for n in (1, 8, 4096)}
    layers = 8 if way == "wavefront" else 1
    assert 8 * costs[8].useful == pytest.approx(layers * cost(grown(sharding.PODS, 8), 1).useful)
    for chip in chips.CHIPS:
        few, many = (cost_model.efficiency(costs[n], costs[1], chip, n) for n in (8, 4096))
        assert 0 < many < few < 1


def test_the_time_of_a_collective_is_that_of_its_hops_and_bytes():
    ring = Network(size=4, bandwidth=100.0, ports=2, latency=1.0, axes=1)
    switch = Network(size=64, bandwidth=10.0, ports=1, latency=3.0, axes=0)
    chip = Chip("a", 1.0, 1.0, 0.0, ring, switch, "")
    assert cost_model.collective_seconds(Collective("all-gather", 5, 400), chip, 4) == 5 * 1 * 2 + 400 * 3 / 4 / 100
    assert cost_model.collective_seconds(Collective("all-reduce", 1, 400), chip, 4) == 2 * (2 + 3)
    # Four pods of 4: each device exchanges its quarter with three others, through a tree of two switches.
    assert cost_model.collective_seconds(Collective("all-gather", 1, 400), chip, 16) == 2 + 3 + 3 * 2 + 100 * 3 / 4 / 10
    assert cost_model.collective_seconds(Collective("collective-permute", 2, 50), chip, 4) == 2 * 1 + 50 / 50
    assert cost_model.collective_seconds(Collective("collective-permute", 2, 50), chip, 8) == 2 * 3 + 50 / 10
    cost = Cost(useful=1, flop=7, bytes=5, iterations=2, collectives=(Collective("all-reduce", 1, 400),))
    assert cost_model.seconds(cost, chip._replace(iteration=0.5), 4) == 7 + 1 + 10


def test_hops_go_half_around_each_ring_or_through_a_tree():
    assert TPU_V5E.inside.hops(256) == 16 and TPU_V5P.inside.hops(4096) == pytest.approx(24)
    assert H100.inside.hops(8) == 3


def test_more_devices_than_a_pod_has_need_links_between_pods():
    with pytest.raises(ValueError, match="collective_seconds: 8192 devices are more than a pod of TPU v5p has, 6144"):
        cost_model.collective_seconds(Collective("all-reduce", 1, 4), TPU_V5P, 8192)


def test_tensor_parallelism_sends_the_same_however_many_devices():
    sizes = Sizes(T=3, B=2, D=4, H=16)
    assert cost_model.tensor(sizes, 2).collectives == cost_model.tensor(sizes, 8).collectives
