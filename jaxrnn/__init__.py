"""jaxrnn: recurrent networks in JAX as records of pure functions.

A cell is a record whose `step` is its definition; unrolling, fused gradients, layers and Flax modules are derived from
it and may only be faster.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from jaxrnn import initializers, interop
from jaxrnn.allocator import tune_cpu_allocator
from jaxrnn.carries import (
    BegunCarry,
    ComplexCarry,
    HiddenCarry,
    LSTMCarry,
    MatrixCarry,
    MLSTMCarry,
)
from jaxrnn.cell_options import CellOptions, DTypeOptions, KernelOptions, LinearOptions
from jaxrnn.cells.antisymmetric import antisymmetric
from jaxrnn.cells.cfc import cfc
from jaxrnn.cells.conv import conv_gru, conv_lstm
from jaxrnn.cells.cornn import CoRNNCarry, cornn
from jaxrnn.cells.coupled import coupled_lstm, janet
from jaxrnn.cells.delta_net import delta_net, gated_delta_net
from jaxrnn.cells.elman import elman, irnn
from jaxrnn.cells.gla import gla
from jaxrnn.cells.gru import gru
from jaxrnn.cells.indrnn import indrnn
from jaxrnn.cells.layer_norm import layer_norm_gru, layer_norm_lstm
from jaxrnn.cells.lru import lru
from jaxrnn.cells.lstm import lstm
from jaxrnn.cells.mamba import mamba
from jaxrnn.cells.mgu import mgu
from jaxrnn.cells.minimal import min_gru, min_lstm
from jaxrnn.cells.mlstm import mlstm
from jaxrnn.cells.peephole import peephole_lstm
from jaxrnn.cells.projected import projected_lstm
from jaxrnn.cells.qrnn import QRNNCarry, qrnn
from jaxrnn.cells.rg_lru import rg_lru
from jaxrnn.cells.rwkv7 import RWKV7Carry, rwkv7
from jaxrnn.cells.s5 import s5
from jaxrnn.cells.slstm import SLSTMCarry, slstm
from jaxrnn.cells.sru import sru
from jaxrnn.cells.ssd import ssd
from jaxrnn.checks import ShapeError
from jaxrnn.last import last
from jaxrnn.layers.bidirectional import BidirectionalCarry, bidirectional
from jaxrnn.layers.blocks import griffin_block, mamba_block
from jaxrnn.layers.causal_conv import CausalConvCarry, causal_conv
from jaxrnn.layers.dense import dense
from jaxrnn.layers.dropout import dropout
from jaxrnn.layers.embedding import embedding
from jaxrnn.layers.layer import layer, stepwise
from jaxrnn.layers.layer_norm import layer_norm
from jaxrnn.layers.mlstm_block import mlstm_block
from jaxrnn.layers.residual import residual
from jaxrnn.layers.rnn import rnn
from jaxrnn.layers.stack import stack
from jaxrnn.recurrence.linear import linear_cell
from jaxrnn.recurrence.linear_scan import linear_scan
from jaxrnn.recurrence.matrix import matrix_cell
from jaxrnn.recurrence.matrix_scan import matrix_scan
from jaxrnn.recurrence.pointwise import pointwise_cell, step_cell
from jaxrnn.roles import roles
from jaxrnn.transforms.heads import heads
from jaxrnn.transforms.learned_carry import learned_carry
from jaxrnn.transforms.recurrent_dropout import recurrent_dropout
from jaxrnn.transforms.weight_dropout import weight_dropout
from jaxrnn.transforms.weight_norm import weight_norm
from jaxrnn.transforms.with_carry import with_carry
from jaxrnn.transforms.zoneout import zoneout
from jaxrnn.types import Cell, Flow, Layer, Noise, Steps
from jaxrnn.unroll import initial_carry, methods, step, unroll, unroll_with_aux

if TYPE_CHECKING:
    from jaxrnn import linen, nnx

__all__ = [
    "BegunCarry",
    "BidirectionalCarry",
    "CausalConvCarry",
    "Cell",
    "CellOptions",
    "CoRNNCarry",
    "ComplexCarry",
    "DTypeOptions",
    "Flow",
    "HiddenCarry",
    "KernelOptions",
    "LSTMCarry",
    "Layer",
    "LinearOptions",
    "MLSTMCarry",
    "MatrixCarry",
    "Noise",
    "QRNNCarry",
    "RWKV7Carry",
    "SLSTMCarry",
    "ShapeError",
    "Steps",
    "antisymmetric",
    "bidirectional",
    "causal_conv",
    "cfc",
    "conv_gru",
    "conv_lstm",
    "cornn",
    "coupled_lstm",
    "delta_net",
    "dense",
    "dropout",
    "elman",
    "embedding",
    "gated_delta_net",
    "gla",
    "griffin_block",
    "gru",
    "heads",
    "indrnn",
    "initial_carry",
    "initializers",
    "interop",
    "irnn",
    "janet",
    "last",
    "layer",
    "layer_norm",
    "layer_norm_gru",
    "layer_norm_lstm",
    "learned_carry",
    "linear_cell",
    "linear_scan",
    "linen",
    "lru",
    "lstm",
    "mamba",
    "mamba_block",
    "matrix_cell",
    "matrix_scan",
    "methods",
    "mgu",
    "min_gru",
    "min_lstm",
    "mlstm",
    "mlstm_block",
    "nnx",
    "peephole_lstm",
    "pointwise_cell",
    "projected_lstm",
    "qrnn",
    "recurrent_dropout",
    "residual",
    "rg_lru",
    "rnn",
    "roles",
    "rwkv7",
    "s5",
    "slstm",
    "sru",
    "ssd",
    "stack",
    "step",
    "step_cell",
    "stepwise",
    "tune_cpu_allocator",
    "unroll",
    "unroll_with_aux",
    "weight_dropout",
    "weight_norm",
    "with_carry",
    "zoneout",
]


def __getattr__(name: str) -> ModuleType:
    """The Flax faces, imported when first asked for: Flax takes half as long to import as all the rest."""
    if name in ("linen", "nnx"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
