"""The tables of the report, as HTML."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from perturbax.moved import old_names
from perturbax.report.compare import (
    HIGHER_IS_BETTER,
    Section,
    Stat,
    VariantRuns,
    variant_settings,
)
from perturbax.report.document import breakable, scrolled
from perturbax.report.lead import information_phrase
from perturbax.report.numbers import DASH, count, interval, memory, metric_name, rounded
from perturbax.report.read import as_dict
from perturbax.report.settings import flag_name, setting_text
from perturbax.report.style import Look, swatch

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)


def results_table(section: Section, looks: Sequence[Look]) -> str:
    """Return the main table: variants grouped by what their rule uses, then what needs no recurrent
    training.

    Arguments:
        section: the runs that are compared.
        looks: how each variant is drawn.
    """
    heads = [
        "variant and target of its rule",
        "seeds",
        f"test {metric_name(section.metric)}",
        "ratio to BPTT",
    ]
    heads += [f"test {' = '.join(map(metric_name, keys))}" for keys in section.others.values()]
    heads += ["updates", "forward passes", "seconds (+ compile)", "peak memory"]
    heads += [] if _all_finished(section) else ["status"]
    best = _best(section)
    groups: dict[tuple[str, ...], list[str]] = {}
    for variant, look in zip(section.variants, looks, strict=True):
        groups.setdefault(variant.uses, []).append(_row(section, variant, look, best))
    body = "".join(
        _group(f"Uses {information_phrase(uses)}", rows, len(heads)) for uses, rows in groups.items()
    )
    lines = [_baseline_row(section, name) for name in section.baselines]
    if lines:
        body += _group("Baselines: no recurrent training", lines, len(heads), "baseline")
    header = "".join(f'<th scope="col"{_text_column(head)}>{escape(head)}</th>' for head in heads)
    unit = (
        f" The mean squared error is in {section.unit}²." if section.metric == "mse" and section.unit else ""
    )
    caption = f"Test values: {_means_in_words(section)}{unit}"
    table = (
        f'<table class="results"><caption><span>{escape(caption)}</span></caption>'
        f"<thead><tr>{header}</tr></thead>{body}</table>"
    )
    return scrolled(table, f"Results on {section.task}")


def _all_finished(section: Section) -> bool:
    """Whether every run has finished, so that no column need say so."""
    return all(run.status == "finished" for variant in section.variants for run in variant.runs)


def _means_in_words(section: Section) -> str:
    """Return what the values of the main table are, in sentences."""
    seeds = max((len(v.runs) for v in section.variants), default=1)
    best = " The best of each column is in bold." if len(section.variants) > 1 else ""
    if seeds == 1:
        return f"one seed each, so that there are no intervals.{best}"
    said = f"mean over seeds ± half width of the 95% t interval.{best}"
    if section.in_decades:
        said += " Where values span decades: the geometric mean, and in brackets the 95% t interval of "
        said += "the logarithm."
    return (
        f"{said} Seeds: those with a test value, of those run. Updates, passes, seconds and memory are means "
        "over seeds."
    )


def _text_column(head: str) -> str:
    """Return the attribute of a column that holds text."""
    return ' class="text"' if head in ("variant and target of its rule", "status") else ""


def _group(title: str, rows: Iterable[str], columns: int, kind: str = "") -> str:
    """Return rows under a common heading, as HTML; columns: the number of them."""
    head = f'<tr class="group"><th scope="rowgroup" colspan="{columns}">{escape(title)}</th></tr>'
    return f'<tbody class="{kind}">{head}{"".join(rows)}</tbody>'


def _best(section: Section) -> dict[str, float]:
    """Return the best mean of each test metric among the variants; none where there is nothing to choose
    from.
    """
    best = {}
    for key in [section.metric, *section.others]:
        means = [s.mean for v in section.variants if (s := section.test(v, key))]
        if len(means) > 1:
            best[key] = max(means) if key in HIGHER_IS_BETTER else min(means)
    return best


def _row(section: Section, variant: VariantRuns, look: Look, best: dict[str, float]) -> str:
    """Return a variant as a row of numbers, and a row with the target of its rule."""
    bptt = section.reference("bptt", variant)
    own, theirs = section.main(variant).mean, section.main(bptt).mean if bptt else math.nan
    ratio = own / theirs if theirs else math.nan
    target = escape("; ".join([str(variant.first.fact("rule", "target")) or DASH, *_pruned(variant)]))
    mark = swatch(look, line=False)
    name = f'<th scope="row">{mark}{breakable(variant.label)}</th>'
    counted, all_seeds = len(section.main(variant).values), len(variant.runs)
    cells = [_cell(all_seeds if counted == all_seeds else f"{counted} of {all_seeds}")]
    cells += [_value(section.main(variant), section.metric, best), _cell(rounded(ratio))]
    cells += [_value(section.test(variant, key), key, best) for key in section.others]
    cells += [_cell(cost) for cost in _costs(variant)]
    cells += [] if _all_finished(section) else [f'<td class="text">{_status(variant)}</td>']
    target = f'<tr class="target"><td colspan="{len(cells) + 1}">{target}</td></tr>'
    return f"<tr>{name}{''.join(cells)}</tr>{target}"


def _pruned(variant: VariantRuns) -> list[str]:
    """Return what pruning left of the networks of a variant, in words; nothing where nothing was pruned."""
    weights, left = (
        Stat.of(run.number("pruned", name) for run in variant.runs) for name in ("weights", "left")
    )
    if not left:
        return []
    said = f"pruned to {count(left.mean)} of {count(weights.mean)} weights"
    facts = as_dict(as_dict(variant.first.result).get("pruned"))
    units, before = (facts.get(name) for name in ("units", "units_before"))
    if isinstance(units, list) and isinstance(before, list):
        said += f", to {', '.join(map(str, units))} of {', '.join(map(str, before))} units"
    return [said]


def _costs(variant: VariantRuns) -> list[str]:
    """Return updates, forward passes, seconds and memory of a variant as text."""
    compiled, ran = variant.stat("compile_seconds"), variant.stat("seconds")
    seconds = rounded(ran.mean) + (f" + {rounded(compiled.mean)}" if compiled else "")
    updates = Stat.of(run.updates for run in variant.runs)
    passes = variant.stat("forward_passes")
    shared = sorted({n for run in variant.runs if (n := run.number("devices")) > 1})
    if shared:
        seconds += f" on {', '.join(map(count, shared))} devices"
    return [count(updates.mean), count(passes.mean), seconds, memory(variant.stat("peak_memory_bytes").mean)]


def _status(variant: VariantRuns) -> str:
    """Return how the runs of a variant ended, as HTML."""
    states = Counter(run.status for run in variant.runs)
    if len(states) == 1:
        state = next(iter(states))
        return escape(state) if state == "finished" else f'<em class="bad">{escape(state)}</em>'
    parts = (
        f"{n} {escape(s)}" if s == "finished" else f'<em class="bad">{n} {escape(s)}</em>'
        for s, n in states.items()
    )
    return "<br>".join(parts)


def _value(stat: Stat, key: str, best: dict[str, float]) -> str:
    """Return a statistic as a cell, bold where it is the best of its column."""
    text = interval(stat)
    return _cell(text, strong=bool(stat) and stat.mean == best.get(key))


def _cell(content: Any, strong: bool = False) -> str:
    """Return a cell of an HTML table."""
    text = escape(str(content)).replace(" ± ", "&nbsp;±&nbsp;")
    return f"<td><strong>{text}</strong></td>" if strong else f"<td>{text}</td>"


def _baseline_row(section: Section, name: str) -> str:
    """Return a baseline as a row."""
    stats = section.baselines[name]

    def shown(key: str) -> str:
        stat = stats.get(key, Stat.of(()))
        return _cell(interval(stat) if stat.half > 0 else rounded(stat.mean))

    rest = 4 if _all_finished(section) else 5  # columns of what runs cost, and how they ended
    values = [shown(section.metric), _cell(""), *(shown(key) for key in section.others)]
    return f'<tr><th scope="row">{escape(name)}</th><td></td>{"".join(values)}{"<td></td>" * rest}</tr>'


def shared_settings(section: Section) -> str:
    """Return the settings that are the same in every run."""
    own = [variant_settings(v.first) for v in section.variants]
    shared = {key: value for key, value in own[0].items() if all(key in o and o[key] == value for o in own)}
    table = f'<table class="settings"><caption>Shared by all runs</caption>{settings_rows(shared)}</table>'
    return scrolled(table, "Settings that all runs share")


def settings_rows(settings: dict[str, Any]) -> str:
    """Return settings, under the dotted names of `flatten_settings`, as rows of an HTML table."""
    rows = []
    for key, value in sorted(settings.items()):
        name, text = escape(flag_name(key)), escape(setting_text(value))
        rows.append(f'<tr><th scope="row">{name}</th><td class="text">{text}</td></tr>')
    return "".join(rows)


def differing_settings(section: Section) -> str:
    """Return the seeds of every variant and the settings in which variants differ."""
    own = [variant_settings(v.first) for v in section.variants]
    keys = sorted({key for o in own for key in o if any(key not in p or p[key] != o[key] for p in own)})
    rows = []
    for variant, mine in zip(section.variants, own, strict=True):
        seeds = ", ".join(str(run.seed) for run in variant.runs)
        chosen = " ".join(
            f"<code>{escape(f'{flag_name(key)}={setting_text(mine[key])}')}</code>"
            for key in keys
            if key in mine
        )
        cells = f'<td class="text">{seeds}</td><td class="text chosen">{chosen or DASH}</td>'
        rows.append(f'<tr><th scope="row">{breakable(variant.label)}</th>{cells}</tr>')
    head = "".join(f'<th scope="col" class="text">{key}</th>' for key in ("variant", "seeds", "settings"))
    table = (
        '<table class="settings"><caption>Differing between variants</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolled(table, "Settings that differ between variants")
