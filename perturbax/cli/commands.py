"""What the commands do, once their arguments are read."""

import contextlib
import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from perturbax.errors import ArgumentError, unknown
from perturbax.experiment import run_folder
from perturbax.experiment.build import KNOWN, build
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import coerce, find, options
from perturbax.experiment.result import Result, load, read_experiment
from perturbax.experiment.run import resume, run
from perturbax.experiment.seeds import complete, missing
from perturbax.experiment.variants import experiment_from, of_variant, parse_variant, slug
from perturbax.network.passes import forward
from perturbax.papers import CITATIONS


@contextlib.contextmanager
def progress(label: str) -> Iterator[Any]:
    """Show a bar with loss, speed and time left on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[speed]} steps/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task(label, total=None, loss="-", speed="-")

    def update(done: int, total: int, loss: float) -> None:
        bar.start()  # not before there is something to show: errors come without a bar
        speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
        words: dict[str, Any] = {
            "loss": f"{loss:.3g}" if loss == loss else "-",
            "speed": f"{speed:.0f}" if speed else "-",
        }
        bar.update(task, completed=done, total=total, **words)

    try:
        yield update
    finally:
        bar.stop()


def run_command(
    given: dict[str, Any],
    settings: dict[str, dict[str, str]],
    out: str | None,
    config: str | None,
    again: str | None,
) -> int:
    """Train one network."""
    if again is not None:
        if given or any(settings.values()) or out or config:
            raise ArgumentError("--resume goes on with a run as it was started: it takes no other argument")
        with progress(again) as bar:
            return _say(resume(Path(again), report=bar))
    base = read_experiment(Path(config)) if config is not None else Experiment()
    e = experiment_from(base, given, settings)
    if out is None:
        raise ArgumentError("--out FOLDER is needed: the run writes its results there")
    with progress(e.rule) as bar:
        return _say(run(e, out, report=bar))


def _say(result: Result) -> int:
    """Print what came out; a diverged run is a failure."""
    s = result.summary
    if s["status"] == "diverged":
        kept = "the last good checkpoint is kept" if s["steps"] else "nothing was learnt before"
        print(
            f"perturbax: {result.folder}: the loss was no longer finite at step {s['diverged_at']}; {kept} "
            "(try a lower --lr)",
            file=sys.stderr,
        )
        return 1
    numbers = ", ".join(f"{k} {_short(v)}" for k, v in s["test"].items())
    lines = "; ".join(f"{name} {_short(m['loss'])}" for name, m in s["baselines"].items())
    print(f"{result.folder}: test {numbers} (loss of baselines: {lines})")
    return 0


def _short(number: float | None) -> str:
    return "not finite" if number is None else f"{number:.4g}"


def compare_command(
    given: dict[str, Any], settings: dict[str, dict[str, str]], rules: str, seeds: str, out: Path
) -> int:
    """Train rules x seeds, keeping what is finished already, and write the report."""
    from perturbax.report import write_report

    variants = [parse_variant(text.strip()) for text in rules.split(",") if text.strip()]
    if not variants:
        raise ArgumentError("--rules names no rule")
    count = coerce("seeds", seeds, int)
    if count < 1:
        raise ArgumentError(f"seeds must be above 0, not {count}")
    known = {name for v in variants for name in options(find("rule", v.fields["rule"], KNOWN["rule"]))}
    for name in settings["rule"]:
        if name not in known:
            raise unknown("rule setting", name, known)
    if (out / "report.html").is_dir():
        raise ArgumentError(f"{out / 'report.html'} is a folder: name another --out")
    base = experiment_from(Experiment(), given, {**settings, "rule": {}})
    plans = [(v, of_variant(base, v, settings["rule"])) for v in variants]
    folders = {
        v.label: {s: out / f"{slug(v.label)}-s{s}" for s in range(base.seed, base.seed + count)}
        for v, _ in plans
    }
    every = [f for v, _ in plans for f in folders[v.label].values()]
    if len(set(every)) < len(every):
        raise ArgumentError("two entries of --rules are the same")
    # Refuse what cannot run before anything does.
    data = {v.label: build(e.changed(seed=base.seed + count - 1)).task.digest() for v, e in plans}
    fresh = {v.label: missing(e, folders[v.label], data[v.label]) for v, e in plans}
    worst = 0
    for v, e in plans:
        with progress(v.label) as bar:
            done = complete(e, folders[v.label], fresh[v.label], name=v.label, report=bar)
        worst = max([worst, *map(_say, done)])
    page = write_report(every, out / "report.html")
    print(f"report: {page}")
    return worst


def report_command(folders: list[Path], out: Path) -> int:
    """Write the page for run folders, or for all run folders inside folders."""
    from perturbax.report import write_report

    found = []
    for folder in folders:
        if not folder.exists():
            raise ArgumentError(f"no such folder: {folder}")
        inside = (
            [f for f in sorted(folder.iterdir()) if (f / "config.json").is_file()] if folder.is_dir() else []
        )
        found += [folder] if (folder / "config.json").is_file() else inside
    if not found:
        raise ArgumentError(f"no run folder in {', '.join(map(str, folders))}")
    print(f"report: {write_report(found, out)}")
    return 0


def predict_command(folder: Path, data: Path, out: Path) -> int:
    """Write one forecast per row of a new file, in the data's own units.

    Columns: `row` of the data (from 1), the first text column (such as a date) if there is one, the present
    value of the target if the file has it, the row that is forecast, and the forecast.
    """
    from perturbax.experiment.predict import decode, encode

    if not out.name or out.exists():
        raise ArgumentError(f"{out} exists already: name another --out")
    if not out.parent.is_dir():
        raise ArgumentError(f"no such folder: {out.parent}")
    result = load(folder)
    if not result.scaling:
        raise ArgumentError(f"{folder} was trained on {result.experiment.task}: predict is for series")
    own: Any = result.experiment.task_options
    task: Any = find("task", result.experiment.task, KNOWN["task"])(**own)
    xs, labels = encode(data, result.scaling, own.get("gaps", "refuse"))
    target = str(result.scaling["target"])
    y = decode(jax.jit(forward)(result.net, xs), result.scaling).tolist()
    rows = range(1, len(y) + 1)
    columns: list[tuple[str, Any]] = [("row", rows)]
    if labels.name is not None:
        columns.append((labels.name, labels.texts))
    if labels.current is not None:
        columns.append((target, labels.current.tolist()))
    columns += [("forecast_row", [i + task.shift for i in rows]), (f"{target}_forecast", y)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(name for name, _ in columns)
    writer.writerows(zip(*(column for _, column in columns), strict=True))
    run_folder.write(out, text.getvalue().encode())
    print(f"{len(y)} forecasts: {out}")
    return 0


LISTED = {
    "rules": {"equation": "", "target": "estimates", "uses": "uses", "cost": "costs", "memory": "memory"},
    "cells": {"equation": ""},
    "tasks": {"summary": ""},
}


def list_command(what: str) -> int:
    """Print what there is, with equations and sources."""
    if what not in LISTED:
        raise unknown("list", what, LISTED)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    table = Table.grid(padding=(0, 2))
    cited: dict[str, str] = {}
    for name, cls in KNOWN[what.removesuffix("s")].items():
        first = Text(name, style="bold")
        for attribute, label in LISTED[what].items():
            value = getattr(cls, attribute, "")
            text = ", ".join(value) if isinstance(value, tuple) else str(value)
            table.add_row(first, Text(label, style="dim"), Text(text))
            first = Text("")
        papers = getattr(cls, "papers", ())
        cited |= {key: CITATIONS[key] for key in papers if key in CITATIONS}
        if papers:
            table.add_row("", Text("papers", style="dim"), Text(", ".join(papers)))
        table.add_row()
    console.print(table)
    references = Table.grid(padding=(0, 2))
    for key in sorted(cited):
        references.add_row(Text(key, style="dim"), Text(cited[key]))
    console.print(references)
    return 0
