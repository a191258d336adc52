"""Seven statements about the published rules (Garcia Fernandez et al. 2024), each measured on a network small
enough to average the noise out.

The networks are those of the public code: one tanh layer and a linear readout, no biases. W0 are the weights
of the input, R the recurrent ones, W1 those of the readout; N is the number of all units, inputs included.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.cells import CELLS
from perturbax.cells.stack import stack
from perturbax.experiment.build import build
from perturbax.experiment.config import Experiment
from perturbax.experiment.program import Compiled
from perturbax.experiment.train_step import evaluate_compiled
from perturbax.learning.estimator import value_and_estimate
from perturbax.learning.rule import Rule
from perturbax.moved import old_names
from perturbax.network.network import Network
from perturbax.network.passes import forward
from perturbax.rules import RULES
from perturbax.study.protocol import PUBLIC_CELL, PUBLIC_RUN

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

STEPS = 20  # of a sequence, where nothing else is said
INPUTS = 2
NAMES = ("W0", "R", "W1")


def mse(y: Array, target: Array) -> Array:
    """Return the squared error of each example, `(B,)`, mean over outputs.

    Arguments:
        y: outputs, `(B, n_out)`.
        target: targets, `(B, n_out)`.
    """
    return jnp.mean((y - target) ** 2, -1)


def problem(n: int, batch: int, steps: int = STEPS, seed: int = 0) -> tuple[Network, Array, Array]:
    """Return a network with random (Xavier-normal) weights, inputs and targets.

    Arguments:
        n: hidden units.
        batch: B, sequences.
        steps: T, time steps.
        seed: of weights and data.

    Returns (network, xs `(T, B, 2)`, ys `(T, B, 1)`).
    """
    net_key, input_key, target_key = jr.split(jr.key(seed), 3)
    net = Network(stack(CELLS["tanh"], (INPUTS, 1), (n,), net_key, **PUBLIC_CELL))
    xs = jr.normal(input_key, (steps, batch, INPUTS))
    return net, xs, jr.normal(target_key, (steps, batch, 1))


def arrays(tree: PyTree) -> dict[str, Array]:
    """Return W0, R and W1 of a tree like the network's weights, by name.

    Arguments:
        tree: like the weights of the network, without biases.
    """
    return dict(zip(NAMES, jax.tree.leaves(tree), strict=True))


def estimator(rule: Rule, draws: int) -> Callable[[Network, Array, Array], dict[str, Array]]:
    """Return (net, xs, ys) -> independent estimates by a rule, compiled once for one shape.

    Arguments:
        rule: a rule that keeps nothing between updates.
        draws: how many estimates.

    The estimates have shape `(draws, ...)` for each array.
    """
    estimate = value_and_estimate(rule, mse)

    @eqx.filter_jit
    def all_draws(net: Network, xs: Array, ys: Array, keys: Array) -> PyTree:
        return jax.lax.map(lambda key: estimate(net, xs, ys, key)[1], keys, batch_size=64)

    return lambda net, xs, ys: arrays(all_draws(net, xs, ys, jr.split(jr.key(1), draws)))


def exact(net: Network, xs: Array, ys: Array, rule: str = "bptt") -> dict[str, Array]:
    """Return the gradient through time (BPTT), or that of another rule without noise, by array.

    Arguments:
        net: the network.
        xs: inputs, `(T, B, n_in)`.
        ys: targets, `(T, B, n_out)`.
        rule: name of the rule, in RULES; one that draws nothing and keeps nothing between updates.
    """
    return arrays(_compiled(rule)(net, xs, ys, jr.key(0))[1])


@lru_cache
def _compiled(rule: str) -> Callable[..., Any]:
    """Return the estimator of a rule; compiled programs of one function object are used again."""
    return value_and_estimate(RULES[rule](), mse)


def cosine(a: Array, b: Array) -> float:
    """Return the cosine of two arrays, <a, b> / (|a| |b|).

    Arguments:
        a: an array.
        b: another of the same shape, neither of them all 0.
    """
    return float(jnp.vdot(a, b) / jnp.sqrt(jnp.vdot(a, a) * jnp.vdot(b, b)))


def flat(tree: dict[str, Array]) -> Array:
    """Return W0, R and W1 end to end, as one vector.

    Arguments:
        tree: the three arrays, by name.
    """
    return jnp.concatenate([tree[k].ravel() for k in NAMES])


def along(a: Array, b: Array) -> float:
    """Return <a, b> / |b|^2: 1 in the mean where a is an unbiased estimate of b.

    Arguments:
        a: an array.
        b: another of the same shape, not all 0.
    """
    return float(jnp.vdot(a, b) / jnp.vdot(b, b))


def one_step_is_not_bptt(n: int) -> dict[str, Any]:
    """Measure the cosine of the published backpropagation, cut at every step, with the gradient through time.

    Arguments:
        n: hidden units.
    """
    net, xs, ys = problem(n, 8)
    cut, through_time = exact(net, xs, ys, "one-step"), exact(net, xs, ys)
    return {"cosine": {name: cosine(cut[name], through_time[name]) for name in NAMES}}


def scaled_by_sigma(n: int, draws: int) -> dict[str, Any]:
    """Measure what published node and weight perturbation estimate, in gradients cut at every step.

    An unbiased estimate gives 1, as this library's `node` does; the published rules give sigma.

    Arguments:
        n: hidden units.
        draws: estimates that are averaged.
    """
    net, xs, ys = problem(n, 1, 4)
    gradient = exact(net, xs, ys, "one-step")
    found = {}
    for name in ("published-node", "published-weight", "node"):
        rule: Any = RULES[name]()
        mean = {k: v.mean(0) for k, v in estimator(rule, draws)(net, xs, ys).items()}
        found[name] = {"sigma": float(rule.sigma), **{k: along(mean[k], gradient[k]) for k in NAMES}}
    return {"along": found}


def scaled_by_layer(n: int, draws: int) -> dict[str, Any]:
    """Measure what published activity perturbation estimates in one step, in units of the gradient, by layer.

    Predicted is sqrt(N) / n for a layer of n units.

    Arguments:
        n: hidden units.
        draws: estimates that are averaged.
    """
    net, xs, ys = problem(n, 1, 1)
    gradient = exact(net, xs, ys)
    mean = {k: v.mean(0) for k, v in estimator(RULES["published-activity"](), draws)(net, xs, ys).items()}
    total = (INPUTS + n + 1) ** 0.5
    return {
        "along": {k: along(mean[k], gradient[k]) for k in ("W0", "W1")},
        "predicted": {"W0": total / n, "W1": total},
        "units": n,
    }


def reservoir_in_disguise(units: int, epochs: int, lr: float) -> dict[str, Any]:
    """Train by published activity perturbation on Mackey-Glass, online: how far the weights move, and how
    well the same run does with R and W0 frozen.

    Arguments:
        units: hidden units.
        epochs: passes over the training rows.
        lr: learning rate.

    Returns for both runs the test error, the last training loss, and |change| / |start| of each array.
    """
    common: dict[str, Any] = {
        **PUBLIC_RUN,
        "task": "mackey-glass",
        "task_options": {"direction": "recall"},
        "units": (units,),
        "batch": 1,
        "cell_options": PUBLIC_CELL,
        "mode": "online",
        "logs": 1,
        "optimiser": "sgd",
        "steps": 35 * epochs,
    }
    found: dict[str, Any] = {}
    # Frozen, the published readout rule is in expectation the gradient times sqrt(N).
    for name, rule, gain in (
        ("activity", "published-activity", 1.0),
        ("frozen", "frozen", (2 + units) ** 0.5),
    ):
        e = Experiment(rule=rule, lr=lr * gain, **common)
        compiled = Compiled(build(e))
        state = compiled.start(42)
        before = arrays(matrices(state.learner.net))
        (state,), losses, _, _ = compiled.advance([state], compiled.parts.experiment.steps)
        after, test = arrays(matrices(state.learner.net)), compiled.test
        score = evaluate_compiled(compiled.parts.task, state.learner.net, *test)
        found[name] = {
            "test_mse": float(score["mse"]),
            "last_loss": float(losses[0, -1]),
            "moved": {
                k: float(jnp.linalg.norm(after[k] - before[k]) / jnp.linalg.norm(before[k])) for k in NAMES
            },
        }
    return found


def matrices(net: Network) -> PyTree:
    """Return W0, R and W1 of a network of one recurrent layer and a readout, whatever biases there are.

    Arguments:
        net: the network.
    """
    below: Any = net.layers[0]
    above: Any = net.layers[-1]
    return [below.W, below.U, above.W]


def direction(n: int, draws: int, networks: int) -> dict[str, Any]:
    """Measure the cosine of mean estimates, all weights together, with two gradients and with themselves.

    The gradients are cut at every step, and through time; `with half the draws` tells whether the mean of so
    many estimates has settled.

    Arguments:
        n: hidden units.
        draws: estimates that are averaged.
        networks: how many, each on data of its own, to take the mean over.
    """
    problems = [problem(n, 1, 4, seed) for seed in range(networks)]
    exactly = [(flat(exact(*one, "one-step")), flat(exact(*one))) for one in problems]
    node: Any = RULES["node"]
    innovation: Any = RULES["innovation"]
    rules = {
        "published-activity": RULES["published-activity"](),
        "node, same step": node(),
        "node, to-go": node(credit="to-go"),
        "innovation, to-go": innovation(credit="to-go"),
    }
    found = {}
    for name, rule in rules.items():
        draw, each = estimator(rule, draws), []
        for one, (cut, whole) in zip(problems, exactly, strict=True):
            every = draw(*one)
            mean, half = (flat({k: v[::step].mean(0) for k, v in every.items()}) for step in (1, 2))
            each.append((cosine(mean, cut), cosine(mean, whole), cosine(mean, half)))
        names = ("cut", "through time", "with half the draws")
        found[name] = dict(zip(names, np.mean(each, 0).tolist(), strict=True))
    return {"cosine": found}


def memorising(units: int, updates: int) -> dict[str, Any]:
    """Train by published backpropagation to copy one fixed sequence: recall of that sequence, and of others.

    Arguments:
        units: hidden units.
        updates: how many are made.
    """
    e = Experiment(
        task="copy",
        task_options={"length": 100, "delay": 10, "fresh": False},
        rule="one-step",
        units=(units,),
        batch=1,
        cell_options=PUBLIC_CELL,
        optimiser="adam",
        mode="sequence",
        lr=1e-3,
        steps=updates,
        logs=1,
        **PUBLIC_RUN,
    )
    compiled = Compiled(build(e))
    (state,), _, _, _ = compiled.advance([compiled.start(42)], updates)
    task, net = compiled.parts.task, state.learner.net
    xs, ys = task.sample(jr.key(0), 1)
    test = compiled.test
    return {
        "training_recall": float(task.metrics(forward(net, xs), ys)["recall"]),
        "test_recall": float(task.metrics(forward(net, test.xs), test.ys)["recall"]),
        "chance": 1 / 8,
    }


def shared_difference(n: int, draws: int, batches: Sequence[int] = (1, 8, 64)) -> dict[str, Any]:
    """Measure the variance of single estimates at several batch sizes, over that at batch 1.

    `published-node` has one loss difference for the whole batch, `node` one for each example.

    Arguments:
        n: hidden units.
        draws: estimates whose variance is taken.
        batches: the batch sizes, 1 among them.
    """
    found: dict[str, dict[str, float]] = {"published-node": {}, "node": {}}
    for name, by_batch in found.items():
        for batch in batches:
            net, *one = problem(n, 1)
            xs, ys = (jnp.repeat(v, batch, 1) for v in one)  # the same example: all else equal
            every = estimator(RULES[name](), draws)(net, xs, ys)
            by_batch[str(batch)] = sum(float(v.var(0).sum()) for v in every.values())
    return {"variance": {name: {b: v / own["1"] for b, v in own.items()} for name, own in found.items()}}


FINDINGS: dict[str, tuple[Callable[..., dict[str, Any]], dict[str, Any]]] = {
    "1-one-step": (one_step_is_not_bptt, {"n": 100}),
    "2-sigma": (scaled_by_sigma, {"n": 8, "draws": 20_000}),
    "3-layers": (scaled_by_layer, {"n": 64, "draws": 20_000}),
    "4-reservoir": (reservoir_in_disguise, {"units": 500, "epochs": 3, "lr": 5e-5}),
    "4-reservoir-fast": (reservoir_in_disguise, {"units": 500, "epochs": 3, "lr": 1e-3}),
    "5-direction": (direction, {"n": 8, "draws": 20_000, "networks": 5}),
    "6-memorising": (memorising, {"units": 500, "updates": 150}),
    "7-batch": (shared_difference, {"n": 16, "draws": 1000}),
}
"""By name: the measurement and its settings."""
