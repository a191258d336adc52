"""The command `tune`: a search for learning rates, decorrelation rates and a discount, printed and written."""

import dataclasses
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perturbax.cli.commands import progress
from perturbax.errors import PerturbaxError
from perturbax.experiment import run_folder
from perturbax.experiment.atomic import writing
from perturbax.experiment.build import Parts, build
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import coerce
from perturbax.experiment.result import describe
from perturbax.experiment.search import Trial, discounted, tune
from perturbax.experiment.variants import experiment_from
from perturbax.fields import positive

RATES = (0.1, 0.3, 1.0, 3.0, 10.0)  # candidates, times the learning rate that is shipped or named
DISCOUNTS = (0.9, 0.95, 1.0)  # candidates beside the discount that is shipped
SHARE = 10  # short runs take one in so many steps of a whole run


def tune_command(
    given: dict[str, Any],
    settings: dict[str, dict[str, str]],
    lrs: str | None,
    decor_lrs: str | None,
    discounts: str | None,
    seeds: str,
    out: Path,
) -> int:
    """Search, print what was found, and write tune.json and, with the best settings, config.json."""
    run_folder.refuse_occupied(out)
    count = coerce("seeds", seeds, int)
    positive("seeds", count)
    given = dict(given)
    steps = given.pop("steps", None)
    whole = build(experiment_from(Experiment(), given, settings))
    e = whole.experiment
    short = dataclasses.replace(
        e, steps=max(1, (e.steps or 0) // SHARE) if steps is None else coerce("steps", steps, int)
    )
    rates = [float(f"{(e.lr or 0) * r:.3g}") for r in RATES] if lrs is None else _numbers("lrs", lrs)
    own: Sequence[float | None] = (None,) if decor_lrs is None else _numbers("decor_lrs", decor_lrs)
    chosen: Sequence[float | None] = (None,)
    if discounts is not None:
        chosen = _numbers("discounts", discounts)
    elif discounted(e) and "discount" not in settings["rule"]:
        chosen = sorted({*DISCOUNTS, e.rule_options["discount"]})
    with progress(e.rule) as bar:
        parts, trials = tune(short, rates, chosen, range(e.seed, e.seed + count), decor_lrs=own, report=bar)
    best = trials[0] if math.isfinite(trials[0].loss) else None
    _print(trials, count, best)
    _write(out, whole, parts, trials, best, list(range(e.seed, e.seed + count)))
    if best is None:
        raise PerturbaxError("every candidate diverged: name lower --lrs")
    for name, found, tried in (("lr", best.lr, rates), ("decor_lr", best.decor_lr, own)):
        if len(tried) > 1 and found in (min(tried), max(tried)):
            print(f"the best {name} is at the edge of the list ({found:g}): the best of all may lie beyond")
    print(
        f"tuned on {short.steps} steps; train the best on {e.steps}: perturbax run --config {out}/config.json --out RUN"
    )
    return 0


def _numbers(name: str, text: str) -> list[float]:
    return [coerce(name, piece.strip(), float) for piece in text.split(",") if piece.strip()]


def _print(trials: Sequence[Trial], seeds: int, best: Trial | None) -> None:
    """Print the candidates, the best first."""
    own = any(trial.decor_lr for trial in trials)
    loss = f"validation loss{f' (mean of {seeds} seeds)' * (seeds > 1)}"
    table = Table("lr", *["decor_lr"] * own, "discount", loss, "")
    for trial in trials:
        first = next((at for at in trial.diverged_at if at), None)
        loss = f"{trial.loss:.4g}" if first is None else f"diverged at step {first}"
        discount = "-" if trial.discount is None else f"{trial.discount:g}"
        rates = [f"{rate:g}" for rate in (trial.lr, trial.decor_lr) if rate is not None]
        row = (*rates, discount, loss, "best" if trial is best else "")
        table.add_row(*(Text(cell, style="bold" if trial is best else "") for cell in row))
    Console(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)


def _write(
    out: Path, whole: Parts, parts: Parts, trials: Sequence[Trial], best: Trial | None, seeds: list
) -> None:
    """Write the folder; its config.json has no facts of a run, so that none can be resumed there."""
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    described = describe(parts)
    found = {
        **described,
        "facts": {"auto": whole.auto, "data": parts.task.digest()},
        "seeds": seeds,
        "judged_by": "lowest validation loss, mean over seeds",
        "candidates": [{**t._asdict(), "loss": t.loss} for t in trials],
        "best": best
        and {"lr": best.lr, "decor_lr": best.decor_lr, "discount": best.discount, "loss": best.loss},
    }
    run_folder.write_json(out / "tune.json", found)
    if best:
        options = whole.experiment.rule_options | (
            {} if best.discount is None else {"discount": best.discount}
        )
        e = dataclasses.replace(
            whole.experiment,
            lr=best.lr,
            decor_lr=best.decor_lr or whole.experiment.decor_lr,
            rule_options=options,
        )
        config = describe(whole._replace(experiment=e))
        del config["facts"]
        run_folder.write_json(out / "config.json", config)
