"""From rows to what a network reads, and from its outputs to forecasts: the same in training and in use."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from perturbax.errors import DataError
from perturbax.tasks import linear
from perturbax.tasks.calendar import calendar_features
from perturbax.tasks.forms import earlier, later, naive_forecast, reach, read_as

Columns = Mapping[str, np.ndarray]
Segments = Sequence[tuple[str, int, int]]
NO_COEFFICIENTS = np.zeros((0, 0))


class Member(NamedTuple):
    """One of the simple forecasts whose weighted mean is the base of form `combined`.

    Attributes:
        encoding: of a naive form or of form linear; its forecast is that of outputs of 0.
        rooted: names of the columns that it reads and forecasts as square roots, the sign kept.
        weights: its share in the mean of each output, `(n_out,)`.
    """

    encoding: "Encoding"
    rooted: tuple[str, ...]
    weights: np.ndarray

    @property
    def read(self) -> tuple[tuple[str, ...], str]:
        """What its inputs depend on among members of one mean, which read the same columns."""
        return self.rooted, self.encoding.reading


@dataclasses.dataclass(frozen=True, eq=False)
class Encoding:
    """How a series is read, and what its forecasts are changes from. Plain numpy, float64.

        input     x_t = (u_t - mean) / std,     u_t the levels of the columns or their changes
        output    y_t = (v_{t + h} - b_t - target_mean) / target_std,     b_t the base, by the form

    There is one output for each target and horizon h, `n_out` of them, all horizons of the first target
    first. Forms and their bases are in perturbax.tasks.forms; the base of form `linear` is a fitted
    linear forecast, that of form `combined` a weighted mean of several simple ones. Behind the columns,
    the inputs hold the columns that are known ahead, read at each t + h, and features of the calendar at
    t + the last horizon.

    Attributes:
        inputs: names of the columns that are read.
        means: of what is read of these and of the known columns at each horizon, in own units.
        stds: its standard deviations; 1 where it is constant.
        targets: names of the columns that are forecast.
        target_means: what is subtracted from each output, `(n_out,)`, own units; 0 for forms with a base.
        target_stds: what each output is divided by, `(n_out,)`, own units.
        horizons: rows ahead, rising; below zero where a past row is recalled.
        form: level, difference, seasonal, seasonal-difference, linear, or combined.
        reading: levels, or differences: the changes from row to row.
        season: rows of a season; 1 for none.
        known: names of the columns that are known ahead.
        calendar: names of the features of the dates, as `calendar_features` takes them.
        base: of form linear, the naive form whose forecast the fitted part is added to.
        lags: of form linear, how many rows of each input column the fit reads.
        coefficients: of form linear, `(features, n_out)` in own units, the constant last.
        members: of form combined, the simple forecasts that are averaged.
    """

    inputs: tuple[str, ...]
    means: np.ndarray
    stds: np.ndarray
    targets: tuple[str, ...]
    target_means: np.ndarray
    target_stds: np.ndarray
    horizons: tuple[int, ...] = (1,)
    form: str = "level"
    reading: str = "levels"
    season: int = 1
    known: tuple[str, ...] = ()
    calendar: tuple[str, ...] = ()
    base: str = "level"
    lags: tuple[int, ...] = ()
    coefficients: np.ndarray = dataclasses.field(default_factory=lambda: NO_COEFFICIENTS)
    members: tuple[Member, ...] = ()

    @property
    def n_in(self) -> int:
        """Inputs of a network: columns, known columns at each horizon, and features of the dates."""
        return len(self.means) + len(self.calendar)

    @property
    def n_out(self) -> int:
        """Outputs of a network: one for each target and horizon."""
        return len(self.targets) * len(self.horizons)

    @property
    def outputs(self) -> tuple[tuple[str, int], ...]:
        """(target, horizon) of each output, all horizons of the first target first."""
        return tuple((target, horizon) for target in self.targets for horizon in self.horizons)

    @property
    def history(self) -> int:
        """Rows in front of row t without which it has no forecast; 0 for form level, which reads row t."""
        read = 1 if self.reading == "differences" else 0
        if self.form == "combined":
            return max(read, *(member.encoding.history for member in self.members))
        if self.form != "linear":
            return max(read, reach(self.form, self.horizons, self.season))
        return max(max(self.lags) - 1 + read, reach(self.base, self.horizons, self.season))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns that forecasts need: inputs, known ones, and targets where there is a base."""
        named = (*self.inputs, *self.known, *(self.targets if self.has_base else ()))
        return tuple(dict.fromkeys(named))

    @property
    def has_base(self) -> bool:
        """Whether forecasts are changes from something that is known at row t."""
        return self.form != "level"

    def inputs_of(
        self, columns: Columns, time: Any = None, segments: Segments | None = None, source: str = "the data"
    ) -> np.ndarray:
        """Return what a network reads at each of N rows, `(N, n_in)`. Nothing after row t enters input t.

        Known columns and dates are read ahead; NaN where a known column has no value there.

        Arguments:
            columns: by name, `(N,)` in own units; known columns may be longer: they go on behind row N.
            time: the `TimeAxis` of the rows; needed where features of the dates are read.
            segments: (name, first, end) of each series in the rows; None for one series.
            source: what errors call the data.

        Raises DataError for a number that is too large to be scaled.
        """
        n = len(columns[self.inputs[0]])
        first_rows, ends = _borders(n, segments)
        levels = np.stack([np.asarray(columns[name], np.float64) for name in self.inputs], 1)  # (N, columns)
        read = [read_as(self.reading, levels, first_rows)]
        names = list(self.inputs)
        for name in self.known:
            values = np.asarray(columns[name], np.float64)
            goes_on = np.where(ends == n, -1, ends) if len(values) > n else ends
            read += [later(values, goes_on, horizon)[:, None] for horizon in self.horizons]  # (N, 1) each
            names += [name] * len(self.horizons)
        values = np.concatenate(read, 1) if len(read) > 1 else read[0]  # (N, n)
        x = standardised(source, names, values, self.means, self.stds)
        if not self.calendar:
            return x
        dates = calendar_features(self.calendar, time, self.horizons[-1], first_rows, ends)
        return np.concatenate([x, dates], 1)

    def base_of(
        self,
        columns: Columns,
        time: Any = None,
        segments: Segments | None = None,
        rows: np.ndarray | None = None,
        x: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return what the forecasts made at each row are changes from, `(N, n_out)`, in own units.

        0 for form level. NaN at rows without enough history.

        Arguments:
            columns: as for `inputs_of`.
            time: likewise.
            segments: likewise.
            rows: numbers of the rows that matter; a fitted forecast is NaN at others. None for all.
            x: what `inputs_of` returns for these columns, where it is known; None to compute it.
        """
        if self.form == "combined":
            return self._mean_of_members(columns, time, segments, rows)
        n = len(columns[self.inputs[0]])
        first_rows, _ = _borders(n, segments)
        form = self.base if self.form == "linear" else self.form
        bases = []
        for target, horizon in self.outputs:
            values = np.asarray(columns[target], np.float64)[:n] if form != "level" else np.zeros(n)
            bases.append(naive_forecast(form, values, first_rows, horizon, self.season))  # (N,)
        base = np.stack(bases, 1)  # (N, n_out)
        if self.form != "linear":
            return base
        x = self.inputs_of(columns, time, segments) if x is None else x  # (N, n_in)
        rows = np.arange(n) if rows is None else rows
        usable = rows[rows - first_rows[rows] >= self.history]
        fitted = np.full(base.shape, np.nan)
        fitted[usable] = linear.forecast(x, len(self.inputs), usable, self.lags, self.coefficients)
        return base + fitted

    def _mean_of_members(self, columns: Columns, time: Any, segments: Any, rows: Any) -> np.ndarray:
        """Return the weighted mean of simple forecasts at each row, `(N, n_out)`, own units."""
        mean = np.zeros((1, self.n_out))
        made = forecasts_of_members(self.members, columns, time, segments, rows)
        for member, forecast in zip(self.members, made, strict=True):
            mean = mean + member.weights[None] * forecast
        return mean

    def in_units(self, y: Any, base: Any = None) -> Any:
        """Return forecasts in own units, `(..., n_out)`, from outputs of a network.

        Arguments:
            y: outputs, `(..., n_out)`.
            base: `base_of` the rows they were made at; None for form level.
        """
        units = y * self.target_stds + self.target_means
        return units if base is None else units + base

    def targets_of(self, columns: Columns, segments: Segments | None = None) -> np.ndarray:
        """Return the values that are forecast at each row, `(N, n_out)` in own units; NaN beyond a series.

        Arguments:
            columns: by name, `(N,)` in own units; each of the targets.
            segments: (name, first, end) of each series in the rows; None for one series.
        """
        n = len(columns[self.targets[0]])
        first_rows, ends = _borders(n, segments)
        found = []
        for target, horizon in self.outputs:
            values = np.asarray(columns[target], np.float64)
            found.append(
                earlier(values, first_rows, -horizon) if horizon < 0 else later(values, ends, horizon)
            )
        return np.stack(found, 1)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return arrays that numpy.savez stores without pickle; `from_arrays` reads them.

        Form level with one target and one horizon has the entries of version 0.1.0 first: `inputs`, `means`,
        `stds` `(n_in,)`, `target`, `target_mean`, `target_std` `()`.
        """
        single = self.n_out == 1
        arrays = {
            "inputs": np.array(self.inputs),
            "means": np.asarray(self.means, np.float64),
            "stds": np.asarray(self.stds, np.float64),
            "target": np.array(self.targets[0] if single else self.targets),
            "target_mean": np.asarray(self.target_means[0] if single else self.target_means),
            "target_std": np.asarray(self.target_stds[0] if single else self.target_stds),
            "horizons": np.array(self.horizons),
            "form": np.array(self.form),
            "reading": np.array(self.reading),
            "season": np.array(self.season),
        }
        for name in ("known", "calendar"):
            if names := getattr(self, name):
                arrays[name] = np.array(names)
        if self.form == "linear":
            arrays |= {
                "base": np.array(self.base),
                "lags": np.array(self.lags),
                "coefficients": np.asarray(self.coefficients, np.float64),
            }
        for i, member in enumerate(self.members):
            of_member = member.encoding.to_arrays()
            of_member |= {"rooted": np.array(member.rooted, str), "weights": np.asarray(member.weights)}
            arrays |= {f"member{i}.{name}": array for name, array in of_member.items()}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], horizons: Sequence[int] = (1,)) -> "Encoding":
        """Return the encoding that `to_arrays` stored.

        Arguments:
            arrays: by name; those of version 0.1.0 are of form level with one target.
            horizons: rows ahead, for arrays of version 0.1.0, which do not say.

        Raises DataError where an array is missing or has another shape.
        """
        try:
            return cls._from_arrays(arrays, horizons)
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(f"the scaling that is stored beside the weights is damaged: {error}") from error

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, np.ndarray], horizons: Sequence[int]) -> "Encoding":
        """Return the encoding of arrays; KeyError, ValueError or TypeError where they are damaged."""
        stored_horizons = tuple(int(h) for h in np.atleast_1d(arrays.get("horizons", np.array(horizons))))
        found = cls(
            inputs=_texts(arrays["inputs"]),
            means=np.asarray(arrays["means"], np.float64),
            stds=np.asarray(arrays["stds"], np.float64),
            targets=_texts(arrays["target"]),
            target_means=np.atleast_1d(np.asarray(arrays["target_mean"], np.float64)),
            target_stds=np.atleast_1d(np.asarray(arrays["target_std"], np.float64)),
            horizons=stored_horizons,
            form=str(arrays.get("form", "level")),
            reading=str(arrays.get("reading", "levels")),
            season=int(arrays.get("season", 1)),
            known=_texts(arrays.get("known", np.array([], str))),
            calendar=_texts(arrays.get("calendar", np.array([], str))),
            base=str(arrays.get("base", "level")),
            lags=tuple(int(n) for n in arrays.get("lags", ())),
            coefficients=np.asarray(arrays.get("coefficients", NO_COEFFICIENTS), np.float64),
            members=_members(arrays),
        )
        width = len(found.inputs) + len(found.known) * len(found.horizons)
        for name, size in (("means", width), ("stds", width), ("target_stds", found.n_out)):
            if getattr(found, name).shape != (size,):
                raise ValueError(f"{name} has shape {getattr(found, name).shape}, not {(size,)}")
        if (found.form == "combined") != bool(found.members):
            raise ValueError(f"form {found.form} has {len(found.members)} simple forecasts to average")
        return found

    def fingerprint(self) -> str:
        """Return a hash of all that is stored."""
        digest = hashlib.sha256()
        for name, array in self.to_arrays().items():
            digest.update(name.encode())
            digest.update(repr(array.tolist()).encode())
        return digest.hexdigest()[:16]


def standardised(source: str, names: Any, values: np.ndarray, means: Any, stds: Any) -> np.ndarray:
    """Return (values - means) / stds, float64 `(N, n)`; NaN where the value is NaN.

    Arguments:
        source: what errors call the data.
        names: of the columns.
        values: in own units, `(N, n)`.
        means: of each column.
        stds: of each column.

    Raises DataError where a number is too large: its square would overflow in float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values - np.asarray(means)[None]  # (N, n)
        scaled /= np.asarray(stds)[None]
    # Squares and sums of squares stay finite in float32. Column by column: of long files there is no room for
    # another copy of all.
    if all(np.all(np.abs(scaled[:, i]) < 1e15) for i in range(scaled.shape[1])):
        return scaled
    unusable = np.abs(scaled) >= 1e15
    unusable |= np.isnan(scaled) & ~np.isnan(values)
    if unusable.any():
        row, column = np.argwhere(unusable)[0]
        raise DataError(
            f"{source}, column {names[column]}: the value {values[row, column]:g} is too large to be scaled"
        )
    return scaled


def without_noise(numbers: np.ndarray) -> np.ndarray:
    """Return numbers rounded to ten digits: linear algebra leaves other last ones wherever an array lies.

    Arguments:
        numbers: an array of any shape.
    """
    size = np.floor(np.log10(np.where(numbers == 0, 1, np.abs(numbers))))
    return np.round(numbers / 10.0**size, 10) * 10.0**size


def moments(values: np.ndarray) -> tuple[float, float]:
    """Return (mean, standard deviation) of numbers; the latter is 1 where they are constant, up to rounding.

    Arguments:
        values: the numbers, `(N,)`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(np.mean(values)), float(np.std(values))
    return mean, std if np.ptp(values) > 0 and std > 0 else 1.0


def with_roots(columns: Columns, rooted: Sequence[str]) -> Columns:
    """Return columns by name, some of them as square roots with the sign kept: sign(v) sqrt(|v|).

    Arguments:
        columns: by name, `(N,)`; others are returned as they are.
        rooted: names of those whose roots are taken; names that are no columns are passed over.
    """
    roots = {name: np.asarray(columns[name], np.float64) for name in rooted if name in columns}
    return {**columns, **{name: np.sign(values) * np.sqrt(np.abs(values)) for name, values in roots.items()}}


def forecasts_of_members(
    members: Sequence[Member], columns: Columns, time: Any, segments: Segments | None, rows: Any
) -> Iterator[np.ndarray]:
    """Yield the forecasts of each member at each row, `(N, n_out)`, own units.

    Members that follow each other and read alike share their inputs, which are computed once.

    Arguments:
        members: the simple forecasts.
        columns: by name, `(N,)` in own units; all that they read and forecast.
        time: the `TimeAxis` of the rows; needed where features of the dates are read.
        segments: (name, first, end) of each series in the rows; None for one series.
        rows: numbers of the rows that matter; a fitted forecast is NaN at others. None for all.
    """
    read, inputs, its_columns = None, None, columns
    for member in members:
        encoding = member.encoding
        if member.read != read:
            its_columns = with_roots(columns, member.rooted)
            read, inputs = member.read, None
        if encoding.form == "linear" and inputs is None:
            inputs = encoding.inputs_of(its_columns, time, segments)
        base = encoding.base_of(its_columns, time, segments, rows, inputs)
        made = encoding.in_units(np.zeros(encoding.n_out), base)  # (N, n_out)
        is_root = np.array([target in member.rooted for target, _ in encoding.outputs])
        yield np.where(is_root[None], made * np.abs(made), made)


def _members(arrays: Mapping[str, np.ndarray]) -> tuple[Member, ...]:
    """Return the simple forecasts of form combined that arrays hold; KeyError, ValueError where damaged."""
    found: list[Member] = []
    while f"member{len(found)}.form" in arrays:
        prefix = f"member{len(found)}."
        own = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        encoding = Encoding._from_arrays(own, ())
        weights = np.asarray(own["weights"], np.float64)
        if weights.shape != (encoding.n_out,):
            raise ValueError(f"weights has shape {weights.shape}, not {(encoding.n_out,)}")
        found.append(Member(encoding, _texts(own["rooted"]), weights))
    return tuple(found)


def _borders(n: int, segments: Segments | None) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of n rows the first row and the end of its series, `(N,)` each."""
    first_rows, ends = np.zeros(n, int), np.full(n, n)
    for _, first, end in segments or ():
        first_rows[first:end], ends[first:end] = first, end
    return first_rows, ends


def _texts(array: np.ndarray) -> tuple[str, ...]:
    """Return the texts in an array of one or several."""
    return tuple(str(text) for text in np.atleast_1d(array))
