"""Classification of images read piece by piece."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perturbax.errors import ArgumentError, DataError
from perturbax.fields import one_of, setting, whole
from perturbax.tasks.base import HeldOut, Metrics, measure
from perturbax.tasks.labelled import Labelled


class Images(Labelled):
    """Base of the tasks that read an image from the top left, in rows, pixels or at once, and name its class.

    Pixels are in [0, 1]. Sequential and permuted images: Le et al. 2015.

    Attributes:
        order: rows (one row of the image per step), pixels (one pixel per step) or whole (all in one step).
        permuted: whether the pixels of all images are put into one and the same random order first.
        hold: steps that an image read at once is held for, so that a network can settle.
        cost: entropy (cross-entropy, outputs are logits) or squares (half the squared distance from 1 for the
            class and 0 for the others).
        shape: of a stored image, `(height, width[, colours])`, found when the images were read; no setting.
    """

    order: str = setting("rows")
    permuted: bool = setting(False)
    hold: int = setting(1)
    cost: str = setting("entropy")
    shape: tuple[int, ...] = eqx.field(default=(), static=True, metadata={"data": True})

    def __check_init__(self) -> None:
        """Check the order, and that what is held is a whole image."""
        one_of("order", self.order, ("rows", "pixels", "whole"))
        one_of("cost", self.cost, ("entropy", "squares"))
        whole("hold", self.hold)
        if self.hold > 1 and self.order != "whole":
            raise ArgumentError(f"an image is held as a whole: hold {self.hold} needs --task.order whole")

    @property
    def classes(self) -> int:
        """Ten: digits, or as many kinds of something else."""
        return 10

    @property
    def image(self) -> tuple[int, ...]:
        """Shape of the image that is read at once; () where images are read piece by piece."""
        return self.shape if self.order == "whole" else ()

    @property
    def steps(self) -> int:
        """Steps of a sequence, those that an image is held for included."""
        return super().steps * self.hold

    @property
    @abc.abstractmethod
    def unit_of_input(self) -> float:
        """Largest value of a stored pixel."""

    def error(
        self, y: Float[Array, "*rows n_out"], target: Float[Array, "*rows n_out"]
    ) -> Float[Array, "*rows"]:
        """Return the cross-entropy in nats, or half the squared distance."""
        return jnp.sum((y - target) ** 2, -1) / 2 if self.cost == "squares" else super().error(y, target)

    def says(self, y: Array) -> Array:
        """Return the probabilities of the classes; outputs as they are where they are judged by squares."""
        return y if self.cost == "squares" else super().says(y)

    def readouts(self, solved: np.ndarray, mean: np.ndarray) -> list[np.ndarray]:
        """Return readouts for the reservoir: of logits, or for squares the one that least squares finds."""
        return [solved] if self.cost == "squares" else super().readouts(solved, mean)

    def at_frequencies(self, share: Array) -> Metrics:
        """Return the test metrics of predicting each class with a fixed probability `(classes,)`."""
        if self.cost != "squares":
            return super().at_frequencies(share)
        test = self.held_out("test")
        return measure(self, jnp.broadcast_to(share, test.ys.shape), test.ys)

    def _read(self, part: str, rows: Array) -> tuple[Array, Array]:
        """Return inputs `(T, B, n_in)`, held, and targets of stored images by number `(B,)`."""
        xs, ys = super()._read(part, rows)
        return self._held(xs), ys

    def _stored(self, part: str, rows: np.ndarray) -> HeldOut:
        """Return stored images by number `(B,)`, held."""
        stored = super()._stored(part, rows)
        return stored._replace(xs=self._held(stored.xs))

    def _held(self, xs: Array) -> Array:
        """Return inputs `(1, B, n_in)` of images that are read at once `hold` times; others as they are."""
        return xs if self.hold == 1 else jnp.broadcast_to(xs, (self.hold, *xs.shape[1:]))

    def in_order(self, images: Any) -> np.ndarray:
        """Return images as sequences `(N, T, n_in)`, in the order of the settings.

        Arguments:
            images: `(N, height, width)`, or `(N, height, width, colours)`; `(N, length)` for one-dimensional
                ones, which have no rows.
        """
        n, height = images.shape[:2]
        flat = images.reshape(n, -1)  # (N, pixels)
        if self.permuted:
            flat = flat[:, np.random.default_rng(0).permutation(flat.shape[1])]
        shapes = {"rows": (n, height, -1), "pixels": (n, -1, 1), "whole": (n, 1, -1)}
        return flat.reshape(shapes[self.order])


def colours_last(source: str, images: np.ndarray) -> np.ndarray:
    """Return images with their colours, if they have any, as last axis: `(N, height, width[, colours])`.

    Images of one dimension `(N, length)` stay as they are. Of four axes, the one of 1 to 4 entries is that of
    the colours; where both the second and the last could be, the other two must be equal to tell.

    Arguments:
        source: what errors call the images: their file, and their name in it.
        images: `(N, height, width)`, `(N, height, width, colours)` or `(N, colours, height, width)`.

    Raises DataError for another number of axes, and where the axis of colours cannot be told.
    """
    expected = "images must be (N, height, width) or (N, height, width, colours)"
    if images.ndim in (2, 3):
        return images
    if images.ndim != 4:
        raise DataError(f"{source}: {expected}, not of shape {images.shape}")
    _, second, third, last = images.shape
    last_fits, first_fits = last <= 4, second <= 4
    if last_fits == first_fits:
        last_fits, first_fits = second == third, third == last and second <= 4
    if last_fits == first_fits:
        raise DataError(
            f"{source}: {expected}; of the shape {images.shape} it cannot be told which axis has the colours"
        )
    return images if last_fits else np.moveaxis(images, 1, -1)


def as_pixels(source: str, images: np.ndarray) -> np.ndarray:
    """Return stored images as bytes where they are whole numbers from 0 to 255, else as float32; same shape.

    Arguments:
        source: what errors call the images: their file, and their name in it.
        images: truth values, integers or floats.

    Raises DataError for what is no number, or not finite.
    """
    if images.dtype.kind not in "biuf":
        raise DataError(f"{source}: pixels must be numbers, not {images.dtype}")
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        image = int(np.argmin(np.isfinite(images).reshape(len(images), -1).all(1)))
        raise DataError(f"{source}: pixels must be finite numbers, image {image} has NaN or infinity")
    if images.dtype.kind == "b":
        return images.astype(np.uint8)
    if images.dtype.kind in "iu" and images.size and images.min() >= 0 and images.max() <= 255:
        return images.astype(np.uint8, copy=False)
    return images.astype(np.float32)


def white_of(source: str, pixels: np.ndarray) -> float:
    """Return the value of a white pixel, which inputs are divided by: 1 for pixels in [0, 1], else 255.

    Black and white images are stored as 0 and 1 or as 0 and 255, grey ones as floats up to 1 or as numbers up
    to 255; whatever lies between, or outside, is refused rather than guessed.

    Arguments:
        source: what errors call the images: their file, and their name in it.
        pixels: of all images, finite.

    Raises DataError, which says how to name the value, for pixels below 0, above 255, or up to a value
    between 1 and 128.
    """
    if not pixels.size:
        return 255.0
    low, high = float(pixels.min()), float(pixels.max())
    if low >= 0 and high == 0:
        return 255.0
    if low >= 0 and high <= 1:
        return 1.0
    if low >= 0 and 128 <= high <= 255:
        return 255.0
    way_out = (
        f"--task.white {high:g} divides by {high:g}" if low >= 0 else "--task.white 1 reads them as they are"
    )
    raise DataError(
        f"{source}: pixels must be from 0 to 1 or from 0 to 255, not {low:g} to {high:g} ({way_out})"
    )


def check_white(source: str, pixels: np.ndarray, white: float) -> None:
    """Raise DataError for pixels for testing that are scaled otherwise than those for training.

    Arguments:
        source: what errors call the images.
        pixels: for testing, finite.
        white: value of a white pixel in training, 1 or 255.
    """
    if not pixels.size:
        return
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > white or (white == 255 and 0 < high <= 1):
        raise DataError(
            f"{source}: pixels must be from 0 to {white:g} as those for training, not {low:g} to {high:g}"
        )
