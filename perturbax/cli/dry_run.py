"""What `--dry-run` prints: the settings of the runs that would be started, and where each comes from."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from perturbax.cli.help import columns, rows, shortened, wrapped
from perturbax.experiment.config import Experiment
from perturbax.experiment.grid import SearchPlan
from perturbax.experiment.options import typed_form
from perturbax.experiment.resolve import Explained, explain
from perturbax.experiment.variants import Variant

if TYPE_CHECKING:
    from perturbax.tasks.base import Task

Lines = dict[str, tuple[str, str]]
"""Name of a setting -> its value, as it is typed, and where that comes from."""
NOTHING_WRITTEN = "nothing was trained or written (--dry-run)"


def print_run(
    e: Experiment,
    typed: set[str],
    elsewhere: str = "typed",
    title: str = "settings of the run:",
    task: "Task | None" = None,
) -> None:
    """Print the settings of one run.

    Arguments:
        e: the run.
        typed: names of the settings that stand on the command line.
        elsewhere: where others come from that the run names, such as a file.
        title: what stands above them.
        task: its opened task.
    """
    _print(title, _lines(e, typed, elsewhere, task))
    print(NOTHING_WRITTEN)


def print_comparison(
    variants: Mapping[str, Variant],
    experiments: Mapping[str, Experiment],
    typed: set[str],
    elsewhere: str = "typed",
    tasks: "Mapping[str, Task] | None" = None,
) -> None:
    """Print the settings of several runs: first what all have in common.

    Arguments:
        variants: what each changes, by label.
        experiments: the runs, by label.
        typed: names of the settings that stand on the command line.
        elsewhere: where others come from that the runs name, such as the command.
        tasks: their opened tasks, by label.
    """
    by_label = {}
    for label, e in experiments.items():
        variant = variants[label]
        own = {*variant.fields, *(f"rule.{name}" for name in variant.options)}
        lines = _lines(e, typed, elsewhere, (tasks or {}).get(label))
        of_label = {name: (lines[name][0], f"--rules {label}") for name in lines if name in own}
        by_label[label] = lines | of_label
    _print_shared("settings of all runs:", by_label)
    print(NOTHING_WRITTEN)


def print_search(plan: SearchPlan, typed: set[str], steps_typed: bool) -> None:
    """Print the settings of the short runs of a search, and what is tried.

    Arguments:
        plan: the search.
        typed: names of the settings that stand on the command line.
        steps_typed: whether the steps of the short runs stand there, too.
    """
    tried = {name: (" ".join(map(typed_form, values)), "tried") for name, values in plan.grid.items()}
    by_label = {}
    for combination in plan.combinations:
        lines = _lines(combination.experiment, typed, "typed", combination.whole.task)
        lines.pop("passes", None)
        lines["steps"] = str(combination.steps), "typed" if steps_typed else "one in ten of the whole run's"
        label = ", ".join(f"{name}={typed_form(value)}" for name, value in combination.values.items())
        by_label[label] = lines | tried
    _print_shared("settings of the short runs:", by_label)
    seeds = f", each with {len(plan.seeds)} seeds" if len(plan.seeds) > 1 else ""
    print(f"{plan.candidates} candidates{seeds}")
    print(NOTHING_WRITTEN)


def _print_shared(title: str, by_label: Mapping[str, Lines]) -> None:
    """Print what several runs have in common, and then what each has of its own."""
    first = next(iter(by_label.values()))
    common = {
        name: line
        for name, line in first.items()
        if all(lines.get(name) == line for lines in by_label.values())
    }
    _print(title, common)
    for label, lines in by_label.items():
        own = {name: line for name, line in lines.items() if name not in common}
        if own:
            _print(f"settings of {label}:", own)


def _lines(e: Experiment, typed: set[str], elsewhere: str, task: "Task | None") -> Lines:
    """Return the settings of a run with where they come from.

    Arguments:
        e: the run.
        typed: names of the settings that stand on the command line.
        elsewhere: where the others come from that the run names, too.
        task: its opened task.
    """
    names = {
        "task": f"task {e.task}",
        "rule": f"rule {e.rule}",
        "task for this rule": f"task {e.task} for rule {e.rule}",
    }
    explained = explain(e, task)
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
