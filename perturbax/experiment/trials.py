"""The short runs of a search as jobs: what each tries, and the file in which it leaves what it found."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perturbax.experiment import run_folder
from perturbax.experiment.build import Parts, build
from perturbax.experiment.config import Experiment, Resolved
from perturbax.experiment.options import typed_fields, unmeasured
from perturbax.experiment.program import Compiled, in_one_program
from perturbax.experiment.resolve import resolve
from perturbax.experiment.result import describe
from perturbax.experiment.search import Trial
from perturbax.experiment.search import tune as try_rates
from perturbax.experiment.watch import StepReport
from perturbax.jobs.job import Job
from perturbax.jobs.perform import Tell, command

_LAST: dict[str, Any] = {}  # the experiment whose program is kept, the command it was for, and the program


class Attempt(NamedTuple):
    """Candidates that one process tries, in one compiled program.

    Attributes:
        name: that of its file, without ending.
        place: which combination of the plan they belong to.
        experiment: the short run.
        lrs: learning rates.
        discounts: of the rule; None for the run's own.
        decor_lrs: rates of the decorrelating matrices; None likewise.
        seeds: those of every candidate.
    """

    name: str
    place: int
    experiment: Resolved
    lrs: tuple[float, ...]
    discounts: tuple[float | None, ...]
    decor_lrs: tuple[float | None, ...]
    seeds: tuple[int, ...]

    def job(self, folder: Path) -> Job:
        """Return it as it is handed to another process.

        Arguments:
            folder: where its file goes.
        """
        settings = {**self._asdict(), "experiment": self.experiment.to_dict(), "folder": str(folder)}
        return Job(self.name, f"{__name__}:try_attempt", settings, group=str(self.place))

    def run(self, report: StepReport | None) -> tuple[Parts, list[Trial]]:
        """Try the candidates; return the parts of the short run, and the trials.

        Arguments:
            report: as for `search.tune`.
        """
        return try_rates(
            self.experiment,
            self.lrs,
            self.discounts,
            self.seeds,
            decor_lrs=self.decor_lrs,
            report=report,
            compiled=_kept(self.experiment) if _in_turns(self.experiment) else None,
        )

    def leave(self, folder: Path, report: StepReport | None) -> None:
        """Try the candidates and leave what was found in a file, unless it is there.

        Arguments:
            folder: where the file goes.
            report: as for `search.tune`.
        """
        path = folder / f"{self.name}.json"
        if not path.exists():
            parts, trials = self.run(report)
            found = {"trials": [trial._asdict() for trial in trials], "described": describe(parts)}
            run_folder.write_json(path, found)

    def found(self, folder: Path) -> tuple[dict[str, Any], list[Trial]]:
        """Return what was found, from its file: the short run as in config.json, and the trials.

        Arguments:
            folder: where the file is.
        """
        found = run_folder.read_json(folder / f"{self.name}.json")
        for trial in found["trials"]:
            trial["losses"] = tuple(math.nan if loss is None else loss for loss in trial["losses"])
            trial["diverged_at"] = tuple(trial["diverged_at"])
        return found["described"], [Trial(**trial) for trial in found["trials"]]


def attempts(
    place: int, experiment: Resolved, together: Mapping[str, Sequence[Any]], seeds: Sequence[int]
) -> list[Attempt]:
    """Return what is tried of one combination: all candidates together, or each learning rate apart.

    Arguments:
        place: which combination it is.
        experiment: its short run.
        together: candidates that one program may have, by their names in a `Trial`.
        seeds: those of every candidate.
    """
    lrs = tuple(together.get("lr", [experiment.lr]))
    groups = [(lr,) for lr in lrs] if _in_turns(experiment) else [lrs]
    discounts, decor_lrs = (tuple(together.get(name, (None,))) for name in ("discount", "decor_lr"))
    return [
        Attempt(f"{place}-{i}", place, experiment, group, discounts, decor_lrs, tuple(seeds))
        for i, group in enumerate(groups)
    ]


def try_attempt(attempt: dict[str, Any], tell: Tell) -> None:
    """Try candidates and leave what was found in a file: what a process does with an `Attempt`.

    Arguments:
        attempt: what `Attempt.job` has as settings.
        tell: is told of steps.
    """
    given = dict(attempt)
    folder = Path(given.pop("folder"))
    given["experiment"] = resolve(Experiment(**typed_fields(given["experiment"])))
    for name in ("lrs", "discounts", "decor_lrs", "seeds"):
        given[name] = tuple(given[name])

    def report(done: int, total: int, loss: float) -> None:
        tell("advanced", done=done, total=total, loss=loss)

    Attempt(**given).leave(folder, report)


def _in_turns(e: Resolved) -> bool:
    """Whether candidates of a run take turns in its program, and nothing is measured once for all of them."""
    return not (in_one_program(e) or e.device is not None or unmeasured(e.rule_options))


def _kept(e: Resolved) -> Compiled:
    """Return the compiled program of a short run; that of the attempt before is kept, for one command."""
    if _LAST.get("experiment") != e or _LAST.get("command") != command():
        _LAST.clear()  # its memory goes first
        _LAST.update(experiment=e, command=command(), compiled=Compiled(build(e)))
    return _LAST["compiled"]
