"""Fitting an encoding to the training part of a series, and the choice of its form on the validation part.

Scales, seasons and coefficients come from training rows alone; validation rows choose between them; test rows
take no part.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from perturbax.errors import ArgumentError
from perturbax.tasks.combining import Candidate, Combination, combine
from perturbax.tasks.encoding import Encoding, with_roots
from perturbax.tasks.forms import NAIVE
from perturbax.tasks.linear_fits import LinearFit, linear_fits, usable_bases
from perturbax.tasks.naive_encoding import naive_encoding, with_target_scales
from perturbax.tasks.record import Record, Wanted
from perturbax.tasks.season import find_season

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
    usable = usable_bases(record, wanted, season)
    fits = linear_fits(record, wanted, season, [wanted.form] if wanted.form in NAIVE else usable)
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
    return Fitted(with_target_scales(record, bare), best.bare, combination)


def _fitted_candidates(fits: Sequence[LinearFit], rooted: tuple[str, ...] = ()) -> list[Candidate]:
    """Return the fits that had rows enough, as simple forecasts; rooted: columns that are square roots."""
    kind = "linear of roots" if rooted else "linear"
    return [Candidate(kind, fit.bare, rooted, fit.judged) for fit in fits if np.isfinite(fit.error)]


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
    fits = linear_fits(roots, wanted, season, usable_bases(roots, wanted, season), rooted)
    return _fitted_candidates(fits, rooted)


def fit_linear(record: Record, wanted: Wanted, season: int) -> Encoding:
    """Return the encoding of form linear with the lowest validation error, for outputs of 0.

    Arguments:
        record: the series, and how it is cut.
        wanted: what is read and forecast; its form and season are not looked at.
        season: rows of a season; 1 for none.
    """
    usable = usable_bases(record, wanted, season)
    return _best(linear_fits(record, wanted, season, usable)).bare


def _season(record: Record, wanted: Wanted) -> int:
    """Return the season of the first target, found in its training rows."""
    step = None if record.time is None else record.time.step
    return find_season(record.training_rows(record.columns[wanted.targets[0]]), step)


def _best(fits: Sequence[LinearFit]) -> LinearFit:
    """Return the fit with the lowest validation error; the first of those that are as good."""
    return min(fits, key=lambda fit: fit.error)
