"""The first paragraph of a report: who does best, and beside which baselines."""

from collections.abc import Sequence
from html import escape

from perturbax.report.compare import RESERVOIR, Section, VariantRuns, better
from perturbax.report.numbers import interval, metric_name, rounded
from perturbax.report.standing import (
    CLEARLY,
    CLOSE,
    baseline,
    beats,
    bold,
    enumerated,
    frozen_value,
    gradient_free,
    not_told_apart,
    overlapping,
    spoken,
)


def information_phrase(uses: Sequence[str]) -> str:
    """Return what a rule uses as a phrase."""
    if not uses:
        return "not stated"
    return f"the {uses[0]} alone" if len(uses) == 1 else f"{', '.join(uses[:-1])} and {uses[-1]}"


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
    if not_told_apart(section):
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


def _told(section: Section, named: Sequence[VariantRuns]) -> list[str]:
    """Say what the rules that were just compared were told, unless all were told the same."""
    every = [r for v in named for rule in ("bptt", "frozen") if (r := section.reference(rule, v))]
    groups: dict[tuple[str, ...], dict[str, None]] = {}
    for variant in [*named, *every]:
        groups.setdefault(variant.uses, {})[bold(variant)] = None
    if len(groups) < 2:
        return []
    listed = "; ".join(
        f"{enumerated(list(labels))}: {escape(information_phrase(uses))}" for uses, labels in groups.items()
    )
    return [f"They were not told the same. {listed}."]


def _against_frozen(section: Section, ranked: Sequence[VariantRuns]) -> list[str]:
    """Say which trained variants beat the frozen reservoir of their own network, and for which it is not
    settled.
    """
    pairs = [(v, stat) for v in ranked if v.rule != "frozen" and (stat := frozen_value(section, v))]
    if not pairs:
        return []
    won = [(v, stat) for v, stat in pairs if beats(section, v, stat)]
    if not won:
        return ["No trained variant beats the frozen reservoir."]
    close = [v for v, stat in won if overlapping(section.main(v), stat)]
    who = "All trained variants" if len(won) == len(pairs) > 1 else enumerated([bold(v) for v, _ in won])
    verb = "beat" if len(won) > 1 else "beats"
    said = f"{who} {verb} the frozen reservoir on average over seeds"
    if not close:
        return [f"{said}."]
    each = "their intervals overlap" if len(close) > 1 else "its interval overlaps"
    if len(close) == len(won):
        return [f"{said}, but that is not settled: {each} with the reservoir's."]
    names = enumerated([bold(v) for v in close])
    return [f"{said}.", f"For {names} that is not settled: {each} with the reservoir's."]


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
