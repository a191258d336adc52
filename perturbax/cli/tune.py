"""The command `tune`: a search for learning rates, decorrelation rates and a discount by short runs."""

import argparse
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perturbax.cli.arguments import (
    ClassSettings,
    Parser,
    add_experiment,
    experiment_fields,
    numbers,
)
from perturbax.errors import PerturbaxError
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import coerce

HELP = "search learning rates and a discount, judged on validation data"

RATES = (0.1, 0.3, 1.0, 3.0, 10.0)  # candidates, times the learning rate that is shipped or named
DISCOUNTS = (0.9, 0.95, 1.0)  # candidates beside the discount that is shipped
SHARE = 10  # short runs take one in so many steps of a whole run


def add_arguments(parser: Parser) -> None:
    """Declare the candidates, --seeds, --steps, --out, and the experiment."""
    parser.add_argument(
        "--lrs", metavar="RATE,RATE,...", help="learning rates to try (default: five around --lr)"
    )
    parser.add_argument(
        "--decor-lrs",
        metavar="RATE,RATE,...",
        help="rates of the decorrelating matrices to try, with each of the learning rates (default: "
        "--decor-lr alone)",
    )
    parser.add_argument(
        "--discounts",
        metavar="D,D,...",
        help="discounts to try (default: 0.9, 0.95, 1 and the one shipped, where the rule's credit has one "
        "and --rule.discount does not name it)",
    )
    parser.add_argument(
        "--seeds", metavar="N", default="1", help="seeds of each candidate, from --seed (default: 1)"
    )
    parser.add_argument(
        "--steps",
        metavar="N",
        default=argparse.SUPPRESS,
        help="training steps of the short runs (default: a tenth of a whole run, which --passes sets)",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", required=True, help="folder for tune.json and the best config.json"
    )
    add_experiment(parser, ["steps"])


def execute(args: argparse.Namespace, settings: ClassSettings) -> int:
    """Search, print what was found, write tune.json and, with the best settings, config.json."""
    from perturbax.cli.progress import progress
    from perturbax.experiment import own_code, run_folder
    from perturbax.experiment.build import build
    from perturbax.experiment.search import discounted, tune
    from perturbax.experiment.variants import experiment_from
    from perturbax.fields import positive

    out, given = Path(args.out), experiment_fields(args)
    run_folder.refuse_occupied(out)
    count = coerce("seeds", args.seeds, int)
    positive("seeds", count)
    steps = given.pop("steps", None)
    whole = build(experiment_from(Experiment(), given, settings))
    e = whole.experiment
    seeds = range(e.seed, e.seed + count)
    length = max(1, e.steps // SHARE) if steps is None else coerce("steps", steps, int)

    lrs = [float(f"{e.lr * factor:.3g}") for factor in RATES]
    if args.lrs is not None:
        lrs = numbers("lrs", args.lrs, float)
    decor_lrs: Sequence[float | None] = (None,)
    if args.decor_lrs is not None:
        decor_lrs = numbers("decor_lrs", args.decor_lrs, float)
    discounts: Sequence[float | None] = (None,)
    if args.discounts is not None:
        discounts = numbers("discounts", args.discounts, float)
    elif discounted(e) and "discount" not in settings["rule"]:
        discounts = sorted({*DISCOUNTS, e.rule_options["discount"]})

    with progress(e.rule) as bar:
        short = dataclasses.replace(e, steps=length)
        parts, trials = tune(short, lrs, discounts, seeds, decor_lrs=decor_lrs, report=bar)
    candidates = [{**trial._asdict(), "loss": trial.loss} for trial in trials]
    best = candidates[0] if math.isfinite(candidates[0]["loss"]) else None
    _print_candidates(candidates, best, count)
    _write(out, whole, parts, list(seeds), candidates, best)
    if best is None:
        raise PerturbaxError("every candidate diverged: name lower --lrs")
    _warn_at_edge("lr", best["lr"], lrs)
    _warn_at_edge("decor_lr", best["decor_lr"], decor_lrs)
    print(f"tuned on {length} steps; train the best on {e.steps}: ", end="")
    trust = " --trust" if own_code.names_of(vars(e)) else ""
    print(f"perturbax run --config {out}/config.json --out RUN{trust}")
    return 0


def _print_candidates(candidates: list[dict[str, Any]], best: dict[str, Any] | None, seeds: int) -> None:
    """Print the candidates, the best first and in bold."""
    from rich.table import Table
    from rich.text import Text

    from perturbax.cli.output import console

    own_rates = any(candidate["decor_lr"] for candidate in candidates)
    loss_head = f"validation loss (mean of {seeds} seeds)" if seeds > 1 else "validation loss"
    table = Table("lr", *["decor_lr"] * own_rates, "discount", loss_head, "")
    for candidate in candidates:
        diverged_at = next((step for step in candidate["diverged_at"] if step), None)
        discount = candidate["discount"]
        row = [f"{candidate['lr']:g}"]
        if candidate["decor_lr"] is not None:
            row.append(f"{candidate['decor_lr']:g}")
        row.append("-" if discount is None else f"{discount:g}")
        row.append(f"{candidate['loss']:.4g}" if diverged_at is None else f"diverged at step {diverged_at}")
        row.append("best" if candidate is best else "")
        table.add_row(*(Text(cell, style="bold" if candidate is best else "") for cell in row))
    console(120).print(table)


def _warn_at_edge(name: str, found: float | None, tried: Sequence[float | None]) -> None:
    """Say so if the best rate is the smallest or largest of those tried."""
    rates = [rate for rate in tried if rate is not None]
    if len(rates) > 1 and found in (min(rates), max(rates)):
        print(f"the best {name} is at the edge of the list ({found:g}): the best of all may lie beyond")


def _write(
    out: Path,
    whole: Any,
    parts: Any,
    seeds: list[int],
    candidates: list[dict[str, Any]],
    best: dict[str, Any] | None,
) -> None:
    """Write the folder. Its config.json lacks the facts of a run, so that `run --resume` refuses it.

    Arguments:
        out: the folder.
        whole: parts of the whole run that the best settings are for.
        parts: parts of the short runs.
        seeds: those of every candidate.
        candidates: what was tried, the best first.
        best: one of them, or None where all diverged.
    """
    from perturbax.experiment import own_code, run_folder
    from perturbax.experiment.atomic import writing
    from perturbax.experiment.result import describe

    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    found = {
        **describe(parts),
        "facts": {"auto": whole.auto, "data": parts.task.digest()},
        "seeds": seeds,
        "judged_by": "lowest validation loss, mean over seeds",
        "candidates": candidates,
        "best": best and {name: best[name] for name in ("lr", "decor_lr", "discount", "loss")},
    }
    run_folder.write_json(out / "tune.json", found)
    if best is None:
        return
    e = whole.experiment
    options = dict(e.rule_options)
    if best["discount"] is not None:
        options["discount"] = best["discount"]
    decor_lr = best["decor_lr"] or e.decor_lr
    tuned = dataclasses.replace(e, lr=best["lr"], decor_lr=decor_lr, rule_options=options)
    config = describe(whole._replace(experiment=tuned))
    del config["facts"]
    run_folder.write_json(out / "config.json", config)
    own_code.write_sources(out, own_code.sources_of(config["experiment"]))
