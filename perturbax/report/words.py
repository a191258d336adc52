"""What a report says, as plain text: how runs stand against the baselines, and what to be warned of."""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from perturbax.report.compare import RESERVOIR, Section, VariantRuns, better, sections
from perturbax.report.lead import summary
from perturbax.report.numbers import count, interval, rounded
from perturbax.report.read import Run, as_number, read_runs
from perturbax.report.standing import CLEARLY, baseline, spoken
from perturbax.report.verdict import start_kept

ROSE = 1.01  # how many times its start a loss must be at the end to count as risen
OWN_RESERVOIR = "its own untrained reservoir with a solved readout"


class Row(NamedTuple):
    """A line of the table of all results.

    Attributes:
        name: the label of a variant, or the name of a baseline.
        result: the metric that decides, as mean and 95% interval over seeds; empty where there is none.
        stand: how a variant stands against the baselines; "baseline" for one of these.
        trained: whether it is a variant.
    """

    name: str
    result: str
    stand: str
    trained: bool


def plain(said: str) -> str:
    """Return what HTML says, without its markup."""
    return html.unescape(re.sub("<[^<>]+>", "", said))


def read_sections(folders: Sequence[Path]) -> list[Section]:
    """Return the comparison of some run folders; raises what `read_runs` and `sections` raise."""
    return sections(read_runs(folders))


def not_beaten(section: Section, variant: VariantRuns) -> list[str]:
    """Return the baselines that a variant does not clearly beat in the metric that decides, the best first.

    Of reservoirs, that of the variant's own networks counts alone.

    Arguments:
        section: the runs that are compared.
        variant: one of its variants.
    """
    own = section.main(variant).mean
    found = {}
    for name in section.baselines:
        stat = variant.stat("baselines", name.partition(",")[0], section.metric)
        if stat and not better(section.metric, own, stat.mean / CLEARLY):
            found[name.partition(",")[0]] = stat.mean
    return sorted(found, key=lambda name: found[name])


def outcome(section: Section, variant: VariantRuns) -> str:
    """Return a sentence that says which baselines a variant does not beat, or that it beats all of them.

    Arguments:
        section: the runs that are compared.
        variant: one of its variants.
    """
    own, label = section.main(variant), variant.label
    if not own:
        return f"{label} has no result on test data."
    every = {name: stat for name in section.baselines if (stat := baseline(section, name))}
    if not every:
        return f"{label} has a test {section.metric} of {rounded(own.mean)}; this task has no baselines."
    lost = not_beaten(section, variant)
    if not lost:
        best = min(every, key=lambda name: every[name].mean)
        than = OWN_RESERVOIR if best == RESERVOIR else spoken(best)
        return (
            f"{label} beats all baselines: its test {section.metric} is {rounded(own.mean)}, that of the "
            f"best of them, {than}, {rounded(every[best].mean)}."
        )
    each = []
    for name in lost:
        value = variant.stat("baselines", name, section.metric).mean
        shown = rounded(value)
        each.append(f"{OWN_RESERVOIR} ({shown})" if name == RESERVOIR else spoken(name, shown))
    return f"{label} does not beat {_either(each)}: its test {section.metric} is {rounded(own.mean)}."


def remarks(section: Section) -> list[str]:
    """Return what else there is to say: whose training did not beat the simple forecast it started from."""
    kept = start_kept(section)
    return [plain(kept)] if kept else []


def warnings(section: Section) -> list[str]:
    """Return a sentence for each variant whose validation loss ended above its start."""
    said = []
    for variant in section.variants:
        risen = [words for run in variant.runs if (words := _rise(run))]
        if risen:
            said.append(
                f"{variant.label}: the validation loss ended above its start with "
                f"{' and '.join(risen)}: a lower learning rate (--lr) may help."
            )
    return said


def _rise(run: Run) -> str | None:
    """Return by how much the validation loss of a run rose; None where it did not."""
    logged = [(m, loss) for m in run.metrics if (loss := as_number(m.get("valid_loss"))) == loss]
    if len(logged) < 2:
        return None
    (start, first), (_, last) = logged[0], logged[-1]
    if last <= (first * ROSE if first > 0 else first):
        return None
    at = count(as_number(start.get("step")))
    return f"seed {run.seed} ({rounded(last)}; {rounded(first)} at step {at})"


def in_words(section: Section) -> str:
    """Return the first paragraph of the report."""
    return plain(summary(section))


def table(section: Section) -> list[Row]:
    """Return a row for every variant and every baseline, the best first, those without a result last."""
    rows: list[tuple[float, Row]] = []
    for variant in section.variants:
        own = section.main(variant)
        lost = not_beaten(section, variant)
        stand = f"does not beat {_either(lost)}" if lost else "beats all baselines"
        judged, begun = len(own.values), len(variant.runs)
        stand += f" ({judged} of {begun} seeds)" if judged < begun else ""
        result = interval(own) if own else ""
        rows.append((_place(own.mean), Row(variant.label, result, stand if own else _fate(variant), True)))
    for name in section.baselines:
        stat = baseline(section, name)
        if stat:
            result = interval(stat) if stat.half > 0 else rounded(stat.mean)
            rows.append((_place(stat.mean), Row(name, result, "baseline", False)))
    return [row for _, row in sorted(rows, key=lambda placed: placed[0])]


def _place(mean: float) -> float:
    """Return what rows are sorted by: a value that is no number comes last."""
    return mean if mean == mean else float("inf")


def _fate(variant: VariantRuns) -> str:
    """Return what became of runs without a result."""
    return ", ".join(
        dict.fromkeys("not finished" if r.status == "running" else r.status for r in variant.runs)
    )


def _either(items: Sequence[str]) -> str:
    """Return items as one phrase with `or`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} or {items[-1]}"
