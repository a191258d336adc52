"""What a run leaves behind: its result, its description, and how both are read back."""

import contextlib
import dataclasses
import importlib.metadata
import platform
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np

from perturbax.devices.abilities import Abilities
from perturbax.devices.network import Unknown, drawn
from perturbax.devices.opening import FolderDevice
from perturbax.errors import ArgumentError, PerturbaxError, StoreError
from perturbax.exchange.file import kept_options
from perturbax.experiment import adas, own_code, run_folder
from perturbax.experiment.build import Architecture, Parts, open_task
from perturbax.experiment.config import DEFAULTS, KINDS, ON_DEVICE, Experiment, Resolved
from perturbax.experiment.layout import described, layout_of
from perturbax.experiment.machine import machine
from perturbax.experiment.options import find, typed_fields
from perturbax.experiment.precision import in_precision_of, precision, require_room
from perturbax.experiment.resolve import KNOWN
from perturbax.experiment.shown import html_table, short
from perturbax.fields import whole
from perturbax.loop.in_world import InWorld
from perturbax.network.arrays import from_named_arrays
from perturbax.network.network import Network
from perturbax.network.passes import forward
from perturbax.tasks.base import Task
from perturbax.tasks.environment import Environment

UNITS_LEFT = "pruned.units"  # in the file of weights: units of hidden layers that pruning left, `(layers,)`
SHOWN = 1000  # steps of the test part kept for pictures
SPARSE = 1 / 16  # share of steps asked for below which a picture is of those alone


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """A run that has finished or diverged: settings, network, and what was measured.

    Attributes:
        experiment: all settings; a copy with other values can be given to `perturbax.run`.
        net: the network with the lowest validation loss.
        summary: the content of result.json: status, test metrics, baselines, counts and times (seconds).
        metrics: the lines of metrics.jsonl, one per chunk of training steps.
        scaling: for series, the means and standard deviations that turn data into inputs, and outputs into
            forecasts; empty for other tasks.
        folder: the run folder; None for a run without one.
        predictions: `truth` and `prediction` of the first steps of the test part, `(T, n_out)` each, in the
            task's own units; truth is NaN where no answer is asked for. Empty before the run has ended.
    """

    experiment: Resolved
    net: Network
    summary: dict[str, Any]
    metrics: list[dict[str, Any]]
    scaling: dict[str, np.ndarray]
    folder: Path | None = None
    predictions: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        """Return what was run and what came out, in one line."""
        test = ", ".join(f"{name} {short(value)}" for name, value in self.summary.get("test", {}).items())
        where = f" in {self.folder}" if self.folder else ""
        return f"<Result{where}: {self._said()}{'; test ' if test else ''}{test}>"

    def _repr_html_(self) -> str:
        """Return the test metrics beside those of the baselines, as HTML."""
        test = {"this run": self.summary.get("test", {}), **self.summary.get("baselines", {})}
        names = list(test["this run"])
        rows = [[who, *(metrics.get(name) for name in names)] for who, metrics in test.items()]
        return html_table(self._said(), ["on test data", *names], rows)

    def play(self, episodes: int = 100, seed: int = 0, *, trust: bool = False) -> np.ndarray:
        """Let the network act in the world it was trained in, without noise: returns `(episodes,)`.

            px.load("runs/cart").play().mean()

        Arguments:
            episodes: how many, side by side.
            seed: of their chance, the same episodes for the same number.
            trust: as for `px.load`, of an environment of somebody's own.

        Raises ArgumentError for a task that is no environment, or whose code is not trusted.
        """
        whole("episodes", episodes)
        e = self.experiment
        config = {} if self.folder is None else read_config(self.folder)
        with own_code.code_of(self.folder or Path(), config, trust, kinds=("task",)):
            world = open_task(e)
        if not isinstance(world, Environment):
            raise ArgumentError(
                f"{e.task} is no world to act in: `predictions` has what the network answered"
            )
        chance, _ = world.sample(jr.key(seed), episodes)
        return np.asarray(forward(InWorld(self.net, world), chance).sum((0, 2)))

    def _said(self) -> str:
        """Return what was run and how far it came."""
        e = self.experiment
        status = self.summary.get("status", "not ended")
        units = ",".join(map(str, e.units))
        return f"{e.rule} on {e.task}, {e.cell} {units}, seed {e.seed}: {status} ({e.steps} steps)"


def name_of(e: Resolved) -> str:
    """Return what reports call a run that has no name: its rule, with "+decor" where it decorrelates."""
    return e.rule + ("" if e.decorrelate == "off" else "+decor")


def describe(parts: Parts, name: str | None = None, side_by_side: int = 1) -> dict[str, Any]:
    """Return the content of config.json: settings, and the facts a report needs about what was run.

    Arguments:
        parts: the parts of the run.
        name: what reports call the run; None for `name_of`.
        side_by_side: runs that the same compiled program advances.

    Raises PerturbaxError for settings that are objects and cannot be saved.
    """
    e, task, about = parts.experiment, parts.task, parts.rule.described()
    cell: Any = Unknown if e.cell == ON_DEVICE else find("cell", e.cell, KNOWN["cell"])
    of_patches = ["dalm2024"] if hasattr(cell, "through") else []
    decorrelating = ["ahmad2023", "garcia2024", *of_patches]
    facts = {
        "rule": {k: getattr(about, k) for k in ("equation", "cost", "memory", "papers", "target", "uses")},
        "task": {"summary": task.summary, "papers": task.papers},
        "cell": {k: getattr(cell, k, "") for k in ("equation", "papers")},
        "decorrelation": None if e.decorrelate == "off" else {"papers": decorrelating},
        "unit": getattr(task, "unit", ""),
        "sizes": list(task.sizes),
        "data": task.digest(),
        "abreast": side_by_side,
    }
    if task.image:
        facts["image"] = list(task.image)
    if e.prune:
        facts["pruning"] = {"papers": ["wang2021"]}
    if e.schedule == adas.NAME:
        facts["schedule"] = {"papers": ["hosseini2020"]}
    if e.attack != "off":
        facts["attack"] = {"papers": ["goodfellow2015", *(["madry2018"] if e.attack == "pgd" else [])]}
    if parts.setup.placement.devices > 1:
        facts["devices"] = parts.setup.placement.devices
    if found := task.facts():
        facts["encoding"] = found
    if parts.device is not None:
        facts["device"] = parts.device.can.hello()
    packages = ("perturbax", "jax", "jaxlib", "equinox", "optax", "numpy")
    versions = {p: importlib.metadata.version(p) for p in packages} | {"python": platform.python_version()}
    saved = e.to_dict()
    for options in ("task_options", "rule_options", "cell_options"):
        for key, value in saved[options].items():
            if not isinstance(value, bool | int | float | str | None):
                raise PerturbaxError(
                    f"{key}={type(value).__name__} cannot be saved: name it, or run without a folder"
                )
    config = {
        "name": name or name_of(e),
        "experiment": saved,
        "facts": facts,
        "versions": versions,
        "machine": machine(),
    }
    if sources := own_code.sources_of(saved):
        config["code"] = own_code.digests(sources)
    return config | {"layout": described(run_folder.to_json(config), precision())}


def pictured(
    task: Task, truth: jax.Array, prediction: jax.Array, base: jax.Array | None = None
) -> dict[str, np.ndarray]:
    """Return truth and prediction of test sequences end to end, for pictures, in the task's own units.

    Steps whose target is not asked for are NaN in truth; where these are nearly all, they are left out.

    Arguments:
        task: the task, which says what is asked for and in which units.
        truth: targets `(T, B, n_out)`.
        prediction: outputs of the network, likewise.
        base: what both are changes from, likewise, in own units; None where they are no changes.

    Returns truth and prediction, each at most `(SHOWN, n_out)`.
    """
    asked = np.asarray(task.asked(truth))  # (T, B)
    sparse = asked.mean() < SPARSE
    steps_per_sequence = asked.sum(0).min() if sparse else len(asked)
    sequences = -(-SHOWN // max(1, steps_per_sequence))
    truth, prediction = truth[:, :sequences], prediction[:, :sequences]
    if base is None:
        in_units = {"truth": task.in_units(truth), "prediction": task.says(prediction)}
    else:
        base = base[:, :sequences]
        in_units = {"truth": task.in_units(truth, base), "prediction": task.in_units(prediction, base)}
    kept = asked[:, :sequences].T.ravel() if sparse else slice(None)  # (B T,)
    shown = {}
    for name, values in in_units.items():
        end_to_end = np.asarray(values).swapaxes(0, 1).reshape(-1, values.shape[-1])  # (B T, n_out)
        shown[name] = end_to_end[kept][:SHOWN]
    return shown


def read_experiment(folder: Path) -> Experiment:
    """Return the experiment of a run folder or config file, which may leave settings open.

    Its settings may have been edited: a new run may start from them. Nothing that it names is imported here;
    whoever uses the names does so inside `own_code.code_of`.

    Raises ArgumentError for a folder without one and for settings that cannot be used, StoreError for a file
    that is no configuration, or one of a newer version.
    """
    path = folder if folder.is_file() else folder / "config.json"
    config = run_folder.read_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("experiment"), dict):
        raise StoreError(f"{path} is not the configuration of a run")
    layout_of(path, config, edited=True)
    saved = _as_it_was(config["experiment"]) if "facts" in config else config["experiment"]
    own = kept_options(path.parent, saved.get("cell"), saved.get("cell_options"))
    saved = {**saved, "cell_options": own} if "cell_options" in saved else saved
    fields = typed_fields(saved)
    if fields.get("device") is not None:
        fields["device"] = FolderDevice(fields["device"], str(folder))
    return Experiment(**fields)


def code_for_new_run(
    path: Path, experiment: Experiment, typed: Collection[str], trust: bool
) -> contextlib.AbstractContextManager[None]:
    """Return `own_code.code_of` for a new run that starts from the settings of another.

    Arguments:
        path: what `read_experiment` read.
        experiment: the new run, with what was typed laid over those settings.
        typed: names of what was typed: `rule`, `rule.noise`.
        trust: as for `load`.
    """
    folder, file = (path.parent, path) if path.is_file() else (path, path / "config.json")
    own = {"experiment": vars(experiment), "code": run_folder.read_json(file).get("code")}
    return own_code.code_of(folder, own, trust, typed=typed)


def _as_it_was(saved: dict[str, Any]) -> dict[str, Any]:
    """Return the experiment of a run with settings of its classes that are younger than it as they were then.

    A class names them in `before`, where what it did before they came is not their default of today.
    """
    for kind in KINDS:
        own, cls = saved.get(f"{kind}_options"), KNOWN[kind].get(str(saved.get(kind)))
        before = getattr(cls, "before", None)
        if before and isinstance(own, dict):
            saved = {**saved, f"{kind}_options": {**before, **own}}
    return saved


def read_resolved(folder: Path) -> Resolved:
    """Return the settings of a run from its folder, as they were when it ran.

    Settings that are younger than the run were at their general defaults. Task and rule are not looked up: a
    network can be loaded where the user's own task or rule cannot be imported.

    Raises what `read_experiment` raises.
    """
    given = read_experiment(folder)
    fields: dict[str, Any] = {f.name: getattr(given, f.name) for f in dataclasses.fields(Resolved)}
    for name, default in DEFAULTS.items():
        if fields[name] is None:
            fields[name] = default
    if fields["steps"] is None:
        raise StoreError(f"{folder / 'config.json'} is not the configuration of a run: it has no steps")
    fields["passes"] = 0
    return Resolved(**fields)


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json of a run folder, with the facts that going on with it needs.

    Raises ArgumentError for a folder that is no run, StoreError where facts are missing or damaged, settings
    were edited, or a newer version wrote it.
    """
    path = folder / "config.json"
    config = run_folder.read_json(path)
    facts = config.get("facts") if isinstance(config, dict) else None
    needed = {"sizes": list, "abreast": int, "data": str}
    if not isinstance(facts, dict) or any(not isinstance(facts.get(k), t) for k, t in needed.items()):
        raise StoreError(
            f"{path} is not the configuration of a run: its facts are missing, damaged, "
            "or of a version before 0.1.0 (a new run starts from its settings with --config)"
        )
    layout_of(path, config)
    return config


def load(folder: Path | str, *, trust: bool = False) -> Result:
    """Read a run back: experiment, network with the lowest validation loss, results. Needs no data file.

    Arguments:
        folder: the run folder. A run that has not ended yet has no summary.
        trust: whether a cell of somebody's own, which the folder names, may run its code; which code that is
            is said on standard error first.

    Raises ArgumentError for a folder that is no run, one whose cell is code that is not trusted, and for a
    float64 run in a process that computes in float32; StoreError for weights that are damaged, changed, or of
    another run or network.
    """
    folder = run_folder.as_path("folder", folder)
    config = read_config(folder)
    with own_code.code_of(folder, config, trust, kinds=("cell",)):
        return _load(folder, config)


def _load(folder: Path, config: dict[str, Any]) -> Result:
    """Read a run back whose cell may be imported."""
    e = read_resolved(folder)
    layout = layout_of(folder / "config.json", config)
    path = folder / "weights"
    arrays = run_folder.read_arrays(path, layout)
    require_room(folder, layout)
    if e.device is None:
        architecture = Architecture.of(e, config["facts"]["sizes"], config["facts"].get("image", ()))
        if UNITS_LEFT in arrays:
            architecture = architecture._replace(units=tuple(map(int, arrays[UNITS_LEFT])))
        make_network = architecture.network
    else:
        make_network = partial(drawn, Abilities.of(config["facts"].get("device")))
    with in_precision_of(folder, layout):
        shapes = jax.eval_shape(make_network, jr.PRNGKey(0))
        net = from_named_arrays(shapes, arrays, path, "net.")
    scaling = {k.removeprefix("scaling."): v for k, v in arrays.items() if k.startswith("scaling.")}
    metrics, summary = run_folder.read_metrics(folder), {}
    if (folder / "result.json").exists():
        summary = run_folder.read_result(folder, layout)
        if not isinstance(summary, dict) or not {"status", "steps", "test", "baselines"} <= set(summary):
            raise StoreError(f"{folder / 'result.json'} is not the result of a run")
    predictions = folder / "predictions.npz"
    shown = run_folder.read_arrays(predictions, layout) if predictions.exists() else {}
    return Result(e, net, summary, metrics, scaling, folder, shown)
