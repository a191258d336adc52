"""Which rows of a series make up training sequences, endless streams, and held-out streams."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

Ranges = Sequence[tuple[int, int]]
"""First row and end (excluded) of a part, for each series."""


def random_windows(key: Array, batch: int, ranges: Ranges, window: int) -> Array:
    """Return the rows of windows that begin at random, `(T, B)`; none reaches from one series into another.

    Arguments:
        key: a JAX key.
        batch: number of windows, B.
        ranges: of the training part.
        window: rows of each, T.
    """
    if len(ranges) == 1:
        first, end = ranges[0]
        starts = jr.randint(key, (1, batch), first, end - window + 1)
    else:
        firsts = np.array([first for first, _ in ranges])
        counts = np.array([end - first - window + 1 for first, end in ranges])  # windows of each
        ends = np.cumsum(counts)
        drawn = jr.randint(key, (1, batch), 0, int(ends[-1]))  # (1, B): which window of all
        series = jnp.searchsorted(jnp.asarray(ends), drawn, side="right")  # (1, B)
        starts = drawn + jnp.asarray(firsts - (ends - counts))[series]
    return starts + jnp.arange(window)[:, None]


def one_stream(i: Array | int, batch: int, ranges: Ranges, window: int) -> Array:
    """Return the rows of the i-th windows of streams through a single series, `(T, B)`.

    They start equally spaced, and go on at the first row when they reach the end.

    Arguments:
        i: number of the window in each stream, from 0.
        batch: number of streams, B.
        ranges: of the training part, of one series.
        window: rows of each window, T.
    """
    first, end = ranges[0]
    length = end - first
    starts = jnp.asarray(np.arange(batch)[None] * length // batch)  # (1, B)
    steps = (jnp.asarray(i) % length) * window + jnp.arange(window)[:, None]  # (T, 1)
    return first + (starts + steps) % length


class Stretches(NamedTuple):
    """Several series in stretches of whole windows, all equally long; each lies in one series.

    Streams read stretch after stretch, side by side, so that all begin a new one at once: what a network and
    a rule remember of the stretch before is then forgotten.

    Attributes:
        starts: the first row of each stretch, `(S,)`.
        length: windows of a stretch.
        window: rows of a window.
    """

    starts: np.ndarray
    length: int
    window: int

    @classmethod
    def of(cls, ranges: Ranges, window: int, batch: int) -> "Stretches":
        """Return the longest stretches for which the shortest series has room, one at least for each stream.

        Where the rows allow no stretch for each, a stretch is a window. The last stretch of a series begins
        earlier where it would not be whole.

        Arguments:
            ranges: of the training part.
            window: rows of a window; no series has fewer.
            batch: number of streams.
        """
        windows = [(end - first) // window for first, end in ranges]
        length = max(1, min(*windows, sum(windows) // batch))
        starts: list[int] = []
        for (first, _), own in zip(ranges, windows, strict=True):
            last = own - length
            starts += [first + window * at for at in range(0, last + 1, length)]
            if last % length:
                starts.append(first + window * last)
        return cls(np.array(starts), length, window)

    def rows(self, i: Array | int, batch: int) -> Array:
        """Return the rows of the i-th windows of the streams, `(T, B)`.

        Arguments:
            i: number of the window in each stream, from 0.
            batch: number of streams, B.
        """
        turn, within = jnp.asarray(i) // self.length, jnp.asarray(i) % self.length
        places = jnp.asarray(np.arange(batch) * len(self.starts) // batch) + turn  # (B,)
        starts = jnp.asarray(self.starts)[places % len(self.starts)] + within * self.window  # (B,)
        return starts[None] + jnp.arange(self.window)[:, None]

    def begins(self, i: Array | int) -> Array:
        """Return whether the i-th windows begin new stretches; i: number of the window in each stream."""
        return jnp.asarray(i) % self.length == 0


class SideBySide(NamedTuple):
    """Rows of several series as streams of one length.

    Attributes:
        rows: their numbers, `(T, B)`; behind the end of a shorter series its last row again.
        inside: whether each row lies in its series, `(T, B)`.
        warmup: first steps that warm the state up.
    """

    rows: np.ndarray
    inside: np.ndarray
    warmup: int


def side_by_side(ranges: Ranges, first_rows: Sequence[int], warmup: int) -> SideBySide:
    """Return rows of each series as streams, with the same number of warm-up rows in front of all.

    Arguments:
        ranges: what is judged of each series.
        first_rows: the first row of each that can be read.
        warmup: rows in front that are wanted; fewer where a series has fewer.
    """
    front = [first - max(first - warmup, row) for (first, _), row in zip(ranges, first_rows, strict=True)]
    settled = max(min(front), 0)
    longest = max(end - first for first, end in ranges)
    offsets = np.arange(-settled, longest)[:, None]  # (T, 1)
    firsts = np.array([first for first, _ in ranges])[None]  # (1, B)
    ends = np.array([end for _, end in ranges])[None]  # (1, B)
    return SideBySide(np.minimum(firsts + offsets, ends - 1), firsts + offsets < ends, settled)
