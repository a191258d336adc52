"""Classification of images read piece by piece."""

import abc
from typing import Any

import numpy as np

from perturbax.fields import one_of, setting
from perturbax.tasks.labelled import Labelled


class Images(Labelled):
    """Base of the tasks that read an image from the top left, in rows, pixels or at once, and name its class.

    Pixels are in [0, 1]. Sequential and permuted images: Le et al. 2015.

    Attributes:
        order: rows (one row of the image per step), pixels (one pixel per step) or whole (all in one step).
        permuted: whether the pixels of all images are put into one and the same random order first.
    """

    order: str = setting("rows")
    permuted: bool = setting(False)

    def __check_init__(self) -> None:
        """Check the order."""
        one_of("order", self.order, ("rows", "pixels", "whole"))

    @property
    def classes(self) -> int:
        """Ten: digits, or as many kinds of something else."""
        return 10

    @property
    @abc.abstractmethod
    def unit_of_input(self) -> float:
        """Largest value of a stored pixel."""

    def in_order(self, images: Any) -> np.ndarray:
        """Return images as sequences `(N, T, n_in)`, in the order of the settings.

        Arguments:
            images: `(N, height, width)`, or `(N, height, width, colours)`.
        """
        n, height = images.shape[:2]
        flat = images.reshape(n, -1)  # (N, pixels)
        if self.permuted:
            flat = flat[:, np.random.default_rng(0).permutation(flat.shape[1])]
        shapes = {"rows": (n, height, -1), "pixels": (n, -1, 1), "whole": (n, 1, -1)}
        return flat.reshape(shapes[self.order])
