"""What a task asked for, in words: column, horizon, file and rows of a forecast."""

from pathlib import PurePath
from typing import Any

from perturbax.report.compare import Section
from perturbax.report.numbers import count
from perturbax.report.read import as_dict, as_number, as_strings


def forecast_of(section: Section) -> str:
    """Return in one sentence what was forecast, as the first run recorded it; empty for any other task."""
    run = section.variants[0].first
    options, encoding = (
        as_dict(run.experiment.get("task_options")),
        as_dict(as_dict(run.config.get("facts")).get("encoding")),
    )
    targets = as_strings(encoding.get("targets")) or as_strings(options.get("target"))
    horizons = encoding.get("horizons", options.get("horizon"))
    if horizons is None:
        return ""
    where = run.experiment.get("data")
    file = f" of {PurePath(where).name}" if isinstance(where, str) and where else ""
    what = ", ".join(targets) or f"the series {section.task}"
    return f"Forecast: {what}{file}, {_ahead(horizons)}{_read(encoding)}{_rows(encoding)}."


def _ahead(horizons: Any) -> str:
    """Return horizons in words: `1 row ahead`, `1 to 24 rows ahead`, `1, 6 and 24 rows ahead`."""
    text = str(horizons)
    if isinstance(horizons, list) and horizons:
        numbers = [int(n) for entry in horizons if (n := as_number(entry)) == n]
        text = ", ".join(map(str, numbers))
        if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
            text = f"{numbers[0]} to {numbers[-1]}"
    if text == "0":
        return "at the same row"
    return (
        f"{text.replace('-', ' to ').replace(',', ', ').replace(',  ', ', ')} row{'s' * (text != '1')} ahead"
    )


def _read(encoding: dict[str, Any]) -> str:
    """Return from how many columns a forecast was made, as a phrase; nothing where that is not recorded."""
    inputs = as_number(encoding.get("inputs"))
    return f", from {count(inputs)} column{'s' * (inputs != 1)}" if inputs > 0 else ""


def _rows(encoding: dict[str, Any]) -> str:
    """Return how many rows there were, and for what, as a phrase; nothing where that is not recorded."""
    rows = as_dict(encoding.get("rows"))
    train, valid, test = (as_number(rows.get(part)) for part in ("train", "valid", "test"))
    if not train + valid + test > 0:
        return ""
    parts = f"{count(train)} to train, {count(valid)} to validate, {count(test)} to test"
    return f"; {count(train + valid + test)} rows: {parts}"
