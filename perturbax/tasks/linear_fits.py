"""Linear fits on top of naive forecasts: with which bases, readings and columns, and how far off each is."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from perturbax.tasks import linear
from perturbax.tasks.combining import Judged
from perturbax.tasks.encoding import Encoding, without_noise
from perturbax.tasks.forms import NAIVE, READINGS, reach
from perturbax.tasks.naive_encoding import naive_encoding, with_target_scales
from perturbax.tasks.record import Record, Wanted, training_std

LEAST_LAGS = 24  # rows that a linear fit reads where no season asks for more
MOST_FEATURES = 512  # numbers that a linear fit reads
OTHER_LAGS = 24  # rows it reads of columns that are not forecast


class LinearFit(NamedTuple):
    """A linear forecast that was fitted on top of a naive one.

    Attributes:
        naive: encoding of the naive form.
        lags: how many rows of each input column it reads.
        coefficients: `(features, n_out)`, those of the best ridge.
        error: mean squared validation error in training variances; infinite where there are too few rows.
        judged: the error of each output in own units, and the rows that it is a mean over; None likewise.
    """

    naive: Encoding
    lags: tuple[int, ...]
    coefficients: np.ndarray
    error: float
    judged: Judged | None = None

    def encoding(self, record: Record) -> Encoding:
        """Return the encoding of form linear, its outputs scaled by what the fit leaves of training rows.

        Arguments:
            record: the series that it was fitted to.
        """
        return with_target_scales(record, self.bare)

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


def linear_fits(
    record: Record, wanted: Wanted, season: int, bases: Sequence[str], rooted: tuple[str, ...] = ()
) -> list[LinearFit]:
    """Return a fit for each base, reading and choice of columns; levels are not forecast from changes alone.

    It reads all columns, or past rows of those alone that are forecast.

    Arguments:
        record: the series, and how it is cut.
        wanted: what is read and forecast; its form and season are not looked at.
        season: rows of a season; 1 for none.
        bases: naive forms.
        rooted: names of the columns that the record holds as square roots.
    """
    choices = _choices_of_lags(record, wanted, season)
    found = []
    for reading in READINGS:
        read = [base for base in bases if base != "level" or reading == "levels"]
        naive = [naive_encoding(record, wanted, base, reading, season) for base in read]
        found += _fits_of_reading(record, naive, choices, rooted) if naive else []
    return found


def _fits_of_reading(
    record: Record, naive: Sequence[Encoding], choices: Sequence[tuple[int, ...]], rooted: tuple[str, ...]
) -> list[LinearFit]:
    """Return fits on top of each of several bases that read alike: they share products of features.

    Arguments:
        record: the series.
        naive: encodings of the bases.
        choices: of how many rows of each input column are read; a fit for each.
        rooted: names of the columns that are square roots.
    """
    x = naive[0].inputs_of(record.columns, record.time, record.segments, record.source)  # (N, n_in)
    truth = naive[0].targets_of(record.columns, record.segments)  # (N, n_out)
    bases = [one.base_of(record.columns, record.time, record.segments) for one in naive]  # (N, n_out) each
    fitting = _Fitting(record, naive, x, truth, bases, rooted)
    return [fit for lags in choices for fit in fitting.fits(lags)]


class _Fitting(NamedTuple):
    """What linear fits on top of several bases that read alike have in common.

    Attributes:
        record: the series.
        naive: encodings of the bases.
        x: what they read, `(N, n_in)`.
        truth: what they forecast, `(N, n_out)`.
        bases: what each base forecasts, `(N, n_out)` each.
        rooted: names of the columns that are square roots.
    """

    record: Record
    naive: Sequence[Encoding]
    x: np.ndarray
    truth: np.ndarray
    bases: Sequence[np.ndarray]
    rooted: tuple[str, ...]

    def fits(self, lags: tuple[int, ...]) -> list[LinearFit]:
        """Return a fit of what each base leaves; lags: how many rows it reads of each column."""
        record, first = self.record, self.naive[0]
        n_out, n_lagged = first.n_out, len(first.inputs)
        history = max(
            [max(lags) - 1 + (first.reading == "differences"), *(one.history for one in self.naive)]
        )
        train = record.rows("train", first.horizons, history)
        valid = linear.thinned(record.rows("valid", first.horizons, history))
        if len(train) < 2 or len(valid) == 0:
            nothing = np.zeros((sum(lags) + self.x.shape[1] - n_lagged + 1, n_out))
            return [LinearFit(one, lags, nothing, np.inf) for one in self.naive]
        left = np.concatenate([self.truth[train] - base[train] for base in self.bases], 1)
        fits = linear.fit_all(self.x, n_lagged, left, train, lags)  # (features, bases n_out) for each ridge
        forecasts = linear.forecast(self.x, n_lagged, valid, lags, np.concatenate(fits, 1))
        forecasts = forecasts.reshape(len(valid), len(fits), len(self.naive), n_out)
        scales = np.array([training_std(record, target) for target, _ in first.outputs])  # (n_out,)
        found = []
        for i, one in enumerate(self.naive):
            wrong = (self.truth[valid] - self.bases[i][valid])[:, None] - forecasts[:, :, i]
            errors = np.mean((wrong / scales) ** 2, (0, 2))  # (ridges,)
            best = int(np.argmin(np.nan_to_num(errors, nan=np.inf)))
            coefficients = without_noise(fits[best][:, i * n_out : (i + 1) * n_out])
            judged = Judged(self._squares(valid, wrong[:, best]), valid)
            found.append(LinearFit(one, lags, coefficients, float(errors[best]), judged))
        return found

    def _squares(self, rows: np.ndarray, wrong: np.ndarray) -> np.ndarray:
        """Return mean squared errors in own units, `(n_out,)`; wrong: truth less forecast at the rows."""
        is_root = np.array([target in self.rooted for target, _ in self.naive[0].outputs])
        if not is_root.any():
            return np.mean(wrong**2, 0)
        truth = self.truth[rows]  # (rows, n_out)
        forecast = truth - wrong
        in_own_units = truth * np.abs(truth) - forecast * np.abs(forecast)
        return np.mean(np.where(is_root[None], in_own_units, wrong) ** 2, 0)


def usable_bases(record: Record, wanted: Wanted, season: int) -> list[str]:
    """Return the naive forms that leave rows enough to train on; arguments as in `linear_fits`."""
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
