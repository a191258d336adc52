"""A network that reads its own forecasts, judged as NeuroBench does: sMAPE, bytes and operations."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from perturbax.bench.chaotic import JUDGED, LEARNT, Chaotic
from perturbax.experiment.measures import of_forecasts
from perturbax.network.layer import weights
from perturbax.network.network import Network

SETTLING = 45  # first steps, 0.6 Lyapunov times, that the readout is not solved on


def smape(forecast: Any, truth: Any) -> float:
    """Return the symmetric mean absolute percentage error, from 0 to 200; 200 where it is no number.

        200 mean(|forecast - truth| / (|forecast| + |truth|))

    Arguments:
        forecast: any shape.
        truth: the same shape.
    """
    forecast, truth = np.asarray(forecast, np.float64), np.asarray(truth, np.float64)
    if not np.isfinite(forecast).all():
        return 200.0
    return of_forecasts(truth, forecast, naive=0.0)["smape"]


def footprint(net: Network) -> int:
    """Return the bytes of a network: its weights and constants, and the state that it carries on.

    net: the network.
    """
    arrays = eqx.filter((net, net.start(1)), eqx.is_array)
    return sum(leaf.nbytes for leaf in jax.tree.leaves(arrays))


def operations(net: Network) -> int:
    """Return the multiply-accumulates of a step, one for each weight of every product; biases are none.

    net: a stack of dense layers.
    """
    return sum(leaf.size for leaf in jax.tree.leaves(weights(net)) if leaf.ndim > 1)


def forecasts(net: Network, task: Chaotic) -> Float[np.ndarray, " T"]:
    """Return what a network makes of the 750 test samples, in own units, float64.

    It reads the 750 samples that were learnt from, then the next one, and from there on its own forecasts.

    Arguments:
        net: the network.
        task: opened.
    """
    v = _alone(net, task, task.opened.v[: LEARNT + 1])
    return np.asarray(v, np.float64) * float(task.opened.std) + float(task.opened.mean)


def truth(task: Chaotic) -> Float[np.ndarray, " T"]:
    """Return the 750 test samples, in own units, float64; task: opened."""
    v = np.asarray(task.opened.v[LEARNT + 1 :], np.float64)
    return v * float(task.opened.std) + float(task.opened.mean)


def with_solved_readout(net: Network, task: Chaotic, ridge: float) -> Network:
    """Return a network whose readout is solved by ridge regression on what was learnt from.

        (Z^T Z / rows + ridge I) [W; b] = Z^T Y / rows,      Z = [what the readout reads, 1]

    Arguments:
        net: the network; it ends in a linear readout.
        task: opened.
        ridge: relative to units whose mean square is 1.
    """
    v = task.opened.v[: LEARNT + 1]
    z = np.asarray(_read(net, task.reads(v[:-1])), np.float64)[SETTLING:]  # (rows, n)
    z = np.concatenate([z, np.ones((len(z), 1))], 1)  # (rows, n + 1)
    y = np.diff(np.asarray(v, np.float64))[SETTLING:] / task.opened.change  # (rows,)
    solution = np.linalg.solve(z.T @ z / len(z) + ridge * np.eye(z.shape[1]), z.T @ y / len(z))
    readout: Any = net.layers[-1]
    found = solution.astype(readout.W.dtype)
    W, b = jnp.asarray(found[:-1, None]), jnp.asarray(found[-1:])  # (n, 1) and (1,)
    readout = eqx.tree_at(lambda layer: (layer.W, layer.b), readout, (W, b))
    return net.like((*net.layers[:-1], readout), net.decor)


@eqx.filter_jit
def _read(net: Network, xs: Array) -> Array:
    """Return what the readout reads at inputs `(T, n_in)`, `(T, n)`."""

    def one_step(state: Any, x: Array) -> tuple[Any, Array]:
        state, _, sites = net.step(state, x[None])
        return state, sites[-1].z[0]

    return jax.lax.scan(one_step, net.start(1), xs)[1]


@eqx.filter_jit
def _alone(net: Network, task: Chaotic, known: Array) -> Array:
    """Return forecasts `(750,)` in scaled values, behind known ones `(751,)`."""

    def listen(state: Any, v: Array) -> tuple[Any, None]:
        return net.step(state, task.reads(v)[None])[0], None

    def go_on(carry: tuple[Any, Array], _: Any) -> tuple[tuple[Any, Array], Array]:
        state, v = carry
        state, y, _ = net.step(state, task.reads(v)[None])
        v = v + task.opened.change * y[0, 0]
        return (state, v), v

    state = jax.lax.scan(listen, net.start(1), known[:-1])[0]
    return jax.lax.scan(go_on, (state, known[-1]), None, JUDGED)[1]
