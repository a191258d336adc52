"""Prediction intervals of forecasts by split conformal prediction: how far forecasts were off on validation
data says how wide the intervals must be. Plain numpy, no JAX.

Source: Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World; in the form used here Lei,
G'Sell, Rinaldo, Tibshirani and Wasserman 2018, Distribution-free predictive inference for regression,
algorithm 2.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from perturbax.errors import ArgumentError, StoreError

LEVELS = (80.0, 95.0)  # per cent; the intervals whose coverage every run measures
KEPT = 1000  # most sorted residuals that are kept of each output


class Intervals(NamedTuple):
    """What turns forecasts into intervals: sorted absolute residuals of validation data, in own units.

        y_j +- q_j,     q_j = the k-th smallest of |residual_1j| ... |residual_nj|,  k = ceil((n + 1) level)

    An interval holds a new value with a probability of at least `level`, and at most level + 1 / (n + 1), if
    new residuals are like those of validation (exchangeable). Those of a series are so at best roughly, which
    is why the coverage is measured on test data.

    Attributes:
        n: number of residuals of each output.
        ranks: which of the sorted residuals are kept, from 1 to n, rising, `(m,)`; all of them up to 1000,
            else so many with even distances. A rank that is not kept is rounded up to the next that is.
        widths: the residuals of these ranks, `(m, n_out)`, in the targets' own units.
    """

    n: int
    ranks: np.ndarray
    widths: np.ndarray

    def half_widths(self, level: int | float) -> np.ndarray:
        """Return q `(n_out,)`, half the width of an interval, in own units.

        Arguments:
            level: the share of values that intervals shall hold, in per cent, from 0 to below 100.

        Infinite where there are too few residuals for the level: n must be at least level / (100 - level).
        """
        rank = math.ceil(_exactly((self.n + 1) * level / 100))
        if rank == 0:
            return np.zeros(self.widths.shape[1])
        if rank > self.n:
            return np.full(self.widths.shape[1], np.inf)
        kept = int(np.searchsorted(self.ranks, rank))
        return self.widths[kept]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that numpy.savez stores without pickle: `n` (), `ranks` and `widths`."""
        return {"n": np.array(self.n), "ranks": self.ranks, "widths": self.widths}


def of_residuals(residuals: np.ndarray) -> Intervals:
    """Return the intervals that residuals of validation data give.

    Arguments:
        residuals: forecast minus truth of each output, `(n, n_out)`, own units; rows with NaN, whose truth
            is not known, do not count.
    """
    complete = ~np.isnan(residuals).any(1)  # (n,)
    sizes = np.sort(np.abs(residuals[complete]), axis=0)  # (n, n_out)
    count = len(sizes)
    ranks = np.unique(np.linspace(1, count, min(count, KEPT)).round().astype(int))  # (m,)
    return Intervals(count, ranks, sizes[ranks - 1])


def from_arrays(arrays: Mapping[str, np.ndarray], source: Any) -> Intervals:
    """Return the intervals that `to_arrays` stored; source: the file, for the error.

    Raises StoreError for arrays that are not those of intervals.
    """
    damaged = StoreError(f"{source} is damaged: it holds no usable intervals")
    try:
        count, ranks, widths = int(arrays["n"]), arrays["ranks"], arrays["widths"]
    except (KeyError, TypeError, ValueError):
        raise damaged from None
    if widths.ndim != 2 or ranks.shape != widths.shape[:1] or (len(ranks) == 0) != (count == 0):
        raise damaged
    return Intervals(count, ranks, widths)


def measured(intervals: Intervals, residuals: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return what the intervals are worth on test data, for every level of `LEVELS`.

    Arguments:
        intervals: those that validation data gave.
        residuals: forecast minus truth on test data, `(n, n_out)`, own units.

    Returns by level, such as "80": `coverage`, the share of test values that lie within, from 0 to 1;
    `coverages`, that of each output; `half_widths` of each output, own units.
    """
    found = {}
    for level in LEVELS:
        widths = intervals.half_widths(level)  # (n_out,)
        shares = coverage(widths, residuals)  # (n_out,)
        found[f"{level:g}"] = {
            "coverage": float(shares.mean()),
            "coverages": shares.tolist(),
            "half_widths": widths.tolist(),
        }
    return found


def coverage(half_widths: np.ndarray, residuals: np.ndarray) -> np.ndarray:
    """Return the share of values within their intervals, from 0 to 1, `(n_out,)`; NaN where there are none.

    Arguments:
        half_widths: of each output, `(n_out,)`.
        residuals: forecast minus truth, `(n, n_out)`; those of NaN do not count.
    """
    known = ~np.isnan(residuals)  # (n, n_out)
    inside = known & (np.abs(residuals) <= half_widths[None])  # (n, n_out)
    counts = known.sum(0)  # (n_out,)
    return np.where(counts > 0, inside.sum(0) / np.maximum(counts, 1), np.nan)


def levels(text: str) -> tuple[float, ...]:
    """Return the levels of a list such as `80,95`, in per cent, rising.

    Raises ArgumentError for anything but numbers above 0 and below 100.
    """
    found = set()
    for piece in text.split(","):
        try:
            level = float(piece)
        except ValueError:
            level = math.nan
        if not 0 < level < 100:
            raise ArgumentError(
                f"interval must be per cent above 0 and below 100, such as 80,95; not {piece.strip()!r}"
            )
        found.add(level)
    return tuple(sorted(found))


def _exactly(number: float) -> float:
    """Return a number without what rounding added, so that 100 x 0.8 does not round up to 81."""
    return round(number, 9)
