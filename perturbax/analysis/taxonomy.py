"""The map of the rules: what a synapse must know, when a rule can speak, and what it is worth on one
network.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.analysis.diagnosis import meter
from perturbax.learning.rule import Rule
from perturbax.learning.sequence import Loss
from perturbax.network.network import Network
from perturbax.network.passes import forward

# What a synapse must know beside its own activity, from least to most.
LOCALITY = {
    "synapse": "its own noise, and one number told to all",
    "neuron": "its neuron's activity and slope, and an error or number told to all",
    "layer": "errors sent back through the weights above, within the step",
    "network": "how it acts on other units in time, or errors sent back through time",
}
CAUSALITY = {
    "online": "speaks at every step, with what was seen so far",
    "at the end": "speaks when the sequence has ended",
    "backwards": "stores the sequence and runs back through it",
}
ROUNDS = 7  # of timing, all rules in turn


class Place(NamedTuple):
    """Where a rule stands, in words."""

    locality: str
    causality: str
    target: str
    cost: str
    memory: str


def place(rule: Rule) -> Place:
    """Return where a rule with these very settings stands."""
    told = rule.told()
    if rule.knows():
        locality = rule.knows()
    elif "transposed weights" in told:
        locality = "network" if "stored sequence" in told else "layer"
    else:
        locality = "neuron" if set(told) - {"score", "stored sequence"} else "synapse"
    back = "backwards" if "stored sequence" in told else "at the end"
    return Place(locality, back if rule.needs_sequence() else "online", rule.aim(), rule.cost, rule.memory)


class Work(NamedTuple):
    """A rule, what it has learnt by now, and its estimate on one batch, compiled."""

    name: str
    rule: Rule
    kept: PyTree
    run: Callable[[], Any]
    octets: int


def compiled(name: str, rule: Rule, loss: Loss, net: Network, batches: Sequence[tuple], key: Array) -> Work:
    """Let a rule watch all batches but the last, where no weight moves; compile its estimate on the last."""
    learn = jax.jit(rule.learner(loss))
    kept = rule.begin(net, batches[0][0][0])
    if jax.tree.leaves(kept):
        for i, (xs, ys) in enumerate(batches[:-1]):
            kept = learn(kept, net, xs, ys, jr.fold_in(key, i))[0]
    xs, ys = batches[-1]
    made = learn.lower(kept, net, xs, ys, key).compile()
    memory = made.memory_analysis()
    octets = int(memory.temp_size_in_bytes) if memory else 0
    return Work(name, rule, kept, lambda: made(kept, net, xs, ys, key), octets)


def seconds(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median time of every run, all taken in turn."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}  # the first warms up


def measured(
    works: Sequence[Work],
    loss: Loss,
    net: Network,
    batch: tuple,
    draws: int,
    key: Array,
    tick: Callable = lambda: None,
) -> list[dict[str, Any]]:
    """Measure every rule on one network and batch.

    cosine, bias and variance are those of single estimates, all weights together, against BPTT (see
    `diagnose`); time per step is set against a forward pass, memory is what the compiler counts for one
    estimate.
    """
    xs, ys = batch
    bare = jax.jit(forward)
    times = seconds({"": lambda: bare(net, xs), **{w.name: w.run for w in works}})
    rows = []
    for work in works:
        groups = meter(work.rule, loss, (1,), draws)(work.kept, net, xs, ys, key)
        every = next(g for g in groups if g.name == "all")
        one = every.averages[0]
        rows.append(
            {
                "name": work.name,
                **place(work.rule)._asdict(),
                "cosine": one.cosine,
                "cosine_error": one.cosine_error,
                "bias": every.bias,
                "bias_squared_error": every.bias_squared_error,
                "biased": every.biased,
                "bias_bound": every.bias_bound,
                "variance": one.variance,
                "seconds_per_step": times[work.name] / len(xs),
                "forwards": times[work.name] / times[""],
                "bytes": work.octets,
            }
        )
        tick()
    return rows
