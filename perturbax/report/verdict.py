"""What the numbers say, in sentences: who trained the recurrence, who beats a linear model, what went
wrong.
"""

import math
from collections.abc import Sequence
from html import escape
from itertools import combinations

from perturbax.report.compare import RESERVOIR, Section, Stat, VariantRuns, better
from perturbax.report.document import breakable
from perturbax.report.numbers import count, interval, metric_name, rounded
from perturbax.report.read import Run, as_dict
from perturbax.report.tables import information_phrase

CLEARLY = 1.001  # how many times the error of a rule a baseline must have to count as beaten
SIMPLEST = {
    "persistence": "persistence, the last value that is known",
    "seasonal naive": "the seasonal naive forecast, the value of a season before",
    "mean": "the mean of the training part",
    "zero": "an answer of zero",
    "constant": "the best constant answer",
}
"""Predictors that learn nothing from inputs, in the words of a sentence; those of the tasks, by name."""
SPOKEN = {"combined": "the weighted mean of simple forecasts that training starts from"}
"""Other predictors whose names alone say little, likewise."""
CLOSE = 1.1  # ratio of two means below which they count as equal, where their intervals overlap too


def summary(section: Section) -> str:
    """Return a paragraph (HTML): the best rule, the best without derivatives, who beats the frozen
    reservoir.
    """
    ranked = sorted((v for v in section.variants if section.main(v)), key=lambda v: section.main(v).mean)
    if not ranked:
        return "No run of this task has a test result yet."
    best = ranked[0]
    parts = _beaten(section, best)
    free = next((v for v in ranked if gradient_free(v)), None)
    least = next((v for v in ranked if v.uses == ("score",)), None)
    if _same(section, ranked):
        parts.append(f"On held-out test data all rules end with {_measured(section, best)}.")
    else:
        of_rules = " of the rules" if parts else ""
        parts.append(
            f"On held-out test data {bold(best)} does best{of_rules}, with {_measured(section, best)}"
            f"{_times_bptt(section, best)}."
        )
        parts += _best_free(section, best, free, least)
    parts += _against_frozen(section, ranked)
    parts += _told(section, [v for v in (best, free, least) if v])
    if _alike(section):
        parts.append("The task does not tell these rules apart.")
    if all(len(section.main(v).values) == 1 for v in ranked):
        parts.append("Every variant has one seed only: differences may be chance.")
    return " ".join(parts)


def _same(section: Section, ranked: Sequence[VariantRuns]) -> bool:
    """Whether several variants, ranked by their test values, have the same to a tenth of a per cent."""
    means = [section.main(variant).mean for variant in ranked]
    return len(means) > 1 and max(means) <= CLEARLY * min(means)


def _measured(section: Section, variant: VariantRuns) -> str:
    """Return the test value of a variant as a phrase, with its measure, interval and number of seeds."""
    measure = escape(metric_name(section.metric))
    unit = f" {escape(section.unit)}²" if section.metric == "mse" and section.unit else ""
    return f"a {measure} of {interval(section.main(variant))}{unit}{_seeds(section, variant)}"


def _best_free(
    section: Section, best: VariantRuns, free: VariantRuns | None, least: VariantRuns | None
) -> list[str]:
    """Say how the best rule without derivatives does, and the best that is told the score alone."""
    said = []
    if free and free is not best:
        worth = f"{interval(section.main(free))}{_times_bptt(section, free)}"
        said.append(f"The best rule that needs no derivatives is {bold(free)}: {worth}.")
    if least and free and least.uses != free.uses:
        worth = f"{interval(section.main(least))}{_times_bptt(section, least)}"
        said.append(f"The best that is told the score alone is {bold(least)}: {worth}.")
    return said


def _beaten(section: Section, best: VariantRuns) -> list[str]:
    """Say that a baseline without a network is as good as the best rule, or better; nothing if none is."""
    simple = {
        name: stat
        for name in section.baselines
        if not name.startswith(RESERVOIR) and (stat := baseline(section, name))
    }
    if not simple:
        return []
    own = section.main(best).mean
    name = min(simple, key=lambda name: simple[name].mean)
    least, said = simple[name].mean, spoken(name)
    if better(section.metric, own, least / CLEARLY):
        return []
    times = f", {rounded(own / least)} times as much" if 0 < CLOSE * least < own else ""
    return [
        f"<b>No rule beats the best baseline.</b> {escape(said[0].upper() + said[1:])}, which needs no "
        f"network, has a {escape(metric_name(section.metric))} of {rounded(least)}; the best rule, "
        f"{bold(best)}, has {rounded(own)}{times}."
    ]


def verdicts(section: Section) -> list[str]:
    """Return one sentence (HTML) where the task shows nothing, per variant that fails a comparison, per lost
    run.
    """
    trained = _trained(section)
    if any(v.rule == "frozen" and section.main(v) for v in section.variants) or any(
        _solved(section, v) for v in trained
    ):
        changed = [v for v in trained if not _kept_everywhere(v)]
        said = [line for v in changed if (line := _frozen_verdict(section, v))]
    else:
        said = [
            "No frozen reservoir is in this comparison, so it cannot show whether any rule has trained the "
            "recurrence; "
            "run the rule <code>frozen</code> beside the others."
        ]
    linear = linear_baseline(section)
    if linear is None:
        said.append(
            "No linear model is in this comparison, so it cannot show whether the task needs more than one."
        )
    else:
        said += _linear_verdict(section, linear)
    said += _simple_verdicts(section)
    if kept := start_kept(section):
        said.append(kept)
    mishaps = [line for v in section.variants if (line := _mishaps(v))]
    return _outside(section) + _uninformative(section) + said + mishaps


def _outside(section: Section) -> list[str]:
    """Say of which targets test values lie outside the range of the training values, and how many."""
    shares = as_dict(section.variants[0].first.fact("encoding", "outside", {})) if section.variants else {}
    return [
        f"{rounded(100 * share)}% of the test values of {escape(str(target))} lie outside the range of its "
        "training values."
        for target, share in shares.items()
        if isinstance(share, int | float) and share > 0
    ]


def spoken(name: str, value: str = "") -> str:
    """Return a baseline as a sentence has it, with what it is where its name says little.

    Arguments:
        name: of the baseline.
        value: its error, as text; empty for none.
    """
    if name in SPOKEN:
        return f"{SPOKEN[name]} ({', '.join(filter(None, (name, value)))})"
    return f"{name} ({value})" if value else name


def bold(variant: VariantRuns) -> str:
    """Return a variant's label for a sentence."""
    return f'<b class="rule">{breakable(variant.label)}</b>'


def gradient_free(variant: VariantRuns) -> bool:
    """Whether the rule learns from scores alone, without output errors or derivatives."""
    return "score" in variant.uses and not {"derivatives", "transposed weights", "output error"} & set(
        variant.uses
    )


def linear_baseline(section: Section) -> str | None:
    """Return the name of the best linear baseline whose metric the variants share."""
    usable = {
        name: s for name in section.baselines if name.startswith("linear") and (s := baseline(section, name))
    }
    return min(usable, key=lambda name: usable[name].mean, default=None)


def baseline(section: Section, name: str) -> Stat:
    """Return a baseline in the metric that decides.

    Arguments:
        section: the runs that are compared.
        name: of the baseline.
    """
    return section.baselines.get(name, {}).get(section.metric, Stat.of(()))


def beats(section: Section, variant: VariantRuns, other: Stat) -> bool:
    """Whether a variant's mean is strictly better than another mean.

    Arguments:
        section: the runs that are compared.
        variant: one of its variants.
        other: the other mean.
    """
    return better(section.metric, section.main(variant).mean, other.mean)


def _trained(section: Section) -> list[VariantRuns]:
    """Return the variants whose recurrent weights are trained."""
    return [v for v in section.variants if v.rule != "frozen"]


def _alike(section: Section) -> list[VariantRuns]:
    """Return the trained variants, best first, if the task does not tell them apart; else none.

    That is: several rules, the worst mean less than 1.1 times the best, and no two intervals apart; a single
    seed has no interval, so that its ratio alone decides.
    """
    found = sorted((v for v in _trained(section) if section.main(v)), key=lambda v: section.main(v).mean)
    several = len({v.rule for v in found}) > 1
    return (
        found if several and all(_equal(*map(section.main, pair)) for pair in combinations(found, 2)) else []
    )


def _equal(one: Stat, two: Stat) -> bool:
    """Whether two values differ by less than a tenth, and by no more than their intervals allow."""
    low, high = sorted((one.mean, two.mean))
    both = math.isfinite(one.half) and math.isfinite(two.half)
    apart = both and (one.low > two.high or two.low > one.high)
    return high == low or (low > 0 and high < CLOSE * low and not apart)


def _uninformative(section: Section) -> list[str]:
    """Say where the rules are as good as each other, and whether training the recurrence changed anything."""
    if not (alike := _alike(section)):
        return []
    low, high = section.main(alike[0]).mean, section.main(alike[-1]).mean
    seeds = min(len(section.main(v).values) for v in alike)
    noise = "and their intervals overlap" if seeds > 1 else "with a single seed to go by"
    spread = f"{rounded(100 * (high / low - 1), 2)}%" if high > low else "nothing"
    said = "This task does not tell these rules apart: between best and worst their test "
    said += f"{escape(section.metric)} differs by {spread}, {noise}"
    still = _frozen_value(section, alike[0])
    if still and (_equal(section.main(alike[0]), still) or not beats(section, alike[0], still)):
        said += "; a frozen reservoir does as well, so that the recurrence need not be trained here"
    return [f"{said}."]


def _told(section: Section, named: Sequence[VariantRuns]) -> list[str]:
    """Say what the rules that were just compared were told, unless all were told the same."""
    every = [r for v in named for rule in ("bptt", "frozen") if (r := section.reference(rule, v))]
    groups: dict[tuple[str, ...], dict[str, None]] = {}
    for variant in [*named, *every]:
        groups.setdefault(variant.uses, {})[bold(variant)] = None
    if len(groups) < 2:
        return []
    listed = "; ".join(
        f"{_listed(list(labels))}: {escape(information_phrase(uses))}" for uses, labels in groups.items()
    )
    return [f"They were not told the same. {listed}."]


def _frozen_verdict(section: Section, variant: VariantRuns) -> str | None:
    """Return a sentence where a variant does not beat a frozen reservoir of its own network, or has none."""
    own, frozen, solved = (
        section.main(variant),
        section.reference("frozen", variant),
        _solved(section, variant),
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


def _solved(section: Section, variant: VariantRuns) -> Stat:
    """Summarise the variant's own networks with untrained recurrence and a readout solved in closed form."""
    return variant.stat("baselines", RESERVOIR, section.metric)


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
    return [f"{_listed(ours)} do not beat the linear model ({least}), by test {metric}."]


def _simple_verdicts(section: Section) -> list[str]:
    """Return a sentence for each set of the simplest predictors that some variants do not beat."""
    losers: dict[tuple[str, ...], list[VariantRuns]] = {}
    for variant in section.variants:
        lost = tuple(
            name for name in (*SIMPLEST, *SPOKEN) if _loses(section, variant, baseline(section, name))
        )
        if _kept_everywhere(variant):
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
        listed = _listed(theirs, "or")
        said.append(f"{_listed(ours)} {verb} not beat {listed}, by test {escape(section.metric)}.")
    return said


def _loses(section: Section, variant: VariantRuns, other: Stat) -> bool:
    """Whether a variant and another value are both there, and the variant does not beat it."""
    return bool(section.main(variant)) and bool(other) and not beats(section, variant, other)


def _kept_runs(variant: VariantRuns) -> list[Run]:
    """Return the runs of a variant whose training did not beat the simple forecast it started from."""
    return [run for run in variant.runs if run.number("best_step") == 0 and run.number("gain", "step") >= 0]


def _kept_everywhere(variant: VariantRuns) -> bool:
    """Whether no run of a variant has beaten the simple forecast it started from."""
    return len(_kept_runs(variant)) == len(variant.runs)


def start_kept(section: Section) -> str | None:
    """Return a sentence about the variants whose training did not beat the simple forecast it started from.

    It names the seeds where that is so for some of a variant's, and by how much the best of them lowered the
    validation loss. None where there is no such variant.
    """
    named, gains = [], []
    for variant in section.variants:
        kept = _kept_runs(variant)
        if not kept:
            continue
        seeds = "" if _kept_everywhere(variant) else f" (seed {_listed([str(run.seed) for run in kept])})"
        named.append(f"{bold(variant)}{seeds}")
        gains += [1 - run.number("gain", "valid_ratio") for run in kept]
    if not named:
        return None
    keep, they, at_most = ("keep", "they start", "at most ") if len(named) > 1 else ("keeps", "it starts", "")
    largest = (
        f"{at_most}{rounded(100 * max(gains), 2)}%, no more than chance" if max(gains) > 0 else "nothing"
    )
    return (
        f"{_listed(named)} {keep} the simple forecast that {they} from: training lowered the validation loss "
        f"by {largest}."
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
    return f"{bold(variant)} {escape(_listed(notes))}." if notes else None


def _after(steps: float) -> str:
    """Return how many steps a run made, as a phrase."""
    return f" after {count(steps)} steps" if math.isfinite(steps) else ""


def _against_frozen(section: Section, ranked: Sequence[VariantRuns]) -> list[str]:
    """Say which trained variants beat the frozen reservoir of their own network, and for which it is not
    settled.
    """
    pairs = [(v, stat) for v in ranked if v.rule != "frozen" and (stat := _frozen_value(section, v))]
    if not pairs:
        return []
    won = [(v, stat) for v, stat in pairs if beats(section, v, stat)]
    if not won:
        return ["No trained variant beats the frozen reservoir."]
    close = [v for v, stat in won if _overlap(section.main(v), stat)]
    who = "All trained variants" if len(won) == len(pairs) > 1 else _listed([bold(v) for v, _ in won])
    verb = "beat" if len(won) > 1 else "beats"
    said = f"{who} {verb} the frozen reservoir on average over seeds"
    if not close:
        return [f"{said}."]
    each = "their intervals overlap" if len(close) > 1 else "its interval overlaps"
    if len(close) == len(won):
        return [f"{said}, but that is not settled: {each} with the reservoir's."]
    names = _listed([bold(v) for v in close])
    return [f"{said}.", f"For {names} that is not settled: {each} with the reservoir's."]


def _frozen_value(section: Section, variant: VariantRuns) -> Stat:
    """Summarise the frozen runs of the same network, else its own reservoir with a solved readout."""
    frozen = section.reference("frozen", variant)
    return section.main(frozen) if frozen else _solved(section, variant)


def _overlap(one: Stat, two: Stat) -> bool:
    """Whether two intervals overlap; a single seed has no interval and settles nothing either way."""
    both = math.isfinite(one.half) and math.isfinite(two.half)
    return both and one.low < two.high and two.low < one.high


def _seeds(section: Section, variant: VariantRuns) -> str:
    """Return how many seeds a mean is of, as a phrase in brackets."""
    n, of = len(section.main(variant).values), len(variant.runs)
    counted = f"{n} seeds" if n == of else f"{n} of {of} seeds"
    mean = "geometric mean" if section.main(variant).geometric else "mean"
    return f" ({mean} of {counted} and 95% interval)" if n > 1 else f" ({'one seed' if of == 1 else counted})"


def _times_bptt(section: Section, variant: VariantRuns) -> str:
    """Return how many times the error of BPTT a variant has, as a phrase; nothing without BPTT."""
    bptt = section.reference("bptt", variant)
    if bptt is None or bptt is variant or not section.main(bptt).mean:
        return ""
    return f", {rounded(section.main(variant).mean / section.main(bptt).mean)} times that of BPTT"


def _listed(items: Sequence[str], last: str = "and") -> str:
    """Return items as one phrase; last: the word before the last of them."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"
