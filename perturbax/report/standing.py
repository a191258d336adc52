"""How variants stand: against baselines, against each other, and against what their training started from."""

import math
from collections.abc import Sequence
from itertools import combinations

from perturbax.report.compare import RESERVOIR, Section, Stat, VariantRuns, better
from perturbax.report.document import breakable
from perturbax.report.read import Run

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


def trained_variants(section: Section) -> list[VariantRuns]:
    """Return the variants whose recurrent weights are trained."""
    return [v for v in section.variants if v.rule != "frozen"]


def not_told_apart(section: Section) -> list[VariantRuns]:
    """Return the trained variants, best first, if the task does not tell them apart; else none.

    That is: several rules, the worst mean less than 1.1 times the best, and no two intervals apart; a single
    seed has no interval, so that its ratio alone decides.
    """
    judged = [v for v in trained_variants(section) if section.main(v)]
    found = sorted(judged, key=lambda v: section.main(v).mean)
    several = len({v.rule for v in found}) > 1
    alike = all(about_equal(*map(section.main, pair)) for pair in combinations(found, 2))
    return found if several and alike else []


def about_equal(one: Stat, two: Stat) -> bool:
    """Whether two values differ by less than a tenth, and by no more than their intervals allow.

    Arguments:
        one: a value over seeds.
        two: another one.
    """
    low, high = sorted((one.mean, two.mean))
    both = math.isfinite(one.half) and math.isfinite(two.half)
    apart = both and (one.low > two.high or two.low > one.high)
    return high == low or (low > 0 and high < CLOSE * low and not apart)


def solved_readout(section: Section, variant: VariantRuns) -> Stat:
    """Summarise the variant's own networks with untrained recurrence and a readout solved in closed form.

    Arguments:
        section: the runs that are compared.
        variant: one of its variants.
    """
    return variant.stat("baselines", RESERVOIR, section.metric)


def frozen_value(section: Section, variant: VariantRuns) -> Stat:
    """Summarise the frozen runs of the same network, else its own reservoir with a solved readout.

    Arguments:
        section: the runs that are compared.
        variant: one of its variants.
    """
    frozen = section.reference("frozen", variant)
    return section.main(frozen) if frozen else solved_readout(section, variant)


def kept_runs(variant: VariantRuns) -> list[Run]:
    """Return the runs of a variant whose training did not beat the simple forecast it started from."""
    return [run for run in variant.runs if run.number("best_step") == 0 and run.number("gain", "step") >= 0]


def kept_everywhere(variant: VariantRuns) -> bool:
    """Whether no run of a variant has beaten the simple forecast it started from."""
    return len(kept_runs(variant)) == len(variant.runs)


def overlapping(one: Stat, two: Stat) -> bool:
    """Whether two intervals overlap; a single seed has no interval and settles nothing either way.

    Arguments:
        one: a value over seeds.
        two: another one.
    """
    both = math.isfinite(one.half) and math.isfinite(two.half)
    return both and one.low < two.high and two.low < one.high


def enumerated(items: Sequence[str], last: str = "and") -> str:
    """Return items as one phrase; last: the word before the last of them."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"
