"""A taxonomy of the rules: what a synapse must know, when updates are available, and how good the estimates
are on one network.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.analysis.diagnosis import compile_diagnosis
from perturbax.learning.estimator import learner
from perturbax.learning.rule import Rule
from perturbax.learning.sequence import Loss
from perturbax.network.network import Network
from perturbax.network.passes import forward

LOCALITY = {
    "synapse": "its own noise, and one number told to all",
    "neuron": "its neuron's activity and slope, and an error or number told to all",
    "layer": "errors sent back through the weights above, within the step",
    "network": "how it acts on other units in time, or errors sent back through time",
}
"""Locality classes: what a synapse must know beside its own activity, from least to most."""

CAUSALITY = {
    "online": "speaks at every step, with what was seen so far",
    "at the end": "speaks when the sequence has ended",
    "backwards": "stores the sequence and runs back through it",
}
"""When updates are available."""

ROUNDS = 7  # of timing, all rules in turn


class Taxonomy(NamedTuple):
    """Taxonomy of a rule: locality of information, when updates are available, what is estimated, cost and
    memory.

    Attributes:
        locality: a key of `LOCALITY`.
        causality: a key of `CAUSALITY`.
        target: the gradient that is estimated, and with what bias.
        cost: forward passes per update.
        memory: what is stored beside network and optimiser.
    """

    locality: str
    causality: str
    target: str
    cost: str
    memory: str


def taxonomy_of(rule: Rule) -> Taxonomy:
    """Return the taxonomy of a rule with its present settings.

    Arguments:
        rule: the rule.
    """
    about = rule.described()
    told = about.uses
    if about.locality:
        locality = about.locality
    elif "transposed weights" in told:
        locality = "network" if "stored sequence" in told else "layer"
    else:
        locality = "neuron" if set(told) - {"score", "stored sequence"} else "synapse"
    offline = "backwards" if "stored sequence" in told else "at the end"
    causality = offline if about.offline else "online"
    return Taxonomy(locality, causality, about.target, about.cost, about.memory)


class CompiledRule(NamedTuple):
    """A rule whose estimate on one batch is compiled.

    Attributes:
        name: its label.
        rule: the rule.
        kept: what it has learnt by now.
        run: makes one estimate, always the same: -> (kept, loss, grads).
        bytes: memory that the compiler counts for the estimate, beside arguments and results.
    """

    name: str
    rule: Rule
    kept: PyTree
    run: Callable[[], Any]
    bytes: int


def compile_rule(
    name: str, rule: Rule, loss: Loss, net: Network, batches: Sequence[tuple], key: Array
) -> CompiledRule:
    """Let a rule learn what it keeps on all batches but the last, and compile its estimate on the last.

    No weight of the network changes.

    Arguments:
        name: label of the rule.
        rule: the rule.
        loss: (output `(B, n_out)`, target) -> loss per example `(B,)`.
        net: the network.
        batches: (xs `(T, B, n_in)`, ys) each, all of one shape.
        key: random key of the noise.
    """
    init, update = learner(rule, loss)
    learn = jax.jit(update)
    kept = init(net, batches[0][0][0], key)
    if jax.tree.leaves(kept):
        for i, (xs, ys) in enumerate(batches[:-1]):
            kept = learn(kept, net, xs, ys, jr.fold_in(key, i))[0]
    xs, ys = batches[-1]
    program = learn.lower(kept, net, xs, ys, key).compile()
    memory = program.memory_analysis()
    size = int(memory.temp_size_in_bytes) if memory else 0
    return CompiledRule(name, rule, kept, lambda: program(kept, net, xs, ys, key), size)


def median_seconds(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median time of each of several programs, in seconds, by name.

    All run in turn, after one round that warms up.

    Arguments:
        runs: the programs, by name; each returns arrays, which are waited for.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def measure_rules(
    rules: Sequence[CompiledRule],
    loss: Loss,
    net: Network,
    batch: tuple,
    draws: int,
    key: Array,
    tick: Callable = lambda: None,
) -> list[dict[str, Any]]:
    """Measure rules on one network and batch.

    Arguments:
        rules: the rules, compiled on this batch.
        loss: (output `(B, n_out)`, target) -> loss per example `(B,)`.
        net: the network.
        batch: (xs `(T, B, n_in)`, ys).
        draws: independent draws of the noise.
        key: random key of the noise.
        tick: called after every rule.

    Returns for every rule its name, its taxonomy, and numbers: cosine, bias and variance are those of single
    estimates, all weights together, against BPTT (see `diagnose`); `seconds_per_step` is the time of one
    estimate over the steps of its sequence, `forwards` the same in forward passes; `bytes` is what the
    compiler counts for one estimate. Raises ArgumentError for fewer than 4 draws.
    """
    xs, ys = batch
    forward_pass = jax.jit(forward)
    runs = {rule.name: rule.run for rule in rules}
    times = median_seconds({"": lambda: forward_pass(net, xs), **runs})
    rows = []
    for compiled in rules:
        measure = compile_diagnosis(compiled.rule, loss, (1,), draws)
        groups = measure(compiled.kept, net, xs, ys, key)
        every = next(group for group in groups if group.name == "all")
        single = every.averages[0]
        rows.append(
            {
                "name": compiled.name,
                **taxonomy_of(compiled.rule)._asdict(),
                "cosine": single.cosine,
                "cosine_error": single.cosine_error,
                "bias": every.bias,
                "bias_squared_error": every.bias_squared_error,
                "biased": every.biased,
                "bias_bound": every.bias_bound,
                "variance": single.variance,
                "seconds_per_step": times[compiled.name] / len(xs),
                "forwards": times[compiled.name] / times[""],
                "bytes": compiled.bytes,
            }
        )
        tick()
    return rows
