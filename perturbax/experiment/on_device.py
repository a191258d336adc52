"""Training and judging networks on a device, from Python."""

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from perturbax.devices.network import DeviceNetwork, as_written, of_network
from perturbax.devices.opening import check_device, check_has_weights_of, opened, outputs_now
from perturbax.errors import ArgumentError, StoreError
from perturbax.experiment.config import AUTO_RULE, device_text
from perturbax.experiment.device_program import held_off
from perturbax.experiment.finished import finished_run
from perturbax.experiment.result import Result
from perturbax.experiment.run import run
from perturbax.experiment.run_folder import JUDGEMENTS, as_path, read_json, write_json
from perturbax.experiment.train_step import score_compiled
from perturbax.network.network import Network
from perturbax.tasks.base import Task, held_out_number


def train(device: Any, task: Task | str, rule: str = AUTO_RULE, **settings: Any) -> Result:
    """Train the network that lives on a device; the same as `px.run(device=..., task=..., rule=...)`.

        result = px.devices.train("python my_device.py", "copy", out="runs/device")

    Arguments:
        device: a command or address, or an object with the methods hello, write, run and bye.
        task: name of the task, or its task with data in place.
        rule: name of the rule; by default the strongest that the device allows.
        settings: as for `px.run`: `steps`, `batch`, `rule__sigma`, `score`, `rounding`, `out`, ...

    Raises ArgumentError for a rule that the device cannot carry out, DeviceError for a device that fails.
    """
    check_device(device)  # for `run` None is a run in process
    return run(device=device, task=task, rule=rule, **settings)


def judge(device: Any, net: Network, task: Task, part: str = "test") -> dict[str, float]:
    """Return the task's metrics of a network that is moved onto a device as it is, and runs there untrained.

    Arguments:
        device: as for `train`.
        net: a network of the device, or one of ours with the same arrays of weights.
        task: the task, its data in place.
        part: `valid` or `test`.

    Raises DeviceError for a network whose weights the device does not have.
    """
    return _judged(device, net, task, part)["test"]


def judge_run(device: Any, folder: Path | str, *, trust: bool = False) -> dict[str, Any]:
    """Judge the network that a run has kept on a device, to which it is moved untrained, and note it there.

    Its folder gets a file on_device.json, which has a judgement for every device; `px.report` shows them
    beside runs that were trained on a device.

    Arguments:
        device: as for `train`.
        folder: a run folder; its run was trained in process, or on another device.
        trust: as for `px.load`.

    Returns the judgement: `device`, its name; `command`; `test`, the task's metrics there; `writes`, `trials`
    and `seconds`; `held_off`, the norm of held minus asked weights over that of the asked ones, None where
    the device cannot tell. Raises ArgumentError for a run that has not ended, or whose data have changed;
    DeviceError for a network whose weights the device does not have.
    """
    folder = as_path("folder", folder)
    with finished_run(folder, trust) as (result, task):
        judgement = _judged(device, result.net, task, "test")
    path = folder / JUDGEMENTS
    before = read_json(path) if path.exists() else []
    if not isinstance(before, list) or not all(isinstance(one, dict) for one in before):
        raise StoreError(f"{path} is no list of judgements: remove it, and judge again")
    others = [one for one in before if one.get("command") != judgement["command"]]
    write_json(path, [*others, judgement])
    return judgement


def _judged(device: Any, net: Network, task: Task, part: str) -> dict[str, Any]:
    """Write a network to a device and run it on held-out data: what `judge_run` returns."""
    held_out_number(part)
    inputs, outputs = task.sizes
    on = opened(device, inputs, outputs, task.steps)
    if not on.can.outputs:
        raise ArgumentError(f"{on.can.name} returns a score alone: its outputs cannot be judged")
    check_has_weights_of(on, net)
    asked = as_written(net if isinstance(net, DeviceNetwork) else of_network(on.can, net))
    before = dataclasses.replace(on.costs)
    weights = on.write(asked)
    held = task.held_out(part)
    metrics = score_compiled(task, jnp.asarray(outputs_now(on, held.xs)), held)
    return {
        "device": on.can.name,
        "command": device_text(device),
        "test": {name: float(value) for name, value in metrics.items()},
        "writes": on.costs.writes - before.writes,
        "trials": on.costs.trials - before.trials,
        "seconds": on.costs.seconds - before.seconds,
        "held_off": None if weights is None else held_off(asked, weights),
    }
