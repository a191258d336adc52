"""Statistics of noisy estimates of a known gradient: squared bias, variance, cosine, each free of its own
noise.
"""

import math
from typing import Any, NamedTuple

import numpy as np

SURE = 3.0  # standard errors that settle a question
ROUNDING = 1e-9  # squares relative to the gradient's that arithmetic alone can leave


class Moments(NamedTuple):
    """What the statistics need of N estimates x_i around the exact gradient g: e_i = x_i - g; sums over
    groups add.
    """

    square: np.ndarray  # |e_i|^2
    shared: np.ndarray  # e_i . sum_j e_j
    along: np.ndarray  # e_i . g
    g: float  # |g|^2

    @classmethod
    def of(cls, x: np.ndarray, g: np.ndarray) -> "Moments":
        """Of estimates `(N, size)` and the gradient `(size,)`."""
        g = g.astype(np.float64)
        e = x.astype(np.float64) - g
        return cls(np.sum(e * e, 1), e @ e.sum(0), e @ g, float(g @ g))

    def __add__(self, other: Any) -> "Moments":
        return Moments(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def variance(self) -> float:
        """Trace of the covariance, unbiased; 0 for what rounding leaves."""
        n = len(self.square)
        found = float(self.square.sum() - self.shared.sum() / n) / (n - 1)
        return found if found > 1e-12 * self.square.mean() else 0.0

    def bias(self) -> tuple[float, float]:
        """|E x - g|^2 as sum_{i != j} e_i . e_j / (N (N - 1)), which is unbiased, and its standard error."""
        n, total, own = len(self.square), self.shared.sum(), self.square.sum()
        without = (total - 2 * self.shared + self.square - (own - self.square)) / ((n - 1) * (n - 2))
        return float((total - own) / (n * (n - 1))), _jackknife(without)

    def margin(self, cosine: float) -> tuple[float, float]:
        """D = <E x, g>^2 / (cosine^2 |g|^2) - |E x|^2, unbiased, and its standard error.

        The cosine of an average of K is above `cosine` when D > V / K.
        """
        n, p = len(self.square), self.along + self.g
        sign = math.copysign(1.0, p.sum())  # a direction that points away never gets there

        def at(total: Any, own: Any, e2: Any, ee: Any, n: int) -> Any:
            pairs = n * (n - 1)
            expected = (e2 - ee) / pairs + 2 * total / n - self.g
            return sign * (total**2 - own) / pairs / (cosine**2 * self.g) - expected

        # |E x|^2 = |E e|^2 + 2 <E x, g> - |g|^2
        s = p.sum(), (p * p).sum(), self.shared.sum(), self.square.sum()
        less = s[2] - 2 * self.shared + self.square
        without = at(s[0] - p, s[1] - p * p, less, s[3] - self.square, n - 1)
        return float(at(*s, n)), _jackknife(without)


def _jackknife(without: np.ndarray) -> float:
    """Return the standard error of a statistic from its values with one draw left out each."""
    n = len(without)
    return float(np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2)))


def cosine_at(along: float, expected: float, variance: float, samples: int | float) -> float:
    """Return the predicted cosine of an average of so many samples."""
    length = math.sqrt(max(0.0, expected + variance / samples))
    return along / length if length else math.nan


def reach(margin: float, error: float, variance: float) -> tuple[str, int | None]:
    """Return whether averaging reaches the target, and with how many samples."""
    highest = margin + SURE * error
    if highest <= ROUNDING:
        return "never", None
    settled = margin > SURE * error + ROUNDING
    needed = max(1, math.ceil(variance / (margin if settled else highest)))
    return "yes" if settled else "unsettled", needed
