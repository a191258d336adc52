"""Running experiments: from a description to a run folder, over one seed or several, stopped and resumed."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from perturbax.errors import ArgumentError, StoreError
from perturbax.experiment import run_folder
from perturbax.experiment.build import Pace, Parts, build, check_seed
from perturbax.experiment.config import Experiment
from perturbax.experiment.program import Compiled
from perturbax.experiment.reservoir import solve
from perturbax.experiment.result import SHOWN, Result, describe, load, pictured, read_config, read_experiment
from perturbax.experiment.train_step import State, correlation, judged
from perturbax.network.passes import forward

Report = Callable[[int, int, float], None]  # steps done, steps in all, loss


@dataclasses.dataclass
class _Run:
    """What is known of one seed while it runs."""

    experiment: Experiment
    folder: Path | None
    state: State
    seconds: float = 0.0
    compile_seconds: float = 0.0
    metrics: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    diverged_at: int | None = None


def run(
    experiment: Experiment,
    out: Path | str | None = None,
    *,
    name: str | None = None,
    report: Report | None = None,
) -> Result:
    """Train one network; with `out`, write a run folder there. Same experiment, same machine: same numbers.

    Raises ArgumentError for settings that cannot be used, DataError for data that cannot, StoreError for a
    folder that cannot be written. A run whose loss becomes NaN or infinite returns with status `diverged`.
    """
    folders = None if out is None else [Path(out)]
    return run_seeds(experiment, [experiment.seed], folders, name=name, report=report)[0]


def resume(folder: Path | str, *, report: Report | None = None) -> Result:
    """Go on with a run where its last checkpoint is: its numbers will be those of a run never stopped."""
    folder = Path(folder)
    config, experiment = read_config(folder), read_experiment(folder)
    if (folder / "result.json").exists():
        return load(folder)
    parts = build(experiment)
    if parts.task.digest() != config["facts"]["data"]:
        raise ArgumentError(f"{experiment.data} has changed since {folder} was started: start a new run")
    compiled, abreast = Compiled(parts), config["facts"]["abreast"]
    one = _restore(compiled, experiment, folder)
    # A run that was one of several abreast goes on in the same program, beside copies of itself: the same
    # numbers.
    beside = [dataclasses.replace(one, folder=None, metrics=[]) for _ in range(abreast - 1)]
    _advance_all(compiled, [one, *beside], report)
    return _conclude(compiled, one)


def run_seeds(
    experiment: Experiment,
    seeds: Sequence[int],
    folders: Sequence[Path] | None = None,
    *,
    name: str | None = None,
    report: Report | None = None,
    compiled: Compiled | None = None,
) -> list[Result]:
    """Train one network per seed, compiled once; small ones side by side in one vmapped program.

    Side by side, products are batched: numbers may differ from those of a single run in the last digits.
    Settings that are `auto` are measured once, at the network of the experiment's own seed, for all seeds.
    compiled: that of an experiment which differs from this one in learning rates at most.
    """
    for seed in seeds:
        check_seed(seed)
    parts = build(experiment)
    for folder in folders or ():
        run_folder.refuse_occupied(folder)
    compiled = compiled or Compiled(parts)
    runs = []
    for i, seed in enumerate(seeds):
        e = dataclasses.replace(parts.experiment, seed=seed)
        runs.append(_Run(e, folders[i] if folders else None, compiled.start(seed, Pace.of(e))))
    groups = [runs] if compiled.abreast else [[one] for one in runs]
    compiled.prepare([one.state for one in groups[0]], compiled.length)
    for one in runs:
        if one.folder:
            described = describe(parts._replace(experiment=one.experiment), name, len(groups[0]))
            described["facts"] |= {"auto": parts.auto} if parts.auto else {}
            run_folder.create(one.folder, described)
    results = []
    for group in groups:
        _advance_all(compiled, group, report)
        results += [_conclude(compiled, one) for one in group]
    return results


def _restore(compiled: Compiled, experiment: Experiment, folder: Path) -> _Run:
    one = _Run(experiment, folder, compiled.start(experiment.seed))
    found = run_folder.last_checkpoint(folder)
    step = 0
    if found:
        step, path = found
        if step > (experiment.steps or 0):
            raise StoreError(f"{path} is beyond the {experiment.steps} steps of {folder / 'config.json'}")
        arrays = run_folder.read_arrays(path)
        one.seconds = float(arrays.pop("seconds", 0.0))
        one.compile_seconds = float(arrays.pop("compile_seconds", 0.0))
        one.state = compiled.restored(one.state, arrays, path)
    one.metrics = run_folder.rewind(folder, step)
    return one


def _advance_all(compiled: Compiled, runs: list[_Run], report: Report | None) -> None:
    """Run to the last step, side by side."""
    total = compiled.parts.experiment.steps or 0
    done = int(runs[0].state.step)
    if report:
        report(done, total, float("nan"))  # work begins: the first chunk is compiled
    while done < total and not all(one.diverged_at for one in runs):
        length = min(compiled.length, total - done)
        states, losses, metrics, seconds = compiled.advance([one.state for one in runs], length)
        compiling = compiled.charge() / len(runs)
        for one, state, loss, metric in zip(runs, states, losses, metrics, strict=True):
            one.compile_seconds += compiling
            if one.diverged_at is None:
                _digest(compiled.parts, one, seconds, state, loss, metric)
        done += length
        if report:
            report(done, total, float(losses[0].mean()))


def _digest(parts: Parts, one: _Run, seconds: float, state: State, losses: np.ndarray, metrics: dict) -> None:
    """Take in a chunk: log and checkpoint it, or stop at the first loss that is not finite."""
    bad = ~np.isfinite(losses)
    before = int(one.state.step)
    if bad.any() or not np.isfinite(metrics["loss"]):
        one.diverged_at = before + 1 + int(bad.argmax()) if bad.any() else int(state.step)
        return
    one.state, one.seconds = state, one.seconds + seconds
    step = int(state.step)
    line = {
        "step": step,
        "updates": step * parts.updates,
        "loss": losses.mean(),
        "seconds": one.seconds,
        "forward_passes": step * parts.passes,
        **{f"valid_{k}": v for k, v in metrics.items()},
    }
    one.metrics.append(run_folder.plain(line))
    if one.folder:
        run_folder.log(one.folder, line)
        times = {"seconds": np.asarray(one.seconds), "compile_seconds": np.asarray(one.compile_seconds)}
        run_folder.save_checkpoint(one.folder, step, Compiled.stored(state) | times)


def _conclude(compiled: Compiled, one: _Run) -> Result:
    """Judge the kept network on the test part, and write what is left."""
    parts, task = compiled.parts, compiled.parts.task
    net, held_out = one.state.best, compiled.test
    prediction = jax.jit(forward)(net, held_out.xs)[held_out.warmup :]
    truth = held_out.ys[held_out.warmup :]
    first = compiled.start(one.experiment.seed)
    reservoir = solve(first.best, task, compiled.valid, first.key)
    step = int(one.state.step)
    looks = jax.jit(correlation)
    seen = compiled.valid.xs[:SHOWN, :8]
    e = one.experiment
    summary = run_folder.plain(
        {
            "task": e.task,
            "rule": e.rule,
            "cell": e.cell,
            "seed": e.seed,
            "steps": step,
            "status": "finished" if one.diverged_at is None else "diverged",
            "seconds": one.seconds,
            "compile_seconds": one.compile_seconds,
            "forward_passes": step * parts.passes,
            "updates": step * parts.updates,
            "peak_memory_bytes": compiled.bytes,
            "best_step": int(one.state.best_step),
            "test": judged(task, net, *held_out),
            "baselines": compiled.baselines | {"reservoir": judged(task, reservoir, *held_out)},
            "correlation": {"before": looks(first.best, seen), "after": looks(net, seen)},
            "updates_per_step": parts.updates,
        }
    )
    if compiled.seen:
        summary["train"] = run_folder.plain(judged(task, net, *compiled.seen))
    if one.diverged_at is not None:
        summary["diverged_at"] = one.diverged_at
    scaling = task.scaling()
    if one.folder:
        run_folder.write_arrays(one.folder / "predictions.npz", pictured(task, truth, prediction))
        kept = run_folder.named(net, "net.") | {f"scaling.{k}": v for k, v in scaling.items()}
        run_folder.write_arrays(one.folder / "weights", kept)
        run_folder.write_json(one.folder / "result.json", summary)
    return Result(e, net, summary, one.metrics, scaling, one.folder)
