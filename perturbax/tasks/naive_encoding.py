"""Encodings of naive forms, their scales fitted to training rows."""

import dataclasses

import numpy as np

from perturbax.tasks import linear
from perturbax.tasks.encoding import Encoding, moments
from perturbax.tasks.record import Record, Wanted, training_std


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
    return with_target_scales(record, plain)


def with_target_scales(record: Record, encoding: Encoding) -> Encoding:
    """Return an encoding with the scales of its outputs: of the target, or of what its base leaves.

    Arguments:
        record: the series, and how it is cut.
        encoding: how it is read; its target scales are not looked at.
    """
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
