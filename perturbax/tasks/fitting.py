"""Fitting an encoding to the training part of a series, and the choice of its form on the validation part.

Scales, seasons and coefficients come from training rows alone; validation rows choose between them; test rows
take no part.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from perturbax.errors import ArgumentError
from perturbax.tasks import linear
from perturbax.tasks.encoding import Columns, Encoding, Segments, moments
from perturbax.tasks.forms import NAIVE, READINGS, reach
from perturbax.tasks.season import find_season

LEAST_LAGS = 24  # rows that a linear fit reads where no season asks for more
MOST_FEATURES = 512  # numbers that a linear fit reads
OTHER_LAGS = 24  # rows it reads of columns that are not forecast
Ranges = Sequence[tuple[int, int]]


class Record(NamedTuple):
    """A series as it was read, and how it is cut.

    Attributes:
        source: what errors call it: its file, or the task.
        columns: by name, float64 `(N,)`, in own units.
        time: the `TimeAxis` of the rows, or None.
        segments: (name, first, end) of each series in the rows.
        parts: for `train`, `valid` and `test` the (first, end) of its rows in each series.
    """

    source: str
    columns: Columns
    time: Any
    segments: Segments
    parts: Mapping[str, Ranges]

    def training_rows(self, values: np.ndarray) -> list[np.ndarray]:
        """Return the training rows of a column, one array for each series."""
        return [values[first:end] for first, end in self.parts["train"]]

    def rows(self, part: str, horizons: Sequence[int], history: int = 0) -> np.ndarray:
        """Return the rows whose targets lie in the same part of the same series, with enough rows before.

        Arguments:
            part: train, valid or test.
            horizons: rows from an input to its targets.
            history: rows in front that a forecast needs.
        """
        ranges = self.ranges(part, horizons, history)
        return np.concatenate([np.arange(first, end) for first, end in ranges])

    def ranges(self, part: str, horizons: Sequence[int], history: int = 0) -> list[tuple[int, int]]:
        """Return (first, end) of these rows in each series; end is no less than first."""
        found = []
        for (first, end), (_, start, _) in zip(self.parts[part], self.segments, strict=True):
            first_row = max(first - min(*horizons, 0), start + history)
            found.append((first_row, max(first_row, end - max(*horizons, 0))))
        return found


class Wanted(NamedTuple):
    """What is asked of an encoding.

    Attributes:
        inputs: names of the columns that are read.
        targets: names of the columns that are forecast.
        horizons: rows ahead.
        known: names of the columns known ahead.
        calendar: names of the features of the dates.
        form: one of FORMS, or auto.
        season: rows of a season; 0 to find it.
        lags: rows that a linear fit reads of every column; 0 for at least a season.
        window: rows of a training sequence, which must be left.
    """

    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    horizons: tuple[int, ...]
    known: tuple[str, ...]
    calendar: tuple[str, ...]
    form: str
    season: int
    lags: int
    window: int


class Fitted(NamedTuple):
    """An encoding, and what it was chosen from.

    Attributes:
        encoding: the encoding.
        linear: that of form linear with the lowest validation error; None where none was fitted.
        errors: mean squared validation errors of simple predictors by form, in training variances.
    """

    encoding: Encoding
    linear: Encoding | None
    errors: dict[str, float]


class LinearFit(NamedTuple):
    """A linear forecast that was fitted on top of a naive one.

    Attributes:
        naive: encoding of the naive form.
        lags: how many rows of each input column it reads.
        coefficients: `(features, n_out)`, those of the best ridge.
        error: mean squared validation error in training variances; infinite where there are too few rows.
    """

    naive: Encoding
    lags: tuple[int, ...]
    coefficients: np.ndarray
    error: float

    def encoding(self, record: Record) -> Encoding:
        """Return the encoding of form linear, its outputs scaled by what the fit leaves of training rows."""
        bare = dataclasses.replace(
            self.naive,
            form="linear",
            base=self.naive.form,
            lags=self.lags,
            coefficients=self.coefficients,
            target_means=np.zeros(self.naive.n_out),
        )
        return _with_target_scales(record, bare)


def fit_encoding(record: Record, wanted: Wanted) -> Fitted:
    """Return the encoding of the form that is wanted, its scales and coefficients fitted to training rows.

    A form other than level is read as levels or as differences, whichever lets a linear fit on top of its
    base do better on validation rows. `auto` is the form with the lowest validation error: the naive forms,
    and the linear fit with the best base, reading, columns and ridge, if it is better by more than chance.
    Raises ArgumentError for a seasonal form without a season.
    """
    season = wanted.season or _season(record, wanted)
    if wanted.form == "level":
        return Fitted(naive_encoding(record, wanted, "level", "levels", season), None, {})
    if wanted.form.startswith("seasonal") and season == 1:
        raise ArgumentError(
            f"{record.source}: form {wanted.form} needs a season, and none is found: "
            "name it, --task.season ROWS"
        )
    usable = _usable_bases(record, wanted, season)
    fits = _linear_fits(record, wanted, season, [wanted.form] if wanted.form in NAIVE else usable)
    best = _best(fits)
    if wanted.form == "linear":
        found = best.encoding(record)
        return Fitted(found, found, {})
    if wanted.form in NAIVE:
        return Fitted(naive_encoding(record, wanted, wanted.form, best.naive.reading, season), None, {})
    errors = {
        form: validation_error(record, naive_encoding(record, wanted, form, "levels", season))
        for form in usable
    }
    naive = min(errors, key=lambda form: errors[form])
    errors["linear"] = best.error
    form = "linear" if best.error < errors[naive] * _needed(record, wanted) else naive
    chosen = linear_encoding = best.encoding(record)
    if form != "linear":
        reading = _best([fit for fit in fits if fit.naive.form == form]).naive.reading
        chosen = naive_encoding(record, wanted, form, reading, season)
    return Fitted(chosen, linear_encoding, errors)


def _needed(record: Record, wanted: Wanted) -> float:
    """Return which share of the naive validation error a linear fit must be below: less where rows are few.

    About one standard error of a mean of squares, 1 / sqrt(rows), is left to chance.
    """
    return 1 - len(record.rows("valid", wanted.horizons)) ** -0.5


def fit_linear(record: Record, wanted: Wanted, season: int) -> Encoding:
    """Return the encoding of form linear with the lowest validation error."""
    usable = _usable_bases(record, wanted, season)
    return _best(_linear_fits(record, wanted, season, usable)).encoding(record)


def forecasts_of(record: Record, encoding: Encoding, rows: np.ndarray) -> np.ndarray:
    """Return what a network whose outputs are 0 would forecast at some rows, `(rows, n_out)`, own units."""
    base = encoding.base_of(record.columns, record.time, record.segments, rows)
    return encoding.in_units(np.zeros(encoding.n_out), base[rows])


def validation_error(record: Record, encoding: Encoding) -> float:
    """Return the mean squared error on validation rows of a network whose outputs are 0.

    It is the mean over outputs, each in training variances of its target.
    """
    rows = linear.thinned(record.rows("valid", encoding.horizons, encoding.history))
    if len(rows) == 0:
        return np.inf
    truth = encoding.targets_of(record.columns, record.segments)[rows]
    scales = [training_std(record, target) for target, _ in encoding.outputs]  # (n_out,)
    wrong = forecasts_of(record, encoding, rows) - truth
    return float(np.mean((wrong / np.array(scales)[None]) ** 2))


def training_std(record: Record, name: str) -> float:
    """Return the standard deviation of a column over the training rows; 1 where it is constant."""
    return moments(np.concatenate(record.training_rows(record.columns[name])))[1]


def naive_scale(record: Record, name: str, season: int) -> float:
    """Return the mean absolute error of the seasonal naive forecast over the training rows, own units.

        mean over training rows of |v_t - v_{t - season}|

    It is what MASE divides by (Hyndman, Koehler 2006). NaN where it is 0, or no series has two seasons.
    """
    parts = record.training_rows(record.columns[name])
    changes = np.concatenate([np.abs(part[season:] - part[:-season]) for part in parts])
    return float(changes.mean()) if len(changes) and changes.mean() > 0 else float("nan")


def _season(record: Record, wanted: Wanted) -> int:
    """Return the season of the first target, found in its training rows."""
    step = None if record.time is None else record.time.step
    return find_season(record.training_rows(record.columns[wanted.targets[0]]), step)


def naive_encoding(record: Record, wanted: Wanted, form: str, reading: str, season: int) -> Encoding:
    """Return the encoding of a naive form, read as levels or as differences, with scales of training rows."""
    read = []
    for name in wanted.inputs:
        parts = record.training_rows(record.columns[name])
        read.append(moments(np.concatenate(parts if reading == "levels" else [np.diff(p) for p in parts])))
    for name in wanted.known:
        known = moments(np.concatenate(record.training_rows(record.columns[name])))
        read += [known] * len(wanted.horizons)
    plain = Encoding(
        inputs=wanted.inputs,
        means=np.array([mean for mean, _ in read]),
        stds=np.array([std for _, std in read]),
        targets=wanted.targets,
        target_means=np.zeros(len(wanted.targets) * len(wanted.horizons)),
        target_stds=np.ones(len(wanted.targets) * len(wanted.horizons)),
        horizons=wanted.horizons,
        form=form,
        reading=reading,
        season=season,
        known=wanted.known,
        calendar=wanted.calendar,
    )
    return _with_target_scales(record, plain)


def _with_target_scales(record: Record, encoding: Encoding) -> Encoding:
    """Return the encoding with the scales of its outputs: of the target, or of what its base leaves."""
    if not encoding.has_base:
        columns = [record.columns[target] for target, _ in encoding.outputs]
        found = [moments(np.concatenate(record.training_rows(column))) for column in columns]
        means, stds = np.array([mean for mean, _ in found]), np.array([std for _, std in found])
        return dataclasses.replace(encoding, target_means=means, target_stds=stds)
    rows = linear.thinned(record.rows("train", encoding.horizons, encoding.history))
    truth = encoding.targets_of(record.columns, record.segments)[rows]  # (rows, n_out)
    left = truth - encoding.base_of(record.columns, record.time, record.segments, rows)[rows]
    scales = np.sqrt(np.mean(left**2, 0)) if len(rows) else np.zeros(encoding.n_out)  # (n_out,)
    levels = np.array([training_std(record, target) for target, _ in encoding.outputs])
    # What is left of an exact base is rounding: it is not blown up to order one.
    return dataclasses.replace(encoding, target_stds=np.where(scales > 1e-6 * levels, scales, levels))


def _usable_bases(record: Record, wanted: Wanted, season: int) -> list[str]:
    """Return the naive forms that leave rows enough to train on."""
    bases = NAIVE if season > 1 else NAIVE[:2]
    most = _most_history(record, wanted)
    return [form for form in bases if reach(form, wanted.horizons, season) <= most]


def _most_history(record: Record, wanted: Wanted) -> int:
    """Return how many rows in front of a forecast leave rows for a window in each training part."""
    shortest = min(end - first for first, end in record.parts["train"])
    return max(shortest - wanted.window - max(wanted.horizons), 0)


def _lags(record: Record, wanted: Wanted, season: int) -> tuple[int, ...]:
    """Return how many rows of each input column a linear fit reads."""
    if wanted.lags:
        return (wanted.lags,) * len(wanted.inputs)
    shortest = min(end - first for first, end in record.parts["train"])
    most = max(1, min(_most_history(record, wanted), shortest // 4))
    own = sum(name in wanted.targets for name in wanted.inputs)
    others = len(wanted.inputs) - own
    seasonal = season + max(wanted.horizons) if season > 1 else 0
    of_targets = min(max(LEAST_LAGS, seasonal), most, max(1, MOST_FEATURES // max(own, 1)))
    left = max(MOST_FEATURES - own * of_targets, MOST_FEATURES // 4)
    of_others = min(OTHER_LAGS, most, max(1, left // max(others, 1)))
    return tuple(of_targets if name in wanted.targets else of_others for name in wanted.inputs)


def _choices_of_lags(record: Record, wanted: Wanted, season: int) -> list[tuple[int, ...]]:
    """Return how many rows of each input column linear fits read, the fewest first.

    Where a season is long, few rows are tried as well; where there are other columns, the targets alone.
    """
    longest = _lags(record, wanted, season)
    shorter = tuple(min(count, LEAST_LAGS) for count in longest)
    choices = [longest] if wanted.lags or max(longest) < 4 * LEAST_LAGS else [shorter, longest]
    is_target = [name in wanted.targets for name in wanted.inputs]
    if all(is_target) or not any(is_target):
        return choices
    alone = [tuple(np.where(is_target, counts, 0).tolist()) for counts in choices]
    return [*alone, *choices]


def _best(fits: Sequence[LinearFit]) -> LinearFit:
    """Return the fit with the lowest validation error; the first of those that are as good."""
    return min(fits, key=lambda fit: fit.error)


def _linear_fits(record: Record, wanted: Wanted, season: int, bases: Sequence[str]) -> list[LinearFit]:
    """Return a fit for each base, reading and choice of columns; levels are not forecast from changes alone.

    It reads all columns, or past rows of those alone that are forecast.
    """
    choices = _choices_of_lags(record, wanted, season)
    found = []
    for reading in READINGS:
        read = [base for base in bases if base != "level" or reading == "levels"]
        naive = [naive_encoding(record, wanted, base, reading, season) for base in read]
        found += _fits_of_reading(record, naive, choices) if naive else []
    return found


def _fits_of_reading(
    record: Record, naive: Sequence[Encoding], choices: Sequence[tuple[int, ...]]
) -> list[LinearFit]:
    """Return fits on top of each of several bases that read alike: they share products of features.

    Arguments:
        record: the series.
        naive: encodings of the bases.
        choices: of how many rows of each input column are read; a fit for each.
    """
    x = naive[0].inputs_of(record.columns, record.time, record.segments, record.source)  # (N, n_in)
    truth = naive[0].targets_of(record.columns, record.segments)  # (N, n_out)
    of_base = [one.base_of(record.columns, record.time, record.segments) for one in naive]  # (N, n_out) each
    left = np.concatenate([truth - base for base in of_base], 1)  # (N, bases n_out)
    found = []
    for lags in choices:
        found += _fits_of_lags(record, naive, lags, x, left)
    return found


def _fits_of_lags(
    record: Record, naive: Sequence[Encoding], lags: tuple[int, ...], x: np.ndarray, left: np.ndarray
) -> list[LinearFit]:
    """Return a fit of what each base leaves, `left` `(N, bases n_out)`, on so many rows of x `(N, n_in)`."""
    first = naive[0]
    n_out, n_lagged = first.n_out, len(first.inputs)
    history = max([max(lags) - 1 + (first.reading == "differences"), *(one.history for one in naive)])
    train = record.rows("train", first.horizons, history)
    valid = linear.thinned(record.rows("valid", first.horizons, history))
    if len(train) < 2 or len(valid) == 0:
        nothing = np.zeros((sum(lags) + x.shape[1] - n_lagged + 1, n_out))
        return [LinearFit(one, lags, nothing, np.inf) for one in naive]
    fits = linear.fit_all(x, n_lagged, left[train], train, lags)  # (features, bases n_out) for each ridge
    forecasts = linear.forecast(x, n_lagged, valid, lags, np.concatenate(fits, 1))
    forecasts = forecasts.reshape(len(valid), len(fits), len(naive), n_out)
    scales = np.array([training_std(record, target) for target, _ in first.outputs])  # (n_out,)
    wrong = left[valid].reshape(len(valid), 1, len(naive), n_out) - forecasts
    errors = np.mean((wrong / scales) ** 2, (0, 3))  # (ridges, bases)
    best = np.argmin(np.nan_to_num(errors, nan=np.inf), 0)  # (bases,): the ridge of each
    found = []
    for i, one in enumerate(naive):
        coefficients = _steady(fits[best[i]][:, i * n_out : (i + 1) * n_out])
        found.append(LinearFit(one, lags, coefficients, float(errors[best[i], i])))
    return found


def _steady(numbers: np.ndarray) -> np.ndarray:
    """Return numbers rounded to ten digits: linear algebra leaves other last ones wherever an array lies."""
    size = np.floor(np.log10(np.where(numbers == 0, 1, np.abs(numbers))))
    return np.round(numbers / 10.0**size, 10) * 10.0**size
