"""What is left of a test loss when 80 % of the weights go: growing regularisation and one cut at the end.

    python benchmarks/pruning.py                        # prints
    python benchmarks/pruning.py --out pruning.json     # and into docs/pruning.md; goes on with seeds

Forecasts of Mackey-Glass with 128 tanh units, trained by node perturbation. All lines have the same number
of updates, data and noise. The network that is not pruned is cut once more when it has been trained: there
is nothing left to learn after that.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from family import with_section
from harness import on_what, place, save, table

import perturbax as px
from perturbax.experiment.build import build
from perturbax.experiment.pruning import smallest
from perturbax.experiment.train_step import evaluate_compiled
from perturbax.tasks.contract import held_out

PAGE = Path(__file__).parents[1] / "docs" / "pruning.md"
BASE: dict[str, Any] = {"task": "mackey-glass", "rule": "node", "units": (128,)}
LINES: dict[str, dict[str, Any]] = {
    "not pruned": {},
    "greg-1": {"prune_by": "greg-1"},
    "greg-2": {"prune_by": "greg-2"},
    "magnitude at 60 % of the run": {"prune_by": "magnitude"},
    "greg-1, 80 % of the units": {"prune_by": "greg-1", "prune_groups": "units"},
}
CUT = "magnitude at the end of the run"


def cut_at_once(result: px.Result, share: float) -> float:
    """Return the test loss of a trained network whose smallest weights are removed at once."""
    task = build(result.experiment).task
    some, rest = px.split(result.net)

    def cut(w: Any) -> Any:
        return jnp.where(smallest(jnp.abs(w), share), 0, w) if w.ndim > 1 else w

    net = px.join(jax.tree.map(cut, some), rest)
    return float(evaluate_compiled(task, net, *held_out(task, "test"))["loss"])


def measured(share: float, seed: int, passes: int) -> dict[str, float]:
    """Return the test loss of every line at one seed."""
    found: dict[str, float] = {}
    for name, settings in LINES.items():
        own = {"prune": share, **settings} if settings else {}
        result = px.run(px.Experiment(**BASE, **own, passes=passes, seed=seed))
        found[name] = float(result.summary["test"]["loss"])
        print(seed, name, found[name], result.summary.get("pruned"), flush=True)
        if not settings:
            found[CUT] = cut_at_once(result, share)
            print(seed, CUT, found[CUT], flush=True)
    return found


def rows_of(found: dict[str, dict[str, float]]) -> list[list[str]]:
    """Return a row for every line: mean loss, and ratios to the network that is whole, seed by seed."""
    rows = []
    for name in (*LINES, CUT):
        losses = [of_seed[name] for _, of_seed in sorted(found.items())]
        whole = [of_seed["not pruned"] for _, of_seed in sorted(found.items())]
        ratios = [loss / dense for loss, dense in zip(losses, whole, strict=True)]
        rows.append([name, f"{np.mean(losses):.2g}", " ".join(f"{r:.2f}" for r in ratios)])
    return rows


def main() -> None:
    """Measure, print the table, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file of the results, whose seeds are not run again")
    parser.add_argument("--prune", type=float, default=0.8, help="share that goes")
    parser.add_argument("--seeds", default="1,2,3", help="seeds, separated by commas")
    parser.add_argument("--passes", type=int, default=9000, help="forward passes of every run")
    args = parser.parse_args()
    kept = {"test_loss": {}, "seconds": {}, "cpu_seconds": {}}
    if args.out and place(args.out).exists():
        kept = json.loads(place(args.out).read_text())
    for seed in args.seeds.split(","):
        if seed in kept["test_loss"]:
            continue
        began, cpu = time.perf_counter(), time.process_time()
        kept["test_loss"][seed] = measured(args.prune, int(seed), args.passes)
        kept["seconds"][seed] = round(time.perf_counter() - began)
        kept["cpu_seconds"][seed] = round(time.process_time() - cpu)
        if args.out:
            save(args.out, {**kept, "prune": args.prune, "passes": args.passes})
    text = table(
        ["", "test loss, mean", "over that of the whole network, by seed"], rows_of(kept["test_loss"])
    )
    print(on_what(), text, sep="\n\n")
    if args.out:
        PAGE.write_text(with_section(PAGE.read_text(), "pruning", text))


if __name__ == "__main__":
    main()
