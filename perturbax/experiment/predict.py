"""Forecasts of a trained network for a file that it was not trained on: inputs are scaled as in training,
outputs are in the data's own units.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perturbax.errors import ArgumentError, DataError
from perturbax.experiment.options import find
from perturbax.experiment.resolve import KNOWN
from perturbax.experiment.result import load
from perturbax.network.passes import forward
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


def forecasts(folder: Path, data: Path) -> list[tuple[str, Sequence[Any]]]:
    """Return one forecast per row of a new file, as columns (name, values) of a table.

    Columns: `row` of the data (from 1), the first text column (such as a date) if there is one, the present
    value of the target if the file has it, the row that is forecast, and the forecast in the target's units.

    Arguments:
        folder: run folder of a network trained on a series.
        data: CSV file with the input columns of the run.

    Raises ArgumentError for a run on another kind of task, DataError for a file that cannot be used.
    """
    result = load(folder)
    if not result.scaling:
        raise ArgumentError(f"{folder} was trained on {result.experiment.task}: predict is for series")
    settings: Any = result.experiment.task_options
    task: Any = find("task", result.experiment.task, KNOWN["task"])(**settings)
    xs, labels = encode(data, result.scaling, settings.get("gaps", "refuse"))
    forecast = decode(jax.jit(forward)(result.net, xs), result.scaling)  # (T,)
    target = str(result.scaling["target"])
    rows = range(1, len(forecast) + 1)
    columns: list[tuple[str, Sequence[Any]]] = [("row", rows)]
    if labels.name is not None and labels.texts is not None:
        columns.append((labels.name, labels.texts))
    if labels.current is not None:
        columns.append((target, labels.current.tolist()))
    columns.append(("forecast_row", [row + task.shift for row in rows]))
    columns.append((f"{target}_forecast", forecast.tolist()))
    return columns


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
