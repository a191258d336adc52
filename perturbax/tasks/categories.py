"""Classification of the rows of a CSV file: the class in a text column, ahead in time or of the same row."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from perturbax.errors import ArgumentError
from perturbax.fields import one_of, setting
from perturbax.tasks.base import PARTS, HeldOut, Metrics, measure, require_data, split_in_order
from perturbax.tasks.class_reading import Reading, check_classes, classes_of, known_classes, odd_names
from perturbax.tasks.classify import Classify
from perturbax.tasks.encoding import moments
from perturbax.tasks.files.arrange import summary
from perturbax.tasks.files.csv_table import Table
from perturbax.tasks.opened_series import USUAL_WINDOW
from perturbax.tasks.windows import Stretches

ANSWERS = ("row", "window")
MOST_WINDOWS = 1000  # windows of a held-out part that are judged, where each has one answer

Segments = tuple[tuple[str, int, int], ...]


class ClassedRows(eqx.Module):
    """Rows with their classes.

    Attributes:
        x: what a network reads at each row, `(N, n_in)`.
        label: number of each row's class, `(N,)`.
        segments: (name, first row, end) of each series, oldest row first; the end is excluded.
        reading: how they were made.
        about: what is to be known of the file, one line each.
    """

    x: Float[Array, "N n_in"]
    label: Int[Array, " N"]
    segments: Segments = eqx.field(static=True)
    reading: Reading = eqx.field(static=True)
    about: tuple[str, ...] = eqx.field(static=True, default=())


class Categories(Classify):
    """Classification of the rows of a file: which class has the row `horizon` rows ahead, or the same row.

        input  x_t = (row_t - mean) / std, and one-hot(class_t) where the class is read
        target one-hot(class_{t + horizon})

    `series` opens as this task where its target is a column of text. Each series is cut by time, training |
    validation | test; a row counts as input of a part only if the row that it answers for lies in the same
    part. With one answer per window, targets are asked for at the last row of a window alone.

    Attributes:
        horizon: rows from an input to the row whose class is the answer; 0 for the same row.
        window: rows of one training sequence.
        valid: fraction of the rows that is for validation, after the training rows.
        test: fraction of the rows that is for testing, at the end.
        warmup: rows in front of a held-out part that warm up the state, not scored.
        answer: row (an answer at every row) or window (one per window, at its last row).
        rows: the opened rows; no setting.
    """

    horizon: int = setting(1)
    window: int = setting(100)
    valid: float = setting(0.15)
    test: float = setting(0.15)
    warmup: int = setting(200)
    answer: str = setting("row")
    rows: ClassedRows | None = eqx.field(default=None, metadata={"data": True})

    def __check_init__(self) -> None:
        """Check what is answered."""
        one_of("answer", self.answer, ANSWERS)

    @property
    def opened(self) -> ClassedRows:
        """The rows; ArgumentError before they are in place."""
        return require_data(self, self.rows, "rows")

    @property
    def class_names(self) -> tuple[str, ...]:
        """Texts of the classes, as the file has them."""
        return self.opened.reading.classes

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): inputs per row, one output per class."""
        return self.opened.x.shape[1], self.classes

    @property
    def steps(self) -> int:
        """Steps of a training sequence: the window."""
        return self.window

    @property
    def asked_steps(self) -> int:
        """Steps whose answer is judged: all rows, or the last one of a window."""
        return self.window if self.answer == "row" else 1

    def bounds(self, part: str) -> list[tuple[int, int]]:
        """Return (first, end) of the rows that are inputs of a part, for each series.

        Arguments:
            part: `train`, `valid` or `test`.
        """
        found = []
        for _, first, end in self.opened.segments:
            begin, stop = split_in_order(end - first, self.valid, self.test)[part]
            found.append((first + begin, max(first + begin, first + stop - self.horizon)))
        return found

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return windows of the training part that begin at random rows, none across two series."""
        possible = [np.arange(first, end - self.window + 1) for first, end in self.bounds("train")]
        starts = jnp.asarray(np.concatenate(possible))
        begin = starts[jr.randint(key, (1, batch), 0, len(starts))]  # (1, B)
        rows = begin + jnp.arange(self.window)[:, None]  # (T, B)
        return self._read(rows, self._asked_in_window)

    def stream(self, key: Array, i: Array | int, batch: int) -> tuple[Array, Array]:
        """Return the i-th consecutive window of `batch` streams through the training part.

        They start equally spaced, and go on at the first row after the last. Of several series each window
        lies in one, and all streams begin another stretch at once: see `begins_anew`.
        """
        ranges, window = self.bounds("train"), self.window
        if len(ranges) > 1:
            return self._read(Stretches.of(ranges, window, batch).rows(i, batch), self._asked_in_window)
        training = jnp.asarray(self._training_rows)
        length = len(training)
        starts = jnp.asarray(np.arange(batch)[None] * length // batch)  # (1, B)
        steps = (jnp.asarray(i) % length) * window + jnp.arange(window)[:, None]  # (T, 1)
        return self._read(training[(starts + steps) % length], self._asked_in_window)

    def begins_anew(self, i: Array | int, batch: int) -> Array | bool:
        """Return whether streams through several series begin new stretches with their i-th window."""
        ranges = self.bounds("train")
        return len(ranges) > 1 and Stretches.of(ranges, self.window, batch).begins(i)

    def held_out(self, part: str) -> HeldOut:
        """Return part `valid` or `test`: each series as one stream, or up to 1000 windows that end in it.

        A stream begins up to `warmup` rows in front of the part; a window begins as many rows in front of its
        end as it has, at the earliest with its series.
        """
        places = self._places(self.bounds(part), [first for _, first, _ in self.opened.segments])
        return HeldOut(*self._read(jnp.asarray(places.rows), jnp.asarray(places.asked)), places.warmup)

    def seen(self) -> HeldOut:
        """Return the last rows of the training part of each series, as many as its test part has."""
        train, test = self.bounds("train"), self.bounds("test")
        last = [
            (max(first, end - (end_test - first_test)), end)
            for (first, end), (first_test, end_test) in zip(train, test, strict=True)
        ]
        places = self._places(last, [first for first, _ in train])
        return HeldOut(*self._read(jnp.asarray(places.rows), jnp.asarray(places.asked)), places.warmup)

    def scaling(self) -> dict[str, np.ndarray]:
        """Return what predicting on a new file needs: the arrays of `Reading`, and `warmup`."""
        return self.opened.reading.to_arrays() | {"warmup": np.array(self.warmup)}

    def baselines(self) -> dict[str, Metrics]:
        """Return the test metrics of the frequencies of classes in training, and of the last class known.

        The last class known is that of the present row; with horizon 0, where that is the answer, of the row
        before. It gets the share of training rows for which it was right, the other classes the rest.
        """
        label = np.asarray(self.opened.label)  # (N,)
        train = self._training_rows
        right = label[train + self.horizon]  # (rows,)
        frequencies = np.bincount(right, minlength=self.classes) / len(train)
        known = known_classes(label, self.horizon, self.opened.segments)  # (N,)
        share = np.mean(known[train] == right)
        logits = jnp.asarray(np.log(_carried(self.classes, float(share))))  # (classes, classes)
        places = self._places(self.bounds("test"), [first for _, first, _ in self.opened.segments])
        y = logits[known[places.rows]]  # (T, B, classes)
        test = self.held_out("test")
        return {
            "constant": self.at_frequencies(jnp.asarray(frequencies)),
            "persistence": measure(self, y[test.warmup :], test.ys[test.warmup :]),
        }

    def notes(self) -> list[str]:
        """Return what the classes are and how often each comes in the training part, a sentence each."""
        reading = self.opened.reading
        right = np.asarray(self.opened.label)[self._training_rows + self.horizon]
        shares = np.bincount(right, minlength=self.classes) / len(right)  # (classes,)
        order = np.argsort(-shares, kind="stable")[:8]
        named = ", ".join(f"{self.class_names[i]} {shares[i]:.1%}" for i in order)
        more = ", ..." if self.classes > len(order) else ""
        unseen = [name for name, share in zip(self.class_names, shares, strict=True) if share == 0]
        rows = "row" if self.horizon == 1 else "rows"
        rows_ahead = f"{self.horizon} {rows} ahead" if self.horizon else "of the same row"
        notes = [
            f"{reading.target} {rows_ahead} is one of {self.classes} classes; in training: {named}{more}"
        ]
        notes += odd_names(self.class_names)
        if unseen:
            notes.append(f"no row for training is of class {', '.join(unseen)}")
        if self.horizon == 0 and not reading.reads_class:
            notes.append("the baseline persistence knows the class of the row before, the network does not")
        return [*self.opened.about, *notes]

    def digest(self) -> str:
        """Return a hash of the rows that are read, and of their classes."""
        rows = self.opened
        digest = hashlib.sha256(repr((rows.reading, rows.segments)).encode())
        digest.update(np.asarray(rows.x, np.float32).tobytes() + np.asarray(rows.label, np.int32).tobytes())
        return digest.hexdigest()[:16]

    @property
    def _training_rows(self) -> np.ndarray:
        """Numbers of the rows that are inputs of the training part, of all series, `(rows,)`."""
        return np.concatenate([np.arange(*bounds) for bounds in self.bounds("train")])

    @property
    def _asked_in_window(self) -> Array:
        """Whether an answer is asked for at each step of a window, `(T, 1)`."""
        asked = np.ones((self.window, 1), bool)
        if self.answer == "window":
            asked[:-1] = False
        return jnp.asarray(asked)

    def _read(self, rows: Array, asked: Array) -> tuple[Array, Array]:
        """Return inputs at rows `(T, B)`, and targets, NaN where none is asked for `(T, B)` or `(T, 1)`."""
        opened = self.opened
        ahead = jnp.minimum(
            rows + self.horizon, len(opened.label) - 1
        )  # rows behind the last are not asked for
        one_hot = jnp.eye(self.classes, dtype=opened.x.dtype)[opened.label[ahead]]  # (T, B, classes)
        return opened.x[rows], jnp.where(asked[..., None], one_hot, jnp.nan)

    def _places(self, bounds: Sequence[tuple[int, int]], starts: Sequence[int]) -> "Places":
        """Return where held-out sequences lie.

        Arguments:
            bounds: first row and end of what is judged, for each series.
            starts: the earliest row that may be read in front of it, for each series.
        """
        if self.answer == "window":
            return _windows(bounds, starts, self.window)
        return _streams(bounds, starts, self.warmup)


class Places(NamedTuple):
    """Where held-out sequences lie.

    Attributes:
        rows: row number of each step, `(T, B)`.
        asked: whether an answer is asked for there, `(T, B)`.
        warmup: first steps at which it is asked for in no sequence.
    """

    rows: np.ndarray
    asked: np.ndarray
    warmup: int


def _streams(bounds: Sequence[tuple[int, int]], starts: Sequence[int], warmup: int) -> Places:
    """Return one sequence per series, padded at its end with its last row, with rows in front to warm up."""
    filled = [(first, end, start) for (first, end), start in zip(bounds, starts, strict=True) if end > first]
    begins = [max(first - warmup, start) for first, _, start in filled]
    steps = max(end - begin for (_, end, _), begin in zip(filled, begins, strict=True))
    rows = np.array(begins)[None] + np.arange(steps)[:, None]  # (T, B)
    first_rows, ends = (np.array([one[i] for one in filled])[None] for i in (0, 1))  # (1, B) each
    asked = (rows >= first_rows) & (rows < ends)
    return Places(np.minimum(rows, ends - 1), asked, int(np.min(first_rows - np.array(begins))))


def _windows(bounds: Sequence[tuple[int, int]], starts: Sequence[int], window: int) -> Places:
    """Return windows that end at rows of the part, all of them or 1000 evenly spaced ones."""
    possible = [
        np.arange(max(first, start + window - 1), end)
        for (first, end), start in zip(bounds, starts, strict=True)
    ]
    last_rows = np.concatenate(possible)  # (windows,)
    if len(last_rows) > MOST_WINDOWS:
        chosen = np.linspace(0, len(last_rows) - 1, MOST_WINDOWS).round().astype(int)
        last_rows = last_rows[chosen]
    rows = last_rows[None] + np.arange(1 - window, 1)[:, None]  # (T, B)
    asked = np.zeros(rows.shape, bool)
    asked[-1] = True
    return Places(rows, asked, 0)


def _carried(classes: int, share: float) -> np.ndarray:
    """Return the probabilities of classes `(classes, classes)`, given the last class known.

    It is never less likely than another one, and no class is impossible.

    Arguments:
        classes: how many there are.
        share: how often the last class known is right.
    """
    held = min(max(share, 1.01 / classes), 1 - 1e-6)
    others = (1 - held) / (classes - 1)
    return np.full((classes, classes), others) + np.eye(classes) * (held - others)


class Settings(NamedTuple):
    """What a user asks for: the settings of `series` that a classification has, named alike.

    Attributes:
        target: name of the column with the class.
        inputs: names of the columns that are read; empty for all that can be.
        gaps: what becomes of empty cells, as `Table.numbers` takes it.
        horizon: rows from an input to the row whose class is the answer; 0 for the same row.
        window: rows of a training sequence; 0 to choose them.
        valid: fraction of the rows that is for validation.
        test: fraction of the rows that is for testing.
        warmup: rows in front of a held-out part that warm up the state.
        answer: row (an answer at every row) or window (one at the last row of a window).
    """

    target: str
    inputs: tuple[str, ...]
    gaps: str
    horizon: int
    window: int
    valid: float
    test: float
    warmup: int
    answer: str


def classify(table: Table, asked: Settings) -> Categories:
    """Return the classification of the rows of a table.

    Inputs that are not named are all columns of numbers, and the class of the present row unless that is the
    answer. With horizon 0 a target that is named among the inputs is read as the class of the row before.

    Arguments:
        table: the file's rows.
        asked: what the user asks for.

    Raises ArgumentError for settings that do not fit and for too few rows, DataError for a column that holds
    no classes, for gaps, and for numbers that cannot be used.
    """
    source, target, horizon = table.source, asked.target, asked.horizon
    offered = [name for name in table.columns if table.numeric(name) and name not in table.left_out]
    named = asked.inputs or tuple(name for name in offered if name != target)
    reads_class = target in asked.inputs or (not asked.inputs and horizon > 0)
    inputs = tuple(name for name in named if name != target)
    if not inputs and not reads_class:
        raise ArgumentError(f"{source}: there are no columns of numbers to read, which horizon 0 needs")
    classes, label = classes_of(table, target, asked.gaps)
    columns = {name: table.numbers(name, asked.gaps) for name in inputs}
    segments = table.segments
    unread = Reading((), (), (), target, classes, reads_class, horizon, asked.answer, asked.window)
    task = Categories(
        horizon=horizon,
        window=asked.window,
        valid=asked.valid,
        test=asked.test,
        warmup=asked.warmup,
        answer=asked.answer,
        rows=ClassedRows(jnp.zeros((len(label), 0)), jnp.asarray(label), segments, unread),
    )
    task = _with_fitting_window(source, task)
    training = task._training_rows
    found = [moments(columns[name][training]) for name in inputs]
    means, stds = tuple(mean for mean, _ in found), tuple(std for _, std in found)
    reading = unread._replace(inputs=inputs, means=means, stds=stds, window=task.window)
    check_classes(source, target, classes, label[training + horizon])
    known = known_classes(label, horizon, segments)
    x = jnp.asarray(reading.inputs_of(columns, known, source))
    about = tuple(summary(table, (*inputs, target) if reads_class else inputs))
    return dataclasses.replace(task, rows=ClassedRows(x, jnp.asarray(label), segments, reading, about))


def _with_fitting_window(source: str, task: Categories) -> Categories:
    """Return the task with a window that its training part can fill.

    Raises ArgumentError where one answer per window is asked for and the window does not fit, or where a
    part has nothing to judge.
    """
    longest = max(end - first for first, end in task.bounds("train"))
    window = task.window or max(2, min(USUAL_WINDOW, longest // 3))
    needed = window if task.answer == "window" else 2
    judged = {part: sum(end - first for first, end in task.bounds(part)) for part in PARTS}
    for part, least in {"train": needed, "valid": 1, "test": 1}.items():
        have = longest if part == "train" else judged[part]
        if have < least:
            n = len(task.opened.label)
            raise ArgumentError(
                f"{source}: {n} rows are too few: the {part} part has {have} to answer for, it needs {least} "
                f"(window {window}, horizon {task.horizon}, answer {task.answer})"
            )
    return dataclasses.replace(task, window=min(window, longest))
