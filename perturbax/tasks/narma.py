"""The NARMA-10 system."""

from typing import Any, ClassVar

import numpy as np

from perturbax.fields import setting
from perturbax.tasks.generated_series import GeneratedSeries
from perturbax.tasks.shipped_credit import ONLINE_WINDOW, TO_GO, for_node_rules

ORDER = 10
WASHOUT = 100  # samples dropped at the beginning
LARGEST = 10.0  # beyond it the series does not come back; it stays below 1 for nearly all of the time


class Narma(GeneratedSeries):
    """System identification: predict a nonlinear moving average of order 10 from its random input.

        y_{t+1} = 0.3 y_t + 0.05 y_t sum_{i=0..9} y_{t-i} + 1.5 u_{t-9} u_t + 0.1
        input u_t, uniform in [0, 0.5];      target y_{t + horizon}

    Atiya and Parlos 2000. The system can run away: a draw in which |y| exceeds 10 is drawn again. The network
    never sees y, which the baseline `persistence` does.
    """

    length: int = setting(5000)
    series_seed: int = setting(0)
    source: ClassVar[str] = "narma"
    summary: ClassVar[str] = "identify the nonlinear system NARMA-10 from its random input; generated"
    papers: ClassVar[tuple[str, ...]] = ("atiya2000",)
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 32, "passes": 6000, "lr": 3e-3}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = for_node_rules(
        {**ONLINE_WINDOW, "lr": 1e-3}, TO_GO
    )

    def series(self) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
        """Return the input u and the output y, which is the target."""
        u, y = generate(self.length, self.series_seed)
        return {"u": u, "y": y}, ("u",), "y"


def generate(length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return input u and output y after the washout, float64 `(length,)` each.

    Arguments:
        length: number of samples.
        seed: of the random input.
    """
    rng = np.random.default_rng(seed)
    while True:
        u = rng.uniform(0, 0.5, length + WASHOUT)
        y = _respond(u)
        if y is not None:
            return u[WASHOUT:], y[WASHOUT:]


def _respond(u: np.ndarray) -> np.ndarray | None:
    """Return the output `(N,)` of the system for an input `(N,)`, None where it runs away."""
    y = [0.0] * ORDER  # y_t of the steps up to t = 9
    for now, past in zip(u[ORDER - 1 : -1].tolist(), u[:-ORDER].tolist(), strict=True):
        y.append(0.3 * y[-1] + 0.05 * y[-1] * sum(y[-ORDER:]) + 1.5 * past * now + 0.1)
        if not abs(y[-1]) <= LARGEST:
            return None
    return np.array(y)
