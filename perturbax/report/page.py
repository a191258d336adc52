"""The page: one self-contained HTML file from the sections of a comparison."""

import os
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path

from perturbax.papers import CITATIONS
from perturbax.report import figures, tables
from perturbax.report.compare import Section
from perturbax.report.confusion import confusion_tables
from perturbax.report.curves import learning_curves, over_decades
from perturbax.report.device import device_table
from perturbax.report.document import breakable, document, references, scrolled
from perturbax.report.forecasts import forecast_table, outputs_table
from perturbax.report.lead import summary
from perturbax.report.moved_there import best_there, moved_there
from perturbax.report.read import Run, as_dict, as_strings
from perturbax.report.settings import flatten_settings, setting_text
from perturbax.report.style import TRUTH, Look, looks, swatch
from perturbax.report.subject import forecast_of
from perturbax.report.verdict import verdicts

LEVELS_IN_WORDS = {
    True: "validation loss of the baselines",
    False: "test loss of the baselines and of the frozen reservoir",
}
"""What dashed lines beside validation curves are: whether baselines were judged on validation data."""


def page(
    sections: Sequence[Section], folders: Sequence[Path], out: Path, live: tuple[int, str] | None = None
) -> str:
    """Return the whole page as HTML.

    Arguments:
        sections: what is compared.
        folders: all run folders.
        out: where the page will be.
        live: as for `document`.
    """
    runs = [run for s in sections for v in s.variants for run in v.runs]
    alone = len(sections) == 1
    title = (
        _title(sections[0], []) if alone else "Learning rules compared on " + _and([s.task for s in sections])
    )
    names = [_heading(s, sections) for s in sections]
    bodies = [_section(s, f"s{i}", 2 if alone else 3) for i, s in enumerate(sections, 1)]
    if alone:
        main = f'<section id="s1">{bodies[0]}</section>'
    else:
        links = "".join(f'<li><a href="#s{i}">{escape(name)}</a></li>' for i, name in enumerate(names, 1))
        main = f'<nav aria-label="Tasks"><ul>{links}</ul></nav>' + "".join(
            f'<section id="s{i}"><h2>{escape(name)}</h2>{body}</section>'
            for i, (name, body) in enumerate(zip(names, bodies, strict=True), 1)
        )
    end = f"{_colophon(runs, folders, out)}\n{_references(runs)}"
    return document("report", title, f"{main}\n{end}", live)


def _title(section: Section, extra: Sequence[str]) -> str:
    """Name the task, the cells and their sizes."""
    experiments = [v.first.experiment for v in section.variants]
    cells = dict.fromkeys(str(e["cell"]) for e in experiments if e.get("cell"))
    sizes = dict.fromkeys(setting_text(e["units"]) for e in experiments if e.get("units"))
    network = [f"{_and(list(cells))} cell{'s' if len(cells) > 1 else ''}"] if cells else []
    network += [f"{_and(list(sizes))} units"] if sizes else []
    named = f"{section.task} ({', '.join(extra)})" if extra else section.task
    return f"{named}: {', '.join(network)}" if network else named


def _heading(section: Section, sections: Sequence[Section]) -> str:
    """Return a section's title, with the options that tell it from others of the same task."""
    rivals = [flatten_settings(s.options) for s in sections if s.task == section.task and s is not section]
    own = flatten_settings(section.options)
    extra = [
        f"{k}={setting_text(v)}" for k, v in own.items() if any(r.get(k) != v or k not in r for r in rivals)
    ]
    return _title(section, extra)


def _about(section: Section) -> str:
    """Return what the task is: what is forecast of the user's own file, else the task in words, and that."""
    first, forecast = section.variants[0].first, forecast_of(section)
    task = str(first.fact("task", "summary"))
    if forecast and (first.experiment.get("data") or not task):
        return forecast
    return f"{task}. {forecast}" if forecast else task


def _section(section: Section, name: str, level: int) -> str:
    """Return all about one task as HTML; level: of its headings."""
    styles = looks(section.variants)
    h = f"h{level}"
    said = "".join(f"<li>{line}</li>" for line in verdicts(section))
    confused = confusion_tables(section)
    about = escape(_about(section))
    on_device = device_table({variant.label: list(variant.runs) for variant in section.variants})
    parts = [
        f'<p class="task">{about}</p>' if about else "",
        f'<p class="lead">{" ".join(filter(None, [summary(section), best_there(section)]))}</p>',
        f'<div class="verdicts"><{h}>Verdicts</{h}><ul>{said}</ul></div>' if said else "",
        f"<{h}>Results</{h}>{tables.results_table(section, styles)}",
        f"<{h}>Forecasts</{h}>{measured}{outputs_table(section)}"
        if (measured := forecast_table(section))
        else "",
        f"<{h}>Learning curves</{h}>{_curves(section, styles, name)}",
        f"<{h}>{'Rewards' if section.acts else 'Predictions and truth'}</{h}>"
        f"{_predictions(section, styles, name)}",
        f"<{h}>Confusion of classes</{h}>{confused}" if confused else "",
        f"<{h}>Correlation of hidden activity</{h}>{_correlation(section, styles, name)}",
        f"<{h}>Final test values</{h}>{_final(section, styles, name)}",
        f"<{h}>Trained on the device, or moved there</{h}>{moved}" if (moved := moved_there(section)) else "",
        f"<{h}>On the device</{h}>{scrolled(on_device, 'Devices')}" if on_device else "",
        f"<{h}>Settings and rules</{h}>{_details(section)}",
    ]
    return "\n".join(part for part in parts if part)


def _figure(drawings: Sequence[str], caption: str, kind: str = "", legend: str = "") -> str:
    """Return drawings, inline SVG, as a figure with caption and legend."""
    shown = "".join(d if d.startswith("<div") else f'<div class="panel">{d}</div>' for d in drawings)
    panels = f'<div class="panels">{shown}</div>'
    return f'<figure class="{kind}">{legend}{panels}<figcaption>{caption}</figcaption></figure>'


def _curves(section: Section, styles: Sequence[Look], name: str) -> str:
    """Return the learning curves with their legend, as HTML."""
    panels = learning_curves(section, styles, name)
    if not panels:
        return '<p class="none">No validation loss is logged yet.</p>'
    names = "".join(
        f'<li data-name="{escape(v.label)}">{swatch(look)}{breakable(v.label)}</li>'
        for v, look in zip(section.variants, styles, strict=True)
    )
    levels = "test loss of the baselines" if section.acts else LEVELS_IN_WORDS[bool(section.valid_baselines)]
    caption = (
        f"{_means_of_curves(section)}× marks where a seed diverged, which ends its part in the mean. Dashed "
        f"lines: {levels}; an arrow stands for one outside the panel."
    )
    return _figure(panels, caption, "three curves", f'<ul class="legend">{names}</ul>')


def _means_of_curves(section: Section) -> str:
    """Return what a curve is, as the beginning of a caption."""
    if all(len(v.runs) == 1 for v in section.variants):
        return "One seed each; "
    mean = "Geometric mean" if over_decades(section) else "Mean"
    return f"{mean} over seeds; the band reaches from the lowest to the highest seed; "


def _predictions(section: Section, styles: Sequence[Look], name: str) -> str:
    """Return the predictions beside the truth, and who saved none, as HTML."""
    drawn = [
        (v, figures.prediction(section, v, look, f"{name}-prediction-{i}"))
        for i, (v, look) in enumerate(zip(section.variants, styles, strict=True))
    ]
    panels, missing = [d for _, d in drawn if d], [v.label for v, d in drawn if not d]
    note = f'<p class="none">No predictions are saved for {escape(_and(missing))}.</p>' if missing else ""
    if not panels:
        return note
    if section.acts:
        caption = (
            "The first steps of test episodes, end to end, for the lowest seed of each variant (not the "
        )
        caption += "best one). Vertical: reward of a step; horizontal: time steps."
        return _figure(panels, caption, "two") + note
    line = (
        '<svg class="swatch" width="30" height="14" viewBox="0 0 30 14" aria-hidden="true"><path d="M0 7H30"'
    )
    line = f'{line} stroke="{TRUTH}" stroke-width="5"/></svg>'
    key = f'<ul class="legend"><li>{line}truth</li><li>coloured: prediction</li></ul>'
    caption = (
        "The first steps of the test part, short sequences end to end, for the lowest seed of each variant "
        "(not the best one). Gaps in the truth: no answer is asked for; where that is nearly everywhere, it "
        "is left out."
    )
    maps = any((run := figures.predicted(v)) and figures.is_map(run) for v in section.variants)
    if maps:
        caption += (
            " Rows of a map are outputs, columns are time steps; both maps share the scale of the truth."
        )
    else:
        caption += f" Vertical: {escape(section.unit or 'output')}; horizontal: time steps."
    return _figure(panels, caption, "two", "" if maps else key) + note


def _correlation(section: Section, styles: Sequence[Look], name: str) -> str:
    """Return the figure of hidden correlation, as HTML."""
    drawing = figures.on_both_sheets(figures.correlation(section, styles, f"{name}-correlation"))
    if not drawing:
        return '<p class="none">No run has measured it.</p>'
    caption = (
        "Mean over seeds. Hollow: before training, filled: after. A decorrelated variant should move towards "
        "0, the left edge."
    )
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


def _final(section: Section, styles: Sequence[Look], name: str) -> str:
    """Return the figure of final test values, as HTML."""
    drawing = figures.on_both_sheets(figures.final(section, styles, f"{name}-final"))
    if not drawing:
        return '<p class="none">No run has a test value.</p>'
    caption = "Large: mean over seeds, with its 95% t interval where there are several. Small: single seeds."
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


def _details(section: Section) -> str:
    """Return rules, cells and settings, as HTML."""
    rules = {(v.rule, v.uses, _fact(v.first, "rule", "target")): v.first for v in section.variants}
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td class="text"><code>{_fact(run, "rule", "equation")}</code></td>'
        + "".join(f'<td class="text">{_fact(run, "rule", key)}</td>' for key in ("target", "cost", "memory"))
        + "</tr>"
        for (name, _, _), run in rules.items()
    )
    cells = {str(v.first.experiment.get("cell")): v.first for v in section.variants}
    heads = "".join(
        f'<th scope="col" class="text">{h}</th>' for h in ("rule", "equation", "target", "cost", "memory")
    )
    named = "".join(
        f"<li>{escape(cell)}: <code>{_fact(run, 'cell', 'equation')}</code></li>"
        for cell, run in cells.items()
        if run.fact("cell", "equation")
    )
    recorded = (
        '<table class="settings"><caption>The rules, as each run recorded them</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )
    return (
        scrolled(recorded, "Rules")
        + (f'<ul class="plain">{named}</ul>' if named else "")
        + tables.differing_settings(section)
        + tables.shared_settings(section)
    )


def _fact(run: Run, kind: str, key: str) -> str:
    """Return what a run recorded about its rule, task or cell, escaped; a dash where it recorded nothing."""
    return escape(str(run.fact(kind, key))) or "\u2013"


def _colophon(runs: Sequence[Run], folders: Sequence[Path], out: Path) -> str:
    """Return versions, and the command that draws the page again, as HTML."""
    versions = sorted(
        {", ".join(f"{k} {v}" for k, v in as_dict(r.config.get("versions")).items()) for r in runs} - {""}
    )
    listed = "".join(f"<li>{escape(line)}</li>" for line in versions) or "<li>not recorded</li>"
    here = out.resolve().parent
    places = sorted(os.path.relpath(folder.resolve(), here) for folder in folders)
    command = " \\\n  ".join(
        ["perturbax report", *map(shlex.quote, dict.fromkeys(places)), f"--out {shlex.quote(out.name)}"]
    )
    return (
        f'<section><h2>Versions and redrawing</h2><ul class="plain">{listed}</ul>'
        "<p>This page is a function of the run folders alone. To draw it again, in the folder of this "
        "page:</p>"
        f"<pre>{escape(command)}</pre></section>"
    )


def _references(runs: Sequence[Run]) -> str:
    """List the papers of exactly the methods used, with what each was used for."""
    used: dict[str, dict[str, None]] = {}
    for run in runs:
        experiment = run.experiment
        for kind in ("rule", "task", "cell", "decorrelation", "pruning", "schedule", "attack"):
            what = str(experiment.get(kind, kind))
            if kind != "decorrelation" or run.decorrelated:
                for key in as_strings(run.fact(kind, "papers", [])):
                    used.setdefault(key, {})[what] = None
    cited = sorted((CITATIONS.get(key, key), sorted(names)) for key, names in used.items())
    return references(
        f'{escape(text)} <span class="for">{escape(", ".join(names))}</span>' for text, names in cited
    )


def _and(items: Sequence[str]) -> str:
    """Return items as one phrase, each once."""
    items = list(dict.fromkeys(items))
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
