"""Running experiments: from a description to a run folder, over one seed or several, stopped and resumed."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from perturbax.atomic import write
from perturbax.devices.opening import check_same_weights
from perturbax.errors import ArgumentError, PerturbaxError, StoreError
from perturbax.exchange.file import KEPT, file_to_keep
from perturbax.experiment import own_code, run_folder
from perturbax.experiment.adas import has_levelled
from perturbax.experiment.at_chance import SHARE, AtChance, at_chance, chance_loss, looked_at
from perturbax.experiment.build import Parts, build
from perturbax.experiment.by_scalars import by_scalars
from perturbax.experiment.calibration import calibrate
from perturbax.experiment.chance import ONE_SIDED_5_PERCENT, gain_over_chance
from perturbax.experiment.config import Experiment, Resolved, optimiser_text
from perturbax.experiment.differences import refuse_other
from perturbax.experiment.layout import Layout, layout_of
from perturbax.experiment.many import over_devices, placement_of
from perturbax.experiment.precision import in_precision_of, precision, require_room
from perturbax.experiment.program import Compiled, Program
from perturbax.experiment.resolve import check_seed, resolve
from perturbax.experiment.result import (
    UNITS_LEFT,
    Result,
    describe,
    load,
    name_of,
    pictured,
    read_config,
    read_experiment,
)
from perturbax.experiment.reuse import compiled_for
from perturbax.experiment.smaller import after_pruning
from perturbax.experiment.train_step import State
from perturbax.experiment.variants import with_settings
from perturbax.experiment.watch import Report, Watcher, watcher_of
from perturbax.network.arrays import to_named_arrays
from perturbax.network.network import Network
from perturbax.network.passes import forward
from perturbax.tasks.base import HeldOut, Task
from perturbax.tasks.contract import check_metrics
from perturbax.tasks.forecast import Forecast

OnLog = Callable[[int, dict[str, Any], Network], Any]
"""A function of (step, the line of metrics.jsonl, the network); it returns True to stop the run."""


@dataclasses.dataclass
class _Run:
    """What is known of one seed while it runs."""

    experiment: Resolved
    folder: Path | None
    state: State
    layout: Layout | None = None  # of the folder
    seconds: float = 0.0
    compile_seconds: float = 0.0
    metrics: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    diverged_at: int | None = None
    stopped: bool = False  # by `on_log`

    @property
    def ended(self) -> bool:
        """Whether it goes on no more."""
        return self.stopped or self.diverged_at is not None


@dataclasses.dataclass
class _Told:
    """Who is told of some runs that advance together, and by which name and seeds."""

    watcher: Watcher
    name: str
    seeds: list[int]
    on_log: OnLog | None = None

    def advanced(self, done: int, total: int, loss: float, valid_loss: float) -> None:
        """Tell of steps that were made."""
        self.watcher.advanced(self.name, self.seeds, done, total, loss, valid_loss)


def run(
    experiment: Experiment | Resolved | None = None,
    out: Path | str | None = None,
    *,
    name: str | None = None,
    report: Report | None = None,
    on_log: OnLog | None = None,
    task: Task | str | None = None,
    mesh: Any = None,
    shard: str | None = None,
    scalars: str | None = None,
    **settings: Any,
) -> Result:
    """Train one network. Same experiment, same machine: same numbers.

        px.run(task="copy", rule="node", rule__samples=4, units=(128, 64), out="runs/copy")

    Arguments:
        experiment: the run; what it leaves open takes the rule's, the task's, or the general default. None
            for one that `settings` describe alone.
        out: the run folder to write; None for none. It must not exist, or be empty.
        name: what reports call the run; None for the name of its rule.
        report: called after every chunk of steps with (steps done, steps in all, training loss), or a
            `Watcher`, which is told more.
        on_log: called after every chunk of steps as on_log(step, metrics, network), with the line of
            metrics.jsonl (`loss`, `valid_loss`, ...) and the network at that step, whose checkpoint is
            written. Where it returns True the run ends early, as finished: it is judged by what was kept.
        task: name of the task; or its task with data in place, which are in no file.
        mesh: several devices that share the run: their number, or a `jax.sharding.Mesh` (docs/scale.md); the
            rows of a batch are split, or the samples where rows do not divide. Numbers are those of one
            device up to rounding.
        shard: what the devices share: work (as said, the default), or weights, which are split by units, for
            networks larger than a device.
        scalars: hosts that run the noisy passes and exchange scalars alone, for rules node, weight and
            evolution (docs/scale.md): local:N for N processes of this machine, or the address of a scheduler
            of dask, tcp://HOST:PORT or tls://HOST:PORT, which must be trusted.
        settings: fields of an `Experiment` by name, laid over it; and settings of its task, rule and cell
            with a prefix, such as `task__length`, `rule__samples`, `cell__gain`.

    Raises ArgumentError for settings that cannot be used, DataError for data that cannot, StoreError for a
    folder that cannot be written. A run whose loss becomes NaN or infinite returns with status `diverged`.
    """
    folders = None if out is None else [run_folder.as_path("out", out)]
    if task is not None and not isinstance(task, Task):
        settings, task = {**settings, "task": task}, None
    asked = with_settings(experiment, settings)
    mesh = placement_of(asked, mesh, shard)
    resolved = resolve(asked)
    seeds = [resolved.seed]
    told: dict[str, Any] = {"name": name, "report": report, "on_log": on_log, "scalars": scalars}
    return run_seeds(resolved, seeds, folders, task=task, mesh=mesh, **told)[0]


def resume(
    folder: Path | str,
    *,
    report: Report | None = None,
    on_log: OnLog | None = None,
    optimiser: Any = None,
    device: Any = None,
    trust: bool = False,
    mesh: Any = None,
    shard: str | None = None,
    scalars: str | None = None,
) -> Result:
    """Go on with a run where its last checkpoint is: its numbers will be those of a run never stopped.

    It goes on in its own precision: a float32 run stays one where JAX_ENABLE_X64 is set.

    Arguments:
        folder: the run folder; a run that has ended is only read.
        report: as for `run`.
        on_log: as for `run`.
        optimiser: the optimiser again, where the run was given one as an object; None elsewhere.
        device: for a run on a device, that again: its command, address or object. What the folder names is
            not started unless it is trusted, or the same is given here.
        trust: whether a task, rule or cell of somebody's own, which the folder names, may run its code; which
            code that is is said on standard error first.
        mesh: devices that share the rest of the run, as for `run`, however many it was started on.
        shard: as for `run`.
        scalars: as for `run`, for a run that was started so; hosts may be others, and as many as there are.

    Raises ArgumentError for a folder that is no run, that names code which is not trusted, whose data file
    has changed since, or that is a float64 run in a process that computes in float32; StoreError for one that
    is damaged or was edited.
    """
    folder = run_folder.as_path("folder", folder)
    config = read_config(folder)
    if (folder / "result.json").exists():
        return load(folder, trust=trust)
    layout = layout_of(folder / "config.json", config)
    require_room(folder, layout)
    with own_code.code_of(folder, config, trust), in_precision_of(folder, layout):
        return _go_on(
            folder,
            config,
            layout._replace(precision=precision()),
            watcher_of(report),
            on_log,
            optimiser,
            device,
            mesh,
            shard,
            scalars,
        )


def _go_on(
    folder: Path,
    config: dict[str, Any],
    layout: Layout,
    watcher: Watcher,
    on_log: OnLog | None,
    optimiser: Any,
    device: Any,
    mesh: Any,
    shard: str | None,
    scalars: str | None,
) -> Result:
    """Go on with a run that has not ended, in the precision of this process."""
    experiment = _with_optimiser(folder, read_experiment(folder), optimiser)
    if device is not None:
        if experiment.device is None:
            raise ArgumentError(f"{folder} was run in process: it takes no device")
        experiment = dataclasses.replace(experiment, device=device)
    name = str(config.get("name") or experiment.rule)
    watcher.compiling(name, [experiment.seed])
    placement = placement_of(experiment, mesh, shard)
    parts = over_devices(build(experiment), placement)
    if parts.task.digest() != config["facts"]["data"]:
        raise ArgumentError(f"{experiment.data} has changed since {folder} was started: start a new run")
    if parts.device is not None:
        check_same_weights(parts.device, config["facts"].get("device"), str(folder))
    if config["facts"].get("scalars") and scalars is None:
        raise ArgumentError(f"{folder} is run by hosts that exchange scalars: name hosts again (scalars)")
    if scalars is not None and not config["facts"].get("scalars"):
        raise ArgumentError(f"{folder} was run in one process: leave scalars out")
    with _program_for(parts, scalars) as compiled:
        one = _restore(compiled, folder, layout)
        # A run that was one of several side by side goes on in the same program, beside copies of itself, so
        # that its numbers are the same.
        side_by_side = config["facts"]["abreast"]
        copies = [dataclasses.replace(one, folder=None, metrics=[]) for _ in range(side_by_side - 1)]
        told = _Told(watcher, name, [one.experiment.seed], on_log)
        _advance_all(compiled, [one, *copies], told)
        return _finish_all(compiled, [one], told)[0]


def _program_for(parts: Parts, scalars: str | None) -> contextlib.AbstractContextManager[Program]:
    """Return what advances a run, and is closed in the end; scalars: as for `run`."""
    return contextlib.nullcontext(compiled_for(parts)) if scalars is None else by_scalars(parts, scalars)


def _with_optimiser(folder: Path, experiment: Experiment, optimiser: Any) -> Experiment:
    """Return the experiment of a run with its optimiser, which the user gives again where it is an object."""
    stored = str(experiment.optimiser)
    if "(" not in stored:
        if optimiser is not None:
            raise ArgumentError(f"{folder} names its optimiser, {stored}: it takes no other")
        return experiment
    if optimiser is None:
        raise ArgumentError(
            f"{folder} was given its optimiser as an object, which no file holds ({stored}): give it again, "
            "px.resume(folder, optimiser=...)"
        )
    if optimiser_text(optimiser) != stored:
        raise ArgumentError(f"{folder} was given another optimiser than this one: {stored}")
    return dataclasses.replace(experiment, optimiser=optimiser)


def run_seeds(
    experiment: Experiment | Resolved,
    seeds: Sequence[int],
    folders: Sequence[Path] | None = None,
    *,
    name: str | None = None,
    report: Report | None = None,
    compiled: Program | None = None,
    task: Task | None = None,
    on_log: OnLog | None = None,
    mesh: Any = None,
    scalars: str | None = None,
) -> list[Result]:
    """Train one network per seed, compiled once; small ones side by side in one vmapped program.

    Side by side, products are batched: numbers may differ from those of a single run in the last digits.
    Settings that are `auto` are measured once, at the network of the experiment's own seed, for all seeds.

    Arguments:
        experiment: the run; its own seed is not trained unless it is among the seeds.
        seeds: the seeds.
        folders: a run folder for each seed; None for none.
        name: what reports call the runs; None for the name of their rule.
        report: called after every chunk of steps with (steps done, steps in all, training loss of the first
            run), or a `Watcher`, which is told more.
        compiled: that of an experiment which differs in learning rates at most; None to compile.
        task: as for `run`.
        on_log: as for `run`; each run is told of, and stopped, by itself.
        mesh: as for `run`.
        scalars: as for `run`.

    Returns a result per seed, and raises what `run` raises.
    """
    for seed in seeds:
        check_seed(seed)
    placement = placement_of(experiment, mesh, None)
    parts = over_devices(build(experiment, task), placement)
    if not placement.writes:
        folders = None
    for seed, folder in zip(seeds, folders or (), strict=bool(folders)):
        refuse_other(folder, dataclasses.replace(parts.experiment, seed=seed), parts.task.digest())
    there = _program_for(parts, scalars) if compiled is None else contextlib.nullcontext(compiled)
    with there as program:
        return train(program, seeds, folders, name, watcher_of(report), parts, on_log)


def train(
    compiled: Program,
    seeds: Sequence[int],
    folders: Sequence[Path] | None,
    name: str | None,
    watcher: Watcher,
    parts: Parts | None = None,
    on_log: OnLog | None = None,
) -> list[Result]:
    """Train one network per seed in a program that is there: what `run_seeds` does when all is built.

    Arguments:
        compiled: the program.
        seeds: as for `run_seeds`, and so are folders and name.
        folders: see there.
        name: see there.
        watcher: is told how the runs go on.
        parts: those of the runs, where they differ from the program's in learning rates.
        on_log: as for `run_seeds`.
    """
    parts = parts or compiled.parts
    label = name or name_of(parts.experiment)
    watcher.compiling(label, seeds if compiled.side_by_side else seeds[:1])
    hyperparameters = parts.setup.hyperparameters
    runs = []
    for i, seed in enumerate(seeds):
        own = dataclasses.replace(parts.experiment, seed=seed)
        runs.append(_Run(own, folders[i] if folders else None, compiled.start(seed, hyperparameters)))
    groups = [runs] if compiled.side_by_side else [[one] for one in runs]
    compiled.prepare([one.state for one in groups[0]], compiled.length)
    if folders:
        _check_can_be_saved(compiled, runs[0])
    for one in runs:
        if one.folder:
            described = describe(parts._replace(experiment=one.experiment), name, len(groups[0]))
            described["facts"] |= ({"auto": parts.auto} if parts.auto else {}) | compiled.facts()
            run_folder.create(one.folder, described)
            own_code.write_sources(one.folder, own_code.sources_of(described["experiment"]))
            of_cell = file_to_keep(one.experiment.cell, one.experiment.cell_options)
            if of_cell is not None:
                write(one.folder / KEPT, of_cell)
            one.layout = layout_of(one.folder / "config.json", run_folder.to_json(described))
    results = []
    for group in groups:
        told = _Told(watcher, label, [one.experiment.seed for one in group], on_log)
        _advance_all(compiled, group, told)
        results += _finish_all(compiled, group, told)
    return results


def _check_can_be_saved(compiled: Program, one: _Run) -> None:
    """Raise PerturbaxError for what the files of a run cannot hold, before there is a folder."""
    arrays = compiled.stored(one.state)
    compiled.restored(one.state, arrays, Path("the state before the first step"))
    task, name = compiled.parts.task, one.experiment.task
    for key, value in task.scaling().items():
        if np.asarray(value).dtype.hasobject:
            raise PerturbaxError(f"scaling {key!r} of task {name} cannot be saved: it is no plain array")
    if ":" in name:  # of the user's own
        for predictor, metrics in compiled.baselines.items():
            try:
                check_metrics(task, metrics)
            except ArgumentError as error:
                raise ArgumentError(f"baseline {predictor!r}: {error}") from None


def _restore(compiled: Program, folder: Path, layout: Layout) -> _Run:
    """Return a run at its last checkpoint, or before its first step; metrics after that are dropped."""
    experiment = compiled.parts.experiment
    one = _Run(experiment, folder, compiled.start(experiment.seed), layout)
    found = run_folder.last_checkpoint(folder)
    step = 0
    if found:
        step, path = found
        if step > experiment.steps:
            raise StoreError(f"{path} is beyond the {experiment.steps} steps of {folder / 'config.json'}")
        arrays = run_folder.read_arrays(path, layout)
        one.seconds = float(arrays.pop("seconds", 0.0))
        one.compile_seconds = float(arrays.pop("compile_seconds", 0.0))
        one.state = compiled.restored(one.state, arrays, path)
        if int(one.state.step) != step:
            raise StoreError(
                f"{path} holds the state after {int(one.state.step)} steps, not what its name says"
            )
    if compiled.parts.setup.placement.writes:
        one.metrics = run_folder.drop_metrics_after(folder, step)
    else:
        one.folder, one.metrics = None, run_folder.read_metrics(folder)
    return one


def _advance_all(compiled: Program, runs: list[_Run], told: _Told) -> None:
    """Advance runs to the last step, side by side, until all have ended or diverged."""
    total = compiled.parts.experiment.steps
    done = int(runs[0].state.step)
    compiled.begin(runs[0].metrics[-1] if runs[0].metrics else None)
    told.advanced(done, total, math.nan, math.nan)
    while done < total and not all(one.ended for one in runs):
        length = min(compiled.length, total - done)
        states, losses, metrics, seconds = compiled.advance([one.state for one in runs], length)
        compile_seconds = compiled.pop_compile_seconds() / len(runs)
        for one, state, loss, metric in zip(runs, states, losses, metrics, strict=True):
            one.compile_seconds += compile_seconds
            if one.ended:
                continue
            before = int(one.state.step)
            _record_chunk(compiled, one, seconds, state, loss, metric)
            one.stopped = has_levelled([m["loss"] for m in one.metrics], compiled.parts.experiment.plateau)
            if SHARE * before < total <= SHARE * int(one.state.step) and (found := _at_chance(compiled, one)):
                told.watcher.warned(told.name, one.experiment.seed, found.sentence())
            if told.on_log and not one.ended:
                line = dict(one.metrics[-1])
                answer = told.on_log(line["step"], line, state.learner.net)
                one.stopped = isinstance(answer, bool | np.bool_) and bool(answer)
        done += length
        told.advanced(done, total, float(losses[0].mean()), float(metrics[0]["loss"]))


def _at_chance(compiled: Program, one: _Run) -> AtChance | None:
    """Return what there is to say of a run that has learnt nothing in a fifth of its steps, else None.

    A forecast that starts from a simple one is judged by that (`_better_than_chance`), and a score of a
    device has no chance that is known here.
    """
    parts, e = compiled.parts, one.experiment
    if parts.task.starts_at_zero or (parts.device is not None and e.score == "device"):
        return None
    if not looked_at(one.metrics, e.steps):
        return None
    chance = chance_loss(compiled.valid_baselines or compiled.baselines)
    return at_chance(one.metrics, e, parts.rule.described(), chance)


def _record_chunk(
    compiled: Program, one: _Run, seconds: float, state: State, losses: np.ndarray, metrics: dict[str, Any]
) -> None:
    """Log and checkpoint a run after a chunk, or mark it as diverged at the first loss that is not finite."""
    bad = ~np.isfinite(losses)
    if bad.any():
        one.diverged_at = int(one.state.step) + 1 + int(bad.argmax())
        return
    step = int(state.step)
    if not np.isfinite(metrics["loss"]):
        one.diverged_at = step
        return
    one.state, one.seconds = state, one.seconds + seconds
    setup = compiled.parts.setup
    line = {
        "step": step,
        "updates": step * setup.updates,
        "loss": losses.mean(),
        "seconds": one.seconds,
        "forward_passes": step * setup.passes,
        **{f"valid_{name}": value for name, value in metrics.items()},
        **compiled.spent(),
    }
    one.metrics.append(run_folder.to_json(line))
    if one.folder and one.layout:
        run_folder.log(one.folder, line)
        times = {"seconds": np.asarray(one.seconds), "compile_seconds": np.asarray(one.compile_seconds)}
        run_folder.save_checkpoint(one.folder, step, Compiled.stored(state) | times, one.layout)


def _finish_all(compiled: Program, runs: list[_Run], told: _Told) -> list[Result]:
    """Judge runs that have been trained, and tell of each that has ended."""
    told.watcher.judging(told.name, told.seeds)
    results = []
    for one in runs:
        result = _finish_run(compiled, one)
        told.watcher.ended(told.name, result)
        results.append(result)
    return results


def _finish_run(compiled: Program, one: _Run) -> Result:
    """Evaluate the kept network and the reservoir on test data; write weights, predictions and result."""
    setup, e = compiled.parts.setup, one.experiment
    task, test = setup.task, compiled.test
    first = compiled.start(e.seed)
    kept, gain, valid_answers = one.state, {}, None
    if compiled.parts.device is None:
        kept, gain, valid_answers = _better_than_chance(task, first, one.state, compiled.valid)
    elif isinstance(task, Forecast) and e.score == "task":
        valid_answers = np.asarray(compiled.outputs(kept.best, compiled.valid.xs))[compiled.valid.warmup :]
    net, left = kept.best, None
    if compiled.parts.pruning is not None:
        left = after_pruning(compiled.parts.pruning, one.state.learner.opt, net)
        net = net if left is None else left.net
    measured, prediction = compiled.tested(net, test)
    if prediction is not None:  # a device may return scores alone
        prediction = prediction[test.warmup :]
    truth = test.ys[test.warmup :]
    base = None if test.base is None else test.base[test.warmup :]
    reservoir = compiled.reservoir(first)
    step = int(one.state.step)
    summary = {
        "task": e.task,
        "rule": e.rule,
        "cell": e.cell,
        "seed": e.seed,
        "steps": step,
        "status": "finished" if one.diverged_at is None else "diverged",
        "seconds": one.seconds,
        "compile_seconds": one.compile_seconds,
        "forward_passes": step * setup.passes,
        "updates": step * setup.updates,
        "peak_memory_bytes": compiled.bytes,
        "best_step": int(kept.best_step),
        "valid_loss": kept.best_loss,
        "test": measured,
        "baselines": compiled.baselines | ({} if reservoir is None else {"reservoir": reservoir}),
        **compiled.further(first, net),
        "updates_per_step": setup.updates,
    }
    if left is not None:
        summary["pruned"] = left.facts
    if setup.placement.devices > 1:
        summary["devices"] = setup.placement.devices
    if compiled.valid_baselines:
        summary["valid_baselines"] = compiled.valid_baselines
    if compiled.seen:
        summary["train"] = compiled.judged(net, compiled.seen)
    if gain:
        summary["gain"] = gain
    if found := _at_chance(compiled, one):
        summary["at_chance"] = found._asdict()
    if prediction is not None and base is not None and truth.shape[-1] > 1:
        summary["outputs"] = _each_output(task, prediction, truth, base)
    if one.stopped:
        summary["stopped_at"] = step
    if one.diverged_at is not None:
        summary["diverged_at"] = one.diverged_at
    calibration: dict[str, np.ndarray] = {}
    shown: dict[str, np.ndarray] = {}
    if prediction is not None:
        summary |= task.details(prediction, truth)
        calibration, coverage = calibrate(task, valid_answers, compiled.valid, test, prediction)
        if coverage:
            summary["intervals"] = coverage
        shown = pictured(task, truth, prediction, base)
    summary = run_folder.to_json(summary)
    scaling = task.scaling() | calibration
    if one.folder:
        if shown:
            run_folder.write_arrays(one.folder / "predictions.npz", shown, one.layout)
        named_scaling = {f"scaling.{name}": value for name, value in scaling.items()}
        kept = to_named_arrays(net, "net.") | named_scaling
        if left is not None and left.units is not None:
            kept |= {UNITS_LEFT: np.asarray(left.units)}
        run_folder.write_arrays(one.folder / "weights", kept, one.layout)
        run_folder.write_result(one.folder, summary, one.layout)
    return Result(e, net, summary, one.metrics, scaling, one.folder, shown)


def _better_than_chance(
    task: Task, first: State, last: State, valid: HeldOut
) -> tuple[State, dict[str, Any], np.ndarray | None]:
    """Return the state whose best network is kept, what training gained on validation rows, and the answers
    of the kept network there, `(T, B, n_out)`.

    Where training starts from a forecast of its own, that is kept unless training beat it by more than
    chance; what is said then are the step of the lowest validation loss, its ratio to the start's, and z, the
    gain in standard errors. Elsewhere the network with the lowest validation loss is kept, and nothing said.
    There are no answers of a task that is no forecast: nothing is asked of them.
    """
    if not isinstance(task, Forecast):
        return last, {}, None
    answer = jax.jit(forward)
    after = np.asarray(answer(last.best, valid.xs))[valid.warmup :]  # (T, B, n_out)
    if not task.starts_at_zero:
        return last, {}, after
    before = np.asarray(answer(first.best, valid.xs))[valid.warmup :]  # (T, B, n_out)
    z = gain_over_chance(before, after, valid.ys[valid.warmup :], max(1, max(task.shifts)))
    lowest, start = float(last.best_loss), float(first.best_loss)
    gain = {"step": int(last.best_step), "valid_ratio": lowest / start if start else 1.0, "z": z}
    return (last, gain, after) if z > ONE_SIDED_5_PERCENT else (first, gain, before)


def _each_output(task: Task, prediction: Any, truth: Any, base: Any) -> list[dict[str, Any]]:
    """Return what each output is, by the facts of the task, and the measures of its own predictions."""
    measured = {name: np.asarray(v) for name, v in task.measures_of_outputs(prediction, truth, base).items()}
    return [
        {**named, **{name: values[i] for name, values in measured.items()}}
        for i, named in enumerate(task.output_names())
    ]
