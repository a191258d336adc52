"""Statistics of noisy estimates of a gradient: squared bias, variance, cosine, each free of its own noise.

Notation: x_1 ... x_N are independent estimates of the gradient g, e_i = x_i - g their errors. g is known
exactly, or is the mean of M independent measurements of it, whose noise is then subtracted as well.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

SURE = 3.0  # standard errors that settle a question
ROUNDING = 1e-9  # squares relative to the gradient's that arithmetic alone can leave


class Moments(NamedTuple):
    """The inner products of N estimates with each other and with the gradient: all that statistics need.

    Those of several arrays of weights add up to those of all arrays together.

    Attributes:
        square: |e_i|^2, `(N,)`.
        shared: <e_i, sum_j e_j>, `(N,)`.
        along: <e_i, g>, `(N,)`.
        g: |g|^2.
    """

    square: np.ndarray
    shared: np.ndarray
    along: np.ndarray
    g: float

    @classmethod
    def of(cls, estimates: np.ndarray, gradient: np.ndarray, noise: float = 0.0) -> "Moments":
        """Compute them in double precision.

        With a gradient that is measured, g + d with E |d|^2 = noise, |g + d|^2 - noise stands for |g|^2 in
        each of them: <x_i, x_j> and <x_i, g + d> are free of the noise of d already.

        Arguments:
            estimates: `(N, size)`.
            gradient: `(size,)`.
            noise: mean square of the error of the gradient; 0 where it is exact.
        """
        g = gradient.astype(np.float64)
        errors = estimates.astype(np.float64) - g  # (N, size)
        return cls(
            square=np.sum(errors * errors, 1) - noise,
            shared=errors @ errors.sum(0) - len(errors) * noise,
            along=errors @ g + noise,
            g=float(g @ g) - noise,
        )

    def __add__(self, other: Any) -> "Moments":
        return Moments(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def variance(self) -> float:
        """Trace of the covariance of one estimate, unbiased; 0 where only rounding is left."""
        n = len(self.square)
        variance = float(self.square.sum() - self.shared.sum() / n) / (n - 1)
        return variance if variance > 1e-12 * self.square.mean() else 0.0

    def bias(self) -> tuple[float, float]:
        """Return |E x - g|^2 and its standard error.

        The square is estimated without bias by sum_{i != j} <e_i, e_j> / (N (N - 1)); it can be negative.
        """
        n = len(self.square)
        of_all_pairs, of_equal_pairs = self.shared.sum(), self.square.sum()
        square = (of_all_pairs - of_equal_pairs) / (n * (n - 1))
        # The same with estimate i left out, for every i: (N,)
        others = of_all_pairs - 2 * self.shared + self.square
        others_equal = of_equal_pairs - self.square
        without_one = (others - others_equal) / ((n - 1) * (n - 2))
        return float(square), _jackknife_error(without_one)

    def margin(self, cosine: float) -> tuple[float, float]:
        """Return D = <E x, g>^2 / (cosine^2 |g|^2) - |E x|^2, unbiased, and its standard error.

        The mean of K estimates has a larger cosine with g than `cosine` where D > variance / K.

        Arguments:
            cosine: the cosine with g that is to be reached, above 0.
        """
        n = len(self.square)
        projections = self.along + self.g  # <x_i, g>, (N,)
        sign = math.copysign(1.0, projections.sum())  # an estimate that points away never gets there

        def unbiased_margin(
            projected: Any,
            projected_squares: Any,
            all_pairs: Any,
            equal_pairs: Any,
            n: int,
        ) -> Any:
            """D from the sums of <x_i, g>, <x_i, g>^2, <e_i, e_j> over all pairs, and over i = j."""
            pairs = n * (n - 1)
            # |E x|^2 = |E e|^2 + 2 <E x, g> - |g|^2
            mean_square = (all_pairs - equal_pairs) / pairs + 2 * projected / n - self.g
            return sign * (projected**2 - projected_squares) / pairs / (cosine**2 * self.g) - mean_square

        total, total_of_squares = projections.sum(), (projections * projections).sum()
        all_pairs, equal_pairs = self.shared.sum(), self.square.sum()
        without_one = unbiased_margin(
            total - projections,
            total_of_squares - projections * projections,
            all_pairs - 2 * self.shared + self.square,
            equal_pairs - self.square,
            n - 1,
        )  # (N,)
        margin = unbiased_margin(total, total_of_squares, all_pairs, equal_pairs, n)
        return float(margin), _jackknife_error(np.asarray(without_one))


class Measured(NamedTuple):
    """The moments of estimates beside a gradient that is the mean of M measurements, or exact.

    Attributes:
        whole: beside the mean of all measurements.
        without: beside the mean of all but one of them, for each of the M; empty where it is exact.
        noise: mean square of the error of the mean; 0 where it is exact.
    """

    whole: Moments
    without: tuple[Moments, ...]
    noise: float

    @classmethod
    def of(cls, estimates: np.ndarray, parts: np.ndarray) -> "Measured":
        """Compute them.

        Arguments:
            estimates: `(N, size)`.
            parts: `(M, size)`: independent measurements of the gradient; one alone is exact.
        """
        parts = parts.astype(np.float64)
        if len(parts) == 1:
            return cls(Moments.of(estimates, parts[0]), (), 0.0)
        noise = noise_of_mean(parts)
        whole = Moments.of(estimates, parts.mean(0), noise)
        without = []
        for i in range(len(parts)):
            others = np.delete(parts, i, 0)  # (M - 1, size)
            without.append(Moments.of(estimates, others.mean(0), noise_of_mean(others)))
        return cls(whole, tuple(without), noise)

    def __add__(self, other: Any) -> "Measured":
        without = tuple(a + b for a, b in zip(self.without, other.without, strict=True))
        return Measured(self.whole + other.whole, without, self.noise + other.noise)

    def error(self, statistic: Callable[[Moments], float]) -> float:
        """Return the standard error that a statistic has from the noise of the gradient alone.

        statistic: of moments.
        """
        if not self.without:
            return 0.0
        return _jackknife_error(np.asarray([statistic(moments) for moments in self.without]))


def noise_of_mean(parts: np.ndarray) -> float:
    """Return the mean square of the error of a mean, unbiased, from what is averaged, `(M, size)`."""
    apart = parts - parts.mean(0)  # (M, size)
    return float(np.sum(apart * apart)) / (len(parts) * (len(parts) - 1))


def total(measured: Sequence[Measured]) -> Measured:
    """Return the moments of several arrays of weights together."""
    first, *others = measured
    for other in others:
        first = first + other
    return first


def _jackknife_error(without_one: np.ndarray) -> float:
    """Return the standard error of a statistic from its N values with one estimate left out each."""
    n = len(without_one)
    spread = np.sum((without_one - without_one.mean()) ** 2)
    return float(np.sqrt((n - 1) / n * spread))


def cosine_at(along: float, expected: float, variance: float, samples: int | float) -> float:
    """Return the predicted cosine between the mean of several estimates and the gradient g.

    cos(K) = <E x, g> / (|g| sqrt(|E x|^2 + variance / K)), all in units of |g|.

    Arguments:
        along: <E x, g> / |g|^2.
        expected: |E x|^2 / |g|^2.
        variance: trace of the covariance of one estimate, over |g|^2.
        samples: K.

    Returns nan where the mean is zero.
    """
    length = math.sqrt(max(0.0, expected + variance / samples))
    return along / length if length else math.nan


def samples_needed(margin: float, error: float, variance: float) -> tuple[str, int | None]:
    """Return whether averaging reaches a cosine, and how many estimates that takes.

    Arguments:
        margin: D of `Moments.margin` for that cosine, which K estimates reach where D > variance / K.
        error: the standard error of D.
        variance: trace of the covariance of one estimate, in the unit of D.

    Returns ("yes", number), ("unsettled", at least so many) where D is not told from 0, or ("never", None).
    """
    highest = margin + SURE * error
    if highest <= ROUNDING:
        return "never", None
    settled = margin > SURE * error + ROUNDING
    needed = max(1, math.ceil(variance / (margin if settled else highest)))
    return "yes" if settled else "unsettled", needed
