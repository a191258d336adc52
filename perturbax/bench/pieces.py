"""Long horizons from windows that are read in pieces of some hours, each column alone (Lin et al. 2023)."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from perturbax.errors import ArgumentError
from perturbax.fields import setting, whole
from perturbax.network.network import Network
from perturbax.network.passes import forward
from perturbax.tasks.base import HeldOut, Metrics, Task, measure, require_data
from perturbax.tasks.files.csv_table import read_table
from perturbax.tasks.fromfile import check_column, names_in

APART = 8  # rows between held-out windows: their neighbours say nearly the same
TOGETHER = 1024  # windows that are read side by side

Opened = TypeVar("Opened", bound="Pieces")


class Pieces(Task):
    """Forecast columns of a file over a long horizon, each as a series of its own, with one network for all.

        input at step s: (v_{sP + 1} - v_T, ..., v_{(s + 1)P} - v_T, which column),     s < T / P
        target at the last step: (v_{T + 1} - v_T, ..., v_{T + H} - v_T)

    A window of T rows is read in pieces of P, and what is forecast is the change from its last value, which a
    network of zeros leaves as it is. Columns are scaled by the mean and the standard deviation of their
    training rows. Parts follow each other: the forecast rows of a window are all of one part, while the rows
    it reads may lie in front of it.

    Attributes:
        target: the columns, comma-separated.
        horizon: rows H to forecast.
        look_back: rows T of a window.
        piece: rows P that a step reads; it divides `look_back`.
        train: rows of the training part, the first of the file.
        valid: rows of the validation part behind it.
        test: rows of the test part behind that; what the file has farther on is not used.
        scaled: the opened series, `(rows, columns)`; no setting.
    """

    target: str = setting("")
    horizon: int = setting(96)
    look_back: int = setting(96)
    piece: int = setting(24)
    train: int = setting(1000)
    valid: int = setting(500)
    test: int = setting(500)
    scaled: Float[Array, "N columns"] | None = eqx.field(default=None, metadata={"data": True})
    papers: ClassVar[tuple[str, ...]] = ("lin2023",)
    summary: ClassVar[str] = "forecast columns of a file over long horizons, from windows read in pieces"

    def __check_init__(self) -> None:
        """Check the counts, and that pieces fill a window."""
        for name in ("horizon", "look_back", "piece", "train", "valid", "test"):
            whole(name, getattr(self, name))
        if self.look_back % self.piece:
            raise ArgumentError(f"piece {self.piece} must divide look_back {self.look_back}")
        if self.look_back + self.horizon > self.train or self.horizon > min(self.valid, self.test):
            raise ArgumentError(
                f"horizon {self.horizon} and look_back {self.look_back} need {self.look_back + self.horizon} "
                f"training rows and {self.horizon} rows of each other part; there are {self.train}, "
                f"{self.valid} and {self.test}"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return names_in(self.target)

    @property
    def sizes(self) -> tuple[int, int]:
        """(piece + columns, horizon): values of a piece and which column they are of; values ahead."""
        return self.piece + len(self.columns), self.horizon

    @property
    def steps(self) -> int:
        """Pieces of a window."""
        return self.look_back // self.piece

    @property
    def asked_steps(self) -> int:
        """1: the forecast is asked for at the last piece."""
        return 1

    @property
    def starts_at_zero(self) -> bool:
        """Whether a fresh readout is zero: it is, which says that nothing changes."""
        return True

    @property
    def opened(self) -> Array:
        """The scaled columns; ArgumentError before `open`."""
        return require_data(self, self.scaled, "rows")

    def open(self: Opened, data: Path | None) -> Opened:
        """Return the task with its columns, scaled.

        Arguments:
            data: a CSV file.

        Raises ArgumentError for a column that it has not and for too few rows, DataError for a cell that is
        no number.
        """
        if data is None or not self.columns:
            raise ArgumentError("task Pieces needs --data, a CSV file, and the names of columns as target")
        table = read_table(data)
        numeric = {column: table.numeric(column) for column in table.columns}
        for name in self.columns:
            check_column(table, numeric, name)
        values = np.stack([table.numbers(name) for name in self.columns], 1)  # (N, columns)
        rows = self.train + self.valid + self.test
        if len(values) < rows:
            raise ArgumentError(f"{table.source} has {len(values):,} rows: {rows:,} are needed")
        training = values[: self.train]
        std = training.std(0)
        scaled = (values[:rows] - training.mean(0)) / np.where(std > 0, std, 1)
        return dataclasses.replace(self, scaled=jnp.asarray(scaled))

    def digest(self) -> str:
        """Return a hash of the scaled columns."""
        return hashlib.sha256(np.asarray(self.opened).tobytes()).hexdigest()[:16]

    def windows(self, first: Int[Array, " B"], column: Int[Array, " B"]) -> tuple[Array, Array]:
        """Return what is read and what is asked, `(T, B, n_in)` and `(B, horizon)`.

        Arguments:
            first: the first row of each window.
            column: which column it is of.
        """
        rows = first[None] + jnp.arange(self.look_back + self.horizon)[:, None]  # (look_back + horizon, B)
        v = self.opened[rows, column[None]]
        v = v - v[self.look_back - 1][None]
        read = v[: self.look_back].reshape(self.steps, self.piece, -1).swapaxes(1, 2)  # (T, B, piece)
        which = jax.nn.one_hot(column, len(self.columns), dtype=v.dtype)
        which = jnp.broadcast_to(which[None], (self.steps, *which.shape))
        return jnp.concatenate([read, which], -1), v[self.look_back :].T

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return random windows of random columns of the training part."""
        for_rows, for_columns = jr.split(key)
        first = jr.randint(for_rows, (batch,), 0, self.train - self.look_back - self.horizon + 1)
        column = jr.randint(for_columns, (batch,), 0, len(self.columns))
        return self._asked_at_the_end(first, column)

    def held_out(self, part: str) -> HeldOut:
        """Return windows of every column, a few rows apart, whose forecast rows are those of part `valid` or
        `test`.
        """
        return HeldOut(*self._asked_at_the_end(*self.places(part, APART)))

    def places(self, part: str, apart: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return the first row and the column of each window of a part, `(B,)` both.

        Arguments:
            part: `valid` or `test`.
            apart: rows from one window to the next of the same column.
        """
        before = self.train + (self.valid if part == "test" else 0)
        rows = self.valid if part == "valid" else self.test
        first = before - self.look_back + np.arange(0, rows - self.horizon + 1, apart)
        n = len(self.columns)
        return np.repeat(first, n), np.tile(np.arange(n), len(first))

    def _asked_at_the_end(self, first: Any, column: Any) -> tuple[Array, Array]:
        """Return sequences whose answer is asked for at the last step."""
        xs, y = self.windows(jnp.asarray(first), jnp.asarray(column))
        ys = jnp.full((self.steps, *y.shape), jnp.nan, y.dtype)
        return xs, ys.at[-1].set(y)

    def baselines(self) -> dict[str, Metrics]:
        """Return the test metrics of the last value, and of the mean change in training."""
        test = self.held_out("test")
        still = {"persistence": measure(self, jnp.zeros_like(test.ys), test.ys)}
        return still | super().baselines()


def error_of_windows(net: Network, task: Pieces) -> float:
    """Return the mean squared error over all windows of the test part, in variances of the training rows.

    Arguments:
        net: the network.
        task: the task, opened.
    """
    first, column = task.places("test")
    squares = 0.0
    for start in range(0, len(first), TOGETHER):
        some = np.arange(start, min(start + TOGETHER, len(first)))  # (B,)
        padded = np.append(some, np.full(TOGETHER - len(some), some[-1]))  # one shape is compiled
        error = np.asarray(_errors(net, task, jnp.asarray(first[padded]), jnp.asarray(column[padded])))
        squares += float(error[: len(some)].astype(np.float64).sum())
    return squares / len(first)


@eqx.filter_jit
def _errors(net: Network, task: Pieces, first: Array, column: Array) -> Float[Array, " B"]:
    """Return the mean squared error of each window."""
    xs, y = task.windows(first, column)
    return jnp.mean((forward(net, xs)[-1] - y) ** 2, -1)
