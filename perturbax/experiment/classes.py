"""Answers of a network that was trained on a column of classes, for the rows of a file: the class of each row
ahead, or of the same row, and its probability.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from perturbax.devices.opening import outputs_of
from perturbax.errors import ArgumentError, DataError
from perturbax.experiment.precision import in_precision_of_network
from perturbax.experiment.result import Result
from perturbax.experiment.row_times import row_times
from perturbax.network.network import Network
from perturbax.network.passes import forward
from perturbax.tasks.class_reading import Reading, class_of, known_classes
from perturbax.tasks.files.csv_table import Table

Columns = list[tuple[str, Sequence[Any]]]  # of a table: name and values of each
CHUNK = 1024  # windows that are read side by side


class OpenedClasses(NamedTuple):
    """A trained network and the rows of a file that it has answers for.

    Attributes:
        folder: the run folder.
        net: the network.
        reading: how rows become inputs, and what its outputs say.
        table: the file as text.
        x: the inputs at each row, `(N, n_in)`.
        label: number of the class of each row, `(N,)`; None where the file has no such column.
        segments: name, first row and end (excluded) of each series.
        time: the `TimeAxis` of the rows; None where there are no dates.
        said: what the reader must know, one sentence each.
    """

    folder: Path
    net: Network
    reading: Reading
    table: Table
    x: np.ndarray
    label: np.ndarray | None
    segments: tuple[tuple[str, int, int], ...]
    time: Any
    said: tuple[str, ...]


def answers_with_classes(result: Result) -> bool:
    """Whether a run was trained on a column of classes."""
    return "classes" in result.scaling


def open_for_classes(
    folder: Path, result: Result, table: Table, gaps: str, said: tuple[str, ...]
) -> OpenedClasses:
    """Return the network of a run on classes, and the rows of a file as it reads them.

    Arguments:
        folder: the run folder.
        result: the run.
        table: the file.
        gaps: what to do about empty cells, as in training.
        said: what the reader must know so far.

    Raises DataError where the file lacks a column that the network reads, or it cannot be used.
    """
    reading = Reading.from_arrays(result.scaling)
    columns = {}
    for name in reading.inputs:
        if name not in table.cells:
            raise DataError(f"{table.source} has no column {name!r}, which the model reads")
        columns[name] = table.numbers(name, gaps)
    label = None
    if reading.target in table.cells:
        try:
            label = class_of(table, reading, gaps)
        except DataError:
            if reading.reads_class:
                raise
    segments = table.segments
    known = None if label is None else known_classes(label, reading.horizon, segments)
    x = reading.inputs_of(columns, known, table.source)  # (N, n_in)
    return OpenedClasses(folder, result.net, reading, table, x, label, segments, table.time, said)


def refuse_intervals(levels: Sequence[float]) -> None:
    """Raise ArgumentError where intervals are asked for."""
    if levels:
        raise ArgumentError("--interval is for forecasts of numbers: a class comes with its probability")


def probabilities(opened: OpenedClasses, rows: np.ndarray) -> np.ndarray:
    """Return the probability of each class, by the answers given at some rows, float64 `(M, classes)`.

    Arguments:
        opened: the network and the file.
        rows: numbers of the rows, `(M,)`; each the last of a whole window where an answer is one per window.
    """
    by_window = opened.reading.answer == "window"
    with in_precision_of_network(opened.net):
        logits = _at_the_end_of_windows(opened, rows) if by_window else _along(opened)[rows]
    largest = logits.max(1, keepdims=True)
    likelihoods = np.exp(logits - largest)  # (M, classes)
    return likelihoods / likelihoods.sum(1, keepdims=True)


def future(opened: OpenedClasses) -> Columns:
    """Return the classes of the rows after the last one, as columns: a line per row.

    A network with horizon h answers for each of the next h rows of each series, from the row h before it.
    With horizon 0 it answers for every row of the file, or one window after the other.

    Columns: when (the file's time column, else `row`), `class`, `probability`, and `made_at`, the row whose
    input was the last to be read; of several series `series` first.
    """
    horizon = opened.reading.horizon
    if horizon == 0:
        step = opened.reading.window if opened.reading.answer == "window" else 1
        return _table(opened, [possible[::-1][::step][::-1] for possible in _possible_rows(opened)])
    return _table(opened, [possible[-horizon:] for possible in _possible_rows(opened)])


def every_row(opened: OpenedClasses) -> Columns:
    """Return one answer per row that has one, as columns: those of `future`."""
    return _table(opened, _possible_rows(opened))


def backtest(opened: OpenedClasses, count: int) -> tuple[Columns, Columns]:
    """Return how good answers given at the last rows would have been.

    Arguments:
        opened: the network and the file, which must have the classes.
        count: number of rows in each series at which an answer is given.

    Returns (measures, answers): `accuracy`, `loss` in nats, and `persistence_accuracy`, that of the last
    class known; and a line per answer, as `future` has it, with the truth.
    """
    reading = opened.reading
    if opened.label is None:
        raise DataError(f"{opened.table.source} has no usable column {reading.target!r} to compare with")
    judged = []
    for (name, _, end), possible in zip(opened.segments, _possible_rows(opened), strict=True):
        known = possible[possible + reading.horizon < end]
        if len(known) < count:
            series = f", series {name}" if name else ""
            raise ArgumentError(
                f"backtest {count} is too many: {opened.table.source}{series} has {len(known)} rows "
                "whose answers can be judged"
            )
        judged.append(known[-count:])
    rows = np.concatenate(judged)  # (M,)
    chance = probabilities(opened, rows)  # (M, classes)
    truth = opened.label[rows + reading.horizon]  # (M,)
    last_known = known_classes(opened.label, reading.horizon, opened.segments)[rows]  # (M,)
    likelihood = np.maximum(chance[np.arange(len(rows)), truth], 1e-300)
    measures: Columns = [
        ("target", [reading.target]),
        ("horizon", [reading.horizon]),
        ("answers", [len(rows)]),
        ("accuracy", [f"{np.mean(chance.argmax(1) == truth):.4g}"]),
        ("loss", [f"{-np.mean(np.log(likelihood)):.4g}"]),
        ("persistence_accuracy", [f"{np.mean(last_known == truth):.4g}"]),
    ]
    answers = _table(opened, judged)
    answers.insert(-1, ("truth", [reading.classes[i] for i in truth]))
    return measures, answers


def _possible_rows(opened: OpenedClasses) -> list[np.ndarray]:
    """Return the rows of each series at which an answer can be given; DataError for a series without any."""
    reading = opened.reading
    before = reading.window - 1 if reading.answer == "window" else 0
    found = []
    for name, first, end in opened.segments:
        if end - first <= before:
            series = f", series {name}" if name else ""
            raise DataError(
                f"{opened.table.source}{series}: {end - first} rows are too few: an answer needs {before + 1}"
            )
        found.append(np.arange(first + before, end))
    return found


def _table(opened: OpenedClasses, rows: list[np.ndarray]) -> Columns:
    """Return the answers given at some rows of each series, as columns."""
    reading = opened.reading
    every = np.concatenate(rows)  # (M,)
    chance = probabilities(opened, every)  # (M, classes)
    columns: Columns = []
    if len(opened.segments) > 1:
        series = [name for (name, _, _), own in zip(opened.segments, rows, strict=True) for _ in own]
        columns.append(("series", series))
    segment = np.repeat(np.arange(len(rows)), [len(own) for own in rows])  # (M,)
    ahead = np.full(len(every), reading.horizon)  # (M,)
    when, answered, origins = row_times(opened.segments, opened.time, segment, every, ahead)
    columns.append((when, answered))
    columns.append(("class", [reading.classes[i] for i in chance.argmax(1)]))
    columns.append(("probability", [f"{value:.4f}" for value in chance.max(1)]))
    columns.append(("made_at", origins))
    return columns


def _along(opened: OpenedClasses) -> np.ndarray:
    """Return the outputs at every row, float64 `(N, classes)`; the network starts anew with each series."""
    longest = max(end - first for _, first, end in opened.segments)
    side_by_side = np.zeros((longest, len(opened.segments), opened.x.shape[1]))  # (T, B, n_in), padded
    for i, (_, first, end) in enumerate(opened.segments):
        side_by_side[: end - first, i] = opened.x[first:end]
    outputs = np.asarray(outputs_of(opened.net, jnp.asarray(side_by_side)), np.float64)
    return np.concatenate([outputs[: end - first, i] for i, (_, first, end) in enumerate(opened.segments)])


def _at_the_end_of_windows(opened: OpenedClasses, rows: np.ndarray) -> np.ndarray:
    """Return the outputs at the last row of windows that end at some rows `(M,)`, float64 `(M, classes)`."""
    run = jax.jit(forward)
    steps = np.arange(1 - opened.reading.window, 1)[:, None]  # (T, 1)
    found = []
    for begin in range(0, len(rows), CHUNK):
        xs = opened.x[rows[None, begin : begin + CHUNK] + steps]  # (T, B, n_in)
        found.append(np.asarray(run(opened.net, jnp.asarray(xs))[-1], np.float64))
    return np.concatenate(found)
