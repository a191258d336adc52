"""Handwritten digits of 8 x 8 pixels."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from perturbax.errors import ArgumentError
from perturbax.plugins import import_optional
from perturbax.tasks.images import Images

VALID, TEST = 300, 300  # images; the other 1,197 are for training


class Digits(Images):
    """Classify handwritten digits: 1,797 of 8 x 8 pixels, read row by row or pixel by pixel.

        input    a row (T = 8, 8 inputs) or a pixel (T = 64, 1 input)
        target   the digit, asked for at the end

    The images are those that scikit-learn ships, the test part of a set by Alpaydin and Kaynak 1998. They are
    shuffled once and cut into 1,197 for training, 300 for validation and 300 for testing, the same ones
    always.
    """

    summary: ClassVar[str] = (
        "say which handwritten digit was read, row by row or pixel by pixel (needs scikit-learn)"
    )
    papers: ClassVar[tuple[str, ...]] = ("alpaydin1998", "le2015")
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 32, "passes": 6000, "lr": 3e-3}

    @property
    def unit_of_input(self) -> float:
        """Largest value of a stored pixel: 16."""
        return 16.0

    def open(self, data: Path | None) -> "Digits":
        """Return the task with its images read.

        Arguments:
            data: None; ArgumentError for a file, or without scikit-learn.
        """
        if data is not None:
            raise ArgumentError("task digits reads the images of scikit-learn: it takes no --data")
        found = import_optional("task digits", "sklearn.datasets", "scikit-learn").load_digits()
        order = np.random.default_rng(0).permutation(len(found.target))
        x = self.in_order(found.images[order].astype(np.uint8))  # (N, T, n_in)
        label = found.target[order]  # (N,)
        cuts = {"train": slice(VALID + TEST, None), "valid": slice(TEST, VALID + TEST), "test": slice(TEST)}
        opened = dataclasses.replace(self, shape=found.images.shape[1:])
        return opened._with_parts({part: (x[cut], label[cut]) for part, cut in cuts.items()})
