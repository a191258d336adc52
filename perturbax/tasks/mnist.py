"""Handwritten digits of 28 x 28 pixels, and whatever comes in the same files."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import numpy as np

from perturbax.errors import ArgumentError, DataError
from perturbax.fields import in_range, setting, whole
from perturbax.tasks.base import Shipped
from perturbax.tasks.files.idx import read_idx
from perturbax.tasks.files.npz import read_npz
from perturbax.tasks.images import Images, as_pixels, check_white, colours_last, white_of
from perturbax.tasks.labels import class_numbers
from perturbax.tasks.shipped_credit import TO_GO, for_node_rules

FILES = {"train": "train", "test": "t10k"}


class Mnist(Images):
    """Classify handwritten digits: MNIST (or Fashion-MNIST), read row by row or pixel by pixel.

        input    a row (T = 28, 28 inputs) or a pixel (T = 784, 1 input)
        target   the digit, asked for at the end

    LeCun et al. 1998; sequential and permuted: Le et al. 2015. --data is a folder with the four IDX files
    train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, each as
    it is or with .gz; or one NPZ file with x_train, y_train, x_test, y_test (also of images in colour, the
    colours as last or second axis, and of sequences of numbers `(N, length)`, which are read as pixels). The
    last images for training are kept for validation, all of the test part is for testing.

    Attributes:
        valid: number of training images kept for validation.
        white: value of a white pixel, which inputs are divided by; 0 for 1 or 255, whichever the file has.
        divisor: what inputs are divided by, found when the file was opened; no setting.
    """

    valid: int = setting(2000)
    white: float = setting(0.0)
    divisor: float = eqx.field(default=255.0, static=True, metadata={"data": True})
    summary: ClassVar[str] = (
        "say which handwritten digit was read, row by row or pixel by pixel (--data FOLDER or FILE.npz)"
    )
    papers: ClassVar[tuple[str, ...]] = ("lecun1998", "le2015")
    settings: ClassVar[dict[str, Any]] = {"units": 128, "batch": 64, "passes": 9000, "lr": 3e-3}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = for_node_rules({**TO_GO, "lr": 3e-4})

    @classmethod
    def shipped(cls, options: Mapping[str, Any], data: str | None = None) -> Shipped:
        """Return what is shipped for images read in that order: credit that fades is for 28 rows."""
        of_rows = options.get("order", cls.order) == "rows"
        return Shipped(cls.settings, cls.rule_settings if of_rows else {})

    def __check_init__(self) -> None:
        """Check the number of validation images, and the value of white."""
        whole("valid", self.valid)
        in_range("white", self.white, 0)

    @property
    def unit_of_input(self) -> float:
        """Value of a white pixel, 255 or as the setting or the file says."""
        return self.divisor

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
        white = self.white or white_of(f"{data}, images for training", images)
        if not self.white:
            check_white(f"{data}, images for testing", test_images, white)
        cut = len(images) - self.valid
        opened = dataclasses.replace(self, divisor=white, shape=images.shape[1:])
        return opened._with_parts(
            {
                "train": (self.in_order(images[:cut]), labels[:cut]),
                "valid": (self.in_order(images[cut:]), labels[cut:]),
                "test": (self.in_order(test_images), test_labels),
            }
        )

    def _read_part(self, data: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Return images `(N, ...)` and class numbers `(N,)` of part `train` or `test`, checked."""
        if data.is_file():
            images, labels = read_npz(data, part)
        else:
            images = read_idx(data, f"{FILES[part]}-images-idx3-ubyte", 3)
            labels = read_idx(data, f"{FILES[part]}-labels-idx1-ubyte", 1)
        source = f"{data}, images for {part}"
        self._check_counts(data, part, images, labels)
        pixels = colours_last(source, as_pixels(source, images))
        if pixels.ndim == 2 and self.order == "rows":
            raise DataError(
                f"{source}: images must be (N, height, width), not of shape {images.shape}; as they have no "
                "rows, reshape them, or read them value by value: --task.order pixels"
            )
        return pixels, class_numbers(f"{data}, labels for {part}", labels, self.classes)

    def _check_counts(self, data: Path, part: str, images: np.ndarray, labels: np.ndarray) -> None:
        """Raise DataError unless there is one label for each of one or more images."""
        if images.ndim < 2 or labels.ndim < 1:
            raise DataError(
                f"{data}: images for {part} must be (N, height, width) and labels (N,), "
                f"not of shapes {images.shape} and {labels.shape}"
            )
        if len(images) != len(labels):
            hint = (
                f"; shapes are {images.shape} and {labels.shape}, the first axis must be that of the images"
            )
            raise DataError(f"{data}: {len(images)} images for {part}, but {len(labels)} labels{hint}")
        if images.size == 0:
            raise DataError(f"{data}: there are no images for {part}")
