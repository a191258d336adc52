"""The paper's comparison as a study: its protocol as published, and a fair one.

Garcia Fernandez, Keemink, van Gerven 2024: Mackey-Glass, copying memory, weather; weight, node and activity
perturbation, each with and without decorrelation, beside backpropagation. `published` keeps the tasks and run
settings of the public code; `fair` gives every rule the same data, optimiser, schedule, search and budget.
"""

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

from perturbax.errors import ArgumentError
from perturbax.experiment.config import Experiment
from perturbax.fields import one_of
from perturbax.study.extras import further
from perturbax.study.jobs import Job, Study, Tune, searched
from perturbax.study.protocol import FAIR_RUN, PUBLIC_CELL, PUBLIC_RUN

PROTOCOLS = ("published", "fair")
SEEDS = (42, 101, 300, 482, 708)  # of the public code

ACTIVITY = ("published-activity", "published-activity+decor")
NODE_AND_WEIGHT = tuple(f"published-{rule}{decor}" for rule in ("weight", "node") for decor in ("", "+decor"))
BACKPROPAGATION = ("one-step", "one-step+decor", "bptt", "bptt+decor")


class Budget(NamedTuple):
    """How much is spent.

    Attributes:
        units: of the published protocol; the public code has 500.
        epochs: passes over the training rows of Mackey-Glass, online; the weather gets one.
        fair_units: of the fair protocol.
        batch: of the fair protocol.
        passes: forward passes of a fair run.
        logs: how often a run of either protocol is judged on validation data.
        horizons: of the weather, in hours.
        further: sizes of the further experiments.
    """

    units: int
    epochs: int
    fair_units: int
    batch: int
    passes: int
    logs: int
    horizons: tuple[int, ...]
    further: str


LOW_DECOR_RATES = (1e-6, 1e-5, 1e-4, 1e-3)  # for an update at every step
PUBLIC_RATES, PUBLIC_DECOR_RATES = (
    (3e-5, 1e-4, 3e-4, 1e-3, 3e-3),
    (1e-6, 1e-5, 1e-4),
)  # about what the public code has
UPDATES = 100  # of published runs that learn from whole sequences
BUDGETS = {
    "quick": Budget(64, 3, 32, 16, 600, 10, (24,), "quick"),
    "full": Budget(500, 5, 64, 16, 3000, 20, (1, 24, 48), "full"),
}


def paper(protocol: str | None, budget: str, data: Path | str | None) -> Study:
    """Return the study that repeats the published comparison.

    Arguments:
        protocol: one of PROTOCOLS; None for all of them.
        budget: one of BUDGETS.
        data: a file, WTH.csv (weather) or images as NPZ, or a folder of such; None to leave these tasks out.

    Raises ArgumentError for other names, and for data that are not there or are none of these.
    """
    if protocol is not None:
        one_of("protocol", protocol, PROTOCOLS)
    one_of("budget", budget, BUDGETS)
    source = "perturbax.study.paper:paper", (protocol, budget, None if data is None else str(data))
    data = None if data is None else Path(data)
    size, files, notes = BUDGETS[budget], *_files(data)
    jobs: list[Job] = []
    for one in PROTOCOLS if protocol is None else (protocol,):
        made = _published(size, files) if one == "published" else _fair(size, files)
        jobs += made
        if one == "fair":
            jobs += further(
                size.further,
                [job for job in made if isinstance(job, Tune)],
                SEEDS,
                files.get("mnist"),
                _has_digits(),
            )
    words = [
        "perturbax reproduce paper",
        f"--protocol {protocol}" if protocol else "",
        f"--budget {budget}",
        f"--data {data.name}" if data else "",
    ]
    title = f"The paper, reproduced: {protocol or 'as published and fairly'}, {budget} budget"
    return Study(title, " ".join(word for word in words if word), tuple(jobs), notes, source)


def _files(data: Path | None) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return what there is of weather and mnist, and a line for what is left out."""
    found: dict[str, Path] = {}
    if data is not None:
        if not data.exists():
            raise ArgumentError(f"no such file or folder: {data}")
        csv = data if data.is_file() else data / "WTH.csv"
        if csv.is_file() and csv.suffix != ".npz":
            found["weather"] = csv
        if data.is_dir() and list(data.glob("train-images-idx3-ubyte*")):
            found["mnist"] = data
        if "mnist" not in found and (
            packed := [data] if data.suffix == ".npz" else sorted(data.glob("*.npz"))
        ):
            found["mnist"] = packed[0]
        if not found:
            raise ArgumentError(
                f"{data} is neither WTH.csv, nor an NPZ file of images, nor a folder with any such file"
            )
    texts = {
        "weather": "weather is left out: name its file with --data WTH.csv",
        "mnist": "MNIST is left out: name a folder with its IDX files, or an NPZ file, with --data",
    }
    notes = [text for name, text in texts.items() if name not in found]
    if not _has_digits():
        notes.append("digits are left out: pip install 'perturbax[digits]'")
    return found, tuple(notes)


def _has_digits() -> bool:
    """Whether the package that ships the digits is installed."""
    return importlib.util.find_spec("sklearn") is not None


def _published(size: Budget, files: dict[str, Path]) -> list[Job]:
    """The tasks as the public code has them: one network without biases, updates at every step, plain SGD or
    Adam.

    Rules that speak at every step learn online where the public code does; BPTT and mirror get windows of the
    same rows, an update for each.
    """
    common: dict[str, Any] = {
        **PUBLIC_RUN,
        "units": (size.units,),
        "cell_options": PUBLIC_CELL,
        "batch": 1,
        "mode": "sequence",
        "logs": size.logs,
    }
    streams: dict[str, dict[str, Any]] = {
        "mackey-glass": {
            "task": "mackey-glass",
            "task_options": {"direction": "recall"},
            "steps": 35 * size.epochs,
        }
    }
    for horizon in size.horizons if "weather" in files else ():
        # The last 1,462 hours are for testing, as many for validation; the rest is 320 times 100 rows.
        options = {"horizon": horizon, "valid": 0.0417, "test": 0.0417}
        streams[f"weather-{horizon}"] = {
            "task": "weather",
            "data": str(files["weather"]),
            "task_options": options,
            "steps": 320,
            "cell_options": {**PUBLIC_CELL, "gain": 1.0},
        }
    streamed = (*ACTIVITY, "one-step", "one-step+decor", "frozen", "node:credit=window")
    backwards = ("bptt", "bptt+decor", "mirror")
    jobs: list[Job] = []
    for name, task in streams.items():
        online, windows = Experiment(**{**common, **task, "mode": "online"}), Experiment(**{**common, **task})
        jobs += _public(f"published/{name}", online)
        jobs += searched(f"published/{name}", online, streamed, SEEDS, decor_rates=LOW_DECOR_RATES)
        jobs += searched(f"published/{name}", windows, backwards, SEEDS, decor_rates=LOW_DECOR_RATES)
    others = (*ACTIVITY, *BACKPROPAGATION, "frozen", "node:credit=to-go", "mirror")
    copy = {"task": "copy", "task_options": {"length": 100, "delay": 10, "fresh": False}, "steps": UPDATES}
    sequences = {"published/copy": copy}
    if "mnist" in files:
        sequences["published/psmnist"] = {**_psmnist(files), "batch": 100, "steps": UPDATES}
    for group, task in sequences.items():
        e = Experiment(**{**common, **task})
        jobs += _public(group, e)
        jobs += searched(group, e, others, SEEDS, decor_rates=LOW_DECOR_RATES)
    return jobs


def _public(group: str, e: Experiment) -> list[Job]:
    """Return the jobs of node and weight perturbation at the rates of the public code.

    Their steps are sigma times too short: they would learn with larger rates, which the fair protocol allows.
    """
    return searched(group, e, NODE_AND_WEIGHT, SEEDS, PUBLIC_RATES, PUBLIC_DECOR_RATES)


def _psmnist(files: dict[str, Path]) -> dict[str, Any]:
    """Return the fields of permuted sequential MNIST."""
    return {
        "task": "mnist",
        "data": str(files["mnist"]),
        "task_options": {"order": "pixels", "permuted": True},
    }


FAIR = (
    *NODE_AND_WEIGHT,
    *ACTIVITY,
    "node:credit=to-go",
    "node+decor:credit=to-go",
    "activity:credit=to-go",
    "innovation:credit=to-go",
    "feedback",
    "mirror",
    *BACKPROPAGATION,
    "frozen",
)


def _fair(size: Budget, files: dict[str, Path]) -> list[Job]:
    """One protocol for all rules: fresh or held-out data, Adam on a cosine schedule, one search, equal
    passes.
    """
    common: dict[str, Any] = {
        **FAIR_RUN,
        "units": (size.fair_units,),
        "passes": size.passes,
        "batch": size.batch,
        "logs": size.logs,
    }
    tasks: dict[str, dict[str, Any]] = {
        n: {"task": n} for n in ("mackey-glass", "copy", *["digits"] * _has_digits())
    }
    for horizon in size.horizons if "weather" in files else ():
        tasks[f"weather-{horizon}"] = {
            "task": "weather",
            "data": str(files["weather"]),
            "task_options": {"horizon": horizon},
        }
    if "mnist" in files:
        tasks["psmnist"] = _psmnist(files)
    jobs: list[Job] = []
    for name, task in tasks.items():
        jobs += searched(f"fair/{name}", Experiment(**{**common, **task}), FAIR, SEEDS)
    return jobs
