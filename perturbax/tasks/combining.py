"""A mean of simple forecasts, each weighted by its errors on validation rows.

    f_o = sum_i w_io f_io,      w_io = p_i e_io^(-n_o / 2) / sum_j p_j e_jo^(-n_o / 2)

f_io is the i-th simple forecast of output o, e_io its mean squared error on validation rows, and n_o how
many of these forecasts do not overlap: the number of rows over the horizon. The weights are the
likelihoods of the validation errors, were they normal with the variance seen (Eklund and Karlsson 2007,
"Forecast combination and model averaging using predictive measures"). Before anything is seen, p_i, half
of the weight belongs to the naive forecasts in equal parts, the other half to the fitted ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from perturbax.tasks import linear
from perturbax.tasks.encoding import Encoding, Member, forecasts_of_members, without_noise
from perturbax.tasks.forms import NAIVE
from perturbax.tasks.record import Record, training_std

LEAST_WEIGHT = 0.02  # of what has less of every output nothing is kept
LEAST_ERROR = 1e-12  # in training variances: below it a forecast counts as exact


class Judged(NamedTuple):
    """How far off a forecast was on validation rows.

    Attributes:
        squares: mean squared error of each output in own units, `(n_out,)`.
        rows: numbers of the rows that it is a mean over.
    """

    squares: np.ndarray
    rows: np.ndarray


class Candidate(NamedTuple):
    """A simple forecast that may become a part of the mean.

    Attributes:
        kind: in words: a naive form, `linear`, or `linear of roots`.
        encoding: its encoding, of a naive form or of form linear.
        rooted: names of the columns that it reads and forecasts as square roots.
        judged: its validation errors, where they are known.
    """

    kind: str
    encoding: Encoding
    rooted: tuple[str, ...] = ()
    judged: Judged | None = None


class Combination(NamedTuple):
    """What is averaged, and why.

    Attributes:
        members: the simple forecasts and their weights, which add up to 1 for each output.
        errors: the lowest mean squared validation error of each kind, in training variances.
        shares: the weight of each kind, a mean over outputs; those of the members alone.
    """

    members: tuple[Member, ...]
    errors: dict[str, float]
    shares: dict[str, float]


def combine(record: Record, candidates: Sequence[Candidate]) -> Combination:
    """Return the weighted mean of simple forecasts, judged on the same validation rows.

    Arguments:
        record: the series.
        candidates: forecasts of the same outputs.
    """
    errors, rows = _validation_errors(record, candidates)  # (candidates, n_out)
    horizons = np.array([max(horizon, 1) for _, horizon in candidates[0].encoding.outputs])  # (n_out,)
    weights = likelihood_weights(errors, rows / horizons, [one.kind in NAIVE for one in candidates])
    kept = np.flatnonzero((weights >= LEAST_WEIGHT).any(1)).tolist()
    weights = without_noise(weights[kept] / weights[kept].sum(0)[None])  # (kept, n_out)
    members = [
        Member(candidates[i].encoding, candidates[i].rooted, weight)
        for i, weight in zip(kept, weights, strict=True)
    ]
    best: dict[str, float] = {}
    for one, error in zip(candidates, errors.mean(1).tolist(), strict=True):
        best[one.kind] = min(error, best.get(one.kind, np.inf))
    shares: dict[str, float] = {}
    for i, weight in zip(kept, weights, strict=True):
        kind = candidates[i].kind
        shares[kind] = shares.get(kind, 0.0) + float(weight.mean())
    return Combination(tuple(members), best, shares)


def likelihood_weights(errors: np.ndarray, counts: np.ndarray, naive: Sequence[bool]) -> np.ndarray:
    """Return the weight of each forecast in the mean of each output, `(forecasts, n_out)`; columns add to 1.

    Arguments:
        errors: mean squared errors e_io, `(forecasts, n_out)`.
        counts: for each output the number n_o of forecasts that do not overlap, `(n_out,)`.
        naive: for each forecast whether it is a naive one, not a fitted one.
    """
    is_naive = np.array(naive, bool)
    groups = [np.flatnonzero(group) for group in (is_naive, ~is_naive) if group.any()]
    log_prior = np.zeros(len(errors))
    for group in groups:
        log_prior[group] = -np.log(len(groups) * len(group))
    log_weights = log_prior[:, None] - 0.5 * counts[None] * np.log(np.maximum(errors, LEAST_ERROR))
    weights = np.exp(log_weights - log_weights.max(0)[None])  # the largest is 1
    return weights / weights.sum(0)[None]


def _validation_errors(record: Record, candidates: Sequence[Candidate]) -> tuple[np.ndarray, int]:
    """Return mean squared errors in training variances, `(candidates, n_out)`, and the number of rows.

    What the fits have found on the same rows is taken; the others are forecast.
    """
    first = candidates[0].encoding
    history = max(one.encoding.history for one in candidates)
    every_row = record.rows("valid", first.horizons, history)
    rows = linear.thinned(every_row)
    truth = first.targets_of(record.columns, record.segments)[rows]  # (rows, n_out)
    variances = np.array([training_std(record, target) ** 2 for target, _ in first.outputs])  # (n_out,)
    errors = np.zeros((len(candidates), len(variances)))
    left = []
    for i, one in enumerate(candidates):
        if one.judged is not None and np.array_equal(one.judged.rows, rows):
            errors[i] = one.judged.squares
        else:
            left.append(i)
    members = [Member(candidates[i].encoding, candidates[i].rooted, np.ones(len(variances))) for i in left]
    forecasts = forecasts_of_members(members, record.columns, record.time, record.segments, rows)
    for i, made in zip(left, forecasts, strict=True):
        errors[i] = np.mean((made[rows] - truth) ** 2, 0)
    return without_noise(errors / variances[None]), len(every_row)
