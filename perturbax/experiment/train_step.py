"""One training run as pure functions: its state, one training step, a chunk of steps, evaluation.

Nothing here knows an experiment: a `Setup` says what a training step is made of.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, PyTree

from perturbax.experiment.attacks import Attack
from perturbax.experiment.optimiser import OptimiserSettings
from perturbax.experiment.placement import Placement
from perturbax.experiment.pruning import pruning_state
from perturbax.learning.estimator import learner
from perturbax.learning.online import Stream, begun_anew, online
from perturbax.learning.rule import Rule, StepRule
from perturbax.learning.sequence import apply_estimate
from perturbax.learning.shares import ROWS, Share
from perturbax.network.decorrelation import decorrelate
from perturbax.network.layer import weights
from perturbax.network.network import Network
from perturbax.network.passes import activity, forward
from perturbax.tasks.base import HeldOut, Task
from perturbax.tasks.contract import check_metrics


class Hyperparameters(NamedTuple):
    """Numbers that the compiled program takes as arguments, so that changing them needs no recompilation.

    Attributes:
        lr: the learning rate.
        decor_lr: that of the decorrelating matrices.
        discount: that of the rule; None for the rule's own.
        schedule_speed: factor by which the schedules are compressed, for a run over a share of the steps.
    """

    lr: Any
    decor_lr: Any
    discount: Any = None
    schedule_speed: Any = 1.0


class Setup(NamedTuple):
    """What a training step is made of.

    Attributes:
        task: the task; a step draws its data.
        rule: the learning rule.
        network: key -> a fresh network.
        mode: sequence (an update per batch of sequences) or online (updates while the stream runs).
        batch: sequences per batch, or parallel streams online.
        every: steps of the stream between updates, online.
        updates: updates of the weights per training step.
        passes: forward passes per training step.
        settings: optimiser and schedule, by name.
        hyperparameters: the experiment's own.
        optimiser: the optimiser at certain hyperparameters, at first the experiment's own.
        decor_rate: update -> learning rate of the decorrelating matrices, which must come to rest with the
            weights that read through them: both follow the schedule.
        placement: the devices that share every update, and what they share.
        attack: what makes the copy of each batch that is trained on beside it; None for none.
    """

    task: Task
    rule: Rule
    network: Callable[[Array], Network]
    mode: str
    batch: int
    every: int
    updates: int
    passes: int
    settings: OptimiserSettings
    hyperparameters: Hyperparameters
    optimiser: optax.GradientTransformation
    decor_rate: Callable[[Any], Any]
    placement: Placement = Placement()
    attack: Attack | None = None

    def at(self, hyperparameters: Hyperparameters) -> "Setup":
        """Return the setup at other hyperparameters, which may be traced."""
        lr, decor_lr, discount, speed = hyperparameters
        rule = self.rule
        if discount is not None:
            rule = eqx.tree_at(lambda r: r.discount, rule, discount)
        optimiser = self.settings.optimiser(lr, speed)
        return self._replace(rule=rule, optimiser=optimiser, decor_rate=self.settings.rate(decor_lr, speed))


class Training(NamedTuple):
    """What sequence mode carries from update to update.

    Attributes:
        net: the network.
        opt: the optimiser's state.
        kept: what the rule keeps from one update to the next.
    """

    net: Network
    opt: PyTree
    kept: PyTree


class State(NamedTuple):
    """All of a run between two chunks of steps: saved whole, and gone on with bit for bit.

    Attributes:
        learner: Training, or the Stream of online learning.
        key: for data and noise; each step folds its number in.
        step: training steps done.
        best: the network with the lowest validation loss so far.
        best_loss: that loss.
        best_step: the step it was found at.
        hyperparameters: learning rates, discount, speed of schedules; not saved: settings say them.
    """

    learner: Any
    key: Array
    step: Array
    best: Network
    best_loss: Array
    best_step: Array
    hyperparameters: Hyperparameters


def start(setup: Setup, seed: Array | int, hyperparameters: Hyperparameters | None = None) -> State:
    """Return the state before the first step. Traceable in seed and hyperparameters.

    Arguments:
        setup: what the training steps are made of.
        seed: of weights, data order and noise.
        hyperparameters: None for those of the setup.
    """
    given = setup.hyperparameters if hyperparameters is None else hyperparameters
    hyperparameters = Hyperparameters(*jax.tree.map(lambda x: jnp.asarray(x, float), tuple(given)))
    setup = setup.at(hyperparameters)
    net_key, key, learner_key = jr.split(jr.PRNGKey(seed), 3)
    net = setup.network(net_key)
    if setup.mode == "online":
        xs, ys = setup.task.stream(key, 0, setup.batch)
        init, _ = _online(setup)
        training = init(net, xs[0], ys[0], learner_key)
    else:
        some: Any = weights(net)
        xs = jax.eval_shape(lambda: setup.task.sample(key, setup.batch))[0]
        init_rule = learner(setup.rule, setup.task.loss).init
        kept = init_rule(net, jnp.zeros(xs.shape[1:], xs.dtype), learner_key)
        training = Training(net, setup.optimiser.init(some), kept)
    if isinstance(setup.settings.name, str):
        training = training._replace(opt=_with_keys_of(seed, training.opt))
    worst = jnp.asarray(jnp.inf, jnp.result_type(float))
    return State(training, key, jnp.zeros((), int), net, worst, jnp.zeros((), int), hyperparameters)


def _with_keys_of(seed: Array | int, opt: PyTree) -> PyTree:
    """Return the state of an optimiser that draws noise, with the key of the run's seed."""

    def keyed(path: tuple, leaf: Any) -> Any:
        if jnp.issubdtype(getattr(leaf, "dtype", float), jax.dtypes.prng_key):
            return jr.key(seed, impl=jr.key_impl(leaf))
        is_raw = bool(path) and getattr(path[-1], "name", "") == "rng_key"
        return jr.PRNGKey(seed) if is_raw else leaf

    return jax.tree_util.tree_map_with_path(keyed, opt)


def _online(setup: Setup) -> tuple[Callable, Callable]:
    """Return (init, run) of online learning."""
    return online(setup.rule, setup.task.loss, setup.optimiser, setup.every, setup.decor_rate)


def _at_border(setup: Setup, task: Task, state: State, xs: Array, ys: Any) -> Stream:
    """Return the stream, which forgets the steps before where the next ones do not go on from them."""
    begins = task.begins_anew(state.step, setup.batch)
    if begins is False or not isinstance(setup.rule, StepRule):
        return state.learner
    rule, (init, _) = setup.rule, _online(setup)
    key = jr.fold_in(state.key, state.step)
    return jax.lax.cond(
        begins,
        lambda stream: begun_anew(rule, init, stream, xs[0], ys[0], key),
        lambda stream: stream,
        state.learner,
    )


def _apart(setup: Setup, tree: PyTree) -> PyTree:
    """Return data `(T, B, ...)` with rows split over the devices of a run, where it has several."""
    mesh = setup.placement.of_work
    if mesh is None:
        return tree
    share = Share(ROWS, mesh)
    return jax.tree.map(lambda s: share.apart(s, 1), tree)


def _step(setup: Setup, task: Task, state: State) -> tuple[State, Array]:
    """Make one training step, a batch of sequences or a stretch of the stream: -> (state, mean loss)."""
    if setup.mode == "online":
        xs, ys = task.stream(state.key, state.step, setup.batch)
        xs, ys = _apart(setup, (xs, ys))
        _, run = _online(setup)
        training, losses = run(_at_border(setup, task, state, xs, ys), xs, ys)
        loss = losses.mean()
    else:
        net, xs, ys, noise_key = drawn(setup, task, state)
        update = learner(setup.rule, task.loss, setup.placement.of_work).update
        kept, loss, grads = update(state.learner.kept, net, xs, ys, noise_key)
        training = applied(setup, state.learner, net, grads)._replace(kept=kept)
    return setup.placement.held(state._replace(learner=training, step=state.step + 1)), loss


def drawn(setup: Setup, task: Task, state: State) -> tuple[Network, Array, Any, Array]:
    """Return what an update in sequence mode is estimated from: (net, xs, ys, key of the noise). Traceable.

    Arguments:
        setup: what the training steps are made of.
        task: the task.
        state: where the run is.
    """
    data_key, noise_key = jr.split(jr.fold_in(state.key, state.step))
    xs, ys = task.sample(data_key, setup.batch)
    if setup.attack is not None:
        xs, ys = setup.attack.batch(task, state.learner.net, xs, ys, jr.fold_in(data_key, 1))
    return decorrelate(state.learner.net, xs, setup.decor_rate(state.step)), xs, ys, noise_key


def applied(setup: Setup, training: Training, net: Network, grads: Network) -> Training:
    """Return what is carried on from an update in sequence mode. Traceable.

    Arguments:
        setup: what the training steps are made of.
        training: what the update began with.
        net: the network that the estimate was made with.
        grads: the estimate, like its weights.
    """
    net, opt = apply_estimate(net, setup.optimiser, training.opt, grads, setup.rule)
    return training._replace(net=net, opt=opt)


def evaluate(task: Task, net: Network, held_out: HeldOut) -> dict[str, Array]:
    """Return the task's metrics of a clean pass over held-out sequences. Traceable.

    Where the held-out sequences say what their targets are changes from, it measures in own units, too.
    Raises ArgumentError for a task whose metrics are no numbers, or lack the loss.

    Arguments:
        task: the task, which says what is measured.
        net: the network.
        held_out: the sequences.
    """
    return score(task, forward(net, held_out.xs), held_out)


def score(task: Task, outputs: Array, held_out: HeldOut) -> dict[str, Array]:
    """Return what `evaluate` returns, of outputs over held-out sequences, whoever made them. Traceable.

    Arguments:
        task: the task, which says what is measured.
        outputs: for all steps, `(T, B, n_out)`.
        held_out: the sequences.
    """
    y = outputs[held_out.warmup :]
    target = held_out.ys[held_out.warmup :]
    metrics = task.metrics(y, target)
    check_metrics(task, metrics)
    if held_out.base is None:
        return metrics
    return metrics | task.measures(y, target, held_out.base[held_out.warmup :])


@eqx.filter_jit
def score_compiled(task: Task, outputs: Array, held_out: HeldOut) -> dict[str, Array]:
    """Return what `score` returns, compiled; arguments as there."""
    return score(task, outputs, held_out)


def evaluate_compiled(
    task: Task, net: Network, xs: Array, ys: Array, warmup: int, base: Array | None = None
) -> dict[str, Array]:
    """Return what `evaluate` returns, compiled once for all networks and sequences of one shape.

    Arguments:
        task: the task, which says what is measured.
        net: the network.
        xs: inputs `(T, B, n_in)`.
        ys: targets `(T, B, n_out)`.
        warmup: steps at the start that are not scored.
        base: what the targets are changes from, `(T, B, n_out)` in own units; None for `task.metrics` alone.
    """
    return _evaluate_compiled(task, net, xs, ys, warmup, base)


@partial(jax.jit, static_argnums=4)  # a base left out and a base of None would be two programs
def _evaluate_compiled(
    task: Task, net: Network, xs: Array, ys: Array, warmup: int, base: Array | None
) -> dict[str, Array]:
    """Return what `evaluate` returns."""
    return evaluate(task, net, HeldOut(xs, ys, warmup, base))


def chunk_length(steps: int, logs: int) -> int:
    """Return the training steps between two logs.

    It divides all steps if a divisor lies between half of `steps / logs` and all of it, so that one program
    serves.
    """
    wanted = max(1, steps // logs)
    for length in range(wanted, max(wanted // 2, 1) - 1, -1):
        if steps % length == 0:
            return length
    return wanted


def chunk(
    setup: Setup, length: int, warmup: int, task: Task, valid: tuple[Array, Array], state: State
) -> tuple[State, Array, dict[str, Array]]:
    """Advance by `length` steps, validate, and keep the network if it is the best so far.

    Arguments:
        setup: what the training steps are made of.
        length: number of training steps.
        warmup: steps at the start of validation sequences that are not scored.
        task: the task again, as an argument of the compiled program, so that its data are no part of that.
        valid: validation inputs `(T, B, n_in)` and targets `(T, B, n_out)`.
        state: where the run is.

    Returns (state, losses `(length,)`, validation metrics).
    """
    setup = setup.at(state.hyperparameters)

    def step(state: State, _: None) -> tuple[State, Array]:
        return _step(setup, task, state)

    begun_whole = whole(state)
    state, losses = jax.lax.scan(step, state, None, length=length)
    state, metrics = validated(setup, warmup, task, valid, state, begun_whole)
    return state, losses, metrics


def validated(
    setup: Setup, warmup: int, task: Task, valid: tuple[Array, Array], state: State, begun_whole: Array | None
) -> tuple[State, dict[str, Array]]:
    """Validate, and keep the network if it is the best so far: -> (state, validation metrics). Traceable.

    Arguments as for `chunk`, and
        begun_whole: what `whole` returned of the state before the chunk.
    """
    net = state.learner.net
    if valid[0].shape[1] % setup.placement.devices == 0:
        valid = _apart(setup, valid)
    metrics = evaluate(task, net, HeldOut(valid[0], valid[1], warmup))
    loss = jnp.asarray(metrics["loss"], state.best_loss.dtype)
    better = loss < state.best_loss
    if begun_whole is not None:  # until it is pruned, no network is better than the one after it
        better = better | begun_whole
    state = state._replace(
        best=jax.tree.map(lambda new, old: jnp.where(better, new, old), net, state.best),
        best_loss=jnp.where(better, loss, state.best_loss),
        best_step=jnp.where(better, state.step, state.best_step),
    )
    return state, metrics


def whole(state: State) -> Array | None:
    """Return whether what a run prunes is still there; None for a run that prunes nothing.

    state: where the run is.
    """
    pruning = pruning_state(state.learner.opt)
    return None if pruning is None else ~pruning.removed


def correlation(net: Network, xs: Array) -> Array:
    """Return the mean absolute correlation between hidden units, as whatever reads them sees them. Traceable.

        mean over i != j of |corr(z_i, z_j)|, then over layers

    xs: inputs `(T, B, n_in)`. Returns 0 for a network without hidden layers.
    """
    found = []
    for site in activity(net, xs)[1:]:
        z = site.z.reshape(-1, site.z.shape[-1])  # (T B, n)
        z = z - z.mean(0)[None]
        scale = jnp.sqrt(jnp.sum(z * z, 0))  # (n,)
        z = z / jnp.where(scale > 0, scale, 1)[None]
        n = z.shape[-1]
        off_diagonal = jnp.sum(jnp.abs(z.T @ z)) - jnp.sum(z * z)
        found.append(off_diagonal / max(1, n * (n - 1)))
    return jnp.mean(jnp.stack(found)) if found else jnp.zeros(())
