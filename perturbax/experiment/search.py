"""Search for learning rates, and a discount where the rule has one, by short runs judged on validation
data.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from perturbax.errors import ArgumentError
from perturbax.experiment.build import Pace, Parts, build, check_seed
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import find, provisional
from perturbax.experiment.program import Compiled
from perturbax.experiment.run import Report
from perturbax.fields import positive
from perturbax.rules import RULES


class Trial(NamedTuple):
    """One candidate, and the lowest validation loss of each of its seeds; NaN for those that diverged."""

    lr: float
    decor_lr: float | None
    discount: float | None
    losses: tuple[float, ...]
    diverged_at: tuple[int | None, ...]

    @property
    def loss(self) -> float:
        """The mean over seeds; infinite for a candidate that diverged with any of them."""
        return float(np.mean(self.losses)) if not any(self.diverged_at) else math.inf


class _Lane(NamedTuple):
    """One run of one candidate; None for what the experiment has."""

    lr: float
    decor_lr: float | None
    discount: float | None
    seed: int


def tune(
    experiment: Experiment,
    lrs: Sequence[float],
    discounts: Sequence[float | None] = (None,),
    seeds: Sequence[int] = (0,),
    *,
    decor_lrs: Sequence[float | None] = (None,),
    steps: int | None = None,
    width: int | None = None,
    report: Report | None = None,
    compiled: Compiled | None = None,
) -> tuple[Parts, list[Trial]]:
    """Train every candidate lr x decor_lr x discount for the experiment's steps: -> (parts, trials, the best
    first).

    steps: fewer, in which the schedules run through all the same; compiled: that of the experiment; width:
    how many runs its program has side by side, where it has several (default: all).

    One compiled program advances all candidates and seeds; networks of more than `compiled.VECTORISE` units x
    batch, which are slower side by side, take turns in it. Judged on validation data: test data are never
    read. Settings that are `auto` are measured once, for all candidates. Raises ArgumentError for settings
    that cannot be used.
    """
    for seed in seeds:
        check_seed(seed)
    parts = build(experiment)
    whole = parts.experiment.steps or 0
    steps = whole if steps is None else steps
    positive("steps", steps)
    if steps > whole:
        raise ArgumentError(f"a search over {steps} steps is longer than the run of {whole}")
    if list(discounts) != [None]:
        discounts = [parts.experiment.rule_options.get("discount") if d is None else d for d in discounts]
    if list(decor_lrs) != [None]:
        decor_lrs = [parts.experiment.decor_lr if rate is None else rate for rate in decor_lrs]
    discounts = _check(parts, lrs, decor_lrs, discounts)
    lanes = [_Lane(lr, own, d, seed) for own in decor_lrs for lr in lrs for d in discounts for seed in seeds]
    compiled = compiled or Compiled(parts)
    together = (width or len(lanes)) if compiled.abreast else 1
    count = len(lanes)
    lanes += lanes[-1:] * (-count % together)  # the last turn is filled up with copies
    ends = []
    for turn, i in enumerate(range(0, len(lanes), together)):
        several = lanes[i : i + together]
        ends += _race(compiled, several, steps, report, turn * steps, len(lanes) // together * steps)
    compiled.charge()  # a run in the same program gets it for nothing
    trials = []
    for i in range(0, count, len(seeds)):
        losses, diverged = zip(*ends[i : i + len(seeds)], strict=True)
        trials.append(Trial(*lanes[i][:3], losses, diverged))
    return parts, sorted(trials, key=lambda t: t.loss)


def _check(
    parts: Parts, lrs: Sequence[float], decor_lrs: Sequence[float | None], discounts: Sequence[float | None]
) -> list[float | None]:
    """Refuse candidates that no run could have."""
    for name, values in (("lrs", lrs), ("decor_lrs", decor_lrs), ("discounts", discounts)):
        if not values:
            raise ArgumentError(f"{name} names no candidate")
        if len(set(values)) < len(values):
            raise ArgumentError(f"{name} names a candidate twice")
    for lr in lrs:
        positive("lrs", lr)
    for lr in decor_lrs:
        if lr is not None and parts.experiment.decorrelate == "off":
            raise ArgumentError(
                "nothing is decorrelated here: decor_lrs needs decorrelate hidden or hidden+input"
            )
        if lr is not None:
            positive("decor_lrs", lr)
    for discount in discounts:
        if discount is not None and not discounted(parts.experiment):
            raise ArgumentError(
                f"rule {parts.experiment.rule} credits no later losses here: it has no discount to tune"
            )
        if discount is not None:
            type(parts.rule)(**{**parts.experiment.rule_options, "discount": discount})
    return list(discounts)


def discounted(e: Experiment) -> bool:
    """Whether the discount of the rule matters: it has one it accepts, and credit reaches beyond the same
    step.
    """
    own = e.rule_options
    if "discount" not in own or own.get("credit") == "same-step" or own.get("tangents") == "weights":
        return False
    rule: Any = find("rule", e.rule, RULES)
    try:
        rule(**{**provisional(rule, own), "discount": 0.5})
    except ArgumentError:
        return False
    return True


def _race(
    compiled: Compiled, lanes: Sequence[_Lane], steps: int, report: Report | None, before: int, total: int
) -> list[tuple[float, int | None]]:
    """Run lanes to the last step, side by side: -> (lowest validation loss, step of divergence) of each."""
    e = compiled.parts.experiment
    haste = (e.steps or 0) / steps
    paces = [Pace(lane.lr, lane.decor_lr or e.decor_lr, lane.discount, haste) for lane in lanes]
    states = [compiled.start(lane.seed, pace) for lane, pace in zip(lanes, paces, strict=True)]
    diverged: list[int | None] = [None] * len(lanes)
    done = 0
    while done < steps and not all(diverged):
        length = min(compiled.length, steps - done)
        states, losses, metrics, _ = compiled.advance(states, length)
        fine = np.isfinite(losses)
        for i, metric in enumerate(metrics):
            if diverged[i] is None and not (fine[i].all() and np.isfinite(metric["loss"])):
                diverged[i] = done + (length if fine[i].all() else 1 + int(fine[i].argmin()))
        done += length
        if report:
            report(before + done, total, float(np.mean(losses)))
    return [(math.nan if at else float(s.best_loss), at) for s, at in zip(states, diverged, strict=True)]
