"""What `--dry-run` prints: the settings of the runs that would be started, and where each comes from."""

from collections.abc import Mapping
from pathlib import Path

from perturbax.cli.help import columns, rows, shortened, wrapped
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import typed_form
from perturbax.experiment.resolve import Explained, explain
from perturbax.experiment.variants import Variant

Lines = dict[
    str, tuple[str, str]
]  # name of a setting -> its value, as it is typed, and where that comes from
NOTHING_WRITTEN = "nothing was trained or written (--dry-run)"


def print_run(e: Experiment, typed: set[str], config: Path | None) -> None:
    """Print the settings of one run.

    Arguments:
        e: the run.
        typed: names of the settings that stand on the command line.
        config: the file that others come from; None for none.
    """
    _print("settings of the run:", _lines(e, typed, "typed" if config is None else str(config)))
    print(NOTHING_WRITTEN)


def print_comparison(
    variants: Mapping[str, Variant], experiments: Mapping[str, Experiment], typed: set[str]
) -> None:
    """Print the settings of several runs: first what all have in common.

    Arguments:
        variants: what each changes, by label.
        experiments: the runs, by label.
        typed: names of the settings that stand on the command line.
    """
    by_label = {}
    for label, e in experiments.items():
        variant = variants[label]
        own = {*variant.fields, *(f"rule.{name}" for name in variant.options)}
        lines = _lines(e, typed, "typed")
        of_label = {name: (lines[name][0], f"--rules {label}") for name in lines if name in own}
        by_label[label] = lines | of_label
    first = next(iter(by_label.values()))
    common = {
        name: line
        for name, line in first.items()
        if all(lines.get(name) == line for lines in by_label.values())
    }
    _print("settings of all runs:", common)
    for label, lines in by_label.items():
        _print(f"settings of {label}:", {n: line for n, line in lines.items() if n not in common})
    print(NOTHING_WRITTEN)


def _lines(e: Experiment, typed: set[str], elsewhere: str) -> Lines:
    """Return the settings of a run with where they come from.

    Arguments:
        e: the run.
        typed: names of the settings that stand on the command line.
        elsewhere: where the others come from that the run names, too.
    """
    names = {
        "task": f"task {e.task}",
        "rule": f"rule {e.rule}",
        "task for this rule": f"task {e.task} for rule {e.rule}",
    }
    explained = explain(e)
    lines = {}
    for name, (value, origin) in explained.items():
        if name in typed:
            said = "typed"
        elif origin == "typed":
            said = elsewhere
        elif origin == "passes":
            said = _paid_for(explained)
        else:
            said = names.get(origin, origin)
        lines[name] = (typed_form(value), said)
    return lines


def _paid_for(explained: Mapping[str, Explained]) -> str:
    """Return where steps come from that a budget pays for."""
    return f"from {explained['passes'].value} forward passes"


def _print(title: str, lines: Lines) -> None:
    """Print settings below a title: name, value and where it comes from."""
    wide = max(map(len, lines), default=0)
    values = max((len(shortened(value)) for value, _ in lines.values()), default=0)
    at = min(wide + values + 5, columns() - 20)
    table = [(f"{name:{wide}} {shortened(value)}", said) for name, (value, said) in lines.items()]
    print("\n".join([*wrapped(title), *rows(table, at), ""]))
