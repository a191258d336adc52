"""Seven statements about the published rules, each measured on a network small enough to average the noise
out.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.cells import Tanh
from perturbax.cells.stack import stack
from perturbax.experiment.build import build
from perturbax.experiment.config import Experiment
from perturbax.experiment.program import Compiled
from perturbax.experiment.train_step import evaluate_compiled
from perturbax.learning.estimator import value_and_estimate
from perturbax.learning.rule import Rule
from perturbax.network.network import Network
from perturbax.network.passes import forward
from perturbax.rules import RULES

STEPS, INPUTS = 20, 2
PLAIN = {"bias": False, "init": "xavier"}  # the cells of the public code
NAMES = ("W0", "R", "W1")


def mse(y: Array, target: Array) -> Array:
    """Mean over outputs."""
    return jnp.mean((y - target) ** 2, -1)


def problem(n: int, batch: int, steps: int = STEPS, seed: int = 0) -> tuple[Network, Array, Array]:
    """Return a network without biases (Xavier-normal weights) and random data."""
    key, a, b = jr.split(jr.key(seed), 3)
    net = Network(stack(Tanh, (INPUTS, 1), (n,), key, **PLAIN))
    return net, jr.normal(a, (steps, batch, INPUTS)), jr.normal(b, (steps, batch, 1))


def arrays(tree: PyTree) -> dict[str, Array]:
    """Return W0, R and W1 of a tree like the network's weights."""
    return dict(zip(NAMES, jax.tree.leaves(tree), strict=True))


def estimator(rule: Rule, draws: int) -> Callable[[Network, Array, Array], dict[str, Array]]:
    """Return (net, xs, ys) -> independent estimates, `(draws, ...)` for each array; compiled once for one
    shape.
    """
    estimate = value_and_estimate(rule, mse)

    @eqx.filter_jit
    def many(net: Network, xs: Array, ys: Array, keys: Array) -> PyTree:
        return jax.lax.map(lambda key: estimate(net, xs, ys, key)[1], keys, batch_size=64)

    return lambda net, xs, ys: arrays(many(net, xs, ys, jr.split(jr.key(1), draws)))


def exact(net: Network, xs: Array, ys: Array, rule: str = "bptt") -> dict[str, Array]:
    """Return the gradient through time, or that of another exact rule."""
    return arrays(_compiled(rule)(net, xs, ys, jr.key(0))[1])


@lru_cache
def _compiled(rule: str) -> Callable[..., Any]:
    return value_and_estimate(RULES[rule](), mse)


def cosine(a: Array, b: Array) -> float:
    """Return the cosine of two arrays."""
    return float(jnp.vdot(a, b) / jnp.sqrt(jnp.vdot(a, a) * jnp.vdot(b, b)))


def flat(tree: dict[str, Array]) -> Array:
    """Return all arrays end to end."""
    return jnp.concatenate([tree[k].ravel() for k in NAMES])


def along(a: Array, b: Array) -> float:
    """Return <a, b> / |b|^2: 1 where a estimates b."""
    return float(jnp.vdot(a, b) / jnp.vdot(b, b))


def one_step_is_not_bptt(n: int) -> dict[str, Any]:
    """Cosine of the published backpropagation, cut at every step, with the gradient through time."""
    net, xs, ys = problem(n, 8)
    cut, whole = exact(net, xs, ys, "one-step"), exact(net, xs, ys)
    return {"cosine": {name: cosine(cut[name], whole[name]) for name in NAMES}}


def scaled_by_sigma(n: int, draws: int) -> dict[str, Any]:
    """What published node and weight perturbation estimate, in gradients cut at every step; node: 1 if
    unbiased.
    """
    net, xs, ys = problem(n, 1, 4)
    want = exact(net, xs, ys, "one-step")
    found = {}
    for name in ("published-node", "published-weight", "node"):
        rule: Any = RULES[name]()
        mean = {k: v.mean(0) for k, v in estimator(rule, draws)(net, xs, ys).items()}
        found[name] = {"sigma": float(rule.sigma), **{k: along(mean[k], want[k]) for k in NAMES}}
    return {"along": found}


def scaled_by_layer(n: int, draws: int) -> dict[str, Any]:
    """What published activity perturbation estimates in one step: sqrt(N) / n_layer of the gradient, by
    layer.
    """
    net, xs, ys = problem(n, 1, 1)
    want = exact(net, xs, ys)
    mean = {k: v.mean(0) for k, v in estimator(RULES["published-activity"](), draws)(net, xs, ys).items()}
    total = (INPUTS + n + 1) ** 0.5
    return {
        "along": {k: along(mean[k], want[k]) for k in ("W0", "W1")},
        "predicted": {"W0": total / n, "W1": total},
        "units": n,
    }


def reservoir_in_disguise(units: int, epochs: int, lr: float) -> dict[str, Any]:
    """Mackey-Glass recall, published activity perturbation: how far R moves, and the same run with R and W0
    frozen.
    """
    common: dict[str, Any] = {
        "task": "mackey-glass",
        "task_options": {"direction": "recall"},
        "units": (units,),
        "batch": 1,
        "cell_options": PLAIN,
        "schedule": "constant",
        "clip": 0.0,
        "mode": "online",
        "every": 1,
        "logs": 1,
        "decorrelate": "off",
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
    """Return W0, R and W1, whatever biases there are."""
    below: Any = net.layers[0]
    above: Any = net.layers[-1]
    return [below.W, below.U, above.W]


def direction(n: int, draws: int, networks: int) -> dict[str, Any]:
    """Cosine of mean estimates, all weights together, with the gradient cut at every step and through time.

    Mean over networks, each on data of its own.
    """
    problems = [problem(n, 1, 4, seed) for seed in range(networks)]
    exactly = [(flat(exact(*one, "one-step")), flat(exact(*one))) for one in problems]
    made: dict[str, Any] = RULES
    rules = {
        "published-activity": RULES["published-activity"](),
        "node, same step": RULES["node"](),
        "node, to-go": made["node"](credit="to-go"),
        "innovation, to-go": made["innovation"](credit="to-go"),
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
    """Copy with one fixed sequence, published backpropagation: recall of the training sequence, and of
    another.
    """
    e = Experiment(
        task="copy",
        task_options={"length": 100, "delay": 10, "fresh": False},
        rule="one-step",
        units=(units,),
        batch=1,
        cell_options=PLAIN,
        optimiser="adam",
        schedule="constant",
        clip=0.0,
        mode="sequence",
        lr=1e-3,
        steps=updates,
        logs=1,
        decorrelate="off",
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


def shared_difference(n: int, draws: int) -> dict[str, Any]:
    """Variance of single estimates by batch size, over that at batch 1: one difference for the batch, or one
    each.
    """
    found: dict[str, dict[str, float]] = {"published-node": {}, "node": {}}
    for name, by_batch in found.items():
        for batch in (1, 8, 64):
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
