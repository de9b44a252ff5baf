"""Lists all cells. Each family has a file with its constructors, parameters, carries and pointwise maths.

The names of `jaxrnn`, the command line, the tests of all cells and their page in the documentation use this list. A new
cell needs only its file and its name here.
"""

import inspect
from collections.abc import Callable

from jaxrnn.carries import QRNNCarry
from jaxrnn.cells.additive import atr, cfn, ran, sgrn
from jaxrnn.cells.antisymmetric import antisymmetric
from jaxrnn.cells.bistable import br, nbr
from jaxrnn.cells.cfc import cfc
from jaxrnn.cells.clockwork import ClockworkCarry, clockwork
from jaxrnn.cells.conv import conv_gru, conv_lstm
from jaxrnn.cells.cornn import CoRNNCarry, cornn, unicornn
from jaxrnn.cells.coupled import coupled_lstm, janet
from jaxrnn.cells.delta_net import delta_net, gated_delta_net, kda
from jaxrnn.cells.delta_product import delta_product
from jaxrnn.cells.elman import elman, irnn
from jaxrnn.cells.fast import fast_grnn, fast_rnn
from jaxrnn.cells.fast_weight_programmer import fast_weight_programmer
from jaxrnn.cells.ffm import ffm
from jaxrnn.cells.fru import FRUCarry, fru
from jaxrnn.cells.gla import gla
from jaxrnn.cells.gru import gru
from jaxrnn.cells.gru_d import GRUDCarry, gru_d
from jaxrnn.cells.hgrn2 import hgrn2
from jaxrnn.cells.highway import recurrent_highway
from jaxrnn.cells.indrnn import indrnn
from jaxrnn.cells.layer_norm import layer_norm_gru, layer_norm_lstm
from jaxrnn.cells.lem import LEMCarry, lem
from jaxrnn.cells.linear_attention import linear_attention, retention
from jaxrnn.cells.linoss import linoss
from jaxrnn.cells.lmu import LMUCarry, lmu
from jaxrnn.cells.lru import lru
from jaxrnn.cells.lstm import lstm, original_lstm
from jaxrnn.cells.mamba import mamba
from jaxrnn.cells.mc_lstm import mc_lstm
from jaxrnn.cells.memory_controller import memory_controller_lstm
from jaxrnn.cells.mgu import mgu
from jaxrnn.cells.minimal import min_gru, min_lstm
from jaxrnn.cells.minion import mi_ru1, mi_ru2
from jaxrnn.cells.mlstm import mlstm
from jaxrnn.cells.multiplicative import multiplicative_lstm
from jaxrnn.cells.mutated import mut1, mut2, mut3
from jaxrnn.cells.nas import nas
from jaxrnn.cells.one_gate import li_gru, light_ru, minimal_rnn, star
from jaxrnn.cells.peephole import peephole_lstm
from jaxrnn.cells.phased_lstm import PhasedLSTMCarry, phased_lstm
from jaxrnn.cells.projected import projected_lstm
from jaxrnn.cells.qrnn import qrnn
from jaxrnn.cells.residual import res_lstm
from jaxrnn.cells.rg_lru import rg_lru
from jaxrnn.cells.rot_rnn import rot_rnn
from jaxrnn.cells.rwkv7 import RWKV7Carry, rwkv7
from jaxrnn.cells.s4d import s4d
from jaxrnn.cells.s5 import s5
from jaxrnn.cells.scrn import SCRNCarry, scrn
from jaxrnn.cells.sgu import dsgu, sgu
from jaxrnn.cells.slstm import SLSTMCarry, slstm
from jaxrnn.cells.sru import sru
from jaxrnn.cells.ssd import ssd
from jaxrnn.cells.strongly_typed import t_gru, t_lstm, t_rnn
from jaxrnn.cells.tau_gru import TauGRUCarry, tau_gru
from jaxrnn.cells.ugrnn import intersection_rnn, ugrnn
from jaxrnn.cells.working_memory import wmc_lstm
from jaxrnn.types import Cell

__all__ = [
    "ClockworkCarry",
    "CoRNNCarry",
    "FRUCarry",
    "GRUDCarry",
    "LEMCarry",
    "LMUCarry",
    "PhasedLSTMCarry",
    "QRNNCarry",
    "RWKV7Carry",
    "SCRNCarry",
    "SLSTMCarry",
    "TauGRUCarry",
    "antisymmetric",
    "atr",
    "br",
    "cfc",
    "cfn",
    "clockwork",
    "conv_gru",
    "conv_lstm",
    "cornn",
    "coupled_lstm",
    "delta_net",
    "delta_product",
    "dsgu",
    "elman",
    "fast_grnn",
    "fast_rnn",
    "fast_weight_programmer",
    "ffm",
    "fru",
    "gated_delta_net",
    "gla",
    "gru",
    "gru_d",
    "hgrn2",
    "indrnn",
    "intersection_rnn",
    "irnn",
    "janet",
    "kda",
    "layer_norm_gru",
    "layer_norm_lstm",
    "lem",
    "li_gru",
    "light_ru",
    "linear_attention",
    "linoss",
    "lmu",
    "lru",
    "lstm",
    "mamba",
    "mc_lstm",
    "memory_controller_lstm",
    "mgu",
    "mi_ru1",
    "mi_ru2",
    "min_gru",
    "min_lstm",
    "minimal_rnn",
    "mlstm",
    "multiplicative_lstm",
    "mut1",
    "mut2",
    "mut3",
    "nas",
    "nbr",
    "original_lstm",
    "peephole_lstm",
    "phased_lstm",
    "projected_lstm",
    "qrnn",
    "ran",
    "recurrent_highway",
    "res_lstm",
    "retention",
    "rg_lru",
    "rot_rnn",
    "rwkv7",
    "s4d",
    "s5",
    "scrn",
    "sgrn",
    "sgu",
    "slstm",
    "sru",
    "ssd",
    "star",
    "t_gru",
    "t_lstm",
    "t_rnn",
    "tau_gru",
    "ugrnn",
    "unicornn",
    "wmc_lstm",
]

CONSTRUCTORS: dict[str, Callable[..., Cell]] = {
    name: globals()[name] for name in __all__ if inspect.isfunction(globals()[name])
}


def needed(constructor: Callable[..., Cell]) -> tuple[str, ...]:
    """Returns the names of the arguments without a default: `("features",)` for most cells."""
    parameters = inspect.signature(constructor).parameters.values()
    return tuple(parameter.name for parameter in parameters if parameter.default is parameter.empty)
