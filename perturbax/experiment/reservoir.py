"""The reservoir baseline: random recurrence as it is, readout solved in closed form."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from perturbax.cells import CELLS
from perturbax.errors import ArgumentError
from perturbax.exchange.measuring import spikes_of
from perturbax.experiment.train_step import evaluate_compiled
from perturbax.network.network import Network
from perturbax.network.passes import activity
from perturbax.tasks.base import HeldOut, Task

RIDGES = (1e-8, 1e-6, 1e-4, 1e-2)  # candidates, relative to the mean square of what is read
BATCHES, BATCH = 16, 64  # training sequences that the readout is solved on: 16 batches of 64
JUDGED = 2**20  # steps of validation sequences, all together, that choose among the candidates; no more


def solve(net: Network, task: Task, valid: HeldOut, key: Array) -> Network:
    """Return the network with its readout (W, b) fitted by ridge regression on fresh training sequences.

        (Z^T Z / rows + ridge I) [W; b] = Z^T Y / rows,      Z = [what the readout reads, 1]

    What a leaky readout reads is filtered as it will be: Z_t = kappa Z_{t-1} + [z_t, 1 - kappa], b times 1 -
    kappa. Rows whose target is not asked for are left out, for each output its own. The ridge with the lowest
    validation loss is kept, where the task makes several readouts of one solution with the best of them.
    Jaeger 2001; Lukosevicius & Jaeger 2009.

    Where a network does not end in such a readout, as one of a NIR file may not, one takes the place of its
    last layer, with the leak of that where it only filters.

    Arguments:
        net: the network, whose recurrent layers stay as they are.
        task: the task, which draws training sequences.
        valid: validation data, which choose the ridge: all, or of very many sequences some.
        key: for the training sequences.

    Raises ArgumentError where other layers read the last one.
    """
    last = len(net.layers) - 1
    if any(source.layer == last for i in range(len(net.layers)) for source in net.sources(i)):
        raise ArgumentError(
            "the readout cannot be solved for: other layers read what the last layer puts out"
        )
    net = _ending_in_a_readout(net, task)
    sums = _Sums.of(net, task, key)
    fitted = []
    for ridge in RIDGES:
        solution = sums.solution(ridge)  # (n + 1, n_out)
        fitted += [_with_readout(net, readout) for readout in task.readouts(solution, sums.mean)]
    steps, sequences = valid.xs.shape[:2]
    every = min(sequences, -(-steps * sequences // JUDGED))  # 1 unless there are more steps than that
    xs, ys = valid.xs[:, ::every], valid.ys[:, ::every]
    losses = []
    for candidate in fitted:
        metrics = evaluate_compiled(task, candidate, xs, ys, valid.warmup)
        losses.append(float(metrics["loss"]))
    return fitted[int(np.argmin(np.nan_to_num(losses, nan=np.inf)))]


def _ending_in_a_readout(net: Network, task: Task) -> Network:
    """Return the network with a linear readout in place of a last layer that is none."""
    last = net.layers[-1]
    if hasattr(last, "W"):
        return net
    n_in = 0
    for source in net.sources(len(net.layers) - 1):
        n_in += task.sizes[0] if source.layer < 0 else net.layers[source.layer].width
    kappa = None if spikes_of(last) else getattr(last, "leak", None)
    settings = {} if kappa is None or kappa >= 1 else {"kappa": kappa}
    cell: Any = CELLS["leaky-readout" if settings else "readout"]
    readout = cell(n_in, last.width, key=jr.key(0), **settings)
    return net.like((*net.layers[:-1], readout), net.decor)


class _Sums(NamedTuple):
    """What least squares needs of training sequences.

    Attributes:
        rows: number of rows that are asked for, in any output.
        zz: Z^T Z over them, `(n + 1, n + 1)`.
        zy: Z^T Y, `(n + 1, n_out)`, over those of each output.
        unknown: for an output that is not asked for in all of these rows, (how many it lacks, Z^T Z of them).
    """

    rows: int
    zz: np.ndarray
    zy: np.ndarray
    unknown: dict[int, tuple[int, np.ndarray]]

    @classmethod
    def of(cls, net: Network, task: Task, key: Array) -> "_Sums":
        """Return the sums over fresh training sequences."""
        rows = 0
        zz: Any = 0.0
        zy: Any = 0.0
        unknown: dict[int, tuple[int, Any]] = {}
        for i in range(BATCHES):
            z, y, asked = (np.asarray(v) for v in _read(net, task, jr.fold_in(key, i)))
            z = z[asked].astype(np.float64)  # (rows, n + 1)
            y = y[asked].astype(np.float64)  # (rows, n_out)
            gaps = np.isnan(y)  # (rows, n_out)
            for k in np.flatnonzero(gaps.any(0)):
                count, square = unknown.get(int(k), (0, 0.0))
                left_out = z[gaps[:, k]]
                unknown[int(k)] = count + len(left_out), square + left_out.T @ left_out
            rows = rows + len(z)
            zz = zz + z.T @ z  # (n + 1, n + 1)
            zy = zy + z.T @ np.where(gaps, 0, y)  # (n + 1, n_out)
        return cls(rows, zz, zy, unknown)

    @property
    def mean(self) -> np.ndarray:
        """Mean of the targets, `(n_out,)`."""
        rows = np.full(self.zy.shape[1], self.rows)
        for k, (count, _) in self.unknown.items():
            rows[k] -= count
        return self.zy[-1] / np.maximum(rows, 1)

    def solution(self, ridge: float) -> np.ndarray:
        """Return the readout that ridge regression finds, `(n + 1, n_out)`."""
        identity = np.eye(len(self.zz))
        solution = np.linalg.solve(self.zz / self.rows + ridge * identity, self.zy / self.rows)
        for k, (count, square) in self.unknown.items():
            rows = max(self.rows - count, 1)
            own = (self.zz - square) / rows + ridge * identity  # (n + 1, n + 1)
            solution[:, k] = np.linalg.solve(own, self.zy[:, k] / rows)
        return solution


@jax.jit
def _read(net: Network, task: Task, key: Array) -> tuple[Array, Array, Array]:
    """Return Z `(T, B, n + 1)`, targets `(T, B, n_out)` and which are asked for `(T, B)`; fresh sequences."""
    xs, ys = task.sample(key, BATCH)
    z, leak = activity(net, xs)[-1].z, net.layers[-1].filters()
    z = jnp.concatenate([z, jnp.full((*z.shape[:2], 1), 1 - leak, z.dtype)], 2)
    if isinstance(leak, float) and leak == 0:
        return z, ys, task.asked(ys)

    def leaky_step(before: Array, now: Array) -> tuple[Array, Array]:
        after = leak * before + now
        return after, after

    return jax.lax.scan(leaky_step, jnp.zeros_like(z[0]), z)[1], ys, task.asked(ys)


def _with_readout(net: Network, solution: np.ndarray) -> Network:
    """Return the network with W and b of its readout taken from a solution `(n + 1, n_out)`."""
    readout: Any = net.layers[-1]
    W = jnp.asarray(solution[:-1], readout.W.dtype)
    b = jnp.asarray(solution[-1] * (1 - readout.filters()), readout.W.dtype)
    readout = eqx.tree_at(lambda layer: (layer.W, layer.b), readout, (W, b))
    return net.like((*net.layers[:-1], readout), net.decor)
