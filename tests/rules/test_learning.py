"""Every rule solves tasks with known answers, and a few of them on cells of other kinds."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import perturbax as px
from perturbax.experiment.build import build
from perturbax.experiment.train_step import evaluate_compiled
from perturbax.learning.sequence import apply_estimate

PROBES = ("probe-bias", "probe-now", "probe-lag1", "probe-lag3", "probe-context")
OPTIONS = {name: {"credit": "to-go"} for name in ("node", "activity", "innovation", "iterative")}


def solve(rule, probe, cell="tanh", **fields):
    """The validation loss after a run, as a share of the baseline's.

    Only the updates are compiled for each rule: those of networks, data and validation are shared.
    """
    settings = {
        "units": (24,),
        "steps": 600,
        "batch": 16,
        "lr": 1e-2,
        "optimiser": "adam",
        "schedule": "cosine",
    }
    settings["rule_options"] = OPTIONS.get(rule, {})
    e = px.Experiment(task=probe, rule=rule, cell=cell, logs=5, clip=1.0, **{**settings, **fields})
    parts, valid = build(e), held_out(probe)
    net = trained(parts, *batches(probe, parts.experiment.steps, parts.experiment.batch))
    metrics = evaluate_compiled(parts.task, net, valid.xs, valid.ys, valid.warmup)
    return float(metrics["loss"]) / baseline(probe)


networks, programs = {}, {}  # of what was started and compiled, by the settings that make a difference


def trained(parts, xs, ys, keys):
    """The network after a run. Probes of one shape share its first state, and the compiled run of a rule."""
    e, setup = parts.experiment, parts.setup
    assert setup.task.loss.__func__ is px.tasks.base.Task.loss  # the same for all probes
    net_key, _, first_key = jr.split(jr.PRNGKey(0), 3)  # as a run of seed 0 does
    shape = e.cell, e.units, str(e.cell_options), xs.shape[-1], ys.shape[-1]
    if shape not in networks:
        networks[shape] = jax.jit(lambda key: setup.network(key))(net_key)
    settings = str(dataclasses.replace(e, task="", task_options={}))
    if settings not in programs:
        programs[settings] = training(setup)
    return programs[settings](networks[shape], xs, ys, keys, first_key)


def training(setup):
    """(net, xs, ys, keys, first_key) -> the network after a run, compiled.

    The optimiser sees all weights as one vector: an update is then a few operations, which compile fast.
    """
    rule, optimiser = setup.rule, optax.flatten(setup.optimiser)
    update = px.learner(rule, setup.task.loss).update

    @jax.jit
    def train(net, xs, ys, keys, first_key):
        def step(carry, now):
            net, opt, kept = carry
            kept, _, grads = update(kept, net, *now)
            return (*apply_estimate(net, optimiser, opt, grads, rule), kept), None

        kept = rule.init_state(net, jnp.zeros(xs.shape[2:]), first_key)
        first = net, optimiser.init(px.weights(net)), kept
        return jax.lax.scan(step, first, (xs, ys, keys))[0][0]

    return train


LONGEST = 3000  # steps


def batches(probe, steps, batch):
    """A whole run's xs `(steps, T, B, n_in)`, ys `(steps, T, B, n_out)` and keys of its noise."""
    return [part[:steps] for part in longest(probe, batch)]


@functools.cache
def longest(probe, batch):
    """The same for the longest run: a shorter one starts with the same batches."""
    task, key = px.TASKS[probe](), jr.split(jr.PRNGKey(0), 3)[1]

    def one(step):
        data_key, noise_key = jr.split(jr.fold_in(key, step))
        return *task.sample(data_key, batch), noise_key

    return [np.asarray(part) for part in jax.jit(jax.vmap(one))(np.arange(LONGEST))]


@functools.cache
def held_out(probe):
    return px.TASKS[probe]().held_out("valid")


@functools.cache
def baseline(probe):
    return float(next(iter(px.TASKS[probe]().baselines().values()))["loss"])


# One loss difference per batch and no credit through time: the published rules solve what needs neither.
PUBLISHED = {
    "published-node": ("probe-now", 1500, 3e-3),
    "published-activity": ("probe-bias", 1000, 5e-3),
    "published-weight": ("probe-bias", 2000, 1e-3),  # one direction for all weights: its steps must be small
}


@pytest.mark.parametrize("rule", PUBLISHED)
def test_published_rules_solve_what_they_can(rule):
    probe, steps, lr = PUBLISHED[rule]
    assert solve(rule, probe, batch=2, steps=steps, lr=lr) < 0.1


# One direction in weight space per batch, and no clean pass to compare it with: a pass costs little, and says
# little.
LENGTH = {"ou": {"steps": 3000}, "evolution": {"steps": 300}}  # a step of evolution: a population of passes


# One of the probes needs what most of the others need: one rule is enough for those.
ALL_FIVE = ("node",)
# Rules whose errors come by derivatives learn readouts alike; one of these probes asks for their memory.
FAMILY = ("snap", "uoro", "kf-rtrl", "rflo")
EXACT = ("rtrl", "truncated", "m-order")  # the gradient of BPTT, as other tests show
SAME = ("e-prop", "d-rtrl")  # that of one-step on this cell, as other tests show
SPIKING = ("sltt", "ottt")
LATER = (
    *PUBLISHED,
    *FAMILY,
    *EXACT,
    *SAME,
    *SPIKING,
    "equilibrium",
    "cascaded",  # BPTT where there is one layer
    "pepita",
    "dsf",
    "lra",
    "forward-sensitivity",
    "truncated-rolling",
)
TABLE = [
    (rule, probe)
    for rule in px.RULES
    if rule not in LATER
    for probe in PROBES
    if rule in ALL_FIVE or probe == "probe-lag3"
]


@pytest.mark.parametrize(("rule", "probe"), TABLE)
def test_every_rule_solves_the_probes(rule, probe):
    assert solve(rule, probe, **LENGTH.get(rule, {})) < (0.25 if probe == "probe-context" else 0.1)


@pytest.mark.parametrize("rule", FAMILY)
def test_the_family_solves_what_needs_memory(rule):
    fields = {"lr": 3e-3} if rule == "rflo" else {}  # its feedback is random
    assert solve(rule, "probe-lag3", **fields) < 0.1


@pytest.mark.parametrize("rule", ["dsf", "lra"])
def test_credit_that_fades_on_the_way_solves_it_half(rule):
    """A constant 0.9 (dsf) or 0.5 (lra's rate) per step stands for a Jacobian that keeps length."""
    assert 0.1 < solve(rule, "probe-lag3", steps=1000) < 0.5


@pytest.mark.parametrize("rule", [*SPIKING, "node"])
def test_spiking_networks_learn(rule):
    """A readout without memory of its own, so that what is remembered is in the spikes."""
    fields = {"cell_options": {"kappa": 0.0}}
    if rule == "node":
        fields["rule_options"] = {"credit": "to-go", "sigma": 0.1, "samples": 8}
    assert solve(rule, "probe-now", "lif", **fields) < 0.2


@pytest.mark.parametrize(("rule", "cell"), [("node", "gru"), ("activity", "leaky")])
def test_other_cells_learn_too(rule, cell):
    assert solve(rule, "probe-lag1", cell) < 0.1


def test_feed_forward_networks_learn_what_needs_no_memory():
    assert solve("node", "probe-now", "dense", units=(16, 16)) < 0.1
    # negative control: without recurrence there is no lag, whatever the rule
    assert solve("bptt", "probe-lag1", "dense", units=(16, 16)) > 0.7


def test_online_and_decorrelated_stacks_learn():
    fields = {"mode": "online", "every": 1, "decorrelate": "hidden", "units": (16, 16), "steps": 400}
    options = {"credit": "window", "window": 4}
    e = px.Experiment(
        task="probe-lag1", rule="node", rule_options=options, batch=16, lr=3e-3, logs=2, **fields
    )
    s = px.run(e).summary
    assert s["test"]["loss"] < 0.1 * s["baselines"]["mean"]["loss"]
