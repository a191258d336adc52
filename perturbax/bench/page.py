"""The table of a benchmark, our rows beside the published ones, as Markdown and as JSON."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perturbax.atomic import write, writing
from perturbax.bench.base import Benchmark, Measure, Published, in_words
from perturbax.bench.running import SURE, Planned, Row, alike
from perturbax.papers import CITATIONS

FILES = "bench.json", "bench.md"


def table(benchmark: Benchmark, rows: Sequence[Row]) -> str:
    """Return the table in Markdown: our rules, then what is published.

    Arguments:
        benchmark: what was run.
        rows: what came out.
    """
    heads = ["rule or model", *(m.name for m in benchmark.measures)]
    heads += ["derivatives", "forward passes", "seconds", "device", "source"]
    lines = [_our_line(benchmark, row) for row in rows]
    lines += [_published_line(benchmark, one) for one in benchmark.published]
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *lines])


def said(planned: Planned, rows: Sequence[Row]) -> list[str]:
    """Return what is to be known of the table, a sentence each.

    Arguments:
        planned: what was run.
        rows: what came out.
    """
    benchmark, first = planned.benchmark, deciding(planned.benchmark, rows)
    seeds = len(rows[0].values[first.name]) if rows else 0
    over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    sentences = [f"Ours: {over}; every run may spend {planned.budget}, whatever its rule."]
    if len(planned.comparisons) > 1:
        sentences.append(f"Passes and seconds are those of {len(planned.comparisons)} runs together.")
    if planned.steps is not None:
        sentences.append(
            "The runs were shortened (--steps): these rows are not comparable with published ones."
        )
    if planned.left_out:
        of_all = f"{len(planned.comparisons)} of {len(benchmark.parts)} parts were run"
        sentences.append(f"{of_all}{'.' if planned.comparable else ': means are not comparable.'}")
    own = [row.rule for row in rows if row.own_budget]
    if own:
        sentences.append(f"Of another budget, so not comparable: {', '.join(own)}.")
    if alike(rows, first):
        sentences.append(
            f"All rules do equally well here ({first.name}: best and worst differ by no more than {SURE:g} "
            "standard errors): this run of the benchmark does not tell them apart."
        )
    return sentences


def deciding(benchmark: Benchmark, rows: Sequence[Row]) -> Measure:
    """Return the measure that decides: the first that was measured.

    Arguments:
        benchmark: what was run.
        rows: what came out.
    """
    return next((m for m in benchmark.measures if rows and m.name in rows[0].values), benchmark.measures[0])


def describe(benchmark: Benchmark) -> list[str]:
    """Return what a benchmark is, a line each, before anything is run.

    benchmark: what is described.
    """
    e = benchmark.experiment
    lines = [
        f"{benchmark.name}: {benchmark.summary}",
        f"data: {benchmark.needs or 'made by the command'}",
        f"split: {benchmark.split}",
        f"metric: {benchmark.metric}",
        f"network: {e.cell} {e.units}, {in_words(e)}",
        *([f"parts: {', '.join(benchmark.parts)}"] if len(benchmark.parts) > 1 else []),
        f"rules: {','.join(benchmark.rules)}; {benchmark.seeds} seeds",
    ]
    lines += [f"{rule} has {settings}" for rule, settings in benchmark.settings.items()]
    lines += [f"source: {CITATIONS[key]}" for key in _sources(benchmark)]
    return [*lines, "", table(benchmark, ())]


def write_files(planned: Planned, rows: Sequence[Row], out: Path) -> list[Path]:
    """Write bench.json and bench.md, each whole or not at all.

    Arguments:
        planned: what was run.
        rows: what came out.
        out: the folder.

    Returns the paths of the two. Raises StoreError where the file system refuses.
    """
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in FILES]
    write(paths[0], (json.dumps(as_json(planned, rows), indent=1, ensure_ascii=False) + "\n").encode())
    write(paths[1], (as_page(planned, rows) + "\n").encode())
    return paths


def as_page(planned: Planned, rows: Sequence[Row]) -> str:
    """Return the page: what the benchmark is, the table, what is to be known of it, and sources.

    Arguments:
        planned: what was run.
        rows: what came out.
    """
    benchmark = planned.benchmark
    blocks = [
        f"# {benchmark.name}: {benchmark.summary}",
        f"Split: {benchmark.split}.",
        f"Metric: {benchmark.metric}.",
        table(benchmark, rows),
        " ".join(said(planned, rows)),
        "\n".join(f"- {key}: {CITATIONS[key]}" for key in _sources(benchmark)),
    ]
    return "\n\n".join(blocks)


def as_json(planned: Planned, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the same in types of JSON; what is not finite is null.

    Arguments:
        planned: what was run.
        rows: what came out.
    """
    benchmark = planned.benchmark
    one = next(iter(planned.comparisons.values()))
    return {
        "benchmark": benchmark.name,
        "split": benchmark.split,
        "metric": benchmark.metric,
        "budget": planned.budget,
        "comparable": planned.comparable,
        "told_apart": not alike(rows, deciding(benchmark, rows)),
        "experiment": {label: e.to_dict() for label, e in one.experiments.items()},
        "rows": [
            row._asdict() | {"values": {name: _finite(values) for name, values in row.values.items()}}
            for row in rows
        ],
        "published": [
            row._asdict() | {"values": dict(row.values), "citation": CITATIONS[row.source]}
            for row in benchmark.published
        ],
    }


def _our_line(benchmark: Benchmark, row: Row) -> list[str]:
    """Return the cells of a row of ours."""
    values = [_value(row, measure) for measure in benchmark.measures]
    settings = f" ({row.settings})" if row.settings else ""
    spent = [f"{row.passes:,.0f}", f"{row.seconds:,.0f}"]
    derivatives = "yes" if row.derivatives else "no"
    return [f"perturbax `{row.rule}`{settings}", *values, derivatives, *spent, row.device, "this run"]


def _published_line(benchmark: Benchmark, one: Published) -> list[str]:
    """Return the cells of a published row."""
    values = [f"{one.values[m.name]:,g}" if m.name in one.values else "" for m in benchmark.measures]
    return [one.who, *values, "", "", "", "", f"{one.source}, {one.note}" if one.note else one.source]


def _value(row: Row, measure: Measure) -> str:
    """Return a mean and its spread as text."""
    if measure.name not in row.values:
        return ""
    mean, spread = row.mean(measure), row.spread(measure)
    if not math.isfinite(mean):
        return "diverged"
    shown = f"{mean:,.{measure.digits}f}"
    return f"{shown} ± {spread:,.{measure.digits}f}" if spread > 0 else shown


def _finite(values: Sequence[float]) -> list[float | None]:
    """Return numbers with None for those that are not finite."""
    return [value if math.isfinite(value) else None for value in values]


def _sources(benchmark: Benchmark) -> list[str]:
    """Return the keys of all sources, each once."""
    return list(dict.fromkeys((*benchmark.papers, *(one.source for one in benchmark.published))))
