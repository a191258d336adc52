"""Spiking and binary networks without surrogate gradients, beside BPTT with them, on digits and evidence.

python benchmarks/spikes.py --out runs/spikes     # goes on where it was stopped
"""

import argparse
import json
from pathlib import Path

import numpy as np
from harness import machine, table

from perturbax.atomic import write
from perturbax.cli import main as perturbax

SHARED = "credit=to-go:samples=16:steps=3000"
SPIKES = f"sigma=0.1:lr=3e-3:{SHARED}"
FREE = {"lif": SPIKES, "alif": SPIKES, "binary": f"sigma=0.2:lr=1e-3:{SHARED}"}
EXACT = "bptt:lr=3e-3"  # what tasks ship for it was found with other cells
SHORT = "--task.cues 3 --task.cue 3 --task.gap 1 --task.delay 4 --task.recall 3"  # a binary cell forgets soon
TASKS = {
    "digits": ("digits", "", FREE),
    "evidence": ("evidence", "", FREE),
    "short-evidence": ("evidence", SHORT, ["binary"]),
}
CELL = {"binary": ["--cell.gain", "0.5"]}
SURROGATE = {"binary": ["--cell.surrogate", "triangle"]}


def plans(name: str, cell: str) -> list[tuple[str, list[str]]]:
    """Return (folder, arguments): a cell without a surrogate of its own needs one for BPTT alone."""
    task, options, _ = TASKS[name]
    free, own = [f"{rule}:{FREE[cell]}" for rule in ("node", "innovation")], CELL.get(cell, [])
    own = ["--task", task, *options.split(), *own]
    if cell not in SURROGATE:
        return [(f"{name}-{cell}", [*own, "--rules", ",".join([*free, EXACT])])]
    exact = [*own, *SURROGATE[cell], "--rules", EXACT]
    return [(f"{name}-{cell}", [*own, "--rules", ",".join(free)]), (f"{name}-{cell}-bptt", exact)]


def accuracies(folder: Path) -> dict[str, list[float]]:
    """Return the test accuracy of every run of a folder, by rule."""
    found: dict[str, list[float]] = {}
    for path in sorted(folder.glob("*/result.json")):
        result = json.loads(path.read_text())
        found.setdefault(result["rule"], []).append(result["test"]["accuracy"])
    return found


def main() -> None:
    """Train what is missing and print one row per task and cell: means over seeds, lowest and highest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="3")
    args = parser.parse_args()
    rows, every = [], {}
    for task, (_, _, cells) in TASKS.items():
        for cell in cells:
            found: dict[str, list[float]] = {}
            for folder, options in plans(task, cell):
                out = args.out / folder
                run = ["compare", "--cell", cell, *options, "--seeds", args.seeds, "--logs", "10"]
                if perturbax([*run, "--out", str(out)]):
                    raise SystemExit(1)
                found |= accuracies(out)
            every[f"{task}, {cell}"] = found
            said = [
                f"{np.mean(v):.3f} ({min(v):.3f}-{max(v):.3f})"
                for v in map(found.get, ("node", "innovation", "bptt"))
            ]
            rows.append([task.replace("-", " "), f"`{cell}`", *said])
    print(table(["task", "cell", "`node`", "`innovation`", "BPTT with a surrogate"], rows))
    write(args.out / "spikes.json", json.dumps({"machine": machine(), "accuracy": every}, indent=1).encode())


if __name__ == "__main__":
    main()
