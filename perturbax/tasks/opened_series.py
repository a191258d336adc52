"""A series that has been opened: how it is cut and read, and what a network sees of it."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perturbax.errors import ArgumentError
from perturbax.tasks.base import PARTS, split_in_order
from perturbax.tasks.encoding import Encoding, Segments, standardised
from perturbax.tasks.fitting import Fitted, fit_encoding
from perturbax.tasks.record import Record, Wanted, naive_scale, training_std

USUAL_WINDOW = 100  # rows of a training sequence where no window is named and the series is long enough


class Scale(NamedTuple):
    """Means and standard deviations of the training part, in own units; Python floats, so always exact.

    Attributes:
        inputs: names of the input columns.
        means: of each input column.
        stds: standard deviation of each; 1 for a constant column.
        target: name of the target column.
        target_mean: its mean.
        target_std: its standard deviation.
    """

    inputs: tuple[str, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    target: str
    target_mean: float
    target_std: float


class Source:
    """What is known of an opened series beside its arrays: two of the same content are equal.

    Arguments:
        record: the series as it was read, and how it is cut.
        fitted: its encoding, and what that was chosen from.
        digest: fingerprint of the data that are read.
        about: what is to be known of the file, one line each.
    """

    def __init__(self, record: Record, fitted: Fitted, digest: str, about: Sequence[str] = ()):
        self.record, self.fitted, self.digest, self.about = record, fitted, digest, tuple(about)
        cut = (tuple(record.segments), tuple(sorted((part, tuple(r)) for part, r in record.parts.items())))
        self._key = (digest, fitted.encoding.fingerprint(), cut)

    def __eq__(self, other: object) -> bool:
        """Whether another source has the same content."""
        return isinstance(other, Source) and self._key == other._key

    def __repr__(self) -> str:
        """Return where the series is from, its length, and the form of its forecasts."""
        rows = len(self.record.columns[self.encoding.targets[0]])
        return f"<{self.record.source}: {rows} rows, form {self.encoding.form}>"

    def __hash__(self) -> int:
        """Return a hash of the content."""
        return hash(self._key)

    @property
    def encoding(self) -> Encoding:
        """How the series is read, and what its forecasts are changes from."""
        return self.fitted.encoding

    @cached_property
    def base(self) -> np.ndarray:
        """What the forecasts are changes from at each row, `(N, n_out)`, own units."""
        return self.encoding.base_of(self.record.columns, self.record.time, self.record.segments)

    @cached_property
    def truth(self) -> np.ndarray:
        """What is forecast at each row, `(N, n_out)`, own units; NaN beyond the end of a series."""
        return self.encoding.targets_of(self.record.columns, self.record.segments)

    @property
    def is_simple(self) -> bool:
        """Whether this is a forecast of one column at one horizon as its level, from columns alone."""
        return _is_plain(self.encoding) and self.encoding.n_out == 1 and len(self.record.segments) == 1

    @cached_property
    def outside(self) -> dict[str, float]:
        """For each target which share of its test values lies outside the range of its training values."""
        found = {}
        for target in self.encoding.targets:
            column = self.record.columns[target]
            training = np.concatenate(self.record.training_rows(column))
            test = np.concatenate([column[first:end] for first, end in self.record.parts["test"]])
            beyond = (test < training.min()) | (test > training.max())
            found[target] = float(beyond.mean())
        return found

    @cached_property
    def training_stds(self) -> np.ndarray:
        """The standard deviation of each output's target over the training rows, `(n_out,)`, own units."""
        return np.array([training_std(self.record, target) for target, _ in self.encoding.outputs])

    @cached_property
    def naive_scales(self) -> np.ndarray:
        """What the absolute errors of each output are divided by for MASE, `(n_out,)`, own units."""
        season = self.encoding.season
        return np.array([naive_scale(self.record, target, season) for target, _ in self.encoding.outputs])


class Rows(eqx.Module):
    """A series as a network sees it.

    Attributes:
        x: the inputs at each row, `(N, n_in)`.
        y: the targets that belong to the input of each row, `(N, n_out)`; NaN where a series has none.
        source: what they were made from.
    """

    x: Float[Array, "N n_in"]
    y: Float[Array, "N n_out"]
    source: Source = eqx.field(static=True)


def cut(
    source: str,
    columns: Mapping[str, np.ndarray],
    time: Any,
    segments: Segments,
    fractions: tuple[float, float],
) -> Record:
    """Return a series as it was read, each of its segments cut by time into train, valid and test.

    Arguments:
        source: what errors call the series: its file, or the task.
        columns: by name, float64 `(N,)`, in own units.
        time: the `TimeAxis` of the rows; None where there are no dates.
        segments: (name, first, end) of each series in the rows.
        fractions: of the rows that are for validation, and for testing.
    """
    parts: dict[str, list[tuple[int, int]]] = {part: [] for part in PARTS}
    for _, start, stop in segments:
        for part, (first, end) in split_in_order(stop - start, *fractions).items():
            parts[part].append((start + first, start + end))
    return Record(source, columns, time, segments, parts)


def usual_window(training: Sequence[tuple[int, int]], shift: int) -> int:
    """Return the window where none is named: 100 rows, in short series a third of the training rows.

    Above 10 rows a multiple of 10, so that online updates every 10 rows fit.

    Arguments:
        training: first row and end of the training part of each series.
        shift: rows from an input to its farthest target.
    """
    shortest = min(end - first for first, end in training)
    window = max(1, min(USUAL_WINDOW, (shortest - abs(shift)) // 3))
    return window if window < 10 else window // 10 * 10


def opened_rows(record: Record, wanted: Wanted, about: Sequence[str]) -> Rows:
    """Return a series as a network sees it, its encoding fitted to training rows.

    Arguments:
        record: the series as it was read, and how it is cut.
        wanted: what is asked of its encoding.
        about: what is to be known of the file, one line each.

    Raises ArgumentError for too few rows, DataError for numbers too large to be scaled.
    """
    _check_length(record, wanted, 0)
    fitted = fit_encoding(record, wanted)
    encoding = fitted.encoding
    _check_length(record, wanted, encoding.history)
    columns, time, segments = record.columns, record.time, record.segments
    x = encoding.inputs_of(columns, time, segments, record.source)  # (N, n_in)
    left = encoding.targets_of(columns, segments) - encoding.base_of(columns, time, segments)
    forecast = [target for target, _ in encoding.outputs]
    y = standardised(record.source, forecast, left, encoding.target_means, encoding.target_stds)  # (N, n_out)
    source = Source(record, fitted, _digest(record, encoding, x), about)
    return Rows(jnp.asarray(x), jnp.asarray(y), source)


def _check_length(record: Record, wanted: Wanted, history: int) -> None:
    """Raise ArgumentError where a series leaves a part too short.

    Arguments:
        record: the series.
        wanted: what is asked of its encoding.
        history: rows in front of a forecast that its form needs.
    """
    horizon = abs(max(wanted.horizons, key=abs))
    lags = wanted.lags if wanted.form == "level" else 0
    least = {"train": max(wanted.window, lags) + history, "valid": 1, "test": 1}
    needs = f"window {wanted.window}, lags {wanted.lags}, horizon {horizon}"
    if history:
        needs += f", {history} rows in front of a forecast"
    for i, (name, start, stop) in enumerate(record.segments):
        for part in PARTS:
            first, end = record.parts[part][i]
            need = least[part] + horizon
            if end - first < need:
                of = f" of series {name}" if len(record.segments) > 1 else ""
                raise ArgumentError(
                    f"{record.source}: {stop - start} rows{of} are too few: {end - first} of them are "
                    f"the {part} part, which needs {need} ({needs})"
                )


def _digest(record: Record, encoding: Encoding, x: np.ndarray) -> str:
    """Return a hash of what is read; of a plain series that of version 0.1.0.

    Arguments:
        record: the series.
        encoding: how it is read.
        x: the inputs, `(N, n_in)`.
    """
    if _is_plain(encoding) and encoding.n_out == 1 and len(record.segments) == 1:
        means, stds = tuple(encoding.means.tolist()), tuple(encoding.stds.tolist())
        mean, std = float(encoding.target_means[0]), float(encoding.target_stds[0])
        scale = Scale(encoding.inputs, means, stds, encoding.targets[0], mean, std)
        digest = hashlib.sha256(repr(scale).encode())
        target = (record.columns[encoding.targets[0]][:, None] - mean) / std  # (N, 1)
        for values in (x, target):
            digest.update(values.astype(np.float32).tobytes())
        return digest.hexdigest()[:16]
    digest = hashlib.sha256(repr([encoding.targets, encoding.inputs, encoding.known]).encode())
    digest.update(repr([(name, first, end) for name, first, end in record.segments]).encode())
    for name in dict.fromkeys((*encoding.targets, *encoding.inputs, *encoding.known)):
        digest.update(record.columns[name].astype(np.float64).tobytes())
    if encoding.calendar:
        digest.update(np.asarray(record.time.values).astype("datetime64[s]").tobytes())
    return digest.hexdigest()[:16]


def _is_plain(encoding: Encoding) -> bool:
    """Whether levels are forecast from columns alone: no base, nothing known ahead, no calendar."""
    return not encoding.has_base and not encoding.known and not encoding.calendar
