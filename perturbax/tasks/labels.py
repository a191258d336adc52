"""Labels as files have them, read as class numbers: plain numpy, without JAX."""

import numpy as np

from perturbax.errors import DataError


def class_numbers(source: str, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return labels as class numbers from 0, int64 `(N,)`.

    Labels may be whole numbers (also stored as floats, truth values or text) of shape `(N,)` or `(N, 1)`, or
    one-hot rows `(N, classes)`.

    Arguments:
        source: what errors call the labels: their file, and their name in it.
        labels: as read from the file.
        classes: number of classes.

    Raises DataError for labels of another kind, shape or range; it says what was expected and what came.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    expected = f"labels must be from 0 to {classes - 1}"
    if labels.ndim == 2 and labels.shape[1] == classes:
        return _from_one_hot(source, labels, expected)
    if labels.ndim != 1:
        raise DataError(
            f"{source}: {expected}, one per example as (N,) or one-hot as (N, {classes}), "
            f"not of shape {labels.shape}"
        )
    numbers = _as_numbers(source, labels, expected)  # (N,)
    broken = np.flatnonzero(~np.isfinite(numbers) | (numbers != np.floor(numbers)))
    if broken.size:
        raise DataError(f"{source}: {expected}, whole numbers; entry {broken[0]} is {labels[broken[0]]}")
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < classes:
        low, high = int(numbers.min()), int(numbers.max())
        hint = "; they seem to be counted from 1: subtract 1" if (low, high) == (1, classes) else ""
        raise DataError(f"{source}: {expected}, not from {low} to {high}{hint}")
    return numbers.astype(np.int64)


def _as_numbers(source: str, labels: np.ndarray, expected: str) -> np.ndarray:
    """Return labels `(N,)` as float64; DataError for what is no number."""
    if labels.dtype.kind in "biuf":
        return labels.astype(np.float64)
    if labels.dtype.kind not in "SUO":
        raise DataError(f"{source}: {expected}, not {labels.dtype}")
    numbers = np.zeros(len(labels))
    for i, label in enumerate(labels.tolist()):
        text = label.decode(errors="replace") if isinstance(label, bytes) else str(label)
        try:
            numbers[i] = float(text)
        except ValueError:
            raise DataError(f"{source}: {expected}, not text such as {text[:40]!r} (entry {i})") from None
    return numbers


def _from_one_hot(source: str, labels: np.ndarray, expected: str) -> np.ndarray:
    """Return the class numbers of one-hot rows `(N, classes)`; DataError where a row is none."""
    if labels.dtype.kind not in "biuf":
        raise DataError(f"{source}: {expected}, or one-hot rows of numbers, not {labels.dtype}")
    zeros_and_ones = np.isin(labels, (0, 1)).all(1)  # (N,)
    broken = np.flatnonzero(~zeros_and_ones | (labels.sum(1) != 1))
    if broken.size:
        raise DataError(f"{source}: {expected}, or one-hot rows; row {broken[0]} has not a single 1 among 0s")
    return labels.argmax(1).astype(np.int64)
