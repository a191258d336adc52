"""A column of classes in a CSV file, and what a network that names classes reads of its rows. Plain numpy."""

import re
from typing import NamedTuple

import numpy as np

from perturbax.errors import DataError
from perturbax.tasks.encoding import Segments, standardised
from perturbax.tasks.files.csv_table import Table
from perturbax.tasks.files.numerals import NO_NUMBER, is_missing

TRUTH = {"true", "false"}
ROWS_PER_CLASS = 3  # a column with fewer rows per class holds free text, not classes
_NUMBER_LIKE = re.compile(r"[-+\d.,:/%'\s]*")  # numbers in another notation, times of the day, dates


class Reading(NamedTuple):
    """How rows become inputs, and what outputs say: Python numbers and texts, so always exact.

    Attributes:
        inputs: names of the columns of numbers that are read.
        means: of each in the training part, own units.
        stds: standard deviation of each; 1 for a constant column.
        target: name of the column with the class.
        classes: its texts, in the order of the outputs.
        reads_class: whether the last class known is read, too, one-hot behind the numbers.
        horizon: rows from an input to the row whose class is the answer; 0 for the same row.
        answer: row (an answer at every row) or window (one at the last row of a window).
        window: rows of a window.
    """

    inputs: tuple[str, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    target: str
    classes: tuple[str, ...]
    reads_class: bool
    horizon: int
    answer: str
    window: int

    @property
    def n_in(self) -> int:
        """Inputs of a network: one per column of numbers, and one per class where the class is read."""
        return len(self.inputs) + len(self.classes) * self.reads_class

    def inputs_of(self, columns: dict[str, np.ndarray], known: np.ndarray | None, source: str) -> np.ndarray:
        """Return what a network reads at each row, float64 `(N, n_in)`.

        Arguments:
            columns: by name, float64 `(N,)`, own units; each of `inputs`.
            known: number of the last class known at each row, `(N,)`, -1 for none; needed where it is read.
            source: what errors call the data.

        Raises DataError for a number that is too large to be scaled, and where a class is missing.
        """
        parts = []
        if self.inputs:
            read = np.stack([columns[name] for name in self.inputs], 1)  # (N, inputs)
            parts.append(standardised(source, self.inputs, read, self.means, self.stds))
        if self.reads_class:
            if known is None:
                raise DataError(f"{source} has no column {self.target!r}, which the model reads")
            parts.append(known[:, None] == np.arange(len(self.classes)))  # (N, classes)
        return np.concatenate(parts, 1, dtype=np.float64)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return arrays that numpy.savez stores without pickle; `from_arrays` reads them."""
        return {name: np.array(value) for name, value in self._asdict().items()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> "Reading":
        """Return what `to_arrays` stored.

        Arguments:
            arrays: by name.

        Raises DataError where an array is missing or has another shape.
        """
        try:
            made = cls(
                inputs=tuple(str(name) for name in arrays["inputs"]),
                means=tuple(float(mean) for mean in arrays["means"]),
                stds=tuple(float(std) for std in arrays["stds"]),
                target=str(arrays["target"]),
                classes=tuple(str(name) for name in arrays["classes"]),
                reads_class=bool(arrays["reads_class"]),
                horizon=int(arrays["horizon"]),
                answer=str(arrays["answer"]),
                window=int(arrays["window"]),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"the scaling that is stored beside the weights is damaged: {error}") from error
        if not len(made.inputs) == len(made.means) == len(made.stds) or len(made.classes) < 2:
            raise DataError("the scaling that is stored beside the weights is damaged: shapes do not fit")
        return made


def known_classes(label: np.ndarray, horizon: int, segments: Segments) -> np.ndarray:
    """Return the number of the last class known at each row, `(N,)`; -1 where none is.

    It is that of the row itself; where that is the answer (horizon 0), of the row before.

    Arguments:
        label: number of the class of each row, `(N,)`.
        horizon: rows from an input to the row whose class is the answer.
        segments: (name, first, end) of each series in the rows.
    """
    if horizon > 0:
        return label
    known = np.roll(label, 1)
    known[[first for _, first, _ in segments]] = -1
    return known


def holds_classes(table: Table, name: str) -> bool:
    """Whether a column holds text that is no number in another notation, no date and no time of the day.

    Columns of true and false hold classes, too.

    Arguments:
        table: the file's rows.
        name: of the column.
    """
    if table.columns[name].holds_truth:
        return True
    if table.numeric(name):
        return False
    filled = [text for text in table.cells[name] if not is_missing(text)]
    number_like = sum(1 for text in filled if _NUMBER_LIKE.fullmatch(text))
    return 2 * number_like < len(filled)


def classes_of(table: Table, name: str, gaps: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the texts of the classes in a column, sorted, and the number of each row's class, `(N,)`.

    Numbers are classes by their value; texts without spaces around them; true and false in whatever case.

    Arguments:
        table: the file's rows.
        name: of the column.
        gaps: what becomes of empty cells; `hold` carries the last class of the series forward.

    Raises DataError for gaps that are refused, or come before the first class.
    """
    if table.numeric(name) and not table.columns[name].holds_truth:
        values = table.numbers(name, gaps)  # (N,)
        found, label = np.unique(values, return_inverse=True)
        classes = tuple(f"{value:.12g}" for value in found)
    else:
        texts = _without_gaps(table, name, gaps)  # (N,)
        if {text.lower() for text in set(texts)} <= TRUTH:
            texts = [text.lower() for text in texts]
        found, label = np.unique(np.array(texts), return_inverse=True)
        classes = tuple(str(text) for text in found)
    return classes, label.reshape(-1)


def odd_names(classes: tuple[str, ...]) -> list[str]:
    """Return a sentence about classes whose names would say among numbers that there is none."""
    odd = [name for name in classes if name.lower() in NO_NUMBER]
    if not odd:
        return []
    return [f"{', '.join(map(repr, odd))} is a class like others; empty cells and words such as NA are gaps"]


def check_classes(source: str, name: str, classes: tuple[str, ...], training: np.ndarray) -> None:
    """Raise DataError for a column with too many classes, or with a single one in the training part.

    Arguments:
        source: what errors call the file.
        name: of the column.
        classes: texts of the classes.
        training: numbers of the classes that are answers in the training part, `(rows,)`.
    """
    if len(classes) * ROWS_PER_CLASS > len(training):
        raise DataError(
            f"{source}, column {name}: {len(classes)} different values, such as {classes[0][:40]!r} and "
            f"{classes[-1][:40]!r}, are no classes of {len(training)} rows for training"
        )
    found = np.unique(training)
    if len(found) < 2:
        others = f", the file has {', '.join(classes[:5])}" if len(classes) > 1 else ""
        raise DataError(f"{source}, column {name}: all rows for training have {classes[found[0]]!r}{others}")


def class_of(table: Table, reading: Reading, gaps: str) -> np.ndarray:
    """Return the number of each row's class in a new file, `(N,)`.

    Arguments:
        table: the new file's rows.
        reading: how the rows for training were read, which knows the classes.
        gaps: what becomes of empty cells, as for `classes_of`.

    Raises DataError for gaps that are refused, and for a class that was not in the data for training.
    """
    classes, label = classes_of(table, reading.target, gaps)
    number = {name: i for i, name in enumerate(reading.classes)}
    for i, name in enumerate(classes):
        if name not in number:
            line = table.lines[int(np.argmax(label == i))]
            raise DataError(
                f"{table.source}, line {line}, column {reading.target}: the model knows no class {name!r}, "
                f"only {', '.join(reading.classes[:8])}{', ...' if len(reading.classes) > 8 else ''}"
            )
    return np.array([number[name] for name in classes])[label]


def _without_gaps(table: Table, name: str, gaps: str) -> list[str]:
    """Return the texts of a column, each gap replaced by the last one of its series, where that is asked for.

    Raises DataError where it is not, or where there is none.
    """
    texts: list[str] = []
    first_rows = {first for _, first, _ in table.segments}
    for row, cell in enumerate(table.cells[name]):
        if not is_missing(cell):
            texts.append(" ".join(cell.split()))
        elif gaps == "hold" and texts and row not in first_rows:
            texts.append(texts[-1])
        else:
            where = f"{table.source}, line {table.lines[row]}, column {name}"
            way_out = (
                ", and there is no earlier one to hold"
                if gaps == "hold"
                else " (--task.gaps hold carries the last one forward)"
            )
            raise DataError(f"{where}: the class is missing{way_out}")
    return texts
