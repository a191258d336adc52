"""The Lorenz system."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from perturbax.fields import one_of, positive, setting, whole
from perturbax.tasks.forecast import Forecast

SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
SUBSTEP = 0.01  # longest step of the integration
WASHOUT = 20.0  # time dropped at the beginning


class Lorenz(Forecast):
    """A chaotic series to forecast: the first variable of the Lorenz system, `horizon` samples ahead.

        dx/dt = 10 (y - x),   dy/dt = x (28 - z) - y,   dz/dt = x y - 8/3 z

    Lorenz 1963. Runge-Kutta of fourth order in steps of at most 0.01, one sample each `interval`, 20 time
    units of washout. Errors grow by e in about 1.1 time units: 22 samples.

    Attributes:
        horizon: samples between input and target.
        observed: which variables are the input: x, or xyz.
        interval: time between samples.
        length: samples of the series, after the washout.
        series_seed: seed of the random start; not the seed of a run.
    """

    horizon: int = setting(10)
    observed: str = setting("x")
    interval: float = setting(0.05)
    length: int = setting(5000)
    series_seed: int = setting(0)
    summary: ClassVar[str] = "forecast the chaotic Lorenz system 10 samples ahead; generated"
    papers: ClassVar[tuple[str, ...]] = ("lorenz1963",)
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 32, "passes": 6000, "lr": 3e-3}

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        one_of("observed", self.observed, ("x", "xyz"))
        positive("interval", self.interval)
        whole("length", self.length)
        whole("series_seed", self.series_seed, 0)

    @property
    def shift(self) -> int:
        """The horizon."""
        return self.horizon

    def open(self, data: Path | None) -> "Lorenz":
        """Return the task with its series generated; it takes no file."""
        super().open(data)
        series = dict(zip("xyz", generate(self.interval, self.length, self.series_seed).T, strict=True))
        return self._with("lorenz", series, tuple(self.observed), "x")


def generate(interval: float, length: int, seed: int) -> np.ndarray:
    """Return (x, y, z) for `length` samples after the washout, float64 `(length, 3)`."""
    state = np.array([1.0, 1.0, 25.0]) + np.random.default_rng(seed).normal(size=3)
    inner = int(np.ceil(interval / SUBSTEP - 1e-9))
    h, before = interval / inner, int(np.ceil(WASHOUT / interval))
    v, samples = tuple(state.tolist()), []
    for i in range(inner * (before + length)):
        v = _runge_kutta(v, h)
        if i >= inner * before and (i + 1) % inner == 0:
            samples.append(v)
    return np.array(samples)


def _runge_kutta(v: tuple, h: float) -> tuple:
    k1 = _slope(*v)
    k2 = _slope(*(a + h / 2 * k for a, k in zip(v, k1, strict=True)))
    k3 = _slope(*(a + h / 2 * k for a, k in zip(v, k2, strict=True)))
    k4 = _slope(*(a + h * k for a, k in zip(v, k3, strict=True)))
    return tuple(a + h / 6 * (p + 2 * q + 2 * r + s) for a, p, q, r, s in zip(v, k1, k2, k3, k4, strict=True))


def _slope(x: float, y: float, z: float) -> tuple[float, float, float]:
    return SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z
