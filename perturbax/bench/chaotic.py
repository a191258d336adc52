"""The Mackey-Glass series of NeuroBench, and networks that go on with it by themselves (Yik et al. 2025)."""

import dataclasses
import hashlib
import math
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from perturbax.fields import positive, setting, whole
from perturbax.tasks.base import HeldOut, Task, require_data

TAU, BETA, GAMMA, POWER = 17, 0.2, 0.1, 10  # of the equation
LYAPUNOV, PER_LYAPUNOV = 197.0, 75  # the time in which errors grow e-fold, and samples of it
PAST = 0.7206597  # the constant history of the public series
BETWEEN = 37.5  # samples from the beginning of one piece of the series to that of the next
LEARNT, JUDGED = 750, 750  # samples, ten Lyapunov times each
SETTLING = 200  # samples in front of a held-out part, in which the state settles
CHOOSING = 75  # samples, the last ones learnt from, that choose the network which is kept

Opened = TypeVar("Opened", bound="Chaotic")


def mackey_glass(points: int, past: float = PAST, step: float = 0.05) -> np.ndarray:
    """Return samples of the Mackey-Glass equation, float64 `(points,)`.

        dx/dt = f(x(t), x(t - 17)),   f(x, d) = 0.2 d / (1 + d^10) - 0.1 x,   x(t) = past up to t = 0

    Integrated by the classical Runge-Kutta method of order 4; what is between its steps comes from the cubic
    with the values and slopes of both ends (Hermite). Samples are 197 / 75 apart, from t = 17 on.

    Arguments:
        points: number of samples.
        past: the constant history.
        step: of the integration; it divides 17.
    """
    lag = round(TAU / step)
    times = TAU + np.arange(points) * (LYAPUNOV / PER_LYAPUNOV)  # (points,)
    values = [past] * (lag + 1)  # at -17, ..., 0, and step by step from there on
    middles = [past] * lag  # between these
    slopes = [_slope(past, past)]  # at 0, and from there on
    for i in range(math.floor(times[-1] / step) + 1):
        now, first = values[-1], slopes[-1]
        second = _slope(now + step / 2 * first, middles[i])
        third = _slope(now + step / 2 * second, middles[i])
        fourth = _slope(now + step * third, values[i + 1])
        after = now + step / 6 * (first + 2 * second + 2 * third + fourth)
        slopes.append(_slope(after, values[i + 1]))
        middles.append((now + after) / 2 + step / 8 * (first - slopes[-1]))
        values.append(after)
    x, dx = np.array(values[lag:]), np.array(slopes)  # (steps + 1,) each
    at = np.floor(times / step).astype(int)  # (points,)
    s = times / step - at  # how far to the next step, from 0 to 1
    share = s**2 * (3 - 2 * s)
    bend = s * (1 - s) * step * ((1 - s) * dx[at] - s * dx[at + 1])
    return (1 - share) * x[at] + share * x[at + 1] + bend


def _slope(x: float, delayed: float) -> float:
    """Return dx/dt."""
    return BETA * delayed / (1 + delayed**POWER) - GAMMA * x


class Piece(eqx.Module):
    """A piece of the series as a network sees it.

    Attributes:
        v: the series, scaled by the mean and standard deviation of what is learnt, `(1 + 750 + 750,)`.
        mean: that mean.
        std: that standard deviation.
        change: standard deviation of a change of v over one sample, in what is learnt.
    """

    v: Float[Array, " N"]
    mean: Float[Array, ""]
    std: Float[Array, ""]
    change: Float[Array, ""]


class Chaotic(Task):
    """Learn one step of the Mackey-Glass series, so as to go on with it alone.

        input (scale v_t, 1),      target (v_{t+1} - v_t) / change,      v = (x - mean) / std

    Of 750 samples the last 75 are for validation; the 750 behind them are the test part, here one step
    ahead. `perturbax.bench.closed_loop` lets the network read its own forecasts instead.

    Attributes:
        start: number of the piece of the series.
        past: the constant history before the series.
        scale: of the input.
        window: samples of a training sequence.
        settle: first steps of a sequence, which let the state settle: their answers are not judged.
        piece: the opened series; no setting.
    """

    start: int = setting(0)
    past: float = setting(PAST)
    scale: float = setting(1.0)
    window: int = setting(200)
    settle: int = setting(50)
    piece: Piece | None = eqx.field(default=None, metadata={"data": True})
    papers: ClassVar[tuple[str, ...]] = ("yik2025", "mackey1977")
    summary: ClassVar[str] = "learn one step of the Mackey-Glass series as NeuroBench samples it"

    def __check_init__(self) -> None:
        """Check the counts."""
        whole("start", self.start, 0)
        whole("window", self.window)
        whole("settle", self.settle, 0)
        positive("scale", self.scale)

    @property
    def sizes(self) -> tuple[int, int]:
        """(2, 1): the scaled value and a constant; the change."""
        return 2, 1

    @property
    def steps(self) -> int:
        """The window."""
        return self.window

    @property
    def asked_steps(self) -> int:
        """Steps behind those that let the state settle."""
        return self.window - self.settle

    @property
    def starts_at_zero(self) -> bool:
        """Whether a fresh readout is zero: it is, which says that nothing changes."""
        return True

    @property
    def opened(self) -> Piece:
        """The piece; ArgumentError before `open`."""
        return require_data(self, self.piece, "series")

    def open(self: Opened, data: Path | None) -> Opened:
        """Return the task with its piece of the series.

        Arguments:
            data: None; ArgumentError for a file.
        """
        Task.open(self, data)
        first = int(self.start * BETWEEN)
        x = mackey_glass(first + LEARNT + JUDGED + 1, self.past)[first:]  # (1501,)
        learnt = x[: LEARNT + 1]
        mean, std = learnt.mean(), learnt.std()
        change = np.diff(learnt).std() / std
        piece = Piece(jnp.asarray((x - mean) / std), *map(jnp.asarray, (mean, std, change)))
        return dataclasses.replace(self, piece=piece)

    def digest(self) -> str:
        """Return a hash of the piece."""
        return hashlib.sha256(np.asarray(self.opened.v).tobytes()).hexdigest()[:16]

    def reads(self, v: Any) -> Any:
        """Return what a network reads at scaled values, `(*rows, 2)`.

        Arguments:
            v: the values, `(*rows,)`, of numpy or JAX.
        """
        kind = np if isinstance(v, np.ndarray) else jnp
        return kind.stack([self.scale * v, kind.ones_like(v)], -1)

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return windows that begin at random samples of the training part."""
        first = jr.randint(key, (1, batch), 0, LEARNT - CHOOSING - self.window + 1)
        rows = first + jnp.arange(self.window)[:, None]  # (T, B)
        now, after = self.opened.v[rows], self.opened.v[rows + 1]  # (T, B)
        ys = ((after - now) / self.opened.change)[..., None]  # (T, B, 1)
        asked = jnp.arange(self.window)[:, None, None] >= self.settle
        return self.reads(now), jnp.where(asked, ys, jnp.nan)

    def held_out(self, part: str) -> HeldOut:
        """Return the steps of part `valid` or `test` as one sequence, with samples in front to settle on."""
        first, end = {"valid": (LEARNT - CHOOSING, LEARNT), "test": (LEARNT, LEARNT + JUDGED)}[part]
        v = np.asarray(self.opened.v)[first - SETTLING : end + 1, None]  # (T + 1, 1)
        ys = np.diff(v, axis=0)[..., None] / np.asarray(self.opened.change)  # (T, 1, 1)
        return HeldOut(jnp.asarray(self.reads(v[:-1])), jnp.asarray(ys), SETTLING)
