"""The settings that tasks ship for a rule: a search on validation data at the full budget of passes.

    python benchmarks/settings.py --out runs/settings              # goes on where it was stopped
    python benchmarks/settings.py --tasks narma,adding --rules node --out runs/settings
    python benchmarks/settings.py --tasks mnist,text --data mnist=mnist.npz,text=kjv.txt --out runs/settings
    python benchmarks/settings.py --tasks neurogym:env=DelayMatchSample-v0 --out runs/settings

Each form of a rule is tried with each learning rate, and with each discount where there are any; one program
trains those together. Where the best of a rule, or of its forms online, has the lowest or the highest rate
that its form was tried with, the next one is tried, too. The number is the lowest validation loss of a run,
for seeds 100 and 101, which judge nothing else; no test data are looked at. Writes OUT/settings.json, and
prints the tables of docs/tuning.md, with the settings that are shipped today in bold.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

from harness import geometric_mean, save, table

import perturbax as px
from perturbax.experiment.resolve import nearest_divisor, resolve
from perturbax.experiment.variants import Variant, parse_variant, slug, typed_of_variant
from perturbax.tasks import TASKS

GENERATED = ("narma", "lorenz", "adding", "delayed-xor", "flip-flop", "evidence", "pattern", "digits")
RATES = (1e-3, 3e-3, 1e-2)
LISTED = (1e-4, 3e-4, *RATES, 3e-2, 1e-1)  # columns of the table
NEAR = (0.9, 1.0)
EVERY = 10  # steps between updates online, or the nearest that divide a sequence; a window has twice as many
OF_FILES = ("mnist", "text")  # run where they are named, with a file
AT_THE_END = ("adding", "delayed-xor", "evidence", "digits", "mnist")  # these ask at the end alone
# Rule -> forms of it as typed -> the searches of each: learning rates and discounts that one program trains.
Searches = tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]
FORMS: dict[str, dict[str, Searches]] = {
    "bptt": {"bptt": ((RATES, ()), ((3e-2,), ()))},
    "mirror": {"mirror": ((RATES, ()), ((3e-2,), ()))},
    "feedback": {"feedback": (((3e-3,), (1.0,)),), "feedback:gate=false": ((RATES, NEAR),)},
    "node": {
        "node:mode=sequence:credit=same-step": ((RATES, ()),),
        "node:mode=sequence:credit=to-go": ((RATES, NEAR),),
        "node:mode=sequence:credit=to-go:decorrelate=hidden:decor_lr=1e-2": ((RATES, (1.0,)),),
        "node:mode=online:every={every}:credit=window:window={window}": (((3e-4, 1e-3, 3e-3), (0.95,)),),
    },
}
SEEDS = (100, 101)


def main() -> None:
    """Search what is missing and print a table for each task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", default=",".join(GENERATED))
    parser.add_argument("--rules", default=",".join(FORMS))
    parser.add_argument("--data", default="", help="files, such as mnist=mnist.npz,text=kjv.txt")
    args = parser.parse_args()
    data = dict(entry.split("=", 1) for entry in args.data.split(",") if entry)
    bases = {task: base_of(task, data) for task in args.tasks.split(",")}
    if missing := [base.task for base in bases.values() if base.task in OF_FILES and base.data is None]:
        parser.error(f"--data {missing[0]}=FILE is needed")
    found: dict[str, Any] = {}
    for task, base in bases.items():
        rows = [row for rule in args.rules.split(",") for row in searched(base, rule, args.out / slug(task))]
        found[task] = rows
        print(f"\n### {task}\n")
        print(table(["setting", *(f"lr {lr:g}" for lr in LISTED)], lines(base, rows)), flush=True)
        save(args.out / "settings.json", found)


def base_of(task: str, data: dict[str, str]) -> px.Experiment:
    """The experiment of a task with its file, and with settings in words where they follow its name."""
    name, *typed = task.split(":")
    options = dict(entry.split("=", 1) for entry in typed)
    return px.Experiment(task=name, task_options=options, data=data.get(name))


def searched(base: px.Experiment, rule: str, out: Path) -> list[dict[str, Any]]:
    """All candidates of a rule, the best of it first."""
    rows = []
    for pattern, searches in FORMS[rule].items():
        if base.task in AT_THE_END and ("same-step" in pattern or "online" in pattern):
            continue  # such credit reaches no step before the answer
        form = pattern
        if "online" in pattern:
            every = nearest_divisor(TASKS[base.task]().steps, EVERY)
            form = pattern.format(every=every, window=2 * every)
        for rates, discounts in searches:
            rows += tried(base, form, rates, discounts, out)
    while further := beyond(rows, online=False) or beyond(rows, online=True):
        form, rate, discount = further
        discounts = () if discount is None else (discount,)
        rows += tried(base, form, (rate,), discounts, out)
    return sorted(rows, key=lambda row: row["loss"])


def beyond(rows: list[dict[str, Any]], online: bool) -> tuple[str, float, float | None] | None:
    """The form, rate and discount to try next: a rate at the edge of those tried may not be the best."""
    rows = [row for row in rows if ("mode=online" in row["form"]) == online]
    if not rows:
        return None
    best = min(rows, key=lambda row: row["loss"])
    form, discount = best["form"], best["discount"]
    rates = [row["lr"] for row in rows if (row["form"], row["discount"]) == (form, discount)]
    place = LISTED.index(best["lr"])
    if len(rates) > 1 and best["lr"] == min(rates) and place > 0:
        return form, LISTED[place - 1], discount
    if len(rates) > 1 and best["lr"] == max(rates) and place < len(LISTED) - 1:
        return form, LISTED[place + 1], discount
    return None


def tried(
    base: px.Experiment, form: str, rates: tuple[float, ...], discounts: tuple[float, ...], out: Path
) -> list[dict[str, Any]]:
    """The losses of one form of a rule with each rate and discount; the search lies in a folder of OUT."""
    out = out / slug(form) / "-".join(f"{rate:g}" for rate in rates)
    typed = typed_of_variant(base.changed(seed=SEEDS[0]), parse_variant(form), {})
    if not (out / "tune.json").exists():
        over: dict[str, Any] = {"lr": list(rates)}
        if discounts:
            over["rule.discount"] = list(discounts)
        px.tune(typed, out, over=over, seeds=len(SEEDS), steps=resolve(typed).steps, workers=1)
        print(f"{base.task} {form}: done", flush=True)
    candidates = json.loads((out / "tune.json").read_text())["candidates"]
    rows = []
    for candidate in candidates:
        losses = [math.inf if loss is None else loss for loss in candidate["losses"]]
        rows.append(
            {
                "form": form,
                "lr": candidate["lr"],
                "discount": candidate["discount"] if discounts else None,
                "losses": losses,
                "loss": geometric_mean(losses),
            }
        )
    return rows


def lines(base: px.Experiment, rows: list[dict[str, Any]]) -> list[list[str]]:
    """The lines of a table: a form and a discount each, with the losses of both seeds at each rate."""
    shown: dict[str, dict[float, str]] = {}
    for row in rows:
        discount = "" if row["discount"] is None else f":discount={row['discount']:g}"
        losses = ", ".join(f"{loss:.2g}" for loss in row["losses"])
        cell = f"**{losses}**" if is_shipped(base, row) else losses
        shown.setdefault(f"`{row['form']}{discount}`", {})[row["lr"]] = cell
    return [[form, *(at.get(lr, "") for lr in LISTED)] for form, at in shown.items()]


def is_shipped(base: px.Experiment, row: dict[str, Any]) -> bool:
    """Whether a candidate is what the task ships for its rule and mode."""
    added = f":lr={row['lr']:g}" + ("" if row["discount"] is None else f":discount={row['discount']:g}")
    candidate, rule = parse_variant(row["form"] + added), row["form"].split(":")[0]
    mode = candidate.fields.get("mode")
    plain = parse_variant(rule if mode is None else f"{rule}:mode={mode}")
    return settled(base, candidate) == settled(base, plain)


def settled(base: px.Experiment, variant: Variant) -> dict[str, Any]:
    """What a run with such settings would do; credit that follows from the task is to-go where it is auto."""
    e = resolve(typed_of_variant(base, variant, {}))
    options = dict(e.rule_options)
    if options.get("credit") == "auto":
        options |= {"credit": "to-go" if base.task in AT_THE_END else "same-step", "window": 20}
    names = ("rule", "mode", "every", "lr", "decorrelate", "steps")
    return {**{name: getattr(e, name) for name in names}, **options}


if __name__ == "__main__":
    main()
