"""Reading images and labels from one NPZ file, as Keras ships MNIST and its relatives."""

import zipfile
from pathlib import Path

import numpy as np

from perturbax.errors import DataError


def read_npz(path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (images, labels) from the arrays `x_PART` and `y_PART` of a file.

    Images are `(N, height, width)`, or with colours as a fourth axis, labels `(N,)`.

    Arguments:
        path: the NPZ file.
        part: `train` or `test`.

    Raises DataError for a file that is no NPZ file, lacks an array, or holds anything but unsigned bytes of
    that shape.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    except KeyError as error:
        raise DataError(f"{path} has no arrays x_{part} and y_{part}") from error
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not an NPZ file of plain arrays: {type(error).__name__}") from error
    labels = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{path}: x_{part} must be images of unsigned bytes, not {images.dtype} {images.shape}"
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or (labels.size and labels.min() < 0):
        raise DataError(f"{path}: y_{part} must be labels from 0 on, not {labels.dtype} {labels.shape}")
    return images, labels
