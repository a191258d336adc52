"""Ways to lower the noise of node perturbation, each on validation data at equal forward passes.

python benchmarks/candidates.py --out runs/candidates          # goes on where it was stopped
python benchmarks/candidates.py --tasks copy --out runs/candidates

A candidate is `node` as a task ships it for whole sequences, with one thing changed, or another rule that is
told the score alone; those of proposals.py have the settings that are shipped for `node`. Its learning rate
is the best of three on seed 100: a third of what is shipped for it, that, and three times as much. The number
is the lowest validation loss, geometric mean over seeds 100 to 103; no test data are looked at.
docs/variance.md shows the table.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import proposals
from harness import geometric_mean, save, table

import perturbax as px
from perturbax.atomic import write
from perturbax.experiment.optimiser import make_schedule
from perturbax.experiment.resolve import resolve
from perturbax.experiment.variants import parse_variant, slug, typed_of_variant

TASKS = {
    "copy": px.Experiment(task="copy"),
    "mackey-glass": px.Experiment(task="mackey-glass"),
    "copy-two-layers": px.Experiment(task="copy", units=(64, 64)),
}
CANDIDATES = {
    "as shipped": "node",
    "not decorrelated": "node:decorrelate=off",
    "decorrelated": "node:decorrelate=hidden:decor_lr=1e-2",
    "pairs of opposite noise": "node:difference=antithetic",
    "4 samples": "node:samples=4",
    "16 samples": "node:samples=16",
    "16 samples, orthogonal draws": "node:samples=16:noise=orthogonal",
    "noise smooth in time": "node:noise=correlated",
    "noise scaled by activity": "node:noise=scaled",
    "noisy rows restarted at every step": "node:noisy_state=restarted:credit=same-step",
    "same-step credit": "node:credit=same-step",
    "discount 0.9": "node:discount=0.9",
    "noise in one layer at a time": "iterative:credit=to-go",
    "credit to what noise did to activities": "activity:credit=to-go",
    "orthogonalised momentum (Muon)": "node:optimiser=muon",
    "second moment less its mean (AdaBelief)": "node:optimiser=adabelief",
    "sign of averaged estimates (Lion)": "node:optimiser=lion",
    "a learnt guess as control variate": "guided:error=measured",
    "feedback fitted to the score": "feedback:error=measured:fit_to=score",
    "output error by the score, lagged feedback": "feedback:error=measured",
    "output error by the score, mirrored weights": "mirror:error=measured",
    "effect on outputs, weighted by their error as the score shows it": "guided:guess_by=none:error=measured",
    "2 samples, the plain form of proposals.py": "proposals:Proposal:samples=2",
    "4 samples, each less the mean of the others": "proposals:LeaveOneOut",
    "noise at every 2nd step, rows restarted": "proposals:Pulses:every=2",
    "noise at every 5th step, rows restarted": "proposals:Pulses:every=5",
    "noise at every 10th step, rows restarted": "proposals:Pulses:every=10",
    "noise in a random quarter of the units": "node:noise=proposals:blocks",
    "credit that learns its discount, 2 samples": "proposals:ShrunkLags",
    "more noise where units matter less, 2 samples": "proposals:Balanced",
    "the same, by the root": "proposals:Balanced:power=0.5",
    "more noise where units matter more, 2 samples": "proposals:Balanced:power=-0.5",
    "second moment of averaged estimates (R-AdaZO)": "node:optimiser=proposals.averaged_first",
    "one second moment for all weights (MEAZO)": "node:optimiser=proposals.one_scale",
}
OF_LAYERS = {  # on a network of two hidden layers
    "as shipped": "node",
    "heads above the lower layer, by the score": "proposals:Heads",
    "the same, heads ten times as fast": "proposals:Heads:rate=1e-2",
    "output error by the score, mirrored weights": "mirror:error=measured",
}
OWN_OPTIMISER = ":optimiser=proposals."
RATES = (1 / 3, 1, 3)  # times what is shipped for the candidate
SEEDS = (100, 101, 102, 103)


def main() -> None:
    """Train what is missing and print a table for each task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default=",".join(TASKS))
    args = parser.parse_args()
    found: dict[str, Any] = {}
    for task in args.tasks.split(","):
        candidates = OF_LAYERS if task == "copy-two-layers" else CANDIDATES
        found[task] = {name: judged(task, label, args.out / task) for name, label in candidates.items()}
        base = found[task]["as shipped"]["loss"]
        order = sorted(candidates, key=lambda name, rows=found[task]: rows[name]["loss"])
        rows = [cells(name, candidates[name], found[task][name], base) for name in order]
        print(f"\n### {task}\n")
        print(table(["candidate", "as typed", "rate", "validation loss", "times `node`"], rows), flush=True)
        save(args.out / "candidates.json", found)


def cells(name: str, label: str, row: dict[str, Any], base: float) -> list[str]:
    """The cells of one line of the table."""
    loss = row["loss"]
    return [name, f"`{label}`", f"{row['lr']:.3g}", f"{loss:.3g}", f"{loss / base:.3g}"]


def judged(task: str, label: str, out: Path) -> dict[str, Any]:
    """The best rate of a candidate on the first seed, and its losses with it."""
    rate = resolve(typed(task, label)).lr
    first = {scale * rate: loss_of(task, label, scale * rate, SEEDS[0], out) for scale in RATES}
    lr = min(first, key=lambda lr: first[lr])
    losses = [loss_of(task, label, lr, seed, out) for seed in SEEDS]
    return {"lr": lr, "losses": losses, "loss": geometric_mean(losses), "first seed": first}


def loss_of(task: str, label: str, lr: float, seed: int, out: Path) -> float:
    """The lowest validation loss of a run; infinite where it diverged."""
    path = out / f"{slug(label)}-{lr:.3g}-{seed}.json"
    if not path.exists():
        result = px.run(at_rate(task, label, lr).changed(seed=seed))
        path.parent.mkdir(parents=True, exist_ok=True)
        losses = [line["valid_loss"] for line in result.metrics if "valid_loss" in line]
        ended = result.summary["status"] == "finished"
        write(path, json.dumps({"loss": min(losses) if ended else None}).encode())
        print(f"{task} {label} lr {lr:.3g} seed {seed}: {losses[-1]:.3g}", flush=True)
    loss = json.loads(path.read_text())["loss"]
    return math.inf if loss is None else loss


def at_rate(task: str, label: str, lr: float) -> px.Experiment:
    """The run of a candidate with a learning rate."""
    e = typed(task, label).changed(lr=lr)
    name = label.partition(OWN_OPTIMISER)[2]
    if not name:
        return e
    resolved = resolve(e)
    schedule = make_schedule(resolved.schedule, lr, resolved.steps)
    return e.changed(lr=None, optimiser=getattr(proposals, name)(schedule))


def typed(task: str, label: str) -> px.Experiment:
    """The run of a candidate, in sequence mode."""
    known = label.partition(OWN_OPTIMISER)[0]
    e = typed_of_variant(TASKS[task], parse_variant(f"{known}:mode=sequence"), {})
    if not known.startswith("proposals:"):
        return e
    node = resolve(typed(task, "node"))
    e = e.changed(lr=node.lr, decorrelate=node.decorrelate, decor_lr=node.decor_lr)
    return e.changed(rule_options={"discount": node.rule_options["discount"], **e.rule_options})


if __name__ == "__main__":
    main()
