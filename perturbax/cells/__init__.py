"""Every cell by name; a new one is one file and one line."""

from perturbax.cells.dense import Dense, Readout
from perturbax.cells.gru import GRU
from perturbax.cells.leaky import Leaky
from perturbax.cells.lstm import LSTM
from perturbax.cells.tanh import Tanh
from perturbax.network import Layer

CELLS: dict[str, type[Layer]] = {
    "tanh": Tanh,
    "leaky": Leaky,
    "gru": GRU,
    "lstm": LSTM,
    "dense": Dense,
    "readout": Readout,
}

__all__ = ["CELLS", "GRU", "LSTM", "Dense", "Leaky", "Readout", "Tanh"]
