"""How close perturbation comes to backpropagation through time, at equal forward passes and at equal seconds.

    python benchmarks/learning.py --out runs/learning --data weather=WTH.csv --tasks copy,mackey-glass,weather
    python benchmarks/learning.py --out runs/learning --tasks copy --seeds 1    # a part; the rest is kept

Settings are those that the tasks ship (`perturbax run --task TASK --rule RULE`) or, for mnist-1d and
tiny-shakespeare, those of `perturbax bench`; what is named below beside them was found on validation data.
Seeds are fresh: nothing was tuned on them, nor on test data. Writes OUT/learning.md, learning.json and
learning.svg. Needs evosax 0.3.2 for its rows.
"""

import argparse
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import evolution
import jax.random as jr
from harness import alternate, geometric_mean, ratios

import perturbax as px
from perturbax.atomic import write
from perturbax.bench import BENCHMARKS
from perturbax.bench.running import with_settings
from perturbax.experiment.build import build
from perturbax.experiment.program import Compiled
from perturbax.experiment.variants import parse_variant, typed_of_variant

TASKS = {
    "copy": px.Experiment(task="copy"),
    "copy-stretch": px.Experiment(task="copy", task_options={"delay": 10, "length": 16}),
    "copy-long": px.Experiment(
        task="copy",
        task_options={"delay": 20, "length": 32},
        cell="lru",
        cell_options={"least": 0.99, "most": 0.999, "phase": 1.0},
        units=256,
        passes=3000,
        lr=3e-3,
    ),
    "mackey-glass": px.Experiment(task="mackey-glass"),
    "weather": px.Experiment(task="weather", task_options={"horizon": 24}),
    **{name: BENCHMARKS[name].experiment for name in ("mnist-1d", "tiny-shakespeare")},
    "text": px.Experiment(task="text", cell="gru", units=256, batch=64, steps=3000, lr=3e-3),
}
DATA = ("weather", "mnist-1d", "tiny-shakespeare", "text")  # these read a file
BY_SCORE = {
    "copy-stretch": ":lr=4e-3",
    "tiny-shakespeare": ":queries=64",
    "mnist-1d": ":lr=1e-2",
    "text": ":queries=64",  # as many as there are outputs for the King James Bible
}
SEEDS = {"copy-long": 4, "mackey-glass": 4, "mnist-1d": 4}  # elsewhere 3
MEASURED = "-by-score"  # behind a rule's name: the output error is measured by the score, and not told
TOLD = {
    "score only": ("node", "innovation", "published-activity", "mirror-by-score", "feedback-by-score"),
    "score and output error": ("feedback", "mirror", "guided"),
    "output error": ("frozen",),
    "derivatives": ("one-step", "bptt"),
}
STRATEGIES = ("Open_ES", "SNES")
TUNING_SEED = 1000  # far from the seeds that are judged


def experiment(
    task: str, rule: str, seed: int, data: dict[str, str], budget: str = "passes", **fields: Any
) -> px.Experiment:
    """The run that the shipped settings describe. Where seconds are equal and not passes, the score is asked
    once for every output, which is exact, at the rate for an error that is told.
    """
    label = rule
    if rule.endswith(MEASURED):
        asked = f":queries={outputs(task, data)}" if budget == "seconds" else BY_SCORE.get(task, "")
        label = f"{rule.removesuffix(MEASURED)}:error=measured{asked}"
    variant = with_settings(BENCHMARKS[task], label) if task in BENCHMARKS else parse_variant(label)
    if "steps" in fields:
        fields["passes"] = None  # in place of the task's own budget
    return typed_of_variant(TASKS[task], variant, {}).changed(seed=seed, data=data.get(task), **fields)


def outputs(task: str, data: dict[str, str]) -> int:
    """Number of outputs of the network that learns a task."""
    return build(TASKS[task].changed(data=data.get(task))).setup.task.sizes[1]


def remembered(path: Path, program: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What an earlier call wrote there, or the program's result, written."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, json.dumps(program()).encode())
    return json.loads(path.read_text())


def trained(e: px.Experiment) -> dict[str, Any]:
    """Train, and keep what the tables need."""
    s = px.run(e).summary
    keys = ("status", "seconds", "forward_passes", "steps", "test", "baselines")
    return {k: s[k] for k in keys}


def stepping(e: px.Experiment) -> tuple[Callable[[], Any], int]:
    """Return a program that trains one chunk, and the steps of it."""
    compiled = Compiled(build(e))
    state = compiled.start(e.seed)
    compiled.prepare([state], compiled.length)
    return lambda: compiled.advance([state], compiled.length)[0], compiled.length


def evolving(e: px.Experiment, strategy: evolution.Strategy, passes: int) -> tuple[Callable[[], Any], int]:
    """Return a program that evolves for one chunk, and the passes of it."""
    search = evolution.prepared(e, strategy, passes)
    keys = jr.split(search.key, search.per)
    return lambda: search.chunk(search.state, keys), search.per * strategy.population


def budget_of(program: Callable[[], Any], size: int, bptt: px.Experiment) -> int:
    """Steps (or passes) that the seconds of BPTT's run allow: both timed in turn, a chunk with validation
    each.
    """
    theirs, steps = stepping(bptt)
    share = ratios(alternate({"bptt": theirs, "other": program}, repeats=5), "bptt")["other"]
    return max(1, round(build(bptt).experiment.steps / steps * size / share))


def judge(task: str, args: argparse.Namespace, say: Callable) -> dict[str, Any]:
    """All rows of a task: rule -> budget -> one result per seed."""
    rows: dict[str, Any] = {}
    out, seeds = args.out / task, range(args.seeds or SEEDS.get(task, 3))
    bptt = experiment(task, "bptt", 0, args.data)
    for budget in args.budgets.split(","):
        for rule in args.rules.split(","):
            fields, tag = {}, "passes"
            if budget == "seconds" and rule != "bptt":
                own = experiment(task, rule, 0, args.data, budget, steps=build(bptt).experiment.steps)
                pace = remembered(
                    out / f"{rule}-pace.json", lambda o=own: {"steps": budget_of(*stepping(o), bptt)}
                )
                fields, tag = pace, "seconds"
            for seed in seeds:
                e = experiment(task, rule, seed, args.data, budget, **fields)
                found = remembered(out / f"{rule}-{tag}-{seed}.json", lambda e=e: trained(e))
                rows.setdefault(rule, {}).setdefault(budget, []).append(found)
                say(f"{task} {rule} equal {budget} seed {seed}: {found['test']['loss']:.3g}")
    if not args.no_evosax:
        rows |= evolved(task, len(seeds), args, rows["bptt"]["passes"], say)
    return rows


def evolved(task: str, seeds: int, args: argparse.Namespace, bptt: list, say: Callable) -> dict[str, Any]:
    """The rows of evosax: defaults, and tuned on validation data with a seed of their own."""
    rows: dict[str, Any] = {}
    data, out, passes = args.data, args.out / task, bptt[0]["forward_passes"]
    first, tuning = (experiment(task, "bptt", seed, data) for seed in (0, TUNING_SEED))
    for name in STRATEGIES:
        best = remembered(
            out / f"{name}-tuned.json", lambda n=name: evolution.tuned(tuning, n, passes)._asdict()
        )
        for label, strategy in (
            (name, evolution.Strategy(name)),
            (f"{name}-tuned", evolution.Strategy(**best)),
        ):
            row: dict[str, Any] = {"settings": strategy._asdict()}
            for budget in args.budgets.split(","):
                limit = passes
                if budget == "seconds":

                    def pace(s: evolution.Strategy = strategy) -> dict[str, Any]:
                        """Return the passes that a strategy makes in the time of BPTT."""
                        return {"passes": budget_of(*evolving(first, s, passes), first)}

                    limit = remembered(out / f"{label}-pace.json", pace)["passes"]
                for seed in range(seeds):
                    e = experiment(task, "bptt", seed, data)
                    program = partial(evolution.evolve, e, strategy, limit)
                    row.setdefault(budget, []).append(
                        remembered(out / f"{label}-{budget}-{seed}.json", program)
                    )
                say(f"{task} {label} equal {budget}: {geometric_mean(losses(row[budget])):.3g}")
            rows[label] = row
    return rows


def losses(runs: list[dict[str, Any]]) -> list[float]:
    """Test losses, infinite where training diverged."""
    return [r["test"]["loss"] if r.get("status", "finished") == "finished" else math.inf for r in runs]


def table(task: str, rows: dict[str, Any]) -> str:
    """One line per rule: loss against BPTT's, and recall on copy."""
    heads = ("told", "rule", "test loss, equal passes", "times BPTT", "equal seconds", "times BPTT", "notes")
    lines = [f"### {task}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    base = {b: geometric_mean(losses(runs)) for b, runs in rows["bptt"].items()}
    groups = {**TOLD, "score only (evosax)": tuple(r for r in rows if r.startswith(STRATEGIES))}
    for told, rules in groups.items():
        for rule in (r for r in rules if r in rows):
            cells = []
            for budget in ("passes", "seconds"):
                if budget not in base:
                    cells += ["", ""]
                    continue
                loss = geometric_mean(losses(rows[rule][budget]))
                cells += [f"{loss:.3g}", f"{loss / base[budget]:.3g}"]
            tests, notes = [r["test"] for r in rows[rule]["passes"]], []
            if "recall" in tests[0]:
                notes.append(f"recall {min(t['recall'] for t in tests):.3f} at worst")
            elif "accuracy" in tests[0]:
                notes.append(f"accuracy {100 * min(t['accuracy'] for t in tests):.1f} % at worst")
            if rule.endswith("tuned"):
                notes.append(", ".join(f"{k} {v}" for k, v in rows[rule]["settings"].items() if k != "name"))
            lines.append(
                f"| {told} | {rule.replace('-tuned', ', tuned')} | {' | '.join(cells)} | {'; '.join(notes)} |"
            )
    runs = rows["bptt"]["passes"]
    trivial = ", ".join(f"{k} {v['loss']:.3g}" for k, v in runs[0]["baselines"].items())
    about = f"{len(runs)} seeds, geometric means; {runs[0]['forward_passes']} forward passes each."
    return "\n".join([*lines, "", f"{about} Test loss without training: {trivial}.", ""])


def draw(results: dict[str, Any], path: Path) -> None:
    """One panel per task: every seed's test loss over BPTT's mean; full dots: equal passes, hollow: equal
    seconds.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(results), figsize=(1.5 + 3.2 * len(results), 4.6), squeeze=False)
    for panel, (task, rows) in zip(panels[0], results.items(), strict=True):
        base = {b: geometric_mean(losses(runs)) for b, runs in rows["bptt"].items()}
        order = sorted(rows, key=lambda r: geometric_mean(losses(rows[r]["passes"])), reverse=True)
        for y, rule in enumerate(order):
            for budget, face, shift in (("passes", "#1f5fa8", 0.12), ("seconds", "none", -0.12)):
                values = [v / base[budget] for v in losses(rows[rule].get(budget, [])) if math.isfinite(v)]
                panel.scatter(
                    values, [y + shift] * len(values), s=22, facecolors=face, edgecolors="#1f5fa8", lw=1
                )
        panel.axvline(1, color="#888", lw=0.8)
        first, last = panel.get_xlim()
        wide = last > 3 * max(first, 1e-9)  # a narrow range reads better on a plain axis
        panel.set(xscale="log" if wide else "linear", title=task, xlabel="test loss / BPTT's mean")
        panel.set_yticks(range(len(order)), order)
        panel.grid(axis="x", color="#ddd", lw=0.6)
        panel.spines[["top", "right", "left"]].set_visible(False)
    timed = any("seconds" in rows["bptt"] for rows in results.values())
    what = (
        "full: equal forward passes    hollow: equal seconds"
        if timed
        else "one dot per seed, equal forward passes"
    )
    figure.suptitle(what, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run what is asked for, and write the table and the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, help="default: 3, of some tasks 4")
    parser.add_argument("--data", default="", help="files, such as weather=WTH.csv,mnist-1d=mnist1d.npz")
    parser.add_argument(
        "--rules", default=",".join(["bptt", *(r for g in TOLD.values() for r in g if r != "bptt")])
    )
    parser.add_argument(
        "--budgets", default="passes,seconds", help="what is equal: passes, or passes,seconds"
    )
    parser.add_argument("--no-evosax", action="store_true")
    args = parser.parse_args()
    tasks = args.tasks.split(",")
    if unknown := set(tasks) - set(TASKS):
        parser.error(f"unknown task {', '.join(unknown)}")
    args.data = dict(entry.split("=", 1) for entry in args.data.split(",") if entry)
    if missing := [task for task in tasks if task in DATA and task not in args.data]:
        parser.error(f"--data {missing[0]}=FILE is needed")
    args.out.mkdir(parents=True, exist_ok=True)
    if args.rules.split(",")[0] != "bptt" or args.budgets.split(",")[0] != "passes":
        parser.error("bptt comes first in --rules and passes in --budgets: all else is measured against them")
    results = {task: judge(task, args, lambda line: print(line, flush=True)) for task in tasks}
    text = "\n".join(table(task, rows) for task, rows in results.items())
    write(args.out / "learning.md", text.encode())
    write(args.out / "learning.json", json.dumps(results).encode())
    draw(results, args.out / "learning.svg")
    print(text)


if __name__ == "__main__":
    main()
