"""What a run leaves behind: its result, its description, and how both are read back."""

import dataclasses
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np

from perturbax.cells import CELLS
from perturbax.errors import PerturbaxError, StoreError
from perturbax.experiment import run_folder
from perturbax.experiment.build import Parts, make_network
from perturbax.experiment.config import Experiment
from perturbax.experiment.machine import machine
from perturbax.experiment.options import find, typed_fields
from perturbax.network.network import Network
from perturbax.tasks.base import Task

SHOWN = 1000  # steps of the test part kept for pictures
SPARSE = 1 / 16  # share of steps asked for below which a picture is of those alone


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished (or diverged) run: its network with the lowest validation loss, and what `result.json` says.

    Attributes:
        experiment: all settings, filled in.
        net: the kept network.
        summary: the content of result.json.
        metrics: the lines of metrics.jsonl.
        scaling: what turns data into inputs and outputs into forecasts, for series.
        folder: the run folder, if there is one.
    """

    experiment: Experiment
    net: Network
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]
    scaling: dict[str, np.ndarray]
    folder: Path | None = None


def describe(parts: Parts, name: str | None = None, abreast: int = 1) -> dict[str, Any]:
    """Return the content of config.json: settings, and the facts a report needs about what was run."""
    e, task, rule = parts.experiment, parts.task, parts.rule
    cell: Any = find("cell", e.cell, CELLS)
    label = e.rule + ("" if e.decorrelate == "off" else "+decor")
    facts = {
        "rule": {k: getattr(rule, k) for k in ("equation", "cost", "memory", "papers")}
        | {"target": rule.aim(), "uses": rule.told()},
        "task": {"summary": task.summary, "papers": task.papers},
        "cell": {k: getattr(cell, k, "") for k in ("equation", "papers")},
        "decorrelation": None if e.decorrelate == "off" else {"papers": ["ahmad2023", "garcia2024"]},
        "unit": getattr(task, "unit", ""),
        "sizes": list(task.sizes),
        "data": task.digest(),
        "abreast": abreast,
    }
    packages = ("perturbax", "jax", "jaxlib", "equinox", "optax", "numpy")
    versions = {p: importlib.metadata.version(p) for p in packages} | {"python": platform.python_version()}
    saved = dataclasses.asdict(e)
    for options in ("task_options", "rule_options", "cell_options"):
        for key, value in saved[options].items():
            if not isinstance(value, bool | int | float | str | None):
                raise PerturbaxError(
                    f"{key}={type(value).__name__} cannot be saved: name it, or run without a folder"
                )
    return {
        "name": name or label,
        "experiment": saved,
        "facts": facts,
        "versions": versions,
        "machine": machine(),
    }


def pictured(task: Task, truth: jax.Array, prediction: jax.Array) -> dict[str, np.ndarray]:
    """Return truth and prediction of test sequences end to end, at most `(SHOWN, n_out)`, in the task's own
    units.

    truth is NaN where nothing is asked for; where that is nearly everywhere, these steps are left out.
    """
    asked = np.asarray(task.asked(truth))
    sparse = asked.mean() < SPARSE
    few = -(-SHOWN // max(1, asked.sum(0).min() if sparse else len(asked)))
    pair = {"truth": task.in_units(truth[:, :few]), "prediction": task.says(prediction[:, :few])}
    flat = {k: np.asarray(v).swapaxes(0, 1).reshape(-1, v.shape[-1]) for k, v in pair.items()}
    kept = asked[:, :few].T.ravel() if sparse else slice(None)
    return {k: v[kept][:SHOWN] for k, v in flat.items()}


def read_experiment(folder: Path) -> Experiment:
    """Return the experiment of a run folder or config file."""
    path = folder if folder.is_file() else folder / "config.json"
    config = run_folder.read_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("experiment"), dict):
        raise StoreError(f"{path} is not the configuration of a run")
    return Experiment(**typed_fields(config["experiment"]))


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json of a run folder, with the facts that going on with it needs."""
    path = folder / "config.json"
    config = run_folder.read_json(path)
    facts = config.get("facts") if isinstance(config, dict) else None
    needed = {"sizes": list, "abreast": int, "data": str}
    if not isinstance(facts, dict) or any(not isinstance(facts.get(k), t) for k, t in needed.items()):
        raise StoreError(f"{path} is not the configuration of a run: its facts are missing or damaged")
    return config


def load(folder: Path | str) -> Result:
    """Read a run back: experiment, network with the lowest validation loss, results. Needs no data file.

    Raises ArgumentError for a folder that is no run, StoreError for weights that are damaged or of another
    network.
    """
    folder = Path(folder)
    config, e = read_config(folder), read_experiment(folder)
    path = folder / "weights"
    arrays = run_folder.read_arrays(path)
    shapes = jax.eval_shape(lambda key: make_network(e, config["facts"]["sizes"], key), jr.PRNGKey(0))
    net = run_folder.fill(shapes, {k: v for k, v in arrays.items() if k.startswith("net.")}, path, "net.")
    scaling = {k.removeprefix("scaling."): v for k, v in arrays.items() if k.startswith("scaling.")}
    summary = {}
    if (folder / "result.json").exists():
        summary = run_folder.read_json(folder / "result.json")
        if not isinstance(summary, dict) or not {"status", "steps", "test", "baselines"} <= set(summary):
            raise StoreError(f"{folder / 'result.json'} is not the result of a run")
    return Result(e, net, summary, run_folder.read_metrics(folder), scaling, folder)
