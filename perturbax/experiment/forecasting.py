"""From rows of a series to forecasts by a trained network, in the targets' own units: the rows after the last
one, and errors over past origins. Shared by the command `predict` and by `Forecaster`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from perturbax.devices.opening import outputs_of
from perturbax.errors import ArgumentError, DataError
from perturbax.experiment import intervals
from perturbax.experiment.intervals import Intervals
from perturbax.experiment.precision import in_precision_of_network
from perturbax.network.network import Network
from perturbax.tasks.encoding import Encoding

FAR = 0.1  # of the range of training that an input may leave it by before it counts as far outside


class Model(NamedTuple):
    """A trained network and all that it takes to forecast with it.

    Attributes:
        net: the network.
        encoding: how rows become inputs, and outputs become forecasts.
        intervals: what validation data say about its errors; None for a run that has not kept it.
        ranges: smallest and largest value of each input in training, as the network reads it, `(2, n_in)`;
            None likewise.
        warmup: rows in front of the first forecast that training let the network's state settle in.
    """

    net: Network
    encoding: Encoding
    intervals: Intervals | None
    ranges: np.ndarray | None
    warmup: int


class History(NamedTuple):
    """Rows of one or several series, oldest first.

    Attributes:
        source: what errors call the data: the file.
        columns: by name, float64 `(N,)`, in own units: every input, and the targets as far as they are known.
            Those known ahead may be longer: they go on behind the last row.
        segments: name, first row and end (excluded) of each series.
        time: the `TimeAxis` of the rows; None where there are no dates.
    """

    source: str
    columns: dict[str, np.ndarray]
    segments: tuple[tuple[str, int, int], ...]
    time: Any = None


class Forecasts(NamedTuple):
    """Forecasts in own units, one entry for each row and target, M in all.

    Attributes:
        segment: which series, `(M,)`, as number of its segment.
        origin: row at which the forecast is made, `(M,)`, counted from the first row of the data.
        ahead: rows from there to the row that is forecast, `(M,)`.
        output: which output of the network, `(M,)`: targets slowest, horizons fastest.
        value: the forecast, `(M,)`.
    """

    segment: np.ndarray
    origin: np.ndarray
    ahead: np.ndarray
    output: np.ndarray
    value: np.ndarray


def model_of(
    net: Network, scaling: dict[str, np.ndarray], horizons: Sequence[int], warmup: int, source: Any
) -> Model:
    """Return the model of a run.

    Arguments:
        net: its network.
        scaling: what the run keeps beside the weights.
        horizons: rows from an input to its targets, for runs of version 0.1.0, which have not kept them.
        warmup: rows in front of a held-out part that warm the state up, likewise.
        source: what errors call the run.
    """
    encoding = Encoding.from_arrays(scaling, horizons)
    kept = {
        name.removeprefix("intervals."): array
        for name, array in scaling.items()
        if name.startswith("intervals.")
    }
    found = intervals.from_arrays(kept, source) if kept else None
    settled = int(scaling["warmup"]) if "warmup" in scaling else warmup
    return Model(net, encoding, found, scaling.get("ranges"), settled)


def answers(model: Model, history: History) -> np.ndarray:
    """Return the network's forecasts at every row, in own units, float64 `(N, n_out)`.

    The network starts anew at the first row of each series, and computes in its own precision. NaN at rows
    without enough history, and where a column that is known ahead has no value for a row that is forecast.
    Raises DataError for values too large to be scaled.

    Arguments:
        model: the trained network.
        history: the rows.
    """
    x = inputs_of(model, history)  # (N, n_in)
    lacking = np.any(np.isnan(x), axis=1)  # (N,)
    x = np.where(np.isnan(x), 0, x)  # the mean, so that the state stays usable
    longest = max(end - first for _, first, end in history.segments)
    side_by_side = np.zeros((longest, len(history.segments), x.shape[1]))  # (T, B, n_in), padded at the end
    for i, (_, first, end) in enumerate(history.segments):
        side_by_side[: end - first, i] = x[first:end]
    with in_precision_of_network(model.net):
        outputs = outputs_of(model.net, jnp.asarray(side_by_side))
    outputs = np.asarray(outputs, np.float64)  # (T, B, n_out)
    each = [outputs[: end - first, i] for i, (_, first, end) in enumerate(history.segments)]
    base = model.encoding.base_of(history.columns, history.time, history.segments)  # (N, n_out)
    return np.where(lacking[:, None], np.nan, model.encoding.in_units(np.concatenate(each), base))


def inputs_of(model: Model, history: History) -> np.ndarray:
    """Return what the network reads at every row, `(N, n_in)`.

    Arguments:
        model: the trained network.
        history: the rows.
    """
    return model.encoding.inputs_of(history.columns, history.time, history.segments, history.source)


def after_the_last(model: Model, history: History, y: np.ndarray) -> Forecasts:
    """Return forecasts of the rows after the last one of each series: for each target one per horizon.

    A network with a single horizon h forecasts each of the next h rows, from the row h before it.

    Arguments:
        model: the trained network.
        history: the rows up to the last one.
        y: what `answers` returned, `(N, n_out)`.

    Raises ArgumentError for a network whose target does not lie ahead, DataError for a series that is too
    short, and where columns that are known ahead end too early.
    """
    horizons, targets = model.encoding.horizons, model.encoding.targets
    if min(horizons) < 1:
        raise ArgumentError("this network recalls a past value: it forecasts no row after the last one")
    alone = len(horizons) == 1
    segments, origins, aheads, outputs = [], [], [], []
    for i, (name, first, end) in enumerate(history.segments):
        need = model.encoding.history + 1
        if end - first < need:
            raise DataError(
                f"{history.source}{f', series {name}' if name else ''}: {end - first} rows are too few: "
                f"the first forecast needs {need}"
            )
        for target in range(len(targets)):
            for k, horizon in enumerate(horizons):
                earliest = first + need - 1
                own = range(max(end - horizon, earliest), end) if alone else [end - 1]
                for origin in own:
                    segments.append(i)
                    origins.append(origin)
                    aheads.append(horizon)
                    outputs.append(target * len(horizons) + k)
    made = _made(y, segments, origins, aheads, outputs)
    if np.isnan(made.value).any():
        known = ", ".join(model.encoding.known)
        raise DataError(
            f"{history.source}: {known}, known ahead, must have values for the next {max(horizons)} rows: "
            f"add these rows to the data and leave {', '.join(targets)} empty there"
        )
    return made


def past_origins(model: Model, history: History, y: np.ndarray, count: int) -> Forecasts:
    """Return forecasts made at the last rows of each series whose truth is known at every horizon.

    Arguments:
        model: the trained network.
        history: the rows; the targets must be among the columns.
        y: what `answers` returned, `(N, n_out)`.
        count: number of origins in each series.

    Raises ArgumentError where a series has fewer.
    """
    horizons, targets = model.encoding.horizons, model.encoding.targets
    segments, origins, aheads, outputs = [], [], [], []
    for i, (name, first, end) in enumerate(history.segments):
        earliest = first + max(model.encoding.history, -min(horizons))
        last = end - max(*horizons, 0)
        if last - earliest < count:
            raise ArgumentError(
                f"backtest {count} is too many: {history.source}{f', series {name}' if name else ''} has "
                f"{max(last - earliest, 0)} rows whose forecasts can be judged"
            )
        own = np.arange(last - count, last)  # (count,)
        for output in range(len(targets) * len(horizons)):
            segments.append(np.full(count, i))
            origins.append(own)
            aheads.append(np.full(count, horizons[output % len(horizons)]))
            outputs.append(np.full(count, output))
    return _made(y, *(np.concatenate(numbers) for numbers in (segments, origins, aheads, outputs)))


def _made(y: np.ndarray, segments: Any, origins: Any, aheads: Any, outputs: Any) -> Forecasts:
    """Return the forecasts at some places of what `answers` returned, y `(N, n_out)`."""
    rows, which = np.array(origins, int), np.array(outputs, int)  # (M,)
    return Forecasts(np.array(segments, int), rows, np.array(aheads, int), which, y[rows, which])


def truths(model: Model, history: History, made: Forecasts) -> np.ndarray:
    """Return the values that were forecast, `(M,)`, of forecasts whose rows are in the data.

    Arguments:
        model: the trained network.
        history: the rows.
        made: the forecasts.
    """
    columns = [history.columns[name] for name in model.encoding.targets]
    which = made.output // len(model.encoding.horizons)  # (M,)
    return np.stack(columns)[which, made.origin + made.ahead]


def half_widths(model: Model, made: Forecasts, level: float) -> np.ndarray:
    """Return half the width of the interval of each forecast, own units `(M,)`; infinite where it is open.

    Arguments:
        model: the trained network.
        made: the forecasts.
        level: per cent of the truths that intervals are to hold, such as 80.

    Raises ArgumentError for a network that has kept no validation residuals.
    """
    if model.intervals is None:
        raise ArgumentError(
            "this run has kept no validation residuals, which intervals need (version 0.1.0 kept none): "
            "train it anew"
        )
    return model.intervals.half_widths(level)[made.output]


def remarks(model: Model, history: History) -> list[str]:
    """Return what a reader of forecasts must know, a sentence each: rows needed, inputs far outside.

    Arguments:
        model: the trained network.
        history: the rows.
    """
    return [rows_needed(model, history), *distant_inputs(model, history)]


def rows_needed(model: Model, history: History) -> str:
    """Return a sentence: how many rows of history there are and are needed, and whether it starts cold.

    Arguments:
        model: the trained network.
        history: the rows.
    """
    least = model.encoding.history + 1
    settled = least + model.warmup
    lengths = [end - first for _, first, end in history.segments]
    rows = min(lengths)
    whose = f" in series {history.segments[lengths.index(rows)][0]}" if len(lengths) > 1 else ""
    if rows >= settled:
        return f"{rows} rows of history{whose}: enough, forecasts need {settled}"
    return (
        f"cold start: {rows} rows of history{whose}, but on test data the network had {settled}: forecasts "
        f"need at least {least}, and are better with more"
    )


def distant_inputs(model: Model, history: History) -> list[str]:
    """Return a sentence for each input that leaves the range of training by more than a tenth of it.

    Arguments:
        model: the trained network.
        history: the rows.
    """
    if model.ranges is None:
        return []
    x = inputs_of(model, history)  # (N, n_in)
    encoding = model.encoding
    known = [f"{name}, known {horizon} ahead," for name in encoding.known for horizon in encoding.horizons]
    names = [*encoding.inputs, *known]  # features of the calendar are never far outside
    change = "the change of " if encoding.reading == "differences" else ""
    found = []
    for i, name in enumerate(names):
        low, high = model.ranges[:, i]
        margin = FAR * (high - low)
        outside = (x[:, i] < low - margin) | (x[:, i] > high + margin)  # (N,)
        if outside.any():
            row = int(np.nanargmax(np.abs(x[:, i] - (low + high) / 2)))
            low, high, value = np.array([low, high, x[row, i]]) * encoding.stds[i] + encoding.means[i]
            share = "less than 1%" if outside.mean() < 0.01 else f"{outside.mean():.0%}"
            found.append(
                f"input {change if i < len(encoding.inputs) else ''}{name} lies far outside the range of "
                f"training ({low:.6g} to {high:.6g}) in {share} of the rows, such as "
                f"{value:.6g}: forecasts from there are extrapolations"
            )
    return found
