"""What several commands print: the result of a run, and tables that fit the terminal."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from perturbax.cli.board import clock_time
from perturbax.cli.lines import broken

if TYPE_CHECKING:
    from perturbax.experiment.result import Result
    from perturbax.tasks.base import Task


def console(width: int) -> Console:
    """Return standard output for tables: as wide as the terminal, `width` columns where there is none."""
    return Console(width=None if sys.stdout.isatty() else width, highlight=False)


def print_notes(*tasks: "Task") -> None:
    """Print what there is to say about opened data before a run begins, each sentence once.

    On a terminal lines are broken between words, and go on behind two blanks.

    Arguments:
        tasks: the tasks of the runs.
    """
    for note in dict.fromkeys(note for task in tasks for note in task.notes()):
        print(broken(note))


def print_followed(auto: Mapping[str, Mapping[str, Any]]) -> None:
    """Print why runs have the credit that they have, where it follows from when the task asks for answers.

    Arguments:
        auto: how the settings that were open were settled, by the name of the rule (`Parts.auto` of each).
    """
    by_reason: dict[str, list[str]] = {}
    for name, found in auto.items():
        if reason := found.get("credit", {}).get("reason"):
            by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        print(broken(f"{', '.join(names)}: {reason}"))


def print_end(place: str, name: str, result: "Result") -> None:
    """Print that one of several runs has ended, in one line.

    Arguments:
        place: which one, as `3 of 18`.
        name: what reports call the run.
        result: its result.
    """
    seed, summary = result.experiment.seed, result.summary
    said = f"{place}: {name} seed {seed}" if place else f"{name} seed {seed}"
    if summary["status"] == "diverged":
        print(f"{said} diverged at step {summary['diverged_at']}")
        return
    metric = deciding(summary)
    seconds = summary["seconds"] + summary["compile_seconds"]
    value = _short(summary["test"].get(metric))
    print(broken(f"{said}: test {metric} {value} after {clock_time(seconds)}"))


def deciding(summary: dict[str, Any]) -> str:
    """Return the metric that decides: mse where the task has it, else loss."""
    return "mse" if "mse" in summary["test"] else "loss"


def print_result(name: str, summary: dict[str, Any]) -> int:
    """Print what came out of a run, in one line.

    Arguments:
        name: what the run is called, its folder.
        summary: the content of its result.json.

    Returns the exit status: 1 for a run that diverged, which is said on standard error.
    """
    if summary["status"] == "diverged":
        kept = "the last good checkpoint is kept" if summary["steps"] else "nothing was learnt before"
        print(
            f"perturbax: {name}: the loss was no longer finite at step {summary['diverged_at']}; {kept} "
            "(try a lower --lr)",
            file=sys.stderr,
        )
        return 1
    numbers = ", ".join(f"{metric} {_short(value)}" for metric, value in summary["test"].items())
    losses = "; ".join(
        f"{baseline} {_short(metrics['loss'])}" for baseline, metrics in summary["baselines"].items()
    )
    held = ", ".join(
        f"{100 * found['coverage']:.1f} % in those of {level} %"
        for level, found in summary.get("intervals", {}).items()
        if found["coverage"] is not None
    )
    intervals = f"; intervals hold {held}" if held else ""
    print(broken(f"{name}: test {numbers} (loss of baselines: {losses}){intervals}"))
    return 0


def print_verdict(folder: Path) -> None:
    """Print how a run that has ended stands against the baselines, and what to be warned of."""
    from perturbax.report.words import outcome, read_sections, remarks, warnings

    for section in read_sections([folder]):
        for variant in section.variants:
            print(broken(outcome(section, variant)))
        for said in remarks(section):
            print(broken(said))
        for said in warnings(section):
            print(broken(f"warning: {said}"))


def print_table(folders: Sequence[Path]) -> None:
    """Print the results of all runs and baselines as a table, what the report says first, and warnings."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from perturbax.report.words import in_words, read_sections, remarks, table, warnings

    for section in read_sections(folders):
        seeds = max(len(variant.runs) for variant in section.variants)
        head = f"test {section.metric}" + (f" ({seeds} seeds)" if seeds > 1 else "")
        shown = Table("", head, "", box=box.SIMPLE, padding=(0, 1))
        for row in table(section):
            style = "bold" if row.trained else "dim"
            shown.add_row(
                Text(row.name, style), Text(row.result, style), Text(row.stand, "" if row.trained else "dim")
            )
        out = console(120)
        with out.capture() as drawn:
            out.print(shown)
        print("\n".join(line.rstrip() for line in drawn.get().splitlines()))
        print(broken(" ".join([in_words(section), *remarks(section)])))
        for said in warnings(section):
            print(broken(f"warning: {said}"))


def _short(number: float | None) -> str:
    """Return a number with four digits; None stands for infinities and NaN."""
    return "not finite" if number is None else f"{number:.4g}"
