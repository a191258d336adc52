"""What a page says about forecasts beside their mean squared error: the measures of competitions, and how
much their intervals hold.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from perturbax.report.compare import FORECAST_MEASURES, Section, Stat, VariantRuns
from perturbax.report.document import breakable, scrolled
from perturbax.report.numbers import DASH, interval, metric_name, rounded
from perturbax.report.read import Run, as_dict, as_number

OF_OUTPUTS = ("mae", "rmse", "smape", "mase")
ABOUT = (
    "On test data, {means}. MAE and RMSE{unit}: mean absolute "
    "error, and root of the mean squared error. sMAPE: mean of 200 |error| / (|truth| + |forecast|), in per "
    "cent. MASE: MAE over that of the seasonal naive forecast on training rows; below 1 is better than it."
)
ABOUT_COVERAGE = (
    " Coverage: per cent of the test values that lie within the intervals, which are as wide as validation "
    "errors ask for; it should be what the column says."
)


def forecast_table(section: Section) -> str:
    """Return measures and coverage of variants and baselines as an HTML table; empty where there are none."""
    measures = [
        key
        for key in FORECAST_MEASURES
        if any(v.stat("test", key) for v in section.variants)
        or any(metrics.get(key) for metrics in section.baselines.values())
    ]
    levels = _levels(section)
    if not measures and not levels:
        return ""
    heads = ["variant", *(metric_name(key) for key in measures), *(f"coverage of {k}%" for k in levels)]
    rows = []
    for variant in section.variants:
        cells = [interval(section.test(variant, key)) for key in measures]
        cells += [_per_cent(_coverage(variant, level)) for level in levels]
        rows.append(_row(variant.label, cells))
    for name, metrics in section.baselines.items():
        stats = [metrics.get(key, Stat.of(())) for key in measures]
        if any(stats):
            values = [interval(stat) if stat.half > 0 else rounded(stat.mean) for stat in stats]
            rows.append(_row(name, [*values, *(DASH for _ in levels)]))
    unit = f" in {section.unit}" if section.unit else ""
    caption = ABOUT.format(unit=unit, means=_means(section)) + (ABOUT_COVERAGE if levels else "")
    header = "".join(f'<th scope="col"{_text(head)}>{escape(head)}</th>' for head in heads)
    table = (
        f'<table class="forecasts"><caption><span>{escape(caption)}</span></caption>'
        f"<thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolled(table, "Measures of forecasts")


def outputs_table(section: Section) -> str:
    """Return the measures of each output, target and horizon, as an HTML table; empty for a single output."""
    rows = []
    for variant in section.variants:
        for target, horizon in _outputs(variant):
            stats = [_of_output(variant, target, horizon, key) for key in OF_OUTPUTS]
            cells = [target, horizon, *(interval(stat) for stat in stats)]
            rows.append(_row(variant.label, cells))
    if not rows:
        return ""
    heads = ["variant", "target", "horizon", *(metric_name(key) for key in OF_OUTPUTS)]
    header = "".join(f'<th scope="col"{_text(head)}>{escape(head)}</th>' for head in heads)
    caption = "Each target and horizon by itself, on test data, in the target's own units."
    table = (
        f'<table class="outputs"><caption><span>{escape(caption)}</span></caption>'
        f"<thead><tr>{header}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    box = scrolled(table, "Each target and horizon")
    return f"<details><summary>Each target and horizon by itself</summary>{box}</details>"


def _outputs(variant: VariantRuns) -> list[tuple[str, str]]:
    """Return target and horizon of each output that was measured by itself, as text, in their order."""
    found: dict[tuple[str, str], None] = {}
    for run in variant.runs:
        for entry in _entries(run):
            found.setdefault(_name_of(entry))
    return list(found)


def _of_output(variant: VariantRuns, target: str, horizon: str, key: str) -> Stat:
    """Summarise a measure of one output over seeds."""
    values = []
    for run in variant.runs:
        for entry in _entries(run):
            if _name_of(entry) == (target, horizon):
                squared = as_number(entry.get("mse"))
                root = math.sqrt(squared) if squared >= 0 else math.nan
                values.append(root if key == "rmse" else as_number(entry.get(key)))
    return Stat.of(values)


def _entries(run: Run) -> list[dict[str, Any]]:
    """Return what a run has measured of each of its outputs; nothing for one with a single output."""
    stored = as_dict(run.result).get("outputs")
    return [as_dict(entry) for entry in stored] if isinstance(stored, list) else []


def _name_of(entry: dict[str, Any]) -> tuple[str, str]:
    """Return target and horizon of an output as text."""
    return str(entry.get("target", DASH)), str(entry.get("horizon", DASH))


def _levels(section: Section) -> list[str]:
    """Return the levels of the intervals that were measured, in per cent, rising."""
    found: dict[str, float] = {}
    for run in (run for v in section.variants for run in v.runs):
        for level in as_dict(as_dict(run.result).get("intervals")):
            try:
                found[level] = float(level)
            except ValueError:
                continue
    return sorted(found, key=lambda level: found[level])


def _coverage(variant: VariantRuns, level: str) -> Stat:
    """Summarise the coverage of a variant's intervals over seeds, in per cent."""
    return Stat.of(100 * run.number("intervals", level, "coverage") for run in variant.runs)


def _per_cent(stat: Stat) -> str:
    """Return a share in per cent with one digit after the point."""
    return f"{stat.mean:.1f}" if stat else DASH


def _row(label: str, cells: Sequence[str]) -> str:
    """Return a row of the table as HTML."""
    values = "".join(f"<td>{escape(cell).replace(' ± ', '&nbsp;±&nbsp;')}</td>" for cell in cells)
    return f'<tr><th scope="row">{breakable(label)}</th>{values}</tr>'


def _means(section: Section) -> str:
    """Return what the values of the table are, as a phrase."""
    several = any(len(v.runs) > 1 for v in section.variants)
    return "mean over seeds ± half width of the 95% t interval" if several else "one seed each"


def _text(head: str) -> str:
    """Return the attribute of the column that holds names."""
    return ' class="text"' if head == "variant" else ""
