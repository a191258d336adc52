"""The ledger: each claim of the paper beside what was measured here, with a verdict that follows from rules
alone.

Two rules are compared by the ratio of their test losses, seed by seed: the geometric mean over seeds, and its
95% t interval. A rule is better than another where the whole interval lies below 1, and not better where it
reaches up to 1 and begins above 1 / `CLOSE`; it is worse where the interval lies above 1, and not worse where
it reaches down to 1 and ends below `CLOSE`. A wider interval decides nothing. A rule of which a seed diverged
is worse than any other.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable
from statistics import linear_regression, median
from typing import NamedTuple

from perturbax.report.compare import Section, Stat, VariantRuns
from perturbax.report.numbers import rounded
from perturbax.study.results import Results, halfway_loss, lowest_by, spent_until

HOLDS, PARTLY, FAILS = "holds", "holds only against one-step BP", "does not hold"
WIDE, OPEN = "not decided by these seeds", "not measured"
LEAST = 1e-30  # a loss of 0 has no logarithm
CLOSE = 1.5  # a ratio up to this counts as alike


class Claim(NamedTuple):
    """A claim under one condition.

    Attributes:
        claim: what the paper says, in our words.
        condition: the part of the study it is tried in.
        numbers: what was measured.
        verdict: one of the five above.
    """

    claim: str
    condition: str
    numbers: str
    verdict: str


def ledger(results: Results) -> list[Claim]:
    """Return every claim under every condition that was run.

    Arguments:
        results: of the study.
    """
    tasks = {g: _whole(results, g) for g in results.sections if g.split("/")[0] in ("published", "fair")}
    claims: list[Claim] = []
    for text, judge in CLAIMS:
        claims += [Claim(text, group, *judge(section)) for group, section in tasks.items()]
    return [*claims, *_scaling(results)]


def _whole(results: Results, group: str) -> Section:
    """Return a group without the variants of which a seed is not finished yet."""
    section, seeds = results.sections[group], results.seeds(group)
    return dataclasses.replace(section, variants=tuple(v for v in section.variants if len(v.runs) == seeds))


def variant(section: Section, *labels: str) -> VariantRuns | None:
    """Return the best of the variants with these labels, by validation loss; None where there is none.

    One that diverged comes last.

    Arguments:
        section: the runs of one task.
        labels: of the variants.
    """
    found = [v for v in section.variants if v.label in labels]
    return min(found, key=lambda v: (math.isinf(loss(v).mean), _validation(v)), default=None)


def _validation(one: VariantRuns) -> float:
    """Return the mean over seeds of the lowest validation loss."""
    lowest = [lowest_by(run, "step", math.inf) for run in one.runs]
    return sum(lowest) / len(lowest)


def loss(one: VariantRuns) -> Stat:
    """Return the test loss over seeds; infinite where any seed diverged, or has none that is finite.

    Arguments:
        one: the variant.
    """
    lost = any(run.status == "diverged" or not math.isfinite(run.number("test", "loss")) for run in one.runs)
    return Stat((), math.inf, math.nan) if lost else one.stat("test", "loss")


def said(one: VariantRuns) -> str:
    """Return a name, its mean test loss and the interval."""
    stat = loss(one)
    if math.isinf(stat.mean):
        return f"{one.label} diverged"
    half = f" ± {rounded(stat.half, 2)}" if math.isfinite(stat.half) else ""
    return f"{one.label} {rounded(stat.mean)}{half}"


def _logarithms(one: VariantRuns, two: VariantRuns) -> dict[int, float]:
    """Return the logarithm of the ratio of the losses of two variants, by seed."""
    mine, its = ({r.seed: max(r.number("test", "loss"), LEAST) for r in v.runs} for v in (one, two))
    return {seed: math.log(mine[seed] / its[seed]) for seed in sorted(mine.keys() & its.keys())}


class Ratio(NamedTuple):
    """How many times the loss of another a loss is, over seeds.

    Attributes:
        mean: geometric mean.
        low: lower end of its 95% t interval.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, one: VariantRuns, two: VariantRuns) -> "Ratio":
        """Compare the test losses of two variants, seed by seed.

        Arguments:
            one: whose loss is divided; where a seed of it diverged, the ratio is infinite.
            two: by whose loss; where a seed of it alone diverged, the ratio is 0.
        """
        for v, value in ((one, math.inf), (two, 0.0)):
            if math.isinf(loss(v).mean):
                return cls(value, value, value)
        return cls.among(_logarithms(one, two).values())

    @classmethod
    def among(cls, logarithms: Iterable[float]) -> "Ratio":
        """Summarise the logarithms of ratios, one for each seed.

        Arguments:
            logarithms: natural logarithms of the ratios.
        """
        stat = Stat.of(logarithms)
        half = stat.half if math.isfinite(stat.half) else 0.0
        return cls(math.exp(stat.mean), math.exp(stat.mean - half), math.exp(stat.mean + half))

    @property
    def not_worse(self) -> str:
        """The verdict on `not worse`."""
        return FAILS if self.low > 1 else HOLDS if self.high <= CLOSE else WIDE

    @property
    def better(self) -> str:
        """The verdict on `better`."""
        return HOLDS if self.high < 1 else FAILS if self.low >= 1 / CLOSE else WIDE

    def times(self, what: str) -> str:
        """Return `1.2 (0.9 to 1.6) times what`; only what where one of the two has diverged."""
        if not 0 < self.mean < math.inf:
            return what
        return f"{self} times {what}"

    def __str__(self) -> str:
        """Return `1.2 (0.9 to 1.6)`."""
        if not 0 < self.mean < math.inf:
            return "diverged"
        return f"{rounded(self.mean)} ({rounded(self.low)} to {rounded(self.high)})"


def _compared(section: Section) -> tuple[VariantRuns, VariantRuns, VariantRuns] | None:
    """Return ANP, one-step BP and BPTT, each the better of plain and decorrelated."""
    found = [variant(section, name, f"{name}+decor") for name in ("published-activity", "one-step", "bptt")]
    ours, cut, whole = found
    return (ours, cut, whole) if ours and cut and whole else None


def _as_good(section: Section) -> tuple[str, str]:
    """Judge whether ANP does as well as BPTT: (numbers, verdict)."""
    if not (named := _compared(section)):
        return "", OPEN
    ours, cut, whole = named
    to_whole, to_cut = Ratio.of(ours, whole), Ratio.of(ours, cut)
    numbers = "; ".join([said(ours), to_cut.times(said(cut)), to_whole.times(said(whole))])
    if to_whole.not_worse != FAILS:
        return numbers, to_whole.not_worse
    return numbers, PARTLY if to_cut.not_worse == HOLDS else to_cut.not_worse


def _as_fast(section: Section) -> tuple[str, str]:
    """Passes until the validation loss is halfway (in logarithm) from where a reference is first seen to its
    best.
    """
    if not (named := _compared(section)):
        return "", OPEN
    ours, cut, whole = named
    found = []
    for reference in (whole, cut):
        level = halfway_loss([reference])
        mine, its = (
            median(spent_until(run, "forward_passes", level) for run in v.runs) for v in (ours, reference)
        )
        found.append((mine, its, level))
    texts = [
        f"loss {rounded(level)} after {_passes(mine)} ({ours.label}), {_passes(its)} ({v.label}) passes"
        for (mine, its, level), v in zip(found, (whole, cut), strict=True)
    ]
    alike = [math.isfinite(mine) and mine <= CLOSE * its for mine, its, _ in found]
    return "; ".join(texts), HOLDS if alike[0] else PARTLY if alike[1] else FAILS


def _passes(value: float) -> str:
    """Return a number of passes as text."""
    return f"{value:,.0f}" if math.isfinite(value) else "never"


def _beats(one: tuple[str, ...], others: tuple[str, ...]) -> Callable[[Section], tuple[str, str]]:
    """Return the judge of whether the best of some labels is better than each of others."""

    def judge(section: Section) -> tuple[str, str]:
        ours, named = variant(section, *one), [v for other in others if (v := variant(section, other))]
        if not ours or len(named) < len(others):
            return "", OPEN
        ratios = [Ratio.of(ours, v) for v in named]
        numbers = "; ".join([said(ours), *(r.times(said(v)) for r, v in zip(ratios, named, strict=True))])
        verdicts = {r.better for r in ratios}
        return numbers, next(v for v in (FAILS, WIDE, HOLDS) if v in verdicts)

    return judge


def _as_bptt(*rules: str) -> Callable[[Section], tuple[str, str]]:
    """Not the paper's claims, but this library's: the best of some rules against BPTT."""

    def judge(section: Section) -> tuple[str, str]:
        ours = variant(section, *(v.label for v in section.variants if v.rule in rules))
        whole = variant(section, "bptt", "bptt+decor")
        if not (ours and whole):
            return "", OPEN
        ratio = Ratio.of(ours, whole)
        return f"{said(ours)}; {ratio.times(said(whole))}", ratio.not_worse

    return judge


CLAIMS: tuple[tuple[str, Callable[[Section], tuple[str, str]]], ...] = (
    ("ANP, with decorrelation or without, performs like BPTT", _as_good),
    ("ANP converges as fast as BPTT", _as_fast),
    (
        "ANP strongly outperforms node and weight perturbation",
        _beats(
            ("published-activity", "published-activity+decor"),
            ("published-node", "published-node+decor", "published-weight", "published-weight+decor"),
        ),
    ),
    ("decorrelation improves ANP", _beats(("published-activity+decor",), ("published-activity",))),
    (
        "ANP learns more than a readout on a frozen reservoir",
        _beats(("published-activity", "published-activity+decor"), ("frozen",)),
    ),
    (
        "(ours) a rule of this library that is told the score alone is not worse than BPTT",
        _as_bptt("node", "activity", "innovation"),
    ),
    (
        "(ours) a rule of this library that learns its feedback is not worse than BPTT",
        _as_bptt("feedback", "mirror"),
    ),
)


def _scaling(results: Results) -> list[Claim]:
    """Whether the ratio of losses to BPTT stays as the network grows: its growth on a fitted power of the
    units.
    """
    sizes = sorted(int(g.split("/")[1]) for g in results.sections if g.startswith("scaling/"))
    pairs: dict[int, tuple[VariantRuns, VariantRuns]] = {}
    for n in sizes:
        section = _whole(results, f"scaling/{n}")
        ours = variant(section, "published-activity", "published-activity+decor")
        whole = variant(section, "bptt")
        if ours and whole and math.isfinite(loss(whole).mean):
            pairs[n] = (ours, whole)
    if len(pairs) < 2:
        return []
    numbers = "loss over BPTT's: " + ", ".join(f"{Ratio.of(*pair)} at {n}" for n, pair in pairs.items())
    claim = "ANP scales with units as BPTT does: its distance from BPTT does not grow"
    if any(math.isinf(loss(ours).mean) for ours, _ in pairs.values()):
        return [Claim(claim, "fair, mackey-glass, by units", numbers, FAILS)]
    by_seed = [_logarithms(*pair) for pair in pairs.values()]
    units = [math.log(n / min(pairs)) for n in pairs]
    slopes = (linear_regression(units, [found[seed] for found in by_seed]).slope for seed in by_seed[0])
    growth = Ratio.among(slope * max(units) for slope in slopes)
    numbers += f"; on a fitted power of the units it grows by {growth} from {min(pairs)} to {max(pairs)}"
    verdict = HOLDS if growth.high <= CLOSE else FAILS if growth.low > 1 else WIDE
    return [Claim(claim, "fair, mackey-glass, by units", numbers, verdict)]
