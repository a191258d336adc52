"""Search for learning rates, and a discount where the rule has one, by short runs judged on validation
data.
"""

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perturbax.cli.commands import experiment_from, progress
from perturbax.errors import ArgumentError, PerturbaxError
from perturbax.experiment import run_folder
from perturbax.experiment.atomic import writing
from perturbax.experiment.build import Pace, Parts, build, check_seed
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import coerce, find, provisional
from perturbax.experiment.program import Compiled
from perturbax.experiment.result import describe
from perturbax.experiment.run import Report
from perturbax.fields import positive
from perturbax.rules import RULES

RATES = (0.1, 0.3, 1.0, 3.0, 10.0)  # times the learning rate that is shipped or named
DISCOUNTS = (0.9, 0.95, 1.0)  # beside the one that is shipped
SHARE = 10  # short runs take one in so many steps of a whole run


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


def tune_command(
    given: dict[str, Any],
    settings: dict[str, dict[str, str]],
    lrs: str | None,
    decor_lrs: str | None,
    discounts: str | None,
    seeds: str,
    out: Path,
) -> int:
    """Search, print what was found, and write tune.json and, with the best settings, config.json."""
    run_folder.refuse_occupied(out)
    count = coerce("seeds", seeds, int)
    positive("seeds", count)
    given = dict(given)
    steps = given.pop("steps", None)
    whole = build(experiment_from(Experiment(), given, settings))
    e = whole.experiment
    short = dataclasses.replace(
        e, steps=max(1, (e.steps or 0) // SHARE) if steps is None else coerce("steps", steps, int)
    )
    rates = [float(f"{(e.lr or 0) * r:.3g}") for r in RATES] if lrs is None else _numbers("lrs", lrs)
    own: Sequence[float | None] = (None,) if decor_lrs is None else _numbers("decor_lrs", decor_lrs)
    chosen: Sequence[float | None] = (None,)
    if discounts is not None:
        chosen = _numbers("discounts", discounts)
    elif discounted(e) and "discount" not in settings["rule"]:
        chosen = sorted({*DISCOUNTS, e.rule_options["discount"]})
    with progress(e.rule) as bar:
        parts, trials = tune(short, rates, chosen, range(e.seed, e.seed + count), decor_lrs=own, report=bar)
    best = trials[0] if math.isfinite(trials[0].loss) else None
    _print(trials, count, best)
    _write(out, whole, parts, trials, best, list(range(e.seed, e.seed + count)))
    if best is None:
        raise PerturbaxError("every candidate diverged: name lower --lrs")
    for name, found, tried in (("lr", best.lr, rates), ("decor_lr", best.decor_lr, own)):
        if len(tried) > 1 and found in (min(tried), max(tried)):
            print(f"the best {name} is at the edge of the list ({found:g}): the best of all may lie beyond")
    print(
        f"tuned on {short.steps} steps; train the best on {e.steps}: perturbax run --config {out}/config.json --out RUN"
    )
    return 0


def _numbers(name: str, text: str) -> list[float]:
    return [coerce(name, piece.strip(), float) for piece in text.split(",") if piece.strip()]


def _print(trials: Sequence[Trial], seeds: int, best: Trial | None) -> None:
    """Print the candidates, the best first."""
    own = any(trial.decor_lr for trial in trials)
    loss = f"validation loss{f' (mean of {seeds} seeds)' * (seeds > 1)}"
    table = Table("lr", *["decor_lr"] * own, "discount", loss, "")
    for trial in trials:
        first = next((at for at in trial.diverged_at if at), None)
        loss = f"{trial.loss:.4g}" if first is None else f"diverged at step {first}"
        discount = "-" if trial.discount is None else f"{trial.discount:g}"
        rates = [f"{rate:g}" for rate in (trial.lr, trial.decor_lr) if rate is not None]
        row = (*rates, discount, loss, "best" if trial is best else "")
        table.add_row(*(Text(cell, style="bold" if trial is best else "") for cell in row))
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)


def _write(
    out: Path, whole: Parts, parts: Parts, trials: Sequence[Trial], best: Trial | None, seeds: list
) -> None:
    """Write the folder; its config.json has no facts of a run, so that none can be resumed there."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    described = describe(parts)
    found = {
        **described,
        "facts": {"auto": whole.auto, "data": parts.task.digest()},
        "seeds": seeds,
        "judged_by": "lowest validation loss, mean over seeds",
        "candidates": [{**t._asdict(), "loss": t.loss} for t in trials],
        "best": best
        and {"lr": best.lr, "decor_lr": best.decor_lr, "discount": best.discount, "loss": best.loss},
    }
    run_folder.write_json(out / "tune.json", found)
    if best:
        options = whole.experiment.rule_options | (
            {} if best.discount is None else {"discount": best.discount}
        )
        e = dataclasses.replace(
            whole.experiment,
            lr=best.lr,
            decor_lr=best.decor_lr or whole.experiment.decor_lr,
            rule_options=options,
        )
        config = describe(whole._replace(experiment=e))
        del config["facts"]
        run_folder.write_json(out / "config.json", config)
