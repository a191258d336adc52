"""Forecasts judged window by window, as the literature on long horizons does: a state of zero before each."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perturbax.network.network import Network
from perturbax.tasks.forecast import Forecast

TOGETHER = 256  # windows that are read side by side


def error_of_windows(net: Network, task: Forecast, origins: Sequence[int], look_back: int) -> float:
    """Return the mean squared error of forecasts in variances of the training rows.

        mean over windows, columns and hours ahead of ((forecast - truth) / std)^2

    Arguments:
        net: the network.
        task: an opened forecast of one series.
        origins: the last row that each window reads; all rows that are forecast there are in the file.
        look_back: rows of a window.
    """
    source, rows = task.opened.source, np.asarray(origins)
    x, y = np.asarray(task.opened.x), np.asarray(task.opened.y)  # (N, n_in) and (N, n_out)
    scale = task.encoding.target_stds / source.training_stds  # (n_out,)
    squares = 0.0
    for first in range(0, len(rows), TOGETHER):
        some = rows[first : first + TOGETHER]  # (B,)
        padded = np.append(some, np.full(TOGETHER - len(some), some[-1]))  # one shape is compiled
        steps = padded - np.arange(look_back - 1, -1, -1)[:, None]  # (T, B)
        made = np.asarray(last_answers(net, jnp.asarray(x[steps])), np.float64)[: len(some)]  # (B, n_out)
        squares += float((((made - y[some]) * scale) ** 2).mean(1).sum())
    return squares / len(rows)


@eqx.filter_jit
def last_answers(net: Network, xs: Any) -> Float[Array, "B n_out"]:
    """Return the outputs after the last step of a sequence that starts from the initial state, `(B, n_out)`.

    Arguments:
        net: the network.
        xs: inputs, `(T, B, n_in)`.
    """

    def listen(state: Any, x: Array) -> tuple[Any, None]:
        return net.step(state, x)[0], None

    state, _ = jax.lax.scan(listen, net.start(xs.shape[1]), xs[:-1])
    return net.step(state, xs[-1])[1]
