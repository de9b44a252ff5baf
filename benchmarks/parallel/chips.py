"""Figures of accelerators, from what their vendors publish; latencies are estimates, as nobody publishes them.

Vendors count both directions of a link, and here stands one. An all-gather or an all-reduce uses all links of a device.
"""

from benchmarks.parallel.cost_model import Chip, Network

ICI_LATENCY = 1e-6  # of a hop, an estimate
TPU_ITERATION = 1e-6  # an estimate

TPU_V5E = Chip(
    "TPU v5e",
    flop=197e12,
    memory=819e9,
    iteration=TPU_ITERATION,
    inside=Network(size=256, bandwidth=200e9, ports=4, latency=ICI_LATENCY, axes=2),
    # 6.4 Tbit/s of a pod, over 256 chips
    between=Network(size=4096, bandwidth=3.125e9, ports=1, latency=50e-6, axes=0),
    source="https://cloud.google.com/tpu/docs/v5e",
)
TPU_V5P = Chip(
    "TPU v5p",
    flop=459e12,
    memory=2765e9,
    iteration=TPU_ITERATION,
    inside=Network(size=6144, bandwidth=600e9, ports=6, latency=ICI_LATENCY, axes=3),
    between=None,
    source="https://cloud.google.com/tpu/docs/v5p",
)
H100 = Chip(
    "H100 SXM",
    flop=494.5e12,  # TF32 without sparsity
    memory=3350e9,
    iteration=10e-6,  # some kernels are launched, an estimate
    inside=Network(size=8, bandwidth=450e9, ports=1, latency=2e-6, axes=0),
    # an InfiniBand port of 400 Gbit/s a GPU, as in a DGX H100
    between=Network(size=4096, bandwidth=50e9, ports=1, latency=5e-6, axes=0),
    source="https://www.nvidia.com/en-us/data-center/h100/",
)
CHIPS = (TPU_V5E, TPU_V5P, H100)
