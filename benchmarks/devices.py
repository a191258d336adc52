"""What learning on a device is worth: in the loop, or trained elsewhere and moved there.

    python benchmarks/devices.py --out runs/devices

Two simulated devices, five seeds: an exact one, and one that ages: rounded weights, ambient noise, drift,
and a fifth of its units stuck from the middle of the training on. On each: (i) learning in the loop; (ii) the
same network trained in process without faults, moved there untrained; (iii) the same, trained with the
device's noise in every pass. What is moved is judged at once, after as many steps of the device as (i) has
made, and written anew then.
"""

import argparse
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np

import perturbax as px
from perturbax.devices.faults import Faults
from perturbax.devices.opening import opened
from perturbax.devices.simulated import Simulated
from perturbax.experiment.machine import machine
from perturbax.experiment.on_device import judge

UNITS, STEPS, BATCH, SEEDS = 16, 1500, 32, 5
AMBIENT = 0.03
SETTINGS: dict[str, Any] = {
    "task": "probe-lag1",
    "rule": "node",
    "rule__credit": "to-go",
    "rule__difference": "antithetic",
    "rule__sigma": 0.05,
    "steps": STEPS,
    "batch": BATCH,
    "lr": 5e-3,
    "logs": 10,
    "decorrelate": "off",
}


def aging(steps_of_a_trial: int) -> Faults:
    """Return the faults of the device that ages; half of the training makes a fifth of its units stick."""
    life = STEPS * 2 * BATCH * steps_of_a_trial  # steps of the device in training, two passes an update
    return Faults(
        bits=7, top=2.0, ambient=AMBIENT, drift=0.2, drift_time=life / 50, stuck=0.2, stuck_after=life // 2
    )


def age(device: Simulated, steps: int, inputs: int) -> None:
    """Let a device run so many steps."""
    while device.memory is not None and device.memory.age < steps:
        device.run(np.zeros((100, 1000, inputs), np.float32))


def of_seed(faults: Faults, seed: int) -> dict[str, float]:
    """Return the test loss of each way, and that of outputs of zero."""
    task = px.TASKS["probe-lag1"]()
    device = Simulated("tanh", (UNITS,), seed=seed, faults=faults)
    learnt = px.run(device=device, seed=seed, start="held", **SETTINGS)
    lived = 0 if device.memory is None else device.memory.age
    found = {"in the loop": learnt.summary["test"]["loss"]}
    for name, ambient in (("ideal, moved", 0.0), ("with noise, moved", faults.ambient)):
        trained = px.run(seed=seed, cell="tanh", units=UNITS, rule__ambient=ambient, **SETTINGS)
        found[f"{name.split(',')[0]}, not moved"] = trained.summary["test"]["loss"]
        there = Simulated("tanh", (UNITS,), seed=seed, faults=faults)
        found[f"{name}, at once"] = judge(there, trained.net, task)["loss"]
        age(there, lived, task.sizes[0])
        held = task.held_out("test")
        on = opened(there, *task.sizes, task.steps)
        y = on.run(np.asarray(held.xs), 0)["outputs"]
        found[f"{name}, after the same time"] = float(np.mean((y - np.asarray(held.ys)) ** 2))
        found[f"{name}, then written anew"] = judge(there, trained.net, task)["loss"]
    return found


def versions() -> dict[str, str]:
    """Return the versions that the numbers were made with."""
    return {name: importlib.metadata.version(name) for name in ("perturbax", "jax", "numpy")}


def main() -> None:
    """Print a table in Markdown, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/devices")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    args = parser.parse_args()
    steps = px.TASKS["probe-lag1"]().steps
    all_of_them = {}
    for label, faults in (("exact", Faults()), ("aging", aging(steps))):
        rows = [of_seed(faults, seed) for seed in range(args.seeds)]
        all_of_them[label] = rows
        print(f"\n{label} | mean | each seed\n---|---|---")
        for name in rows[0]:
            values = [row[name] for row in rows]
            print(f"{name} | {np.mean(values):.4f} | {', '.join(f'{v:.4f}' for v in values)}", flush=True)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    told = {"machine": machine(), "versions": versions(), "test loss": all_of_them}
    (out / "devices.json").write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
