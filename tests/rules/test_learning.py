"""Every rule, on every cell that matters, solves tasks with known answers."""

import functools

import jax
import pytest

import perturbax as px
from perturbax.experiment.build import build
from perturbax.experiment.train_step import chunk, start

PROBES = ("probe-bias", "probe-now", "probe-lag1", "probe-lag3", "probe-context")
OPTIONS = {name: {"credit": "to-go"} for name in ("node", "activity", "innovation", "iterative")}


def solve(rule, probe, cell="tanh", **fields):
    settings = {
        "units": (24,),
        "steps": 1500,
        "batch": 16,
        "lr": 1e-2,
        "optimiser": "adam",
        "schedule": "cosine",
    }
    settings["rule_options"] = OPTIONS.get(rule, {})
    e = px.Experiment(task=probe, rule=rule, cell=cell, logs=5, clip=1.0, **{**settings, **fields})
    parts = build(e)

    @jax.jit
    def train(seed):  # all of a run but its records: what is compiled is what is tested
        valid = parts.task.held_out("valid")

        def part(state, _):
            return chunk(
                parts.setup, e.steps // e.logs, valid.warmup, parts.task, (valid.xs, valid.ys), state
            )[0], None

        return jax.lax.scan(part, start(parts.setup, seed), None, length=e.logs)[0].best_loss

    return float(train(0)) / baseline(probe)


@functools.cache
def baseline(probe):
    return float(next(iter(px.TASKS[probe]().baselines().values()))["loss"])


# One loss difference per batch and no credit through time: the published rules solve what needs neither.
PUBLISHED = {
    "published-node": ("probe-bias", "probe-now"),
    "published-activity": ("probe-bias", "probe-now"),
    "published-weight": ("probe-bias",),
}


@pytest.mark.parametrize(("rule", "probe"), [(r, p) for r, ps in PUBLISHED.items() for p in ps])
def test_published_rules_solve_what_they_can(rule, probe):
    lr = (
        3e-4 if rule == "published-weight" else 3e-3
    )  # one direction for all weights: its steps must be small
    assert solve(rule, probe, batch=2, steps=6000, lr=lr) < 0.1


# One direction in weight space per batch, and no clean pass to compare it with: a pass costs little, and says
# little.
LONGER = {"ou": {"steps": 6000}}


# One of the probes needs what most of the others need: a few rules are enough for those.
ALL_FIVE = ("node", "bptt")
# Rules whose errors come by derivatives learn readouts alike; one of these probes asks for their memory.
FAMILY = ("snap", "uoro", "kf-rtrl", "e-prop", "rflo", "d-rtrl")
EXACT = ("rtrl", "truncated", "m-order")  # the gradient of BPTT, as other tests show
SPIKING = ("sltt", "ottt")
LATER = (*PUBLISHED, *FAMILY, *EXACT, *SPIKING, "dsf", "lra", "forward-sensitivity", "truncated-rolling")
TABLE = [
    (rule, probe)
    for rule in px.RULES
    if rule not in LATER
    for probe in PROBES
    if rule in ALL_FIVE or probe == "probe-lag3"
]


@pytest.mark.parametrize(("rule", "probe"), TABLE)
def test_every_rule_solves_the_probes(rule, probe):
    assert solve(rule, probe, **LONGER.get(rule, {})) < (0.25 if probe == "probe-context" else 0.1)


@pytest.mark.parametrize("rule", FAMILY)
def test_the_family_solves_what_needs_memory(rule):
    assert solve(rule, "probe-lag3", steps=1000) < 0.1


@pytest.mark.parametrize("rule", ["dsf", "lra"])
def test_credit_that_fades_on_the_way_solves_it_half(rule):
    """A constant 0.9 (dsf) or 0.5 (lra's rate) per step stands for a Jacobian that keeps length."""
    assert 0.1 < solve(rule, "probe-lag3", steps=1000) < 0.5


@pytest.mark.parametrize("rule", [*SPIKING, "bptt", "e-prop", "node"])
def test_spiking_networks_learn(rule):
    """A readout without memory of its own, so that what is remembered is in the spikes."""
    fields = {"cell_options": {"kappa": 0.0}, "units": (48,)}
    if rule == "node":
        fields["rule_options"] = {"credit": "to-go", "sigma": 0.1, "samples": 8}
    assert solve(rule, "probe-now", "lif", **fields) < 0.2


@pytest.mark.parametrize("cell", ["leaky", "gru"])
@pytest.mark.parametrize("rule", ["node", "activity", "bptt", "one-step"])
def test_other_cells_learn_too(rule, cell):
    assert solve(rule, "probe-lag1", cell) < 0.1


@pytest.mark.parametrize("rule", ["node", "bptt"])
def test_feed_forward_networks_learn_what_needs_no_memory(rule):
    assert solve(rule, "probe-now", "dense", units=(16, 16)) < 0.1
    assert solve(rule, "probe-lag1", "dense") > 0.7  # negative control: without recurrence there is no lag


@pytest.mark.parametrize("rule", ["node", "one-step"])
def test_online_and_decorrelated_stacks_learn(rule):
    options = {"credit": "window", "window": 4} if rule == "node" else {}
    fields = {"mode": "online", "every": 1, "decorrelate": "hidden", "units": (16, 16), "steps": 600}
    e = px.Experiment(task="probe-lag1", rule=rule, rule_options=options, batch=16, lr=3e-3, logs=3, **fields)
    s = px.run(e).summary
    assert s["test"]["loss"] < 0.1 * s["baselines"]["mean"]["loss"]
