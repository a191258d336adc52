"""Forecasting a file that a network was not trained on: its inputs scaled as in training, outputs in own
units.
"""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perturbax.errors import DataError
from perturbax.tasks.files.csv_table import Table, read_table
from perturbax.tasks.forecast import Scaling, standardised


class Labels(NamedTuple):
    """What else a file says about its rows.

    Attributes:
        lines: line in the file of each row, `(T,)`.
        name: name of the first text column, such as the date, or None.
        texts: that column, one string per row, or None.
        current: the target column at each row, `(T,)`, in own units; None if the file has no such numbers.
    """

    lines: np.ndarray
    name: str | None
    texts: tuple[str, ...] | None
    current: np.ndarray | None


def encode(data: Path, scaling: Scaling, gaps: str = "refuse") -> tuple[Float[Array, "T 1 n_in"], Labels]:
    """Return (inputs, labels) of a new file, of which only the input columns are needed.

    Raises DataError where the file lacks an input column or holds something else than numbers there.
    """
    table = read_table(Path(data))
    inputs = tuple(str(name) for name in scaling["inputs"])
    for name in inputs:
        if name not in table.cells:
            raise DataError(f"{table.source} has no column {name!r}, which the model reads")
    values = np.stack([table.numbers(name, gaps) for name in inputs], 1)
    x = standardised(table.source, inputs, values, scaling["means"], scaling["stds"])
    text = next((name for name in table.cells if name not in inputs and not table.numeric(name)), None)
    current = _numbers_or_none(table, str(scaling["target"]), gaps)
    labels = Labels(np.array(table.lines), text, None if text is None else table.cells[text], current)
    return jnp.asarray(x)[:, None], labels


def decode(y: Float[Array, "T 1 1"], scaling: Scaling) -> np.ndarray:
    """Return a network's outputs in the target's own units, float64 `(T,)`: entry t is for row t +
    horizon.
    """
    return np.asarray(y, np.float64)[:, 0, 0] * scaling["target_std"] + scaling["target_mean"]


def _numbers_or_none(table: Table, name: str, gaps: str) -> np.ndarray | None:
    """Return a column that is nice to have."""
    try:
        return table.numbers(name, gaps) if name in table.cells else None
    except DataError:
        return None
