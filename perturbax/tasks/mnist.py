"""Handwritten digits of 28 x 28 pixels, and whatever comes in the same files."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from perturbax.errors import ArgumentError, DataError
from perturbax.fields import setting, whole
from perturbax.tasks.files.idx import read_idx
from perturbax.tasks.files.npz import read_npz
from perturbax.tasks.images import Images

FILES = {"train": "train", "test": "t10k"}


class Mnist(Images):
    """Classify handwritten digits: MNIST (or Fashion-MNIST), read row by row or pixel by pixel.

        input    a row (T = 28, 28 inputs) or a pixel (T = 784, 1 input)
        target   the digit, asked for at the end

    LeCun et al. 1998; sequential and permuted: Le et al. 2015. --data is a folder with the four IDX files
    train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, each as
    it is or with .gz; or one NPZ file with x_train, y_train, x_test, y_test (also of images in colour). The
    last images for training are kept for validation, all of the test part is for testing.

    Attributes:
        valid: number of training images kept for validation.
    """

    valid: int = setting(2000)
    summary: ClassVar[str] = (
        "say which handwritten digit was read, row by row or pixel by pixel (--data FOLDER or FILE.npz)"
    )
    papers: ClassVar[tuple[str, ...]] = ("lecun1998", "le2015")
    settings: ClassVar[dict[str, Any]] = {"units": 128, "batch": 64, "passes": 9000, "lr": 3e-3}

    def __check_init__(self) -> None:
        """Check the number of validation images."""
        whole("valid", self.valid)

    @property
    def unit_of_input(self) -> float:
        """Largest value of a stored pixel: 255."""
        return 255.0

    def open(self, data: Path | None) -> "Mnist":
        """Return the task with its files read.

        Arguments:
            data: folder with the four IDX files, or an NPZ file.

        Raises ArgumentError without the folder or a file, DataError for files that do not hold images and
        labels.
        """
        if data is None or not (Path(data).is_dir() or Path(data).suffix == ".npz"):
            raise ArgumentError(
                "task mnist needs --data FOLDER or FILE.npz" + (f": {data} is none" if data else "")
            )
        if not Path(data).exists():
            raise ArgumentError(f"no such file: {data}")
        images, labels = self._read_part(Path(data), "train")
        test_images, test_labels = self._read_part(Path(data), "test")
        if images.shape[1:] != test_images.shape[1:]:
            sizes = " and ".join("x".join(map(str, a.shape[1:])) for a in (images, test_images))
            raise DataError(f"{data}: images for training and for testing are of different size, {sizes}")
        if self.valid >= len(images):
            raise ArgumentError(f"{data}: valid must be below the number of training images, {len(images)}")
        cut = len(images) - self.valid
        return self._with_parts(
            {
                "train": (self.in_order(images[:cut]), labels[:cut]),
                "valid": (self.in_order(images[cut:]), labels[cut:]),
                "test": (self.in_order(test_images), test_labels),
            }
        )

    def _read_part(self, folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Return images and labels `(N,)` of part `train` or `test`, checked."""
        if folder.is_file():
            images, labels = read_npz(folder, part)
        else:
            name = FILES[part]
            images = read_idx(folder, f"{name}-images-idx3-ubyte", 3)
            labels = read_idx(folder, f"{name}-labels-idx1-ubyte", 1)
        if len(images) != len(labels):
            raise DataError(f"{folder}: {len(images)} images for {part}, but {len(labels)} labels")
        if images.size == 0:
            raise DataError(f"{folder}: there are no images for {part}")
        if labels.max() >= self.classes:
            raise DataError(
                f"{folder}: the labels for {part} go up to {labels.max()}, not {self.classes - 1}"
            )
        return images, labels
