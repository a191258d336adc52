"""One training run as pure functions: its state, a chunk of steps, evaluation."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.experiment.build import Pace, Parts
from perturbax.experiment.config import Experiment
from perturbax.learning.online import online
from perturbax.learning.sequence import improve
from perturbax.network.decorrelation import decorrelate
from perturbax.network.layer import weights
from perturbax.network.network import Network
from perturbax.network.passes import activity, forward
from perturbax.tasks.base import HeldOut, Task


class Learner(NamedTuple):
    """What sequence mode carries from update to update."""

    net: Network
    opt: PyTree
    kept: PyTree  # what the rule keeps from one update to the next


class State(NamedTuple):
    """All of a run between two chunks of steps: saved whole, and gone on with bit for bit."""

    learner: Any  # Learner, or Stream online
    key: Array
    step: Array
    best: Network  # the network with the lowest validation loss so far
    best_loss: Array
    best_step: Array
    pace: Pace  # learning rates, discount, haste: no two of them need a program of their own


def start(parts: Parts, seed: Array, pace: Pace | None = None) -> State:
    """Return the state before the first step; pace None for that of the settings. Traceable in seed and
    pace.
    """
    pace = Pace.of(parts.experiment) if pace is None else pace
    pace = Pace(*jax.tree.map(lambda x: jnp.asarray(x, float), tuple(pace)))
    parts, e = parts.tuned(pace), parts.experiment
    net_key, key, learner_key = jr.split(jr.PRNGKey(seed), 3)
    net = parts.network(net_key)
    if e.mode == "online":
        xs, ys = parts.task.stream(key, 0, _batch(parts))
        learner = _online(parts)[0](net, xs[0], ys[0], learner_key)
    else:
        some: Any = weights(net)
        xs = jax.eval_shape(lambda: parts.task.sample(key, _batch(parts)))[0]
        learner = Learner(
            net, parts.optimiser.init(some), parts.rule.begin(net, jnp.zeros(xs.shape[1:], xs.dtype))
        )
    worst = jnp.asarray(jnp.inf, jnp.result_type(float))
    return State(learner, key, jnp.zeros((), int), net, worst, jnp.zeros((), int), pace)


def _batch(parts: Parts) -> int:
    return parts.experiment.batch or 1


def _online(parts: Parts) -> tuple[Callable, Callable]:
    e = parts.experiment
    return online(parts.rule, parts.task.loss, parts.optimiser, e.every or 1, parts.decor_rate)


def _step(parts: Parts, task: Task, state: State) -> tuple[State, Array]:
    """One training step: a batch of sequences, or a stretch of the stream."""
    e = parts.experiment
    if e.mode == "online":
        xs, ys = task.stream(state.key, state.step, _batch(parts))
        learner, losses = _online(parts)[1](state.learner, xs, ys)
        loss = losses.mean()
    else:
        data_key, noise_key = jr.split(jr.fold_in(state.key, state.step))
        xs, ys = task.sample(data_key, _batch(parts))
        net = decorrelate(state.learner.net, xs, parts.decor_rate(state.step))
        kept, loss, grads = parts.rule.learner(task.loss)(state.learner.kept, net, xs, ys, noise_key)
        learner = Learner(*improve(net, parts.optimiser, state.learner.opt, grads, parts.rule), kept)
    return state._replace(learner=learner, step=state.step + 1), loss


def evaluate(task: Task, net: Network, held_out: HeldOut) -> dict[str, Array]:
    """Return the task's metrics of a clean pass over held-out sequences. Traceable."""
    y = forward(net, held_out.xs)
    return task.metrics(y[held_out.warmup :], held_out.ys[held_out.warmup :])


@partial(jax.jit, static_argnums=4)
def judged(task: Task, net: Network, xs: Array, ys: Array, warmup: int) -> dict[str, Array]:
    """Return what `evaluate` does, compiled once for all networks of one shape."""
    return evaluate(task, net, HeldOut(xs, ys, warmup))


def chunk_length(e: Experiment) -> int:
    """Return the steps between logs: a divisor of all steps near the wanted number, so that one program
    serves.
    """
    assert e.steps is not None  # noqa: S101 - filled in
    want = max(1, e.steps // e.logs)
    return next((n for n in range(want, max(want // 2, 1) - 1, -1) if e.steps % n == 0), want)


def chunk(parts: Parts, length: int, warmup: int, task: Task, valid: tuple, state: State) -> tuple:
    """Advance by `length` steps, validate, keep the best network so far."""
    parts = parts.tuned(state.pace)
    state, losses = jax.lax.scan(lambda s, _: _step(parts, task, s), state, None, length=length)
    net = state.learner.net
    metrics = evaluate(task, net, HeldOut(valid[0], valid[1], warmup))
    loss = metrics["loss"].astype(state.best_loss.dtype)
    better = loss < state.best_loss
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), net, state.best)
    return (
        state._replace(
            best=best,
            best_loss=jnp.where(better, loss, state.best_loss),
            best_step=jnp.where(better, state.step, state.best_step),
        ),
        losses,
        metrics,
    )


def correlation(net: Network, xs: Array) -> Array:
    """Return the mean absolute correlation between hidden units, as whatever reads them sees them.
    Traceable.
    """
    found = []
    for site in activity(net, xs)[1:]:
        z = site.z.reshape(-1, site.z.shape[-1])
        z = z - z.mean(0)[None]
        scale = jnp.sqrt(jnp.sum(z * z, 0))
        z = z / jnp.where(scale > 0, scale, 1)[None]
        n = z.shape[-1]
        found.append((jnp.sum(jnp.abs(z.T @ z)) - jnp.sum(z * z)) / max(1, n * (n - 1)))
    return jnp.mean(jnp.stack(found)) if found else jnp.zeros(())
