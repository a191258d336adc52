"""What the numbers show and what went wrong, a sentence each: who trained the recurrence, who beats a linear
model, which runs were lost.
"""

import math
from html import escape

from perturbax.report.compare import Section, Stat, VariantRuns
from perturbax.report.lead import summary as summary
from perturbax.report.numbers import count, rounded
from perturbax.report.read import as_dict, as_number
from perturbax.report.standing import CLOSE as CLOSE
from perturbax.report.standing import (
    SIMPLEST,
    SPOKEN,
    about_equal,
    enumerated,
    frozen_value,
    kept_everywhere,
    kept_runs,
    not_told_apart,
    solved_readout,
    spoken,
    trained_variants,
)
from perturbax.report.standing import baseline as baseline
from perturbax.report.standing import beats as beats
from perturbax.report.standing import bold as bold
from perturbax.report.standing import gradient_free as gradient_free
from perturbax.report.standing import linear_baseline as linear_baseline


def verdicts(section: Section) -> list[str]:
    """Return one sentence (HTML) where the task shows nothing, per variant that fails a comparison, per lost
    run.
    """
    trained = trained_variants(section)
    if any(v.rule == "frozen" and section.main(v) for v in section.variants) or any(
        solved_readout(section, v) for v in trained
    ):
        changed = [v for v in trained if not kept_everywhere(v)]
        said = [line for v in changed if (line := _frozen_verdict(section, v))]
    elif section.acts:
        said = []  # no readout can be solved for, and a frozen reservoir learns from output errors
    elif all(map(_on_device, section.variants)):
        said = ["Devices have no frozen reservoir, so whether the recurrence was trained is not shown."]
    else:
        said = [
            "No frozen reservoir is in this comparison, so it cannot show whether any rule has trained the "
            "recurrence; "
            "run the rule <code>frozen</code> beside the others."
        ]
    linear = linear_baseline(section)
    if linear is None and not section.acts:
        said.append(
            "No linear model is in this comparison, so it cannot show whether the task needs more than one."
        )
    elif linear is not None:
        said += _linear_verdict(section, linear)
    said += _simple_verdicts(section)
    if kept := start_kept(section):
        said.append(kept)
    said += [line for v in section.variants if (line := _at_chance(v))]
    mishaps = [line for v in section.variants if (line := _mishaps(v))]
    return _outside(section) + _uninformative(section) + said + mishaps


def _on_device(variant: VariantRuns) -> bool:
    """Whether the runs of a variant were made on a device."""
    return all(run.device for run in variant.runs)


def _outside(section: Section) -> list[str]:
    """Say of which targets test values lie outside the range of the training values, and how many."""
    shares = as_dict(section.variants[0].first.fact("encoding", "outside", {})) if section.variants else {}
    return [
        f"{rounded(100 * share)}% of the test values of {escape(str(target))} lie outside the range of its "
        "training values."
        for target, share in shares.items()
        if isinstance(share, int | float) and share > 0
    ]


def _uninformative(section: Section) -> list[str]:
    """Say where the rules are as good as each other, and whether training the recurrence changed anything."""
    if not (alike := not_told_apart(section)):
        return []
    low, high = section.main(alike[0]).mean, section.main(alike[-1]).mean
    seeds = min(len(section.main(v).values) for v in alike)
    noise = "and their intervals overlap" if seeds > 1 else "with a single seed to go by"
    spread = f"{rounded(100 * (high / low - 1), 2)}%" if high > low else "nothing"
    said = "This task does not tell these rules apart: between best and worst their test "
    said += f"{escape(section.metric)} differs by {spread}, {noise}"
    still = frozen_value(section, alike[0])
    if still and (about_equal(section.main(alike[0]), still) or not beats(section, alike[0], still)):
        said += "; a frozen reservoir does as well, so that the recurrence need not be trained here"
    return [f"{said}."]


def _frozen_verdict(section: Section, variant: VariantRuns) -> str | None:
    """Return a sentence where a variant does not beat a frozen reservoir of its own network, or has none."""
    own, frozen, solved = (
        section.main(variant),
        section.reference("frozen", variant),
        solved_readout(section, variant),
    )
    if not own:
        return None
    if frozen is None and not solved:
        return f"{bold(variant)} has no frozen reservoir of its own network to be compared with."
    error = f"test {escape(section.metric)} of {rounded(own.mean)}"
    failed = f"{bold(variant)} has not trained the recurrence: its {error}"
    if frozen and not beats(section, variant, section.main(frozen)):
        named = "" if frozen.label == "frozen" else f" ({bold(frozen)})"
        return f"{failed} does not beat the frozen reservoir's {rounded(section.main(frozen).mean)}{named}."
    if not solved or beats(section, variant, solved):
        return None
    if frozen is None:
        reservoir = "its own untrained reservoir with a solved readout"
        return f"{failed} does not beat the {rounded(solved.mean)} of {reservoir}."
    return (
        f"{bold(variant)} beats the frozen run but not its own untrained reservoir with a solved readout: "
        f"test {escape(section.metric)} {rounded(own.mean)} against {rounded(solved.mean)}."
    )


def _linear_verdict(section: Section, linear: str) -> list[str]:
    """Return a sentence that names the variants which do not beat the linear model of that name, if any."""
    other = baseline(section, linear)
    losers = [v for v in section.variants if section.main(v) and not beats(section, v, other)]
    if not losers:
        return []
    metric, least = escape(section.metric), rounded(other.mean)
    if len(losers) == 1:
        own = rounded(section.main(losers[0]).mean)
        return [f"{bold(losers[0])} does not beat the linear model: test {metric} {own} against {least}."]
    ours = [f"{bold(v)} ({rounded(section.main(v).mean)})" for v in losers]
    return [f"{enumerated(ours)} do not beat the linear model ({least}), by test {metric}."]


def _simple_verdicts(section: Section) -> list[str]:
    """Return a sentence for each set of the simplest predictors that some variants do not beat."""
    losers: dict[tuple[str, ...], list[VariantRuns]] = {}
    for variant in section.variants:
        lost = tuple(
            name for name in (*SIMPLEST, *SPOKEN) if _loses(section, variant, baseline(section, name))
        )
        if kept_everywhere(variant):
            lost = tuple(name for name in lost if name != "combined")  # it is this very forecast
        if lost:
            losers.setdefault(lost, []).append(variant)
    said = []
    for names, variants in losers.items():
        values = {name: rounded(baseline(section, name).mean) for name in names}
        theirs = [
            f"{SIMPLEST[name]} ({value})" if name in SIMPLEST else spoken(name, value)
            for name, value in values.items()
        ]
        ours = [f"{bold(v)} ({rounded(section.main(v).mean)})" for v in variants]
        verb = "do" if len(variants) > 1 else "does"
        listed = enumerated(theirs, "or")
        said.append(f"{enumerated(ours)} {verb} not beat {listed}, by test {escape(section.metric)}.")
    return said


def _loses(section: Section, variant: VariantRuns, other: Stat) -> bool:
    """Whether a variant and another value are both there, and the variant does not beat it."""
    return bool(section.main(variant)) and bool(other) and not beats(section, variant, other)


def start_kept(section: Section) -> str | None:
    """Return a sentence about the variants whose training did not beat the simple forecast it started from.

    It names the seeds where that is so for some of a variant's, and by how much the best of them lowered the
    validation loss. None where there is no such variant.
    """
    named, gains = [], []
    for variant in section.variants:
        kept = kept_runs(variant)
        if not kept:
            continue
        seeds = "" if kept_everywhere(variant) else f" (seed {enumerated([str(run.seed) for run in kept])})"
        named.append(f"{bold(variant)}{seeds}")
        gains += [1 - run.number("gain", "valid_ratio") for run in kept]
    if not named:
        return None
    keep, they, at_most = ("keep", "they start", "at most ") if len(named) > 1 else ("keeps", "it starts", "")
    largest = (
        f"{at_most}{rounded(100 * max(gains), 2)}%, no more than chance" if max(gains) > 0 else "nothing"
    )
    return (
        f"{enumerated(named)} {keep} the simple forecast that {they} from: training lowered the validation "
        f"loss by {largest}."
    )


def _at_chance(variant: VariantRuns) -> str | None:
    """Return a sentence about the seeds that were at chance after a fifth of their steps, and what to try."""
    found = {run.seed: as_dict((run.result or {}).get("at_chance")) for run in variant.runs}
    found = {seed: said for seed, said in found.items() if said}
    if not found:
        return None
    seeds = enumerated([str(seed) for seed in found])
    first = next(iter(found.values()))
    loss, chance = (rounded(as_number(first.get(name))) for name in ("valid_loss", "chance"))
    return (
        f"{bold(variant)} was at chance after a fifth of its steps (seed {seeds}; validation loss {loss}, "
        f"{chance} for the best constant answer). What to try: {escape(str(first.get('advice', '')))}."
    )


def _mishaps(variant: VariantRuns) -> str | None:
    """Name the seeds that diverged, were interrupted, are still running or left no test value."""
    notes = []
    for run in variant.runs:
        if run.status == "diverged":
            at = run.number("diverged_at")
            notes.append(
                f"diverged with seed {run.seed}" + (f" at step {count(at)}" if math.isfinite(at) else "")
            )
        elif run.status == "running":
            at, of = count(run.last_step), run.experiment.get("steps")
            reached = f", logged up to step {at}" + (f" of {of}" if of else "") if run.metrics else ""
            notes.append(
                f"has no result yet for seed {run.seed} (still running, or stopped without a word{reached})"
            )
        elif run.status != "finished":
            notes.append(f"was {run.status} with seed {run.seed}" + _after(run.number("steps")))
        elif not math.isfinite(run.number("test", "loss")) and not math.isfinite(run.number("test", "mse")):
            notes.append(f"has no usable test value for seed {run.seed}")
    return f"{bold(variant)} {escape(enumerated(notes))}." if notes else None


def _after(steps: float) -> str:
    """Return how many steps a run made, as a phrase."""
    return f" after {count(steps)} steps" if math.isfinite(steps) else ""
