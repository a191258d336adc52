"""Many rules measured on one network and one batch, once BPTT has trained the network."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from perturbax.analysis.taxonomy import compile_rule, measure_rules
from perturbax.errors import PerturbaxError
from perturbax.experiment import run_folder
from perturbax.experiment.build import Parts, build
from perturbax.experiment.config import Experiment
from perturbax.experiment.program import Compiled
from perturbax.experiment.result import describe
from perturbax.experiment.watch import StepReport
from perturbax.learning.rule import check_derivatives

WATCHED = 64  # batches that rules which learn between updates see before they are measured
MEASURED_STEP = 2**31 - 3  # training step whose batches are measured: none that a run would reach


def measure_family(
    leading: Experiment,
    members: Sequence[tuple[str, Experiment]],
    draws: int,
    report: StepReport,
    *,
    skip: bool,
) -> dict[str, Any]:
    """Measure rules on one network and one batch.

    Arguments:
        leading: the run that trains the network, by BPTT.
        members: label and experiment of every rule; the experiments differ from `leading` in the rule alone.
        draws: independent draws of the noise for every rule.
        report: called as report(done, total, NaN) after every piece of work.
        skip: whether a rule that does not apply to the network is left out; otherwise its error is raised.

    Returns the content of taxonomy.json, as plain values: the experiment, `rules` with the numbers of each,
    and `refused` with the reason why each was left out.
    """
    lead = build(leading)
    net, xs, ys, batches, key = _trained(lead)
    total = 2 * len(members)
    compiled, refused = [], []
    for i, (label, experiment) in enumerate(members):
        report(i, total, math.nan)
        rule = build(experiment).rule
        try:
            check_derivatives(rule, net)
            compiled.append(compile_rule(label, rule, lead.task.loss, net, batches, key))
        except PerturbaxError as error:
            if not skip:
                raise
            refused.append({"name": label, "reason": str(error)})
    done = len(members) + len(refused)

    def tick() -> None:
        nonlocal done
        done += 1
        report(done, total, math.nan)

    found = measure_rules(compiled, lead.task.loss, net, (xs, ys), draws, key, tick)
    return run_folder.to_json({**describe(lead), "draws": draws, "rules": found, "refused": refused})


def _trained(lead: Parts) -> tuple:
    """Return (trained network, xs, ys, all fresh batches with (xs, ys) last, a key)."""
    program = Compiled(lead)
    state = program.start(lead.experiment.seed)
    (state,), losses, _, _ = program.advance([state], lead.experiment.steps)
    if not jnp.isfinite(losses).all():
        raise PerturbaxError("the loss was no longer finite while the network was trained (try a lower --lr)")
    key = jr.fold_in(jr.PRNGKey(lead.experiment.seed), MEASURED_STEP)
    sample = jax.jit(lambda key: lead.task.sample(key, lead.experiment.batch))
    batches = [sample(jr.fold_in(key, i)) for i in range(WATCHED + 1)]
    xs, ys = batches[-1]
    return state.learner.net, xs, ys, batches, jr.fold_in(key, WATCHED + 1)
