"""The reservoir baseline: random recurrence as it is, readout solved in closed form."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from perturbax.experiment.train_step import evaluate_compiled
from perturbax.network.network import Network
from perturbax.network.passes import activity
from perturbax.tasks.base import HeldOut, Task

RIDGES = (1e-8, 1e-6, 1e-4, 1e-2)
BATCHES, BATCH = 16, 64


def solve(net: Network, task: Task, valid: HeldOut, key: Array) -> Network:
    """Return the network with its readout (W, b) fitted by ridge regression on fresh training sequences.

        (Z^T Z / rows + ridge I) [W; b] = Z^T Y / rows,      Z = [what the readout reads, 1]

    What a leaky readout reads is filtered as it will be: Z_t = kappa Z_{t-1} + [z_t, 1 - kappa], b times 1 -
    kappa. Rows whose target is not asked for are left out. The ridge with the lowest validation loss is kept,
    where the task makes several readouts of one solution with the best of them. Jaeger 2001; Lukosevicius &
    Jaeger 2009.
    """
    moments: Any = None
    for i in range(BATCHES):
        z, y, asked = (np.asarray(v) for v in _read(net, task, jr.fold_in(key, i)))
        z, y = (v[asked].astype(np.float64) for v in (z, y))
        more = np.array([len(z)]), z.T @ z, z.T @ y
        moments = more if moments is None else tuple(map(np.add, moments, more))
    rows, zz, zy = moments
    solved = [np.linalg.solve(zz / rows + r * np.eye(len(zz)), zy / rows) for r in RIDGES]
    fits = [_with_readout(net, made) for one in solved for made in task.readouts(one, zy[-1] / rows)]
    losses = [float(evaluate_compiled(task, fit, valid.xs, valid.ys, valid.warmup)["loss"]) for fit in fits]
    return fits[int(np.argmin(np.nan_to_num(losses, nan=np.inf)))]


@jax.jit
def _read(net: Network, task: Task, key: Array) -> tuple[Array, Array, Array]:
    xs, ys = task.sample(key, BATCH)
    z, leak = activity(net, xs)[-1].z, net.layers[-1].filters()
    z = jnp.concatenate([z, jnp.full((*z.shape[:2], 1), 1 - leak, z.dtype)], 2)

    def filtered(before: Array, now: Array) -> tuple[Array, Array]:
        after = leak * before + now
        return after, after

    return jax.lax.scan(filtered, jnp.zeros_like(z[0]), z)[1], ys, task.asked(ys)


def _with_readout(net: Network, solution: np.ndarray) -> Network:
    last: Any = net.layers[-1]
    W, b = (jnp.asarray(s, last.W.dtype) for s in (solution[:-1], solution[-1] * (1 - last.filters())))
    last = eqx.tree_at(lambda layer: (layer.W, layer.b), last, (W, b))
    return net.like((*net.layers[:-1], last), net.decor)
