"""Evolution strategies of evosax on the library's tasks, at a budget of passes: the other side of a
benchmark.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jax.flatten_util import ravel_pytree

import perturbax as px
from perturbax.experiment.build import Parts, build
from perturbax.experiment.train_step import evaluate

CHUNKS = 20


class Strategy(NamedTuple):
    """An algorithm of evosax and its settings; None leaves the algorithm's own default."""

    name: str
    population: int = 64
    sigma: float | None = None
    lr: float | None = None


GRID = tuple(itertools.product((16, 64), (0.01, 0.03, 0.1), (1e-3, 1e-2)))


def candidates(name: str) -> list[Strategy]:
    """The settings among which validation chooses."""
    if name == "SNES":  # its step along the mean is set by the population's weights; lr scales it
        return [
            Strategy(name, p, s, lr)
            for p, s, lr in itertools.product((16, 64), (0.01, 0.03, 0.1), (0.1, 1.0))
        ]
    return [Strategy(name, p, s, lr) for p, s, lr in GRID]


def make(strategy: Strategy, flat: jax.Array) -> tuple[Any, Any]:
    """Return the algorithm of evosax and its parameters."""
    from evosax.algorithms import SNES, Open_ES

    options: dict[str, Any] = {}
    if strategy.lr is not None:
        options["optimizer"] = optax.sgd(strategy.lr) if strategy.name == "SNES" else optax.adam(strategy.lr)
    if strategy.name == "Open_ES" and strategy.sigma is not None:
        options["std_schedule"] = optax.constant_schedule(strategy.sigma)
    made = {"SNES": SNES, "Open_ES": Open_ES}[strategy.name](
        population_size=strategy.population, solution=flat, **options
    )
    params = made.default_params
    if strategy.name == "SNES" and strategy.sigma is not None:
        params = params.replace(std_init=strategy.sigma)
    return made, params


class Search(NamedTuple):
    """A strategy about to run: its state, and a compiled chunk of generations."""

    state: Any
    key: jax.Array
    per: int  # generations of a chunk
    chunk: Callable[[Any, jax.Array], tuple]  # (state, keys) -> (state, metrics of the mean on validation)
    mean: Callable[[Any], px.Network]
    parts: Parts


def prepared(experiment: px.Experiment, strategy: Strategy, passes: int) -> Search:
    """Compile the strategy for the experiment's network.

    A member's evaluation on one batch is one pass; all members of a generation see the same batch.
    """
    parts = build(experiment)
    task, batch = parts.task, parts.experiment.batch
    net_key, key = jr.split(jr.PRNGKey(experiment.seed))
    some, rest = px.split(parts.network(net_key))
    flat, unravel = ravel_pytree(some)
    made, params = make(strategy, flat)
    state = made.init(key, flat, params)

    def score(member: jax.Array, xs: jax.Array, ys: jax.Array) -> jax.Array:
        y = px.forward(px.join(unravel(member), rest), xs)
        return jnp.mean(jax.vmap(task.loss)(y, ys))

    def generation(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        data, ask, tell = jr.split(key, 3)
        xs, ys = task.sample(data, batch)
        population, state = made.ask(ask, state, params)
        fitness = jax.vmap(score, in_axes=(0, None, None))(population, xs, ys)
        state, _ = made.tell(tell, population, fitness, state, params)
        return state, fitness.mean()

    def mean(state: Any) -> px.Network:
        return px.join(unravel(made.get_mean(state)), rest)

    valid = task.held_out("valid")

    def chunk(state: Any, keys: jax.Array) -> tuple[Any, dict]:
        state, _ = jax.lax.scan(generation, state, keys)
        return state, evaluate(task, mean(state), valid)

    per = max(1, passes // strategy.population // CHUNKS)
    return Search(state, key, per, jax.jit(chunk).lower(state, jr.split(key, per)).compile(), mean, parts)


def evolve(experiment: px.Experiment, strategy: Strategy, passes: int) -> dict[str, Any]:
    """Evolve the experiment's network for so many forward passes; keep the best mean on validation."""
    search = prepared(experiment, strategy, passes)
    state, best, kept, done = search.state, float("inf"), search.mean(search.state), 0
    while done * strategy.population < passes:
        state, metrics = search.chunk(state, jr.split(jr.fold_in(search.key, done), search.per))
        done += search.per
        if float(metrics["loss"]) < best:
            best, kept = float(metrics["loss"]), search.mean(state)
    task = search.parts.task
    held_out = task.held_out("test")
    test = jax.jit(lambda net: evaluate(task, net, held_out))(kept)
    return {
        "valid": best,
        "test": {k: float(v) for k, v in test.items()},
        "forward_passes": done * strategy.population,
    }


def tuned(experiment: px.Experiment, name: str, passes: int) -> Strategy:
    """The candidate with the lowest validation loss, at the full budget."""
    return min(candidates(name), key=lambda s: evolve(experiment, s, passes)["valid"])
