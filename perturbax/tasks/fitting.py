"""Fitting an encoding to the training part of a series, and the choice of its form on the validation part.

Scales, seasons and coefficients come from training rows alone; validation rows choose between them; test rows
take no part.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from perturbax.errors import ArgumentError
from perturbax.tasks import linear
from perturbax.tasks.combining import Candidate, Combination, combine
from perturbax.tasks.encoding import Encoding, moments, with_roots, without_noise
from perturbax.tasks.forms import NAIVE, READINGS, reach
from perturbax.tasks.record import Record, Wanted, training_std
from perturbax.tasks.season import find_season

LEAST_LAGS = 24  # rows that a linear fit reads where no season asks for more
MOST_FEATURES = 512  # numbers that a linear fit reads
OTHER_LAGS = 24  # rows it reads of columns that are not forecast
ROOT_SPAN = 2.0  # the largest training value over the smallest, from which on square roots are tried


class Fitted(NamedTuple):
    """An encoding, and what it was chosen from.

    Attributes:
        encoding: the encoding.
        linear: that of form linear with the lowest validation error, whose forecasts are those of outputs
            of 0; None where none was fitted.
        combination: of form combined, what its mean was made of.
    """

    encoding: Encoding
    linear: Encoding | None
    combination: Combination | None = None


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
        """Return the encoding of form linear, its outputs scaled by what the fit leaves of training rows.

        Arguments:
            record: the series that it was fitted to.
        """
        return _with_target_scales(record, self.bare)

    @property
    def bare(self) -> Encoding:
        """The encoding of form linear whose outputs have no scale yet: enough where outputs are 0."""
        return dataclasses.replace(
            self.naive,
            form="linear",
            base=self.naive.form,
            lags=self.lags,
            coefficients=self.coefficients,
            target_means=np.zeros(self.naive.n_out),
        )


def fit_encoding(record: Record, wanted: Wanted) -> Fitted:
    """Return the encoding of the form that is wanted, its scales and coefficients fitted to training rows.

    A form other than level is read as levels or as differences, whichever lets a linear fit on top of its
    base do better on validation rows. `auto` is form `combined`: a mean of the naive forecasts and of linear
    fits with all bases, readings and columns, weighted by their validation errors, as said in
    perturbax.tasks.combining.

    Arguments:
        record: the series, and how it is cut.
        wanted: what is read and forecast, and the form.

    Raises ArgumentError for a seasonal form without a season.
    """
    season = wanted.season or _season(record, wanted)
    if wanted.form == "level":
        return Fitted(naive_encoding(record, wanted, "level", "levels", season), None)
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
        return Fitted(found, found)
    if wanted.form in NAIVE:
        return Fitted(naive_encoding(record, wanted, wanted.form, best.naive.reading, season), None)
    naive = [Candidate(form, naive_encoding(record, wanted, form, "levels", season)) for form in usable]
    candidates = [*naive, *_fitted_candidates(fits), *_candidates_of_roots(record, wanted, season)]
    combination = combine(record, candidates)
    read = naive_encoding(record, wanted, "difference", best.naive.reading, season)
    bare = dataclasses.replace(read, form="combined", members=combination.members)
    return Fitted(_with_target_scales(record, bare), best.bare, combination)


def _fitted_candidates(fits: Sequence[LinearFit], rooted: tuple[str, ...] = ()) -> list[Candidate]:
    """Return the fits that had rows enough, as simple forecasts; rooted: columns that are square roots."""
    kind = "linear of roots" if rooted else "linear"
    return [Candidate(kind, fit.bare, rooted) for fit in fits if np.isfinite(fit.error)]


def _candidates_of_roots(record: Record, wanted: Wanted, season: int) -> list[Candidate]:
    """Return linear fits to square roots, where a target is never negative and its largest value far larger.

    The training rows tell. Square roots make spreads alike that grow with the level, as those of counts do.
    """
    names = dict.fromkeys((*wanted.inputs, *wanted.targets, *wanted.known))
    rooted = tuple(name for name in names if record.lowest(name) >= 0)
    spread = [name for name in wanted.targets if name in rooted and record.spans(ROOT_SPAN, name)]
    if not spread:
        return []
    roots = record._replace(columns=with_roots(record.columns, rooted))
    fits = _linear_fits(roots, wanted, season, _usable_bases(roots, wanted, season))
    return _fitted_candidates(fits, rooted)


def fit_linear(record: Record, wanted: Wanted, season: int) -> Encoding:
    """Return the encoding of form linear with the lowest validation error, for outputs of 0.

    Arguments:
        record: the series, and how it is cut.
        wanted: what is read and forecast; its form and season are not looked at.
        season: rows of a season; 1 for none.
    """
    usable = _usable_bases(record, wanted, season)
    return _best(_linear_fits(record, wanted, season, usable)).bare


def _season(record: Record, wanted: Wanted) -> int:
    """Return the season of the first target, found in its training rows."""
    step = None if record.time is None else record.time.step
    return find_season(record.training_rows(record.columns[wanted.targets[0]]), step)


def naive_encoding(record: Record, wanted: Wanted, form: str, reading: str, season: int) -> Encoding:
    """Return the encoding of a naive form, its scales those of training rows.

    Arguments:
        record: the series, and how it is cut.
        wanted: what is read and forecast; its form and season are not looked at.
        form: one of NAIVE.
        reading: one of READINGS: whether inputs are levels or changes from row to row.
        season: rows of a season; 1 for none.
    """
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
        coefficients = without_noise(fits[best[i]][:, i * n_out : (i + 1) * n_out])
        found.append(LinearFit(one, lags, coefficients, float(errors[best[i], i])))
    return found
