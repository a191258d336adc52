"""What runs on a device cost, and what it made of the weights: a table."""

from collections.abc import Mapping
from html import escape
from typing import Any

from perturbax.report.numbers import count, rounded
from perturbax.report.read import Run, as_dict, as_number

HEADS = ("run", "device", "seed", "writes", "trials", "seconds on it", "held off by", "rule")
TEXT = ("run", "device", "rule")


def device_table(runs: Mapping[str, list[Run]]) -> str:
    """Return the table of all runs on a device, as HTML; empty where there is none.

    Held off by: root mean square of held minus asked weights, as a share of that of the weights asked for.

    runs: the runs of each variant, by its name.
    """
    every = [(name, run) for name, of_variant in runs.items() for run in of_variant]
    told = [(name, run, as_dict(as_dict(run.result).get("device"))) for name, run in every]
    rows = [_row(name, run, found) for name, run, found in told if found]
    if not rows:
        return ""
    heads = "".join(f'<th scope="col"{_aligned(head)}>{head}</th>' for head in HEADS)
    caption = (
        "Writes of weights, trials (sequences from rest) and time while the device was waited for, judging "
        "included. Held off by: root mean square of held minus asked weights, over that of the asked ones."
    )
    return (
        f'<table class="settings"><caption><span>{caption}</span></caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _row(name: str, run: Run, told: Mapping[str, Any]) -> str:
    """Return the row of one run; told: what its result says of the device."""
    held = [as_dict(entry) for entry in as_dict(told.get("held")).values()]
    asked = sum(as_number(entry.get("asked")) ** 2 for entry in held)
    off = sum(as_number(entry.get("difference")) ** 2 for entry in held)
    share = rounded((off / asked) ** 0.5) if held and asked else "not told"
    cells = (
        name,
        str(told.get("name", "")),
        str(run.seed),
        count(as_number(told.get("writes"))),
        count(as_number(told.get("trials"))),
        rounded(as_number(told.get("seconds"))),
        share,
        str(told.get("rule", "")),
    )
    aligned = (f"<td{_aligned(head)}>{escape(cell)}</td>" for head, cell in zip(HEADS, cells, strict=True))
    return f"<tr>{''.join(aligned)}</tr>"


def _aligned(head: str) -> str:
    """Return the attribute of a column that holds text."""
    return ' class="text"' if head in TEXT else ""
