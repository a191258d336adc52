"""Training and judging networks on a device, from Python."""

from typing import Any

import jax.numpy as jnp

from perturbax.devices.network import DeviceNetwork, as_written, of_network
from perturbax.devices.opening import check_device, opened, outputs_now
from perturbax.errors import ArgumentError
from perturbax.experiment.config import AUTO_RULE
from perturbax.experiment.result import Result
from perturbax.experiment.run import run
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
    held_out_number(part)
    inputs, outputs = task.sizes
    on = opened(device, inputs, outputs, task.steps)
    if not on.can.outputs:
        raise ArgumentError(f"{on.can.name} returns a score alone: its outputs cannot be judged")
    moved = net if isinstance(net, DeviceNetwork) else of_network(on.can, net)
    on.write(as_written(moved))
    held = task.held_out(part)
    metrics = score_compiled(task, jnp.asarray(outputs_now(on, held.xs)), held)
    return {name: float(value) for name, value in metrics.items()}
