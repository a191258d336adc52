"""Reading inputs and labels from one NPZ file, as Keras ships MNIST and its relatives."""

import zipfile
from pathlib import Path

import numpy as np

from perturbax.errors import DataError


def read_npz(path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the arrays `x_PART` and `y_PART` of a file, of any kind and shape.

    The training part may also be called `x` and `y`, as in MNIST-1D (Greydanus and Kobak 2024).

    Arguments:
        path: the NPZ file.
        part: `train` or `test`.

    Raises DataError for a file that is no NPZ file, lacks an array, or needs pickle to be read.
    """
    names = f"x_{part}", f"y_{part}"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            held = list(arrays)
            if part == "train" and not set(names) & set(held) and {"x", "y"} <= set(held):
                names = "x", "y"
            if not set(names) <= set(held):
                has = ", ".join(held[:8]) or "none"
                raise DataError(f"{path} has no arrays {names[0]} and {names[1]}; it has {has}")
            return np.asarray(arrays[names[0]]), np.asarray(arrays[names[1]])
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not an NPZ file of plain arrays: {type(error).__name__}") from error
