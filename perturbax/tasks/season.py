"""The length of a season: what a series repeats after, from its step of time and its autocorrelation."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from perturbax.tasks.calendar import days_of

LEAST = 0.15  # autocorrelation of the changes from which on a season of the calendar counts as found
LEAST_PEAK = 0.3  # the same, for a peak where the calendar proposes no season
MARGIN = 0.05  # by how much a longer season must be more alike than a shorter one
LONGEST = 2000  # rows; longer seasons are not looked for
_CYCLES = (1.0, 7.0, 365.25)  # day, week and year, in days


def find_season(parts: Sequence[np.ndarray], step: Any) -> int:
    """Return the season of a series in rows; 1 where none is found.

    Candidates are the day, the week and the year in steps of time: 24 and 168 for hours, 7 and 365 for days,
    52 for weeks, 12 for months, 4 for quarters. The one at whose lag the changes of the series, from one
    twelfth of that season to the next, are most alike wins; a longer one must be more alike by MARGIN.
    Without dates, or where no candidate passes, it is the lag of the highest peak of the autocorrelation of
    the changes from row to row.

    Arguments:
        parts: the training rows of the series that is forecast, one array for each series, `(rows,)`.
        step: `Step` of the time axis, with `count` and `unit`; None where it is unknown.
    """
    longest = min(LONGEST, max((len(part) for part in parts), default=0) // 2 - 1)
    if longest < 2:
        return 1
    best = 1
    for season in candidates(step):
        if season > longest or _alike(parts, season, season)[season] <= LEAST:
            continue
        if best > 1:
            alike = _alike(parts, best, season)
            if alike[season] <= alike[best] + MARGIN:
                continue
        best = season
    if best > 1:
        return best
    return _peak(autocorrelation([np.diff(part) for part in parts], longest))


def candidates(step: Any) -> tuple[int, ...]:
    """Return the day, the week and the year as whole numbers of steps, rising; each at least 2.

    Arguments:
        step: `Step` of the time axis, with `count` and `unit`; None where it is unknown: no candidates.
    """
    if step is None:
        return ()
    days = step.count * days_of(step.unit)
    cycles = (5.0, 261.0) if step.unit.startswith(("b", "B")) else [cycle / days for cycle in _CYCLES]
    found = [round(cycle) for cycle in cycles if cycle >= 1.9 and abs(cycle - round(cycle)) < 0.1 * cycle]
    return tuple(dict.fromkeys(found))


def autocorrelation(parts: Sequence[np.ndarray], longest: int) -> np.ndarray:
    """Return the autocorrelation of series at lags 0 to longest, `(longest + 1,)`.

        r_k = sum_t (d_t - mean) (d_{t-k} - mean) / sum_t (d_t - mean)^2,      scaled by n / (n - k)

    Sums run over all series, none of them crosses from one into another. 0 for constant series.

    Arguments:
        parts: the series, `(rows,)` each.
        longest: the largest lag.
    """
    total = np.zeros(longest + 1)
    counts = np.zeros(longest + 1)
    parts = [part for part in parts if len(part)]
    if not parts:
        return np.zeros(longest + 1)
    everything = np.concatenate(parts)
    mean = everything.mean()
    for part in parts:
        size = 1 << int(2 * len(part) + 1).bit_length()  # no lag wraps around
        spectrum = np.fft.rfft(part - mean, size)
        products = np.fft.irfft(np.abs(spectrum) ** 2, size)  # (size,)
        lags = min(longest + 1, len(part))
        total[:lags] += products[:lags]
        counts[:lags] += len(part) - np.arange(lags)
    spread = total[0] / max(counts[0], 1)
    scale = np.finfo(float).eps * max(float(np.max(np.abs(everything))), 1e-300) ** 2
    if not spread > scale:
        return np.zeros(longest + 1)
    return np.where(counts > 0, total / np.maximum(counts, 1), 0) / spread


def _alike(parts: Sequence[np.ndarray], season: int, longest: int) -> np.ndarray:
    """Return the autocorrelation at lags 0 to longest of the changes between twelfths of a season."""
    return autocorrelation([_changes(part, max(1, season // 12)) for part in parts], longest)


def _changes(part: np.ndarray, rows: int) -> np.ndarray:
    """Return the changes between the means of so many rows and of as many before, at each row; `(n,)`."""
    sums = np.concatenate([[0.0], np.cumsum(part - part.mean())])  # (rows of the part + 1,)
    means = (sums[rows:] - sums[:-rows]) / rows
    return means[rows:] - means[:-rows]


def _peak(alike: np.ndarray) -> int:
    """Return the lag of the highest peak; 1 where none is above LEAST_PEAK."""
    inner = alike[2:-1]
    peaks = np.flatnonzero((inner >= alike[1:-2]) & (inner > alike[3:])) + 2
    peaks = peaks[alike[peaks] > LEAST_PEAK]
    if len(peaks) == 0:
        return 1
    highest = alike[peaks].max()
    return int(peaks[alike[peaks] >= highest - MARGIN][0])  # of peaks about as high, multiples, the first
