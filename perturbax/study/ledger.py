"""The ledger: each claim of the paper beside what was measured here, with a verdict that follows from rules alone.

A rule is `not worse` than another where its mean test loss is lower, or the 95% t intervals of both overlap; it
is `better` where its mean is lower and the intervals do not overlap. A rule of which a seed diverged counts as
infinitely bad.
"""

import dataclasses
import math
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from perturbax.report.compare import Section, Stat, Variant
from perturbax.report.numbers import rounded
from perturbax.study.results import Results, halfway, lowest_by, reached

HOLDS, PARTLY, FAILS, OPEN = "holds", "holds only against one-step BP", "does not hold", "not measured"
CLOSE = 1.5  # a ratio up to this counts as alike, in convergence and scaling


class Claim(NamedTuple):
    """A claim under one condition.

    Attributes:
        claim: what the paper says, in our words.
        condition: the part of the study it is tried in.
        numbers: what was measured.
        verdict: holds, holds only against one-step BP, does not hold, or not measured.
    """

    claim: str
    condition: str
    numbers: str
    verdict: str


def ledger(results: Results) -> list[Claim]:
    """Return every claim under every condition that was run."""
    tasks = {g: _whole(results, g) for g in results.sections if g.split("/")[0] in ("published", "fair")}
    claims: list[Claim] = []
    for text, judge in CLAIMS:
        claims += [Claim(text, group, *judge(section)) for group, section in tasks.items()]
    return [*claims, *_scaling(results)]


def _whole(results: Results, group: str) -> Section:
    """Return a group without the variants of which a seed is not finished yet."""
    section, seeds = results.sections[group], results.seeds(group)
    return dataclasses.replace(section, variants=tuple(v for v in section.variants if len(v.runs) == seeds))


def variant(section: Section, *labels: str) -> Variant | None:
    """Return the best of the variants with these labels, by validation loss; one that diverged comes last."""
    found = [v for v in section.variants if v.label in labels]
    return min(found, key=lambda v: (math.isinf(loss(v).mean), _validation(v)), default=None)


def _validation(one: Variant) -> float:
    """Return the mean over seeds of the lowest validation loss."""
    lowest = [lowest_by(run, "step", math.inf) for run in one.runs]
    return sum(lowest) / len(lowest)


def loss(one: Variant) -> Stat:
    """Return the test loss; infinite where any seed diverged."""
    lost = any(run.status == "diverged" for run in one.runs)
    return Stat((), math.inf, math.nan) if lost else one.stat("test", "loss")


def said(name: str, stat: Stat) -> str:
    """Return a name, a mean and its interval."""
    if math.isinf(stat.mean):
        return f"{name} diverged"
    half = f" ± {rounded(stat.half, 2)}" if math.isfinite(stat.half) else ""
    return f"{name} {rounded(stat.mean)}{half}"


def _low(stat: Stat) -> float:
    return stat.mean - (stat.half if math.isfinite(stat.half) else 0)


def _high(stat: Stat) -> float:
    return stat.mean + (stat.half if math.isfinite(stat.half) else 0)


def not_worse(one: Stat, two: Stat) -> bool:
    """Whether the first mean is lower, or the intervals overlap."""
    return math.isfinite(one.mean) and (one.mean <= two.mean or _low(one) <= _high(two))


def better(one: Stat, two: Stat) -> bool:
    """Whether the first is lower, and the intervals do not overlap."""
    return _high(one) < _low(two)


def _as_good(section: Section) -> tuple[str, str]:
    ours = variant(section, "published-activity", "published-activity+decor")
    cut, whole = variant(section, "one-step", "one-step+decor"), variant(section, "bptt", "bptt+decor")
    if not (ours and cut and whole):
        return "", OPEN
    numbers = ", ".join([said(ours.label, loss(ours)), said(cut.label, loss(cut)), said(whole.label, loss(whole))])
    if not_worse(loss(ours), loss(whole)):
        return numbers, HOLDS
    return numbers, PARTLY if not_worse(loss(ours), loss(cut)) else FAILS


def _as_fast(section: Section) -> tuple[str, str]:
    """Passes until the validation loss is halfway (in logarithm) from where a reference is first seen to its best."""
    ours = variant(section, "published-activity", "published-activity+decor")
    cut, whole = variant(section, "one-step", "one-step+decor"), variant(section, "bptt", "bptt+decor")
    if not (ours and cut and whole):
        return "", OPEN
    found = []
    for reference in (whole, cut):
        level = halfway([reference])
        mine, its = (median(reached(run, "forward_passes", level) for run in v.runs) for v in (ours, reference))
        found.append((mine, its, level))
    texts = [
        f"loss {rounded(level)} after {_passes(mine)} ({ours.label}), {_passes(its)} ({v.label}) passes"
        for (mine, its, level), v in zip(found, (whole, cut), strict=True)
    ]
    alike = [math.isfinite(mine) and mine <= CLOSE * its for mine, its, _ in found]
    return "; ".join(texts), HOLDS if alike[0] else PARTLY if alike[1] else FAILS


def _passes(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "never"


def _beats(one: tuple[str, ...], others: tuple[str, ...]) -> Callable[[Section], tuple[str, str]]:
    def judge(section: Section) -> tuple[str, str]:
        ours, named = variant(section, *one), [v for other in others if (v := variant(section, other))]
        if not ours or len(named) < len(others):
            return "", OPEN
        numbers = ", ".join([said(ours.label, loss(ours)), *(said(v.label, loss(v)) for v in named)])
        return numbers, HOLDS if all(better(loss(ours), loss(v)) for v in named) else FAILS

    return judge


def _library(section: Section) -> tuple[str, str]:
    """Not the paper's claim, but this library's: its best rule told the score alone against BPTT."""
    names = [v.label for v in section.variants if v.rule in ("node", "activity", "innovation")]
    ours, whole = variant(section, *names), variant(section, "bptt", "bptt+decor")
    if not (ours and whole):
        return "", OPEN
    numbers = f"{said(ours.label, loss(ours))}, {said(whole.label, loss(whole))}"
    return numbers, HOLDS if not_worse(loss(ours), loss(whole)) else FAILS


CLAIMS: tuple[tuple[str, Callable[[Section], tuple[str, str]]], ...] = (
    ("ANP, with decorrelation or without, performs like BPTT", _as_good),
    ("ANP converges as fast as BPTT", _as_fast),
    ("ANP strongly outperforms node and weight perturbation",
     _beats(("published-activity", "published-activity+decor"),
            ("published-node", "published-node+decor", "published-weight", "published-weight+decor"))),
    ("decorrelation improves ANP", _beats(("published-activity+decor",), ("published-activity",))),
    ("ANP learns more than a readout on a frozen reservoir",
     _beats(("published-activity", "published-activity+decor"), ("frozen",))),
    ("(ours) a rule of this library that is told the score alone is not worse than BPTT", _library),
)  # fmt: skip


def _scaling(results: Results) -> list[Claim]:
    """Whether the ratio of losses to BPTT stays as the network grows."""
    sizes = sorted(int(g.split("/")[1]) for g in results.sections if g.startswith("scaling/"))
    ratios: dict[int, float] = {}
    for n in sizes:
        section = _whole(results, f"scaling/{n}")
        ours = variant(section, "published-activity", "published-activity+decor")
        whole = variant(section, "bptt")
        if ours and whole and math.isfinite(loss(whole).mean):
            ratios[n] = loss(ours).mean / loss(whole).mean
    if len(ratios) < 2:
        return []
    numbers = "loss over BPTT's: " + ", ".join(f"{rounded(r)} at {n}" for n, r in ratios.items())
    lost = any(math.isinf(r) for r in ratios.values())
    grown = math.inf if lost else max(ratios.values()) / ratios[min(ratios)]
    return [Claim("ANP scales with the number of units as BPTT does", "fair/mackey-glass",
                  numbers, HOLDS if grown <= CLOSE else FAILS)]  # fmt: skip
