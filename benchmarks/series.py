"""Six public series: every rule of the default set and every form beside simple forecasts.

    python benchmarks/series.py --out runs/series --etth1 ETTh1.csv --page docs/forecasting.md
    python benchmarks/series.py --out runs/series --etth1 ETTh1.csv --rules bptt --forms auto,level --seeds 1
    python benchmarks/series.py --out runs/tune --tune --rules bptt,bptt:lr=3e-4     # on other series

Five of the six are files of the packages statsmodels and vega_datasets (extra `bench`); nothing is
downloaded. ETTh1 is given as a path. Settings are those that `series` ships: they were chosen by
what `--tune` prints, on the series of OTHERS (docs/tuning.md).

What is finished is kept in OUT, one small JSON file for each series, form and rule, and shown beside what is
asked for. `--page` names the page whose tables are replaced.
"""

import argparse
import csv
import dataclasses
import importlib.util
import json
import math
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from family import with_section
from harness import geometric_mean, machine, table
from learning import remembered

import perturbax as px
from perturbax.atomic import write
from perturbax.errors import ArgumentError
from perturbax.experiment.build import build
from perturbax.experiment.run import run_seeds
from perturbax.experiment.variants import of_variant, parse_variant, slug

RULES = ("bptt", "mirror", "node", "frozen", "activity", "one-step", "feedback", "activity+decor")
FORMS = ("auto", "level", "difference", "seasonal", "seasonal-difference", "linear")
SIMPLE = ("mean", "persistence", "seasonal naive", "linear", "combined")
BARS = ("persistence", "seasonal naive", "linear")  # what no rule may end worse than
MARGIN = 1.1  # times the best of BARS
BEATEN = 0.999  # times the best of BARS: what differs by less than a tenth of a per cent is as good
LEVELS = ("80", "95")
LEAST_STD = 0.01  # of what a window is divided by, in standard deviations of the training rows
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
Rows = list[dict[str, Any]]


class Public(NamedTuple):
    """A public series: where it is from, and what is forecast.

    Attributes:
        package: the module whose folder holds the file; empty for a path that is given; perturbax for a
            series that one of its tasks makes.
        file: the file in that folder, or the task.
        target: the column that is forecast.
        horizon: how many rows ahead.
        words: what it is.
    """

    package: str
    file: str
    target: str
    horizon: int
    words: str


SIX = {
    "co2": Public("statsmodels", "datasets/co2/co2.csv", "co2", 13, "weekly CO2 at Mauna Loa, ppm"),
    "gdp": Public("statsmodels", "datasets/macrodata/macrodata.csv", "realgdp", 4, "quarterly US real GDP"),
    "sunspots": Public(
        "statsmodels", "datasets/sunspots/sunspots.csv", "SUNACTIVITY", 1, "yearly number of sunspots"
    ),
    "seattle-hourly": Public(
        "vega_datasets", "_data/seattle-temps.csv", "temp", 24, "hourly normal temperature in Seattle, F"
    ),
    "seattle-daily": Public(
        "vega_datasets",
        "_data/seattle-weather.csv",
        "temp_max",
        7,
        "highest temperature of the day in Seattle, C",
    ),
    "etth1": Public("", "", "OT", 24, "hourly oil temperature of a transformer, C (ETTh1)"),
}
OTHERS = {
    "elnino": Public(
        "statsmodels", "datasets/elnino/elnino.csv", "temperature", 12, "monthly sea surface temperature, C"
    ),
    "nile": Public("statsmodels", "datasets/nile/nile.csv", "volume", 1, "yearly flow of the Nile"),
    "turnover": Public(
        "statsmodels",
        "datasets/elec_equip/elec_equip.csv",
        "turnover",
        12,
        "monthly turnover, electrical equipment",
    ),
    "sf-hourly": Public(
        "vega_datasets", "_data/sf-temps.csv", "temp", 24, "hourly normal temperature in San Francisco, F"
    ),
    "employment": Public(
        "vega_datasets", "_data/us-employment.csv", "nonfarm", 3, "monthly US employment, thousands"
    ),
    "msft": Public("vega_datasets", "_data/stocks.csv", "price", 3, "monthly price of a share"),
    "mackey-glass": Public("perturbax", "mackey-glass", "x", 15, "the Mackey-Glass equation"),
    "lorenz": Public("perturbax", "lorenz", "x", 8, "the first variable of the Lorenz equations"),
}


def rows_of(name: str, public: Public) -> Rows:
    """Return the rows of a series as a user would have them, with one column of dates where it has any."""
    if public.package == "perturbax":
        values = px.TASKS[public.file](length=3000).open(None).record.columns[public.target]
        return [{public.target: f"{value:.6f}"} for value in values]
    spec = importlib.util.find_spec(public.package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{name} is a file of the package {public.package}: pip install '.[bench]'")
    folder = Path(spec.origin).parent
    with (folder / public.file).open(newline="") as opened:
        rows: Rows = list(csv.DictReader(opened))
    if name == "gdp":
        for row in rows:
            year, quarter = row.pop("year"), int(row.pop("quarter"))
            row["date"] = f"{year}-{3 * quarter - 2:02d}-01"
    elif name == "elnino":
        rows = [
            {"date": f"{row['YEAR']}-{month:02d}-01", "temperature": row[column]}
            for row in rows
            for month, column in enumerate(MONTHS, 1)
        ]
    elif name == "turnover":
        rows = [
            {"date": f"{year}-{MONTHS.index(month.upper()) + 1:02d}-01", "turnover": value}
            for (month, _, year), value in (
                (date.split("-"), value) for date, value in map(dict.values, rows)
            )
        ]
    elif name == "msft":
        rows = [
            {
                "date": f"{row['date'][-4:]}-{MONTHS.index(row['date'][:3].upper()) + 1:02d}-01",
                "price": row["price"],
            }
            for row in rows
            if row["symbol"] == "MSFT"
        ]
    return rows


def data_of(name: str, public: Public, folder: Path, etth1: str | None) -> Path:
    """Return the CSV file of a series, written from the installed package unless it is there."""
    if not public.package:
        if not etth1:
            raise SystemExit(
                "ETTh1 is in no package: name its file, --etth1 ETTh1.csv, or leave it out of --series"
            )
        return Path(etth1)
    path = folder / f"{name}.csv"
    if not path.exists():
        rows = rows_of(name, public)
        heads = sorted(rows[0], key=lambda head: head != "date")
        lines = [",".join(heads), *(",".join(row[head] for head in heads) for row in rows)]
        folder.mkdir(parents=True, exist_ok=True)
        write(path, ("\n".join(lines) + "\n").encode())
    return path


def scaled_per_window(task: Any) -> Any:
    """Return a task whose inputs are scaled by the rows of the last window, none of which lies ahead.

        u_t = (x_t - mean_w) / max(std_w, LEAST_STD),      w the rows from t - window + 1 to t

    It is what reversible instance normalisation does to the inputs of windows (Kim et al. 2022), for a
    network that runs along a stream.

    Arguments:
        task: a forecast, opened.
    """
    x = np.asarray(task.opened.x, np.float64)  # (N, n_in)
    scaled = np.empty_like(x)
    for _, first, end in task.record.segments:
        for row in range(first, end):
            window = x[max(first, row - task.steps + 1) : row + 1]  # (rows, n_in)
            scaled[row] = (x[row] - window.mean(0)) / np.maximum(window.std(0), LEAST_STD)
    rows = dataclasses.replace(task.opened, x=jnp.asarray(scaled, task.opened.x.dtype))
    return dataclasses.replace(task, rows=rows)


def trained(
    data: Path,
    public: Public,
    rule: str,
    form: str,
    seeds: Sequence[int],
    fields: dict[str, Any],
    scaling: str = "series",
) -> Rows:
    """Train one rule on one series over seeds, and return what the tables need of each."""
    options = {"target": public.target, "horizon": public.horizon, "form": form, "gaps": "hold"}
    base = px.Experiment(task="series", data=str(data), task_options=options, **fields)
    experiment = of_variant(base, parse_variant(rule), {})
    task = build(experiment).task
    task = scaled_per_window(task) if scaling == "window" else task
    valid = task.held_out("valid")
    truth = valid.ys[valid.warmup :]  # (T, B, n_out)
    untrained = float(task.metrics(0 * truth, truth)["mse"])
    found = []
    for result in run_seeds(experiment, seeds, task=task):
        s = result.summary
        kept = {
            key: s[key]
            for key in ("status", "best_step", "steps", "forward_passes", "seconds", "test", "baselines")
        }
        kept["coverage"] = {level: s["intervals"][level]["coverage"] for level in LEVELS}
        kept["gain"] = s.get("gain", {})
        kept["valid_mse"] = min(line["valid_mse"] for line in result.metrics) if result.metrics else math.inf
        kept["valid_base"] = untrained
        kept["form"] = task.encoding.form
        found.append(kept)
    return found


def middle(runs: Rows, *path: str) -> float:
    """Return the median over seeds of a number; infinite where most runs diverged."""
    values = []
    for run in runs:
        value: Any = run
        for key in path:
            value = value[key]
        finished = run["status"] == "finished" and value is not None
        values.append(float(value) if finished else math.inf)
    return statistics.median(values)


def bar_of(baselines: dict[str, Any]) -> tuple[str, float]:
    """Return the best of the simple forecasts that judge, and its mean squared error."""
    known = [name for name in BARS if name in baselines]
    best = min(known, key=lambda name: baselines[name]["mse"])
    return best, baselines[best]["mse"]


def table_of_series(name: str, public: Public, found: dict[str, dict[str, Rows]]) -> str:
    """Return the table of one series: a row for each simple forecast, then for each form and rule."""
    first = next(iter(next(iter(found.values())).values()))[0]
    baselines = first["baselines"]
    best, bar = bar_of(baselines)
    lines = []
    for simple in SIMPLE:
        if simple in baselines:
            line = baselines[simple]
            numbers = [
                f"{line['mse']:.4g}",
                f"{line['mse'] / bar:.3f}",
                f"{line['mase']:.3g}",
                f"{line['smape']:.3g}",
            ]
            lines.append(["", simple, *numbers, "", ""])
    for form, rules in found.items():
        for rule, runs in rules.items():
            mse = middle(runs, "test", "mse")
            numbers = [f"{mse:.4g}", f"{mse / bar:.3f}"]
            numbers += [f"{middle(runs, 'test', measure):.3g}" for measure in ("mase", "smape")]
            numbers += [f"{100 * middle(runs, 'coverage', level):.0f}" for level in LEVELS]
            said = form if form != "auto" else f"auto: {runs[0]['form']}"
            lines.append([said, f"`{rule}`", *numbers])
    heads = ["form", "forecast", "mse", f"over {best}", "MASE", "sMAPE %", "within 80 %", "within 95 %"]
    return f"### {name}: {public.words}, {public.horizon} rows ahead\n\n{table(heads, lines)}\n"


def judgement(found: dict[str, dict[str, dict[str, Rows]]]) -> str:
    """Return the mse of each rule, form auto, over that of the best simple forecast of each series."""
    of_auto = {name: forms["auto"] for name, forms in found.items() if "auto" in forms}
    if not of_auto:
        return ""
    rules = list(dict.fromkeys(rule for rules in of_auto.values() for rule in rules))
    bars = {name: bar_of(next(iter(rules.values()))[0]["baselines"]) for name, rules in of_auto.items()}
    lines, worse = [["best simple forecast", *(best for best, _ in bars.values()), "", ""]], []
    starts = {name: _start(next(iter(of_auto[name].values()))[0], bar) for name, (_, bar) in bars.items()}
    lines.append(["`combined`", *(_share(start) for start in starts.values()), *_counted(starts)])
    for rule in rules:
        shares = {}
        for name, runs in of_auto.items():
            if rule in runs:
                shares[name] = middle(runs[rule], "test", "mse") / bars[name][1]
        shown = [_share(shares[name]) if name in shares else "" for name in of_auto]
        lines.append([f"`{rule}`", *shown, *_counted(shares)])
        worse += [f"`{rule}` on {name}" for name, share in shares.items() if share > MARGIN]
    said = table(["rule", *of_auto, "beaten", "worst"], lines)
    if worse:
        return f"{said}\n\nWorse than the best simple forecast by more than 10 %: {', '.join(worse)}."
    return f"{said}\n\nNo rule ends worse than the best simple forecast by more than 10 %."


def _start(run: dict[str, Any], bar: float) -> float:
    """Return the error of the forecast that training starts from over that of the best simple forecast."""
    return run["baselines"]["combined"]["mse"] / bar


def _counted(shares: dict[str, float]) -> list[str]:
    """Return on how many series the best simple forecast is beaten, and the largest ratio to it."""
    beaten = sum(share < BEATEN for share in shares.values())
    return [f"{beaten} of {len(shares)}", f"{max(shares.values()):.3f}"]


def _share(share: float) -> str:
    """Return an error over that of the best simple forecast as text, bold where that is beaten."""
    return f"**{share:.3f}**" if share < BEATEN else f"{share:.3f}"


def coverages(found: dict[str, dict[str, dict[str, Rows]]]) -> str:
    """Return the coverage of intervals on test parts, form auto: medians over rules and seeds."""
    lines = []
    for name, forms in found.items():
        runs = [run for of_rule in forms.get("auto", {}).values() for run in of_rule]
        if runs:
            shown = [f"{100 * middle(runs, 'coverage', level):.1f}" for level in LEVELS]
            lines.append([name, *shown])
    return table(["series", "within intervals of 80 %", "within intervals of 95 %"], lines) if lines else ""


def tuning(found: dict[str, dict[str, dict[str, Rows]]]) -> str:
    """Return what settings are chosen by: one row for each form, rule and its settings.

    `validation`: the lowest validation error of training over that of the untrained network. `test`: the mean
    squared error of the kept network over that of the linear model; these series judge nothing else. Both are
    geometric means over series of the medians over seeds. Then validation and test series by series.
    """
    lines = []
    for form in dict.fromkeys(form for forms in found.values() for form in forms):
        for rule in dict.fromkeys(rule for forms in found.values() for rule in forms.get(form, {})):
            valid, test, shown = [], [], []
            for forms in found.values():
                runs = forms.get(form, {}).get(rule)
                if runs is None:
                    shown.append("refused")
                    continue
                valid.append(middle(runs, "valid_mse") / runs[0]["valid_base"])
                test.append(middle(runs, "test", "mse") / runs[0]["baselines"]["linear"]["mse"])
                shown.append(f"{valid[-1]:.3f}, {test[-1]:.3f}")
            lines.append([form, rule, f"{geometric_mean(valid):.3f}", f"{geometric_mean(test):.3f}", *shown])
    return table(["form", "rule and settings", "validation", "test", *found], lines)


def main() -> None:
    """Train what is missing, print the tables, and put them on a page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--etth1", help="ETTh1.csv")
    parser.add_argument("--tune", action="store_true", help="the other series, and validation errors alone")
    parser.add_argument("--series", help="names, comma separated; default: all")
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--forms", default="auto")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--passes", type=int, help="default: what series ships")
    parser.add_argument("--units", type=int, help="default: what series ships")
    parser.add_argument("--batch", type=int, help="default: what series ships")
    parser.add_argument(
        "--scaling",
        choices=("series", "window"),
        default="series",
        help="by what inputs are scaled: all training rows, or the rows of the last window",
    )
    parser.add_argument("--page", type=Path, help="a page whose marks `series`, `judgement`, ... are filled")
    args = parser.parse_args()
    publics = OTHERS if args.tune else SIX
    names = args.series.split(",") if args.series else list(publics)
    if unknown := set(names) - set(publics):
        parser.error(f"unknown series {', '.join(sorted(unknown))}")
    fields = {
        name: getattr(args, name) for name in ("passes", "units", "batch") if getattr(args, name) is not None
    }
    tag = "".join(f"-{name}{value}" for name, value in fields.items())
    tag += "" if args.scaling == "series" else f"-per-{args.scaling}"
    seeds = range(args.first_seed, args.first_seed + args.seeds)

    def kept_at(name: str, form: str, rule: str) -> Path:
        return args.out / name / f"{form}-{slug(rule)}{tag}-s{seeds[0]}-{seeds[-1]}.json"

    found: dict[str, dict[str, dict[str, Rows]]] = {}
    for rule in args.rules.split(
        ","
    ):  # the first rules on all series first: whatever stops this, they are there
        for name in names:
            data = data_of(name, publics[name], args.out / "data", args.etth1)
            for form in args.forms.split(","):
                path = kept_at(name, form, rule)
                program = partial(trained, data, publics[name], rule, form, seeds, fields, args.scaling)
                try:
                    runs = remembered(path, program)
                except ArgumentError as error:
                    print(f"{name} {form} {rule}: {error}", flush=True)
                    continue
                found.setdefault(name, {}).setdefault(form, {})[rule] = runs
                ratio = middle(runs, "valid_mse") / runs[0]["valid_base"]
                print(f"{name} {form} {rule}: {ratio:.3f} of the untrained validation error", flush=True)
    if args.tune:
        print(tuning(found))
        return
    for name in names:
        for form in FORMS:
            for rule in RULES:
                path = kept_at(name, form, rule)
                if path.exists():
                    found.setdefault(name, {}).setdefault(form, {})[rule] = json.loads(path.read_text())
    tables = {
        "judgement": judgement(found),
        "coverage": coverages(found),
        "series": "\n".join(table_of_series(name, publics[name], forms) for name, forms in found.items()),
    }
    print("\n\n".join(tables.values()))
    write(args.out / "series.json", json.dumps({"machine": machine(), "runs": found}, indent=1).encode())
    if args.page:
        page = args.page.read_text()
        for name, said in tables.items():
            page = with_section(page, name, said)
        write(args.page, page.encode())


if __name__ == "__main__":
    main()
