"""What a benchmark is: a task with settings, a budget, how results are measured, and published results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from perturbax.experiment.config import Experiment

if TYPE_CHECKING:
    from perturbax.experiment.result import Result
    from perturbax.tasks.base import Task


class Measure(NamedTuple):
    """A number that a benchmark judges by.

    Attributes:
        name: what tables call it.
        higher: whether more is better.
        digits: digits behind the point in tables.
    """

    name: str
    higher: bool = False
    digits: int = 2


class Published(NamedTuple):
    """A published result.

    Attributes:
        who: the model, and how it was trained.
        values: by the name of the measure.
        source: key of `perturbax.papers.CITATIONS`.
        note: what else is to be known of the numbers, such as where they stand.
    """

    who: str
    values: Mapping[str, float]
    source: str
    note: str = ""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of other people, as it is run here.

    Attributes:
        name: its name on the command line.
        summary: what it asks, in one line.
        papers: keys of `perturbax.papers.CITATIONS`.
        needs: what the file named by --data is; empty where the data are made.
        split: what is trained on, what chooses, and what is judged.
        metric: how each measure is computed.
        experiment: the task, the network and the budget, which all rules share: forward passes, or updates
            where published results count these.
        judge: (result of a run, its opened task) -> the value of each measure, by name.
        measures: the measures, the one that decides first.
        published: the published results.
        parts: settings of the task by the name of each part; a measure is the mean over those that have it.
        rules: the rules that are run where none are named.
        settings: by rule, what was found on validation data, as suffixes of it: `lr=1e-2`.
        seeds: how many there are unless another number is asked for.
    """

    name: str
    summary: str
    papers: tuple[str, ...]
    needs: str
    split: str
    metric: str
    experiment: Experiment
    judge: "Callable[[Result, Task], dict[str, float]]"
    measures: tuple[Measure, ...]
    published: tuple[Published, ...]
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"": {}})
    rules: tuple[str, ...] = ("node", "mirror", "bptt")
    settings: Mapping[str, str] = field(default_factory=dict)
    seeds: int = 3


def in_words(e: Experiment) -> str:
    """Return what a run of these settings may spend.

    e: the settings, with a number of passes or of steps.
    """
    spent = f"{e.passes:,} forward passes" if e.passes else f"{e.steps:,} updates"
    return f"{spent} over batches of {e.batch}"
