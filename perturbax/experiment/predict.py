"""Forecasts of a trained network for a file: the rows after its last one, with dates and intervals; or one
forecast per row; or how good forecasts from its last rows would have been. All in the data's own units.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perturbax.devices.checked import Checked
from perturbax.devices.opening import check_has_weights_of, opened
from perturbax.errors import ArgumentError, DataError, unknown
from perturbax.experiment import classes, forecasting, measures, own_code
from perturbax.experiment.classes import OpenedClasses
from perturbax.experiment.forecasting import Forecasts, History, Model
from perturbax.experiment.intervals import coverage, levels
from perturbax.experiment.layout import layout_of
from perturbax.experiment.options import find
from perturbax.experiment.precision import in_precision_of
from perturbax.experiment.resolve import KNOWN
from perturbax.experiment.result import Result, load, read_config, read_experiment
from perturbax.experiment.row_times import row_times
from perturbax.experiment.run_folder import as_path, read_json, read_metrics, read_result
from perturbax.experiment.shown import aligned, html_table
from perturbax.tasks.files.arrange import Asked, arranged
from perturbax.tasks.files.csv_table import Table, read_table

Columns = list[tuple[str, Sequence[Any]]]  # of a table: name and values of each
DIGITS = 6  # most significant digits of a forecast
LINES_SHOWN = 20  # of a table, where Python prints it
NUMBERS = ("mse", "rmse", "mae", "smape", "mase", "persistence_mae", "accuracy", "probability")
LEAST_DIGITS = 3  # of the largest forecast, even where the data have fewer


@dataclasses.dataclass(frozen=True, repr=False)
class ForecastTable:
    """Forecasts of a file.

    Attributes:
        columns: the columns by name, as `perturbax predict` writes them; forecasts, bounds of intervals and
            measures as numbers.
        said: what the reader must know, one sentence each.
        measures: of a backtest, the columns of its errors; empty else.
    """

    columns: dict[str, list[Any]]
    said: tuple[str, ...] = ()
    measures: dict[str, list[Any]] = dataclasses.field(default_factory=dict)

    def __getitem__(self, name: str) -> list[Any]:
        """Return a column. Raises ArgumentError, with the nearest name, for one that there is not."""
        if name not in self.columns:
            raise unknown("column", name, self.columns)
        return self.columns[name]

    def __len__(self) -> int:
        """Return the number of forecasts."""
        return len(next(iter(self.columns.values())))

    def __repr__(self) -> str:
        """Return the first lines of the table, and what must be known."""
        return "\n".join([*(f"note: {line}" for line in self.said), aligned(*self._table())])

    def _repr_html_(self) -> str:
        """Return the first lines of the table as HTML, below what must be known."""
        return html_table(self.said, *self._table())

    def _table(self) -> tuple[list[str], list[list[Any]]]:
        """Return the heads and the first rows: the errors of a backtest, else forecasts."""
        columns = self.measures or self.columns
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        more = [["..."] * len(columns)] if len(rows) > LINES_SHOWN else []
        return list(columns), rows[:LINES_SHOWN] + more


def predict(
    run: Path | str | Result,
    data: Path | str,
    *,
    interval: float | Sequence[float] = (),
    every: bool = False,
    backtest: int = 0,
    trust: bool = False,
    device: Any = None,
) -> ForecastTable:
    """Forecast what comes after the last row of a file, by a trained network, in the data's own units.

        px.predict("runs/load", "load.csv", interval=[80, 95])["forecast"]

    Arguments:
        run: folder of a run on a series or of `px.compare`, of which the run with the lowest validation loss
            is taken; or a result that has a folder.
        data: CSV file with the input columns of the run.
        interval: per cent of values that intervals shall hold, such as 80, or several.
        every: one forecast per row of the file instead.
        backtest: forecast from so many last rows whose truth is in the file instead, and measure the errors.
        trust: as for `px.load`.
        device: the device that the network lives on, named again: a command or address, or an object; None
            for that of a result, or what a trusted folder names.

    Raises ArgumentError for arguments and runs that cannot be used, DataError for such data, DeviceError for
    a device that fails.
    """
    if every and (backtest or interval):
        raise ArgumentError("every is one forecast per row: it takes neither backtest nor interval")
    if not isinstance(backtest, int) or isinstance(backtest, bool) or backtest < 0:
        raise ArgumentError(f"backtest must be a number of rows, not {backtest!r}")
    folder = run.folder if isinstance(run, Result) else as_path("run", run)
    if folder is None:
        raise ArgumentError("a run without a folder cannot be predicted from: px.run(..., out=FOLDER)")
    if isinstance(run, Result) and device is None:
        device = run.experiment.device
    shares = [interval] if isinstance(interval, int | float) else interval
    asked = levels(",".join(map(str, shares))) if shares else ()
    opened = open_for_forecasts(folder, as_path("data", data), trust=trust, device=device)
    found: Columns = []
    if backtest:
        found, columns = _backtest(opened, backtest, asked)
    else:
        columns = every_row(opened) if every else future(opened, asked)
    numeric = isinstance(opened, Opened)
    said = (*opened.said, *held_on_test(opened, asked))
    return ForecastTable(_as_numbers(columns, numeric), said, _as_numbers(found, numeric))


def _as_numbers(columns: Columns, numeric: bool) -> dict[str, list[Any]]:
    """Return the columns of a table, those of numbers as such; numeric: whether forecasts are numbers."""
    made = {}
    for name, values in columns:
        plain = name in NUMBERS or name.startswith(("low_", "high_", "coverage_"))
        forecast = name in ("forecast", "truth") or "_forecast" in name
        is_number = plain or (numeric and forecast)
        made[name] = [float(value) if is_number and value != "" else value for value in values]
    return made


class Opened(NamedTuple):
    """A trained network and a file that it forecasts.

    Attributes:
        folder: the run folder.
        model: the trained network.
        table: the file as text.
        history: its columns as numbers.
        said: what the reader must know, one sentence each.
        measured: what the run measured of its intervals on test data, by level.
    """

    folder: Path
    model: Model
    table: Table
    history: History
    said: tuple[str, ...]
    measured: dict[str, Any]


def open_for_forecasts(
    folder: Path, data: Path, *, trust: bool = False, device: Any = None
) -> Opened | OpenedClasses:
    """Return the network of a run, which forecasts numbers or classes, and the columns of a file it reads.

    Arguments:
        folder: run folder of a network trained on a series, or a folder of `compare`, of which the run with
            the lowest validation loss is taken.
        data: CSV file with the input columns of the run.
        trust: whether a task or cell of somebody's own, which the folder names, may run its code; which code
            that is is said on standard error first.
        device: the device of the run, named again; None for what a trusted folder names.

    Raises ArgumentError for a run on another kind of task or whose code is not trusted, DataError for a file
    that cannot be used.
    """
    chosen, said = best_run(folder)
    config = read_config(chosen)
    with own_code.code_of(chosen, config, trust, kinds=("task", "cell")):
        on = _open_device(chosen, config, device, _lines_in(data))
        return _opened(chosen, config, data, said, on)


def _open_device(chosen: Path, config: dict[str, Any], given: Any, steps: int) -> Checked | None:
    """Start the device of a run that has one: that given, else what the folder names if somebody vouches.

    `steps`: the most that it will have to run. -> the device; None for a run in process.
    """
    own = read_experiment(chosen).device
    if own is None and given is not None:
        raise ArgumentError(f"{chosen} was trained in process: it takes no device")
    if own is None:
        return None
    inputs, outputs = config["facts"]["sizes"]
    return opened(own if given is None else given, inputs, outputs, steps)


def _lines_in(data: Path) -> int:
    """Return how many lines a file has, at least 1; what is wrong with it is said where it is read."""
    try:
        with data.open("rb") as file:
            return max(1, sum(1 for _ in file))
    except OSError:
        return 1


def _opened(
    chosen: Path, config: dict[str, Any], data: Path, said: tuple[str, ...], on: Checked | None
) -> Opened | OpenedClasses:
    """Return the network of a run, whose code may be imported, and the columns of a file it reads.

    on: the device that it runs on; None in process.
    """
    with in_precision_of(chosen, layout_of(chosen / "config.json", config)):
        result = load(chosen)
    if on is not None:
        check_has_weights_of(on, result.net)
    if not result.scaling:
        acts = "return" in result.summary.get("test", {})
        hint = f"; let it act by px.load({str(chosen)!r}).play()" if acts else ""
        raise ArgumentError(f"{chosen} was trained on {result.experiment.task}: predict is for series{hint}")
    settings: Any = result.experiment.task_options
    if classes.answers_with_classes(result):
        gaps = settings.get("gaps", "refuse")
        named = (*result.scaling["inputs"].tolist(), str(result.scaling["target"]))
        table = _in_order(read_table(Path(data)), settings, named)
        return classes.open_for_classes(chosen, result, table, gaps, said)
    task: Any = find("task", result.experiment.task, KNOWN["task"])(**settings)
    model = forecasting.model_of(result.net, result.scaling, task.shifts, task.warmup, chosen / "weights")
    named = (*model.encoding.columns, *model.encoding.targets)
    table = _in_order(read_table(Path(data)), settings, named)
    history = history_of(table, model, settings.get("gaps", "refuse"))
    said = (*said, *forecasting.remarks(model, history))
    return Opened(chosen, model, table, history, said, result.summary.get("intervals", {}))


def best_run(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Return a run folder and what there is to say about its choice.

    Arguments:
        folder: a run folder; or a folder of run folders, of which the one with the lowest validation loss is
            taken.

    Raises ArgumentError for a folder that holds neither, or runs on different tasks.
    """
    if (folder / "config.json").is_file() or not folder.is_dir():
        return folder, ()
    losses: dict[Path, float] = {}
    tasks: dict[str, Path] = {}
    for inside in sorted(folder.iterdir()):
        if (inside / "config.json").is_file() and (inside / "weights").is_file():
            found = [line.get("valid_loss") for line in read_metrics(inside)]
            if (inside / "result.json").is_file():  # the network before the first step may be the best
                layout = layout_of(inside / "config.json", read_json(inside / "config.json"))
                found.append(read_result(inside, layout).get("valid_loss"))
            losses[inside] = min((loss for loss in found if loss is not None), default=math.inf)
            experiment = read_experiment(inside)
            tasks.setdefault(f"{experiment.task} {sorted(experiment.task_options.items())}", inside)
    if not losses:
        raise ArgumentError(f"{folder} is no run folder and holds no finished run")
    if len(tasks) > 1:
        one, two, *_ = tasks.values()
        raise ArgumentError(f"{folder} holds runs on different tasks, such as {one} and {two}: name one run")
    best = min(losses, key=lambda run: losses[run])
    return best, (f"of {len(losses)} runs {best} has the lowest validation loss, {losses[best]:.4g}",)


def history_of(table: Table, model: Model, gaps: str) -> History:
    """Return the columns of a file that a network reads, and its targets as far as the file has them.

    Arguments:
        table: the rows of the new file.
        model: the trained network.
        gaps: what is done about missing rows: refuse or hold.

    Raises DataError where the file lacks an input column, or holds something else than numbers there.
    """
    encoding = model.encoding
    for name in encoding.columns:
        if name not in table.cells:
            raise DataError(f"{table.source} has no column {name!r}, which the model reads")
    columns: dict[str, np.ndarray] = {}
    if encoding.known:
        present = table.until_last_filled([name for name in encoding.targets if name in table.cells])
        goes_on = table if len(table.segments) == 1 else present  # what is known may go on behind one series
        columns = {name: goes_on.numbers(name, gaps) for name in encoding.known}
        table = present
    for name in encoding.columns:
        if name not in columns:
            columns[name] = table.numbers(name, gaps)
    for name in encoding.targets:
        if name in table.cells and name not in columns:
            try:
                columns[name] = table.numbers(name, gaps)
            except DataError:
                continue  # nice to have: the network does not read it
    return History(table.source, columns, table.segments, table.time)


def _in_order(table: Table, settings: dict[str, Any], named: Sequence[str]) -> Table:
    """Return the rows of a file in order of time, by the settings of the run; named: the columns it reads."""
    read = {key: settings[key] for key in ("time", "series", "dates", "gaps") if key in settings}
    return arranged(table, Asked(named, **read))


def future(opened: Opened | OpenedClasses, levels: Sequence[float] = ()) -> Columns:
    """Return forecasts of the rows after the last one, as columns of text: a line per horizon and target.

    Columns: when (the file's time column, else `row`); `horizon`, rows from the last known one; `target`,
    its name; `forecast`; `low_80` and `high_80`, and so on, for each level; `made_at`, the row that the
    forecast was made at.

    Arguments:
        opened: the network and the file.
        levels: of intervals, in per cent.
    """
    if isinstance(opened, OpenedClasses):
        classes.refuse_intervals(levels)
        return classes.future(opened)
    model, history = opened.model, opened.history
    made = forecasting.after_the_last(model, history, forecasting.answers(model, history))
    return _long_table(opened, made, levels)


def held_on_test(opened: Opened | OpenedClasses, levels: Sequence[float]) -> list[str]:
    """Return a sentence for each level of intervals whose coverage the run has measured on its test data.

    Arguments:
        opened: the run.
        levels: of the intervals, such as 80.
    """
    if isinstance(opened, OpenedClasses):
        return []
    shares = {level: opened.measured.get(f"{level:g}", {}).get("coverage") for level in levels}
    return [
        f"intervals of {level:g} % held {100 * share:.1f} % of the test values of the run"
        for level, share in shares.items()
        if share is not None
    ]


def every_row(opened: Opened | OpenedClasses) -> Columns:
    """Return one forecast per row and output, as columns.

    Columns: `row` of the data (from 1), the first text column (such as a date) if there is one, the present
    value of each target that the file has, the row that is forecast, and the forecast in the target's units.
    """
    if isinstance(opened, OpenedClasses):
        return classes.every_row(opened)
    model, table, encoding = opened.model, opened.table, opened.model.encoding
    y = forecasting.answers(model, opened.history)  # (N, n_out)
    rows = range(1, len(y) + 1)
    columns: Columns = [("row", rows)]
    text = _text_column(opened)
    if text is not None:
        columns.append((text, table.cells[text]))
    for target in encoding.targets:
        if target in opened.history.columns:
            columns.append((target, opened.history.columns[target].tolist()))
    if len(encoding.horizons) == 1:
        columns.append(("forecast_row", [row + encoding.horizons[0] for row in rows]))
    for i, (target, horizon) in enumerate(encoding.outputs):
        name = f"{target}_forecast" if len(encoding.horizons) == 1 else f"{target}_forecast_{horizon}"
        columns.append((name, [f"{value:.7g}" for value in y[:, i].tolist()]))
    return columns


def backtest(
    opened: Opened | OpenedClasses, count: int, levels: Sequence[float] = ()
) -> tuple[Columns, Columns]:
    """Return how good forecasts made at the last rows of the file would have been.

    Arguments:
        opened: the network and the file, which must have the targets.
        count: number of origins, rows at which a forecast is made, in each series.
        levels: of intervals, in per cent.

    Returns (measures, forecasts): a line per target and horizon with `mse`, `rmse`, `mae`, `smape`, `mase`
    (the mean absolute error over that of the seasonal naive forecast before the first origin),
    `persistence_mae` (that of the present value as forecast), and `coverage_80` and so on in per cent; and a
    line per forecast, as `future` has it, with the truth.
    """
    if isinstance(opened, OpenedClasses):
        classes.refuse_intervals(levels)
        return classes.backtest(opened, count)
    model, history = opened.model, opened.history
    for target in model.encoding.targets:
        if target not in history.columns:
            raise DataError(
                f"{history.source} has no usable column {target!r}, which a backtest compares with"
            )
    made = forecasting.past_origins(model, history, forecasting.answers(model, history), count)
    truth = forecasting.truths(model, history, made)  # (M,)
    table: dict[str, list[Any]] = {}
    for i, (target, horizon) in enumerate(model.encoding.outputs):
        of_output = made.output == i  # (M,)
        line = {"target": target, "horizon": horizon, "origins": int(of_output.sum())}
        line |= _measured(opened, target, made, truth, of_output)
        for level in levels:
            width = forecasting.half_widths(model, made, level)[of_output][:1]  # (1,)
            residuals = (made.value - truth)[of_output][:, None]  # (n, 1)
            line[f"coverage_{level:g}"] = f"{100 * coverage(width, residuals)[0]:.1f}"
        for name, value in line.items():
            table.setdefault(name, []).append(value)
    forecasts = _long_table(opened, made, levels)
    forecasts.insert(-1, ("truth", _texts(truth, _decimals(opened, truth))))
    return list(table.items()), forecasts


def _measured(
    opened: Opened, target: str, made: Forecasts, truth: np.ndarray, which: np.ndarray
) -> dict[str, str]:
    """Return the measures of one output as text; which: the forecasts of that output, `(M,)`."""
    values = opened.history.columns[target]
    before = [
        values[first : made.origin[which & (made.segment == i)].min() + 1]
        for i, (_, first, _) in enumerate(opened.history.segments)
    ]
    naive = measures.naive_error(before, opened.model.encoding.season)
    now = values[made.origin[which]]  # (n,)
    found = measures.of_forecasts(truth[which], made.value[which], naive)
    found["persistence_mae"] = measures.of_forecasts(truth[which], now, naive)["mae"]
    return {name: f"{value:.4g}" for name, value in found.items()}


def _long_table(opened: Opened, made: Forecasts, levels: Sequence[float]) -> Columns:
    """Return forecasts as columns of text, a line each."""
    model, history = opened.model, opened.history
    outputs = model.encoding.outputs
    decimals = _decimals(opened, made.value)
    columns: Columns = []
    if len(history.segments) > 1:
        columns.append(("series", [history.segments[i][0] for i in made.segment]))
    name, forecast_rows, origins = row_times(
        history.segments, history.time, made.segment, made.origin, made.ahead
    )
    columns.append((name, forecast_rows))
    columns.append(("horizon", made.ahead.tolist()))
    columns.append(("target", [outputs[i][0] for i in made.output]))
    columns.append(("forecast", _texts(made.value, decimals)))
    for level in levels:
        width = forecasting.half_widths(model, made, level)  # (M,)
        columns.append((f"low_{level:g}", _texts(made.value - width, decimals)))
        columns.append((f"high_{level:g}", _texts(made.value + width, decimals)))
    columns.append(("made_at", origins))
    return columns


def _text_column(opened: Opened) -> str | None:
    """Return the name of the first column of a file that is neither numbers nor read, such as a date."""
    table = opened.table
    inputs = opened.model.encoding.inputs
    return next((name for name in table.cells if name not in inputs and not table.numeric(name)), None)


def _decimals(opened: Opened, values: np.ndarray) -> int:
    """Return digits after the point for forecasts: those of the data, within 3 to 6 significant digits.

    Below 0 where whole numbers have more digits than that.
    """
    cells = [cell for name in opened.model.encoding.targets for cell in opened.table.cells.get(name, ())]
    most = max((len(cell.strip().partition(".")[2]) for cell in cells), default=DIGITS)
    largest = float(np.max(np.abs(values), initial=0.0))
    magnitude = math.floor(math.log10(largest)) if largest > 0 else 0
    return min(max(most, LEAST_DIGITS - 1 - magnitude), DIGITS - 1 - magnitude)


def _texts(values: np.ndarray, decimals: int) -> list[str]:
    """Return numbers with so many digits after the point; infinite ones as `inf` and `-inf`."""
    return [f"{value:.{max(decimals, 0)}f}" for value in np.round(values, decimals).tolist()]


_backtest = backtest  # `predict` has an argument of that name
