"""The results of a study, read back: runs by group, searches, measurements. Depends on its folder alone."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from perturbax.errors import StoreError
from perturbax.experiment import run_folder
from perturbax.moved import old_names
from perturbax.report.compare import Section, Stat, VariantRuns, sections
from perturbax.report.read import Run, as_number, read_runs
from perturbax.report.style import Look, looks
from perturbax.tasks import TASKS

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)


@dataclass(frozen=True)
class Results:
    """What lies in a study's folder.

    Attributes:
        root: the folder.
        plan: the content of plan.json.
    """

    root: Path
    plan: dict[str, Any]

    @classmethod
    def of(cls, root: Path) -> "Results":
        """Read a study's folder.

        Arguments:
            root: the folder.

        Raises StoreError for a folder without the plan of a study.
        """
        plan = run_folder.read_json(root / "plan.json")
        if not isinstance(plan, dict) or not isinstance(plan.get("jobs"), list):
            raise StoreError(f"{root / 'plan.json'} is not the plan of a study")
        return cls(root, plan)

    def groups(self, kind: str) -> list[str]:
        """Return the groups that have jobs of a kind.

        Arguments:
            kind: `train`, `tune` or `measure`.
        """
        return list(dict.fromkeys(job["group"] for job in self.plan["jobs"] if kind in job))

    def seeds(self, group: str) -> int:
        """Return how many seeds each variant of a group is meant to have.

        Arguments:
            group: one that has runs, `fair/copy` say.
        """
        return max(len(job["seeds"]) for job in self.plan["jobs"] if "train" in job and job["group"] == group)

    @cached_property
    def sections(self) -> dict[str, Section]:
        """The finished runs of every group that has any."""
        found = {}
        for group in self.groups("train"):
            folders = [path.parent for path in sorted((self.root / group).glob("*/result.json"))]
            if folders:
                section = sections([_judged(run) for run in read_runs(folders)])[0]
                found[group] = dataclasses.replace(section, geometric=False)  # its tables say which means
        return found

    def searches(self, group: str) -> dict[str, dict[str, Any]]:
        """Return the finished searches of a group, as their files hold them, by label.

        Arguments:
            group: `fair/copy`, say.
        """
        found = [run_folder.read_json(path) for path in sorted((self.root / group / "tuned").glob("*.json"))]
        return {str(one["name"]): one for one in found}

    def measured(self, group: str) -> dict[str, dict[str, Any]]:
        """Return the measurements of a group, as their files hold them, by name of file.

        Arguments:
            group: `findings`, say.
        """
        return {path.stem: run_folder.read_json(path) for path in sorted((self.root / group).glob("*.json"))}

    @cached_property
    def looks(self) -> dict[str, Look]:
        """One look for every label, the same in all figures."""
        first: dict[str, VariantRuns] = {}
        for section in self.sections.values():
            for variant in section.variants:
                first.setdefault(base_label(variant.label), variant)
        labels = sorted(first)
        return dict(zip(labels, looks([first[label] for label in labels]), strict=True))

    def look(self, label: str) -> Look:
        """Return the look of a label."""
        return self.looks[base_label(label)]

    def described(self, key: str) -> list[dict[str, str]]:
        """Return what the configs of all runs have under a key, each entry that differs once.

        Arguments:
            key: `versions` or `machine`.
        """
        every = [
            run.config.get(key, {}) for s in self.sections.values() for v in s.variants for run in v.runs
        ]
        return [dict(pairs) for pairs in dict.fromkeys(tuple(sorted(v.items())) for v in every) if pairs]


def _judged(run: Run) -> Run:
    """Return a run without results on data if it diverged: those are of the network that it had before."""
    if run.status != "diverged":
        return run
    return dataclasses.replace(run, result={**(run.result or {}), "test": {}, "train": {}})


def base_label(label: str) -> str:
    """Return a label without the settings in which runs of one rule differ within an experiment.

    Arguments:
        label: of a variant, `node:credit=to-go:sigma=0.01` say, which becomes `node:credit=to-go`.
    """
    head, *settings = label.split(":")
    return ":".join([head, *(s for s in settings if not s.startswith(("sigma=", "ambient=", "samples=")))])


def loss_in(task: str) -> str:
    """Return what the loss of a task is measured in, in brackets after a space.

    Arguments:
        task: its name; empty for one that is not in TASKS.
    """
    return f" ({TASKS[task].loss_in})" if task in TASKS else ""


def finished(variants: Iterable[VariantRuns]) -> list[VariantRuns]:
    """Return the variants with at least one run that did not diverge.

    Arguments:
        variants: of one task.
    """
    return [v for v in variants if v.stat("test", "loss")]


def lowest_by(run: Run, axis: str, limit: float) -> float:
    """Return the lowest validation loss of a run within a limit; nan where there is none.

    Arguments:
        run: the run.
        axis: what the limit is of, a column of its metrics: `seconds`, `forward_passes` or `step`.
        limit: the most that may have been spent, in units of the axis.
    """
    rows = [as_number(m.get("valid_loss")) for m in run.metrics if as_number(m.get(axis)) <= limit]
    return min((loss for loss in rows if math.isfinite(loss)), default=math.nan)


def spent_until(run: Run, axis: str, level: float) -> float:
    """Return what a run had spent when its validation loss first fell to a level; infinite where it never
    did.

    Arguments:
        run: the run.
        axis: what is spent, a column of its metrics: `seconds`, `forward_passes` or `updates`.
        level: the validation loss.
    """
    spent = (as_number(m.get(axis)) for m in run.metrics if as_number(m.get("valid_loss")) <= level)
    return next(spent, math.inf)


def halfway_loss(references: Sequence[VariantRuns]) -> float:
    """Return the validation loss halfway, in logarithm, from where references are first seen to their best.

        sqrt(median of first losses x median of lowest losses)

    nan where there is no run whose losses are all above 0.

    Arguments:
        references: variants whose runs set the scale.
    """
    curves = [[as_number(m.get("valid_loss")) for m in run.metrics] for v in references for run in v.runs]
    seen = [losses for losses in curves if losses and all(math.isfinite(x) and x > 0 for x in losses)]
    return math.sqrt(median(x[0] for x in seen) * median(min(x) for x in seen)) if seen else math.nan


def per_update(variant: VariantRuns) -> Stat:
    """Return milliseconds per update over seeds.

    Arguments:
        variant: the runs.
    """
    return Stat.of(
        1e3 * r.number("seconds") / r.number("updates") for r in variant.runs if r.number("updates")
    )


def generalisation_gap(variant: VariantRuns) -> Stat:
    """Return test loss over that on training data, over seeds; over the loss of the last steps where all data
    are fresh.

    Arguments:
        variant: the runs.
    """
    ratios = []
    for run in variant.runs:
        last = as_number(run.metrics[-1].get("loss")) if run.metrics else math.nan
        seen = run.number("train", "loss")
        base = seen if math.isfinite(seen) else last
        ratios.append(run.number("test", "loss") / base if base > 0 else math.nan)
    return Stat.of(ratios)
