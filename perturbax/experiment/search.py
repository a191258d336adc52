"""Search for learning rates, and a discount where the rule has one: short runs, judged on validation data."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from perturbax.errors import ArgumentError
from perturbax.experiment.build import Parts, build, discounted
from perturbax.experiment.config import Experiment, Resolved
from perturbax.experiment.program import Compiled
from perturbax.experiment.resolve import check_seed, resolve
from perturbax.experiment.train_step import Hyperparameters
from perturbax.experiment.watch import StepReport
from perturbax.fields import positive


class Trial(NamedTuple):
    """A candidate and how its runs ended.

    Attributes:
        lr: the learning rate.
        decor_lr: that of the decorrelating matrices; None for the experiment's own.
        discount: that of the rule; None for the rule's own.
        losses: the lowest validation loss for each seed; NaN for seeds that diverged.
        diverged_at: the training step at which each seed diverged; None for seeds that did not.
    """

    lr: float
    decor_lr: float | None
    discount: float | None
    losses: tuple[float, ...]
    diverged_at: tuple[int | None, ...]

    @property
    def loss(self) -> float:
        """The mean over seeds; infinite for a candidate that diverged with any of them."""
        return float(np.mean(self.losses)) if not any(self.diverged_at) else math.inf


class _Candidate(NamedTuple):
    """Values to be tried; None for what the experiment has."""

    lr: float
    decor_lr: float | None
    discount: float | None


class _CandidateRun(NamedTuple):
    """One run of a candidate."""

    candidate: _Candidate
    seed: int


class _Ending(NamedTuple):
    """How a run ended: its lowest validation loss (NaN if it diverged), and the step of divergence."""

    loss: float
    diverged_at: int | None


def tune(
    experiment: Experiment | Resolved,
    lrs: Sequence[float],
    discounts: Sequence[float | None] = (None,),
    seeds: Sequence[int] = (0,),
    *,
    decor_lrs: Sequence[float | None] = (None,),
    steps: int | None = None,
    width: int | None = None,
    report: StepReport | None = None,
    compiled: Compiled | None = None,
) -> tuple[Parts, list[Trial]]:
    """Train every candidate lr x decor_lr x discount and judge it on validation data; test data are not read.

    One compiled program advances all candidates and seeds side by side; networks of more than
    `program.VECTORISE` units x batch, which are slower side by side, take turns in it. Settings that are
    `auto` are measured once, for all candidates.

    Arguments:
        experiment: the run that is searched for.
        lrs: learning rates.
        discounts: discounts of the rule; None for the rule's own.
        seeds: every candidate is trained with each.
        decor_lrs: learning rates of the decorrelating matrices; None for the experiment's own.
        steps: training steps of each run, in which the schedules run through all the same; None for the
            experiment's own, which are the most.
        width: how many runs the program has side by side, where it has several; None for all.
        report: called after every chunk of steps with (steps done, steps in all, mean loss).
        compiled: that of the experiment; None to compile.

    Returns (parts of the experiment, trials), the best trial first. Raises ArgumentError for candidates and
    settings that cannot be used.
    """
    for seed in seeds:
        check_seed(seed)
    parts = build(resolve(experiment))
    e = parts.experiment
    steps = e.steps if steps is None else steps
    positive("steps", steps)
    if steps > e.steps:
        raise ArgumentError(f"a search over {steps} steps is longer than the run of {e.steps}")
    if list(discounts) != [None]:
        own_discount = e.rule_options.get("discount")
        discounts = [own_discount if discount is None else discount for discount in discounts]
    if list(decor_lrs) != [None]:
        decor_lrs = [e.decor_lr if decor_lr is None else decor_lr for decor_lr in decor_lrs]
    check_candidates(parts, lrs, decor_lrs, discounts)
    values = itertools.product(decor_lrs, lrs, discounts)
    candidates = [_Candidate(lr, decor_lr, discount) for decor_lr, lr, discount in values]
    runs = [_CandidateRun(candidate, seed) for candidate in candidates for seed in seeds]
    endings = _run_all(compiled or Compiled(parts), runs, width, steps, report)
    trials = []
    for i, candidate in enumerate(candidates):
        own = endings[i * len(seeds) : (i + 1) * len(seeds)]
        losses = tuple(ending.loss for ending in own)
        diverged_at = tuple(ending.diverged_at for ending in own)
        trials.append(Trial(*candidate, losses=losses, diverged_at=diverged_at))
    return parts, sorted(trials, key=lambda trial: trial.loss)


def check_candidates(
    parts: Parts, lrs: Sequence[float], decor_lrs: Sequence[float | None], discounts: Sequence[float | None]
) -> None:
    """Refuse candidates that no run could have.

    Arguments:
        parts: those of the run.
        lrs: learning rates.
        decor_lrs: those of the decorrelating matrices; None for the run's own.
        discounts: of the rule; None likewise.
    """
    e = parts.experiment
    for name, values in (("lrs", lrs), ("decor_lrs", decor_lrs), ("discounts", discounts)):
        if not values:
            raise ArgumentError(f"{name} names no candidate")
        if len(set(values)) < len(values):
            raise ArgumentError(f"{name} names a candidate twice")
    for lr in lrs:
        positive("lrs", lr)
    for decor_lr in decor_lrs:
        if decor_lr is None:
            continue
        if e.decorrelate == "off":
            raise ArgumentError(
                "nothing is decorrelated here: decor_lrs needs decorrelate hidden or hidden+input"
            )
        positive("decor_lrs", decor_lr)
    for discount in discounts:
        if discount is None:
            continue
        if not discounted(e):
            raise ArgumentError(f"rule {e.rule} credits no later losses here: it has no discount to tune")
        type(parts.rule)(**{**e.rule_options, "discount": discount})  # the rule refuses what it cannot use


def _run_all(
    compiled: Compiled, runs: list[_CandidateRun], width: int | None, steps: int, report: StepReport | None
) -> list[_Ending]:
    """Run all to the last step, `width` at a time where they run side by side, else one at a time."""
    at_a_time = (width or len(runs)) if compiled.side_by_side else 1
    turns = math.ceil(len(runs) / at_a_time)
    copies = [runs[-1]] * (turns * at_a_time - len(runs))  # they fill up the last turn
    filled = [*runs, *copies]
    endings: list[_Ending] = []
    for turn in range(turns):
        some = filled[turn * at_a_time : (turn + 1) * at_a_time]
        endings += _run_side_by_side(compiled, some, steps, report, turn * steps, turns * steps)
    compiled.pop_compile_seconds()  # a run that uses the same program later gets it for nothing
    return endings[: len(runs)]


def _run_side_by_side(
    compiled: Compiled,
    runs: Sequence[_CandidateRun],
    steps: int,
    report: StepReport | None,
    done_before: int,
    steps_in_all: int,
) -> list[_Ending]:
    """Run candidates to the last step, or until all have diverged."""
    e = compiled.parts.experiment
    states = []
    for (lr, decor_lr, discount), seed in runs:
        hyperparameters = Hyperparameters(lr, decor_lr or e.decor_lr, discount, e.steps / steps)
        states.append(compiled.start(seed, hyperparameters))
    diverged_at: list[int | None] = [None] * len(runs)
    done = 0
    while done < steps and not all(diverged_at):
        length = min(compiled.length, steps - done)
        states, losses, metrics, _ = compiled.advance(states, length)
        finite = np.isfinite(losses)  # (runs, length)
        for i, metric in enumerate(metrics):
            if diverged_at[i] is not None:
                continue
            if not finite[i].all():
                diverged_at[i] = done + 1 + int(finite[i].argmin())
            elif not np.isfinite(metric["loss"]):
                diverged_at[i] = done + length
        done += length
        if report:
            report(done_before + done, steps_in_all, float(np.mean(losses)))
    endings = []
    for state, at in zip(states, diverged_at, strict=True):
        endings.append(_Ending(math.nan if at else float(state.best_loss), at))
    return endings
