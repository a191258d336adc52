"""Cells: the layers that networks are made of.

The classes are used directly, `px.cells.GRU(n_in, n, key=key)`; `CELLS` has them by name, as the command line
does. A new cell is one file with one class, and one line here.
"""

from typing import TYPE_CHECKING

from perturbax.cells.binary import Binary
from perturbax.cells.conv import Conv
from perturbax.cells.dense import Dense, LeakyReadout, Readout
from perturbax.cells.gru import GRU
from perturbax.cells.heads import Heads
from perturbax.cells.leaky import Leaky
from perturbax.cells.lif import ALIF, LIF
from perturbax.cells.lru import LRU
from perturbax.cells.lstm import LSTM
from perturbax.cells.mingru import MinGRU
from perturbax.cells.settling import BlockReadout, Pick, Settling
from perturbax.cells.tanh import SparseTanh, Tanh
from perturbax.moved import old_names
from perturbax.network.layer import Layer
from perturbax.plugins import Registry

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

CELLS: Registry[Layer] = Registry(
    "cell",
    {
        "tanh": Tanh,
        "sparse-tanh": SparseTanh,
        "leaky": Leaky,
        "gru": GRU,
        "mingru": MinGRU,
        "lstm": LSTM,
        "lru": LRU,
        "lif": LIF,
        "alif": ALIF,
        "binary": Binary,
        "settling": Settling,
        "dense": Dense,
        "conv": Conv,
        "readout": Readout,
        "leaky-readout": LeakyReadout,
    },
)

__all__ = [
    "ALIF",
    "CELLS",
    "GRU",
    "LIF",
    "LRU",
    "LSTM",
    "Binary",
    "BlockReadout",
    "Conv",
    "Dense",
    "Heads",
    "Leaky",
    "LeakyReadout",
    "MinGRU",
    "Pick",
    "Readout",
    "Settling",
    "SparseTanh",
    "Tanh",
]
