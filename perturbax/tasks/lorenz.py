"""The Lorenz system."""

from typing import Any, ClassVar

import numpy as np

from perturbax.fields import one_of, positive, setting
from perturbax.tasks.generated_series import GeneratedSeries
from perturbax.tasks.shipped_credit import ONLINE_WINDOW, TO_GO, for_node_rules

SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
SUBSTEP = 0.01  # longest step of the integration
WASHOUT = 20.0  # time dropped at the beginning

State = tuple[float, float, float]


class Lorenz(GeneratedSeries):
    """A chaotic series to forecast: the first variable of the Lorenz system, `horizon` samples ahead.

        dx/dt = 10 (y - x),   dy/dt = x (28 - z) - y,   dz/dt = x y - 8/3 z

    Lorenz 1963. Runge-Kutta of fourth order in steps of at most 0.01, one sample each `interval`, 20 time
    units of washout. Errors grow by e in about 1.1 time units: 22 samples.

    Attributes:
        horizon: samples between input and target.
        observed: which variables are the input: x, or xyz.
        interval: time between samples.
        series_seed: seed of the random start; not the seed of a run.
    """

    horizon: int | str = setting(10)
    observed: str = setting("x")
    interval: float = setting(0.05)
    length: int = setting(5000)
    series_seed: int = setting(0)
    source: ClassVar[str] = "lorenz"
    summary: ClassVar[str] = "forecast the chaotic Lorenz system 10 samples ahead; generated"
    papers: ClassVar[tuple[str, ...]] = ("lorenz1963",)
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 32, "passes": 6000, "lr": 3e-3}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        **for_node_rules({**ONLINE_WINDOW, "lr": 3e-4}, TO_GO),
        "feedback": ({"gate": False, "discount": 0.9, "lr": 1e-3},),
        "mirror": ({"lr": 1e-2},),
        "bptt": ({"lr": 1e-2},),
    }

    def __check_init__(self) -> None:
        """Check what is observed, and how often."""
        one_of("observed", self.observed, ("x", "xyz"))
        positive("interval", self.interval)

    def series(self) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
        """Return the three variables x, y, z; the observed ones are the input, x the target."""
        samples = generate(self.interval, self.length, self.series_seed)
        columns = dict(zip("xyz", samples.T, strict=True))
        return columns, tuple(self.observed), "x"


def generate(interval: float, length: int, seed: int) -> np.ndarray:
    """Return samples of (x, y, z) after the washout, float64 `(length, 3)`.

    Arguments:
        interval: time between samples.
        length: number of samples.
        seed: of the random start.
    """
    start = np.array([1.0, 1.0, 25.0]) + np.random.default_rng(seed).normal(size=3)
    state: State = tuple(start.tolist())
    substeps = int(np.ceil(interval / SUBSTEP - 1e-9))  # per sample
    dropped = int(np.ceil(WASHOUT / interval))  # samples
    samples = []
    for sample in range(dropped + length):
        for _ in range(substeps):
            state = _runge_kutta(state, interval / substeps)
        if sample >= dropped:
            samples.append(state)
    return np.array(samples)


def _runge_kutta(state: State, h: float) -> State:
    """Return the state a time h later, by the Runge-Kutta method of fourth order."""
    k1 = _slope(*state)
    k2 = _slope(*_moved(state, h / 2, k1))
    k3 = _slope(*_moved(state, h / 2, k2))
    k4 = _slope(*_moved(state, h, k3))
    mean = tuple(p + 2 * q + 2 * r + s for p, q, r, s in zip(k1, k2, k3, k4, strict=True))
    return _moved(state, h / 6, mean)


def _moved(state: State, h: float, slope: tuple[float, ...]) -> State:
    """Return state + h slope."""
    x, y, z = (v + h * k for v, k in zip(state, slope, strict=True))
    return x, y, z


def _slope(x: float, y: float, z: float) -> State:
    """Return the time derivative of the state."""
    return SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z
