"""Run folders that no run has written, for tests of what reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

USES = {
    "node": ["score"],
    "weight": ["score"],
    "activity": ["score", "own activity"],
    "frozen": ["output error"],
    "bptt": ["output error", "stored sequence", "derivatives", "transposed weights"],
}
PAPERS = {
    "node": ["fiete2006"],
    "weight": ["jabri1992"],
    "activity": ["dalm2023"],
    "frozen": ["jaeger2001"],
    "bptt": ["werbos1990"],
}
BASELINES = {"mean": {"loss": 4.0, "mse": 4.0}, "linear": {"loss": 2.0, "mse": 2.0}}
UNSET: Any = object()


def make(root: Path, rule="node", seed=0, mse: float | None = 1.0, name="", **change: Any) -> Path:
    """Write one run folder; `change` replaces settings, `facts`, `result`, `lines`, `predictions` or
    `test`.
    """
    decor = change.pop("decorrelate", "off")
    task = change.pop("task", "weather")
    result, test = change.pop("result", {}), change.pop("test", UNSET)
    lines, predictions = change.pop("lines", UNSET), change.pop("predictions", UNSET)
    facts = {
        "rule": {
            "equation": f"dW of {rule}",
            "target": f"target of {rule}",
            "uses": USES[rule],
            "papers": PAPERS[rule],
        },
        "task": {"summary": "A task.", "papers": ["zhou2021"]},
        "cell": {"equation": "y = tanh(a)", "papers": ["elman1990"]},
        "decorrelation": {"papers": ["ahmad2023"]},
        "unit": "degree",
    } | change.pop("facts", {})
    experiment = {
        "task": task,
        "rule": rule,
        "cell": "tanh",
        "units": 8,
        "seed": seed,
        "steps": 4,
        "lr": 0.001,
    }
    experiment |= {"decorrelate": decor, "task_options": {"horizon": 24}, "rule_options": {}} | change
    label = name or rule + ("+decor" if decor != "off" else "")
    folder = root / f"{task}-{len(list(root.glob('*'))) if root.exists() else 0}"
    folder.mkdir(parents=True)
    config = {"experiment": experiment, "facts": facts, "versions": {"perturbax": "0.1.0", "jax": "0.10.2"}}
    (folder / "config.json").write_text(json.dumps(config | {"name": label} if name is not None else config))
    if lines is UNSET:
        lines = [
            {
                "step": i,
                "updates": i,
                "loss": 1.0,
                "seconds": i / 10,
                "forward_passes": 64 * i,
                "valid_loss": 2.0 / (i + 1),
            }
            for i in range(5)
        ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if result is not None:
        stored = {"status": "finished", "seconds": 2.5, "compile_seconds": 1.5, "forward_passes": 256}
        stored |= {"peak_memory_bytes": 5e6, "test": {"loss": mse, "mse": mse} if test is UNSET else test}
        stored |= {"baselines": BASELINES, "correlation": {"before": 0.3, "after": 0.1}}
        (folder / "result.json").write_text(json.dumps(stored | result))
    if predictions is UNSET:
        predictions = (np.sin(np.arange(30.0))[:, None], np.cos(np.arange(30.0))[:, None])
    if predictions is not None:
        np.savez(folder / "predictions.npz", truth=predictions[0], prediction=predictions[1])
    return folder
