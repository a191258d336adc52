"""The NARMA-10 system."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from perturbax.fields import setting, whole
from perturbax.tasks.forecast import Forecast

ORDER = 10
WASHOUT = 100  # samples dropped at the beginning
LARGEST = 10.0  # beyond it the series does not come back; it stays below 1 for nearly all of the time


class Narma(Forecast):
    """System identification: say the output of a nonlinear moving average of order 10 from its random input.

        y_{t+1} = 0.3 y_t + 0.05 y_t sum_{i=0..9} y_{t-i} + 1.5 u_{t-9} u_t + 0.1,      u_t uniform in [0, 0.5]
        input u_t, target y_{t + horizon}

    Atiya and Parlos 2000. The system can run away: a draw in which |y| exceeds 10 is drawn again. The network
    is never told y, which the baseline `persistence` is.

    Attributes:
        length: samples of the series, after the washout.
        series_seed: seed of the series; not the seed of a run.
    """

    length: int = setting(5000)
    series_seed: int = setting(0)
    summary: ClassVar[str] = "identify the nonlinear system NARMA-10 from its random input; generated"
    papers: ClassVar[tuple[str, ...]] = ("atiya2000",)
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 32, "passes": 6000, "lr": 3e-3}

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        whole("length", self.length)
        whole("series_seed", self.series_seed, 0)

    @property
    def shift(self) -> int:
        """The horizon."""
        return self.horizon

    def open(self, data: Path | None) -> "Narma":
        """Return the task with its series generated; it takes no file."""
        super().open(data)
        u, y = generate(self.length, self.series_seed)
        return self._with("narma", {"u": u, "y": y}, ("u",), "y")


def generate(length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return input u and output y for `length` samples after the washout, float64 `(length,)` each."""
    rng = np.random.default_rng(seed)
    while True:
        u = rng.uniform(0, 0.5, length + WASHOUT)
        y = [0.0] * ORDER  # y_t of the steps up to t = 9
        for now, past in zip(u[ORDER - 1 : -1].tolist(), u[:-ORDER].tolist(), strict=True):
            y.append(0.3 * y[-1] + 0.05 * y[-1] * sum(y[-ORDER:]) + 1.5 * past * now + 0.1)
            if not abs(y[-1]) <= LARGEST:
                break
        else:
            return u[WASHOUT:], np.array(y)[WASHOUT:]
