"""The Mackey-Glass delay equation."""

import math
from typing import Any, ClassVar

import numpy as np

from perturbax.fields import one_of, setting, whole
from perturbax.tasks.generated_series import GeneratedSeries
from perturbax.tasks.shipped_credit import ONLINE_WINDOW, for_node_rules

BETA, GAMMA, POWER = 0.2, 0.1, 10
SUBSTEPS = 10  # Euler steps of 0.1 per sample
WASHOUT = 100  # samples dropped at the beginning
ONLINE = {**ONLINE_WINDOW, "lr": 5e-4}
TO_GO = {"credit": "to-go", "discount": 0.95, "lr": 1e-3}


class MackeyGlass(GeneratedSeries):
    """A chaotic series to forecast, or to recall (Mackey and Glass 1977).

        dv/dt = 0.2 v(t - tau) / (1 + v(t - tau)^10) - 0.1 v(t),      x_t = tanh(v_t - 1)

    Euler steps of 0.1, one sample per time unit, a history that starts at 1.2 + 0.2 (U - 0.5), 100 samples of
    washout. The published code also subtracts the mean of the whole series; here the scaling by the training
    part does that. `recall` is the published variant: its target is the input seen `horizon` steps EARLIER,
    which a linear filter of horizon + 1 taps solves exactly; `forecast` looks ahead (Garcia Fernandez et al.
    2024).

    Attributes:
        horizon: samples between input and target.
        direction: forecast (the target lies ahead) or recall (the target is a past input).
        tau: delay of the equation, in samples; chaotic from about 17.
        series_seed: seed of the series' random history; not the seed of a run.
    """

    horizon: int | str = setting(15)
    direction: str = setting("forecast")
    tau: int = setting(17)
    length: int = setting(5000)
    series_seed: int = setting(0)
    source: ClassVar[str] = "mackey-glass"
    summary: ClassVar[str] = (
        "forecast (or recall) the chaotic Mackey-Glass series 15 samples ahead; generated"
    )
    papers: ClassVar[tuple[str, ...]] = ("mackey1977", "garcia2024")
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 32, "passes": 9000, "lr": 1e-3}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        **for_node_rules(ONLINE, TO_GO),
        "feedback": ({"discount": 0.95, "gate": False, "penalty": 1e-3},),
        "mirror": ({"lr": 4e-3},),
        "bptt": ({"lr": 4e-3},),
    }

    def __check_init__(self) -> None:
        """Check the direction and the delay."""
        one_of("direction", self.direction, ("forecast", "recall"))
        whole("tau", self.tau)

    @property
    def shifts(self) -> tuple[int, ...]:
        """Samples from an input to its targets: the horizons, backwards in recall."""
        if self.direction == "forecast":
            return super().shifts
        return tuple(-horizon for horizon in reversed(super().shifts))

    def series(self) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
        """Return the one variable x, which is both input and target."""
        return {"x": generate(self.tau, self.length, self.series_seed)}, ("x",), "x"


def generate(tau: int, length: int, seed: int) -> np.ndarray:
    """Return tanh(v - 1) after the washout, float64 `(length,)`.

    Arguments:
        tau: delay of the equation, in samples.
        length: number of samples.
        seed: of the random history.
    """
    start = 1.2
    history = start + 0.2 * (np.random.default_rng(seed).random(tau * SUBSTEPS) - 0.5)  # (tau * SUBSTEPS,)
    path = history.tolist()  # v at every Euler step, from time -tau on
    v = start
    for step in range(SUBSTEPS * (length + WASHOUT)):
        delayed = path[step]
        path.append(v)
        v += (BETA * delayed / (1 + delayed**POWER) - GAMMA * v) / SUBSTEPS
    path.append(v)
    samples = path[len(history) + SUBSTEPS :: SUBSTEPS]  # one per time unit, from time 1 on
    return np.array([math.tanh(v - 1) for v in samples[WASHOUT:]])
